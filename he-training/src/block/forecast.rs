//! What a step takes, before it begins.

use ckks_scheme::counts::Work;
use ckks_scheme::{Bootstrapper, KeyRequest, Level, Scale};
use he_layers::{Op, OpCounts, cost};

use super::plan::{BlockPlan, Map, map_key, relin_key};
use super::{ACTIVATIONS, BlockLevels};
use crate::error::TrainingError;

/// What the first step of a block's training takes. Ciphertexts, key switches and keys exactly, refreshes of parameters before
/// further steps not included; work without the encoding of weights.
#[derive(Clone, Debug)]
pub struct BlockForecast {
    /// Levels of the step.
    pub levels: BlockLevels,
    /// Ciphertexts of the block's input.
    pub input_ciphertexts: usize,
    /// Ciphertexts of labels.
    pub label_ciphertexts: usize,
    /// Ciphertexts of parameters.
    pub weight_ciphertexts: usize,
    /// Rotations of the four maps.
    pub map_rotations: u64,
    /// Rotations that add up images, and that add up channels to scores and spread these.
    pub sum_rotations: u64,
    /// Products that are relinearised.
    pub relinearizations: u64,
    /// Ciphertexts refreshed within the step; a refresh's own key switches are not counted here.
    pub refreshes: usize,
    /// Number of switching keys, those of refreshes not included.
    pub keys: usize,
    /// Their size in bytes.
    pub key_bytes: u64,
    /// Bytes of limbs that the largest map holds at once: inputs, their rotations, inner sums.
    pub map_bytes: u64,
    /// Primitive work, refreshes not included.
    pub work: Work,
}

impl BlockForecast {
    /// Key switches of a step.
    pub fn key_switches(&self) -> u64 {
        self.map_rotations + self.sum_rotations + self.relinearizations
    }
}

impl BlockPlan {
    /// What the first step takes.
    ///
    /// # Errors
    /// [`TrainingError::Layer`].
    pub fn forecast(&self) -> Result<BlockForecast, TrainingError> {
        let levels = self.levels(self.top())?;
        let (layout, classes) = (self.layout(), self.classes());
        let (pixels, chain) = (layout.ciphertexts(), self.params().chain());
        let counts = chain.counts();
        let mut work = Work::default();
        let (mut map_rotations, mut map_limbs) = (0, 0);
        for map in Map::ALL {
            let level = Level::new(map.level(&levels));
            let prepared = self.map(map, level, Scale::new(self.scale()))?;
            let ops = prepared.total_op_counts(1);
            map_rotations += ops.rotations();
            let peaks = (0..prepared.steps()).map(|step| prepared.peak_limbs(step, 1));
            map_limbs = map_limbs.max(peaks.max().unwrap_or(0));
            let key = |at: Level| map_key(&levels, at);
            work += cost::work(&ops, &counts, &key, layout.cells(), &|_| Work::default());
        }
        let (ops, sum_rotations, relinearizations) = self.other_ops(&levels);
        let key = |at: Level| relin_key(&levels, at);
        work += cost::work(&ops, &counts, &key, layout.cells(), &|_| Work::default());
        let keys: KeyRequest = self.keys()?;
        Ok(BlockForecast {
            levels,
            input_ciphertexts: pixels,
            label_ciphertexts: classes,
            weight_ciphertexts: 2 * ACTIVATIONS + 2 * classes,
            map_rotations,
            sum_rotations,
            relinearizations,
            refreshes: usize::from(self.refreshes()),
            keys: keys.count(),
            key_bytes: keys.bytes(chain),
            map_bytes: map_limbs as u64 * chain.limb_bytes(),
            work,
        })
    }

