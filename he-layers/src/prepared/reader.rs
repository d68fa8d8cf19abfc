//! Takes groups of input ciphertexts, squares them where an activation stands before the product, rotates them and adds
//! their products to accumulators.

use std::collections::BTreeSet;

use ckks_scheme::{Ciphertext, EvalError, Evaluator, KeyRequest, Level, Scale};
use num_complex::Complex64;
use rayon::prelude::*;

use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::layer::Weights;
use crate::linear::map::LinearMap;
use crate::prepared::accumulator::{Accumulator, GIANTS_A_SUM, Rotations};
use crate::prepared::pointwise::Pointwise;
use crate::prepared::square::SquareStage;
use crate::spec::{ScaleChain, TensorSpec};

/// Weights below this scale would be rounded away.
const LEAST_WEIGHT_SCALE: f64 = 16.0;

/// A linear map with its weight scale: squares in, sums at the level of `output` out.
#[derive(Debug)]
pub(crate) struct LinearStage {
    map: LinearMap,
    weight_scale: Scale,
    output: TensorSpec,
    /// Deviation of each input channel from its mean.
    spread: Vec<f64>,
}

impl LinearStage {
    /// A map that reads `input` and gives sums at `level`, which is the input's or below.
    pub(crate) fn new(
        map: LinearMap,
        input: &TensorSpec,
        level: Level,
        chain: &ScaleChain,
        (mean, spread_of_mean): (&[f64], f64),
    ) -> Result<Self, LayerError> {
        // Sums stand at S q: one prime holds no more than q.
        chain.below(map.name(), level, 0, 2)?;
        let scale = chain.sum_scale(map.name(), level)?;
        let weight_scale = scale.value() / input.scale.value();
        if weight_scale < LEAST_WEIGHT_SCALE {
            return Err(LayerError::WeightScale {
                layer: map.name().to_owned(),
                found_log2: weight_scale.log2(),
                least_log2: LEAST_WEIGHT_SCALE.log2(),
            });
        }
        let output = TensorSpec {
            layout: map.output().clone(),
            level,
            scale,
        };
        let spread = mean.iter().map(|m| m.abs() * spread_of_mean).collect();
        Ok(Self {
            map: map.with_input_mean(mean)?,
            weight_scale: Scale::new(weight_scale),
            output,
            spread,
        })
    }

    /// A map that reads the squares of an activation.
    pub(crate) fn after(
        square: &SquareStage,
        map: LinearMap,
        level: Level,
        chain: &ScaleChain,
    ) -> Result<Self, LayerError> {
        // A Gaussian's square deviates by sqrt(2) times its mean.
        Self::new(
            map,
            square.output(),
            level,
            chain,
            (square.mean(), std::f64::consts::SQRT_2),
        )
    }

    /// The same with the deviation of each input channel from its mean, where it is not a multiple of that.
    pub(crate) fn with_spread(mut self, spread: Vec<f64>) -> Self {
        self.spread = spread;
        self
    }

    /// Whether inner sums are rotated.
    pub(crate) fn has_giants(&self) -> bool {
        self.map.tasks().iter().any(|task| task.giant() != 0)
    }

    pub(crate) fn map(&self) -> &LinearMap {
        &self.map
    }

    pub(crate) fn output(&self) -> &TensorSpec {
        &self.output
    }

