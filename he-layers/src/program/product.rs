//! A linear map of a node with its weight scale.

use ckks_scheme::{KeyRequest, Scale};
use num_complex::Complex64;

use super::accumulator::GIANTS_A_SUM;
use super::slots::Weights;
use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::linear::LinearMap;
use crate::spec::TensorSpec;

/// Weights below this scale would be rounded away.
const LEAST_WEIGHT_SCALE: f64 = 16.0;

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

    /// Adds the products of a run that takes `group_blocks` channel blocks at a time.
    pub fn count_ops(&self, sums: &TensorSpec, counts: &mut OpCounts, group_blocks: usize) {
        let (constant, masked) = self.map.term_counts();
        counts.add(Op::ConstantTerm, sums.level, constant);
        counts.add(Op::MaskedTerm, sums.level, masked);
        for start in (0..self.map.input().blocks()).step_by(group_blocks.max(1)) {
            let blocks = start..start + group_blocks.max(1);
            let touched =
                |task: &&crate::linear::ProductTask| !task.columns_of(blocks.clone()).is_empty();
            let rows = self.map.tasks().iter().filter(touched);
            let outputs = rows.map(|task| task.outputs().len()).sum();
            counts.add(Op::AccumulatorPass, sums.level, outputs);
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
}

impl Finish {
    pub fn request_keys(&self, sums: &TensorSpec, keys: &mut KeyRequest) {
        for step in self.giants.iter().flatten().chain(&self.fold) {
            keys.rotation(*step, sums.level);
        }
    }

    pub fn count_ops(&self, sums: &TensorSpec, counts: &mut OpCounts) {
        let outputs = sums.layout.ciphertexts();
        for giants in &self.giants {
            let moved = giants.iter().filter(|giant| **giant != 0).count();
            counts.add(Op::GiantRotation, sums.level, moved);
            let groups = match moved {
                0 => 0,
                _ => giants.len().div_ceil(GIANTS_A_SUM),
            };
            counts.add(Op::GiantSum, sums.level, groups);
        }
        counts.add(Op::FoldRotation, sums.level, outputs * self.fold.len());
        counts.add(Op::AddPlane, sums.level, outputs);
    }

    /// Whether inner sums are rotated.
    pub fn has_giants(&self) -> bool {
        self.giants.iter().flatten().any(|giant| *giant != 0)
    }
}