    /// What a step does besides the maps; and of that the rotations and the relinearisations.
    fn other_ops(&self, l: &BlockLevels) -> (OpCounts, u64, u64) {
        let (pixels, classes) = (self.layout().ciphertexts(), self.classes());
        let (images, cells) = (
            self.layout().image_steps().count(),
            self.layout().cell_steps().count(),
        );
        let mut ops = OpCounts::default();
        let (mut rotated, mut relinearized) = (0, 0);
        // Sums of so many products, with how many operands each, at a level.
        let mut products = |ops: &mut OpCounts, op: Op, level: usize, sums: usize, terms: usize| {
            let level = Level::new(level);
            ops.add(Op::Multiply, level, sums * terms);
            ops.add(op, level, sums);
            relinearized += sums as u64;
        };
        let mut sums = |ops: &mut OpCounts, level: usize, count: usize, steps: usize| {
            ops.add(Op::FoldRotation, Level::new(level), count * steps);
            ops.add(Op::Add, Level::new(level), count * steps);
            rotated += (count * steps) as u64;
        };
        let (both, alone) = (Op::RelinearizeRescale, Op::Relinearize);
        // Forward.
        for k in 0..2 {
            products(&mut ops, both, l.squared[k], pixels, 1);
            products(&mut ops, both, l.squared[k] - 1, pixels, 1);
        }
        products(&mut ops, both, l.squared[2], 1, pixels);
        products(&mut ops, both, l.squares, 1, 1);
        products(&mut ops, alone, l.pooled, classes, 1);
        sums(&mut ops, l.pooled, classes, cells);
        ops.add(Op::Rescale, Level::new(l.pooled), classes);
        ops.add(Op::Rescale, Level::new(l.pooled - 1), classes);
        sums(&mut ops, l.excess, classes, cells);
        // Backward, and gradients.
        products(&mut ops, both, l.excess, 1, classes);
        products(&mut ops, alone, l.excess, classes, 1);
        sums(&mut ops, l.excess, 2 * classes, images);
        let by_g3 = l.delta_pooled.min(l.squares);
        products(&mut ops, alone, by_g3, 1, 1);
        sums(&mut ops, by_g3, 1, images);
        products(&mut ops, both, l.delta_pooled, 1, 1);
        products(&mut ops, both, l.deltas[2] + 1, pixels, 1);
        sums(&mut ops, l.deltas[2], 1, images);
        products(&mut ops, both, l.deltas[1] + 1, pixels, 1);
        sums(&mut ops, l.deltas[1], 1, images);
        for returned in l.returned {
            products(&mut ops, both, returned, pixels, 1);
            products(&mut ops, alone, returned - 1, 1, pixels);
            sums(&mut ops, returned - 1, 1, images);
        }
        products(&mut ops, alone, l.returned[0], 1, pixels);
        sums(&mut ops, l.returned[0], 1, images);
        if self.settings().input_gradient {
            products(&mut ops, alone, l.returned[0], pixels, 1);
        }
        // Rescales of what the maps give.
        for map in Map::ALL {
            ops.add(Op::Rescale, Level::new(map.level(l)), pixels);
        }
        (ops, rotated, relinearized)
    }

    /// Bytes of limbs that a step may hold at once, as an estimate: keys, the largest map, and what the way back needs. One refresh for
    /// each of `threads` threads, if `refresher` carries them out.
    ///
    /// # Errors
    /// As [`Self::forecast`].
    pub fn peak_bytes(
        &self,
        refresher: Option<(&dyn Bootstrapper, usize)>,
    ) -> Result<u64, TrainingError> {
        let forecast = self.forecast()?;
        let l = &forecast.levels;
        let limb = self.params().chain().limb_bytes();
        let (pixels, classes) = (self.layout().ciphertexts(), self.classes());
        let kept = pixels * (l.input + 2 * l.returned[0] + 2 * l.returned[1]);
        let others = 2 * classes * l.pooled + ACTIVATIONS * 2 * l.input + classes * l.pooled;
        let refreshes = refresher.map_or(0, |(r, threads)| r.working_bytes() * threads as u64);
        let step = forecast.map_bytes + 2 * (kept + others) as u64 * limb;
        Ok(forecast.key_bytes + step.max(refreshes))
    }
}