    pub(crate) fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        weights: Weights,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        match weights {
            Weights::Exact => self.map.forward_slots(x, None),
            Weights::Rounded => self.map.forward_slots(x, Some(self.weight_scale)),
        }
    }

    pub(crate) fn predicted_error(&self, input_std: &[f64], against: Weights) -> Vec<f64> {
        let noise = self.map.predicted_error(input_std);
        match against {
            Weights::Rounded => noise,
            Weights::Exact => {
                let rounding = self.map.predicted_rounding(self.weight_scale, &self.spread);
                noise
                    .iter()
                    .zip(rounding)
                    .map(|(a, b)| a.hypot(b))
                    .collect()
            }
        }
    }

    /// Limbs of all inner sums.
    pub(crate) fn sum_limbs(&self) -> usize {
        self.output
            .limbs(self.map.giant_steps().iter().map(Vec::len).sum())
    }

    fn request_keys(&self, keys: &mut KeyRequest) {
        for step in self
            .map
            .giant_steps()
            .iter()
            .flatten()
            .chain(self.map.fold())
        {
            keys.rotation(*step, self.output.level);
        }
    }

    fn count_ops(&self, counts: &mut OpCounts, group_blocks: usize) {
        let level = self.output.level;
        let outputs = self.map.output().ciphertexts();
        let (constant, masked) = self.map.term_counts();
        counts.add(Op::ConstantTerm, level, constant);
        counts.add(Op::MaskedTerm, level, masked);
        for start in (0..self.map.input().blocks()).step_by(group_blocks.max(1)) {
            let blocks = start..start + group_blocks.max(1);
            let rows = self
                .map
                .tasks()
                .iter()
                .filter(|task| !task.columns_of(blocks.clone()).is_empty());
            counts.add(
                Op::AccumulatorPass,
                level,
                rows.map(|task| task.outputs().len()).sum(),
            );
        }
        for giants in self.map.giant_steps() {
            let moved = giants.iter().filter(|giant| **giant != 0).count();
            counts.add(Op::GiantRotation, level, moved);
            let sums = if moved > 0 {
                giants.len().div_ceil(GIANTS_A_SUM)
            } else {
                0
            };
            counts.add(Op::GiantSum, level, sums);
        }
        counts.add(Op::FoldRotation, level, outputs * self.map.fold().len());
        counts.add(Op::AddPlane, level, outputs);
    }
}

/// Reads one tensor into the products of one or several maps.
#[derive(Debug)]
pub(crate) struct Reader {
    input: TensorSpec,
    square: Option<SquareStage>,
    stages: Vec<LinearStage>,
    /// For each input ciphertext all rotations that any map reads.
    steps: Vec<Vec<i64>>,
}

impl Reader {
    pub(crate) fn new(
        input: TensorSpec,
        square: Option<SquareStage>,
        stages: Vec<LinearStage>,
    ) -> Self {
        let mut steps = vec![BTreeSet::new(); input.layout.ciphertexts()];
        for stage in &stages {
            for (all, of_map) in steps.iter_mut().zip(stage.map.baby_steps()) {
                all.extend(of_map);
            }
        }
        let steps = steps.into_iter().map(|s| s.into_iter().collect()).collect();
        Self {
            input,
            square,
            stages,
            steps,
        }
    }

    pub(crate) fn input(&self) -> &TensorSpec {
        &self.input
    }

    pub(crate) fn square(&self) -> Option<&SquareStage> {
        self.square.as_ref()
    }

    pub(crate) fn stages(&self) -> &[LinearStage] {
        &self.stages
    }

    /// What the products read.
    fn rotated(&self) -> &TensorSpec {
        self.square
            .as_ref()
            .map_or(&self.input, SquareStage::output)
    }

