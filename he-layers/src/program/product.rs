//! A linear map of a node with its weight scale.

use ckks_scheme::{KeyRequest, Scale};
use num_complex::Complex64;

use super::accumulator::GIANTS_A_SUM;
use super::share::Share;
use super::slots::Weights;
use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::linear::LinearMap;
use crate::spec::TensorSpec;

/// Weights below this scale would be rounded away.
const LEAST_WEIGHT_SCALE: f64 = 16.0;
/// Bits of the largest encoded weight.
const MOST_WEIGHT_BITS: f64 = 62.0;

/// A linear map of a node: squares or values in, sums at the level of the node out.
#[derive(Debug)]
pub(super) struct Product {
    /// The value that it reads, by its number.
    pub value: usize,
    pub map: LinearMap,
    pub weight_scale: Scale,
    /// Deviation of each input channel from its mean.
    pub spread: Vec<f64>,
}

impl Product {
    /// A product that reads `input`, whose channels have means and deviations `moments`, and gives `sums`.
    pub fn new(
        value: usize,
        map: LinearMap,
        input: &TensorSpec,
        sums: &TensorSpec,
        moments: &[(f64, f64)],
    ) -> Result<Self, LayerError> {
        let weight_scale = sums.scale.value() / input.scale.value();
        if weight_scale < LEAST_WEIGHT_SCALE {
            return Err(LayerError::WeightScale {
                layer: map.name().to_owned(),
                found_log2: weight_scale.log2(),
                least_log2: LEAST_WEIGHT_SCALE.log2(),
            });
        }
        let (found, scale_log2) = (map.largest_weight(), weight_scale.log2());
        let bits = found.log2() + scale_log2;
        if bits >= MOST_WEIGHT_BITS {
            return Err(LayerError::WeightTooLarge {
                layer: map.name().to_owned(),
                found,
                bits,
                scale_log2,
                limit: MOST_WEIGHT_BITS,
            });
        }
        let (mean, spread): (Vec<f64>, Vec<f64>) = moments.iter().copied().unzip();
        Ok(Self {
            value,
            map: map.with_input_mean(&mean)?,
            weight_scale: Scale::new(weight_scale),
            spread,
        })
    }

    /// The map on plain slots.
    pub fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        weights: Weights,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        match weights {
            Weights::Exact => self.map.forward_slots(x, None),
            Weights::Rounded => self.map.forward_slots(x, Some(self.weight_scale)),
        }
    }
}

/// The end of a node: inner sums rotated and added, folded, biases added.
#[derive(Debug)]
pub(super) struct Finish {
    /// For each output ciphertext the giant steps of its inner sums, sorted.
    pub giants: Vec<Vec<i64>>,
    /// Rotations by which the sum is added to itself one after another.
    pub fold: Vec<i64>,
    /// For each output ciphertext the number of inner sums of those before it; in the end all of them.
    before: Vec<usize>,
}

impl Finish {
    /// `giants`: for each output ciphertext the giant steps of its inner sums, sorted.
    pub fn new(giants: Vec<Vec<i64>>, fold: Vec<i64>) -> Self {
        let mut before = vec![0];
        for steps in &giants {
            before.push(before[before.len() - 1] + steps.len());
        }
        Self {
            giants,
            fold,
            before,
        }
    }

    /// The number of inner sums.
    pub fn sums(&self) -> usize {
        self.before[self.giants.len()]
    }

    /// The index among all inner sums of that of an output and a giant step, which is one of the output's.
    pub fn sum_index(&self, output: usize, giant: i64) -> usize {
        self.before[output] + self.giants[output].partition_point(|g| *g < giant)
    }

    pub fn request_keys(&self, sums: &TensorSpec, keys: &mut KeyRequest) {
        for step in self.giants.iter().flatten().chain(&self.fold) {
            keys.rotation(*step, sums.level);
        }
    }

    /// The giant steps of the outputs that a share has.
    fn giants_of(&self, sums: &TensorSpec, share: Share) -> impl Iterator<Item = &Vec<i64>> {
        let per_block = sums.layout.ciphertexts_per_block();
        let all = self.giants.iter().enumerate();
        all.filter(move |(output, _)| share.owns(output / per_block))
            .map(|(_, giants)| giants)
    }

    /// Adds a share of the end of a node of so many products.
    pub fn count_ops(
        &self,
        sums: &TensorSpec,
        products: usize,
        share: Share,
        counts: &mut OpCounts,
    ) {
        let level = sums.level;
        for giants in self.giants_of(sums, share) {
            if giants.is_empty() {
                counts.add(Op::Zero, level, 1);
            }
            if giants.iter().any(|giant| *giant != 0) {
                for part in giants.chunks(GIANTS_A_SUM) {
                    let rotated = part.iter().filter(|giant| **giant != 0).count();
                    let others = part.len() - rotated;
                    counts.add(Op::RotatedSum { rotated, others }, level, 1);
                }
                counts.add(Op::Add, level, giants.len().div_ceil(GIANTS_A_SUM) - 1);
            }
        }
        let outputs = self.giants_of(sums, share).count();
        counts.add(Op::FoldRotation, level, outputs * self.fold.len());
        counts.add(Op::Add, level, outputs * self.fold.len());
        counts.add(Op::AddPlane, level, if products > 0 { outputs } else { 0 });
    }

    /// Most parts in which the inner sums of one output are rotated.
    pub fn parts(&self) -> usize {
        let parts = self.giants.iter().map(|g| g.len().div_ceil(GIANTS_A_SUM));
        parts.max().unwrap_or(1).max(1)
    }

    /// Sums of rotations of a share that wait for the other parts of their output.
    pub fn waiting_parts(&self, sums: &TensorSpec, share: Share) -> usize {
        let giants = self.giants_of(sums, share);
        let parts = giants.map(|g| g.len().div_ceil(GIANTS_A_SUM));
        parts.filter(|parts| *parts > 1).sum()
    }
}