    /// Takes the ciphertexts of whole channel blocks, the first of them with index `first`, adds the products of stage `i` to
    /// accumulator `i`, and lets them go. Gives the values before the activation, dropped to `keep`, if that is asked for.
    pub(crate) fn absorb(
        &self,
        evaluator: &Evaluator,
        first: usize,
        group: Vec<Ciphertext>,
        accumulators: &mut [&mut Accumulator],
        keep: Option<Level>,
    ) -> Result<Vec<Ciphertext>, EvalError> {
        let per_block = self.input.layout.ciphertexts_per_block();
        let blocks = first / per_block..(first + group.len()) / per_block;
        let offsets = match &self.square {
            Some(square) => blocks
                .clone()
                .map(|block| square.offsets(block))
                .collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        let ciphertexts = group.len();
        let rotate = |(index, ct): (usize, Ciphertext)| {
            let (ct, kept) = match &self.square {
                Some(square) => {
                    square.apply_keeping(evaluator, &offsets[index / per_block], ct, keep)?
                }
                None => (ct, None),
            };
            let steps = &self.steps[first + index];
            let moved: Vec<i64> = steps.iter().copied().filter(|s| *s != 0).collect();
            let turned = rotate_in_parallel(evaluator, &ct, &moved, ciphertexts)?;
            let mut rotations: Rotations = moved.into_iter().zip(turned).collect();
            if steps.contains(&0) {
                rotations.insert(0, ct);
            }
            Ok((rotations, kept))
        };
        let (inputs, kept): (Vec<Rotations>, Vec<Option<Ciphertext>>) = group
            .into_par_iter()
            .enumerate()
            .map(rotate)
            .collect::<Result<Vec<_>, EvalError>>()?
            .into_iter()
            .unzip();
        for (stage, accumulator) in self.stages.iter().zip(accumulators) {
            accumulator.absorb(&stage.map, stage.weight_scale, blocks.clone(), &inputs)?;
        }
        Ok(kept.into_iter().flatten().collect())
    }

    pub(crate) fn request_keys(&self, keys: &mut KeyRequest) {
        if let Some(square) = &self.square {
            square.request_keys(keys);
        }
        for step in self.steps.iter().flatten() {
            keys.rotation(*step, self.rotated().level);
        }
        for stage in &self.stages {
            stage.request_keys(keys);
        }
    }

    pub(crate) fn count_ops(&self, counts: &mut OpCounts, group_blocks: usize) {
        if let Some(square) = &self.square {
            square.count_ops(counts);
        }
        for steps in &self.steps {
            let moved = steps.iter().filter(|s| **s != 0).count();
            counts.add(Op::Hoist, self.rotated().level, usize::from(moved > 0));
            counts.add(Op::HoistedRotation, self.rotated().level, moved);
        }
        for stage in &self.stages {
            stage.count_ops(counts, group_blocks);
        }
    }

    /// For each group the limbs of its rotations.
    pub(crate) fn group_limbs(&self, group_blocks: usize) -> Vec<usize> {
        let group = group_blocks.max(1) * self.input.layout.ciphertexts_per_block();
        self.steps
            .chunks(group)
            .map(|steps| self.rotated().limbs(steps.iter().map(Vec::len).sum()))
            .collect()
    }

    /// Most limbs alive while all groups are absorbed: what is left of the input, the rotations of a group, and `kept` limbs
    /// for each ciphertext absorbed.
    pub(crate) fn peak_limbs(&self, group_blocks: usize, kept: usize) -> usize {
        let n = self.input.layout.ciphertexts();
        let group = group_blocks.max(1) * self.input.layout.ciphertexts_per_block();
        let alive = |(index, rotations): (usize, usize)| {
            let (before, after) = (index * group, n.min((index + 1) * group));
            let start = self.input.limbs(n - before) + kept * before;
            start.max(self.input.limbs(n - after) + rotations + kept * after)
        };
        self.group_limbs(group_blocks)
            .into_iter()
            .enumerate()
            .map(alive)
            .max()
            .unwrap_or(0)
    }
}

/// Rotations of one of `ciphertexts` ciphertexts that are rotated at the same time: with fewer ciphertexts than threads, the
/// steps are shared out, at the price of one more hoist a share.
fn rotate_in_parallel(
    evaluator: &Evaluator,
    ct: &Ciphertext,
    steps: &[i64],
    ciphertexts: usize,
) -> Result<Vec<Ciphertext>, EvalError> {
    let shares = (rayon::current_num_threads() / ciphertexts).max(1);
    let share = steps.len().div_ceil(shares).max(1);
    let turned: Vec<_> = steps
        .par_chunks(share)
        .map(|steps| evaluator.rotate_many(ct, steps))
        .collect::<Result<_, _>>()?;
    Ok(turned.into_iter().flatten().collect())
}
