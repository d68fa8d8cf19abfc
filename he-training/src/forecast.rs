//! What a training takes, before it begins.

use ckks_scheme::counts::{Counts, PrimitiveCosts, Work};
use ckks_scheme::{BootstrapOutline, BootstrapParams, KeyRequest, Level};

use crate::error::TrainingError;
use crate::keys::{ridge_keys, softmax_keys, step_levels};
use crate::layout::FeatureLayout;
use crate::ridge::Ridge;
use crate::softmax::Softmax;

/// A forecast: steps, refreshes and keys exactly; work without the encoding of masks, which is small; memory as an estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Steps of the training: iterations, or mini-batches.
    pub steps: usize,
    /// Ciphertexts refreshed.
    pub refreshes: usize,
    /// Refreshes one after the other, where those that do not depend on each other are done at once by the threads.
    pub refresh_rounds: usize,
    /// Primitive work of one refresh.
    pub refresh: Work,
    /// Primitive work of all threads, refreshes not included.
    pub work: Work,
    /// Threads that the training runs on: refreshes of one round are spread over them.
    pub threads: usize,
    /// Size of all switching keys in bytes.
    pub key_bytes: u64,
    /// Size of the refreshes' matrices in bytes.
    pub matrix_bytes: u64,
    /// Limbs of ciphertexts held at most, in bytes: data, weights and intermediate results.
    pub ciphertext_bytes: u64,
    /// The switching keys.
    pub keys: KeyRequest,
}

impl Forecast {
    /// Estimated seconds with primitives of this speed: refreshes take one thread each, all other work is taken as spread evenly.
    pub fn seconds(&self, costs: &PrimitiveCosts) -> f64 {
        costs.seconds(&self.work) / self.threads as f64
            + costs.seconds(&self.refresh) * self.refresh_rounds as f64
    }

    /// Size of all that is in the limb pool at once, in bytes.
    pub fn pool_bytes(&self) -> u64 {
        self.key_bytes + self.matrix_bytes + self.ciphertext_bytes
    }
}

/// The parts that both trainings count with.
struct Parts<'a> {
    counts: Counts<'a>,
    layout: &'a FeatureLayout,
    input: usize,
    output: usize,
    threads: usize,
}

/// What is counted of a training.
struct Counted {
    steps: usize,
    refreshes: usize,
    refresh_rounds: usize,
    /// Most refreshes that do not depend on each other.
    at_once: usize,
    work: Work,
    /// Limbs of ciphertexts held at most.
    limbs: usize,
}

impl<'a> Parts<'a> {
    fn new(params: &'a BootstrapParams, layout: &'a FeatureLayout, threads: usize) -> Self {
        Self {
            counts: params.scheme().counts(),
            layout,
            input: params.input_level().limbs(),
            output: params.output_level().limbs(),
            threads,
        }
    }

    fn doublings(&self, level: usize, key: usize, count: usize) -> Work {
        let level = Level::new(level);
        let one = self.counts.rotate(level, Level::new(key)) + self.counts.add(level);
        one * u64::from(count.ilog2())
    }

    /// A product of two ciphertexts, relinearised and rescaled.
    fn product(&self, level: usize, key: usize) -> Work {
        let at = Level::new(level);
        self.counts.mul(at) + self.counts.relinearize_rescale(at, Level::new(key))
    }

    /// Features of one block, skewed to `level`.
    fn skewed(&self, level: usize) -> Work {
        let above = Level::new(level + 1);
        let period = self.layout.period();
        let rotations = self.counts.rotate_many(above, above, period as u64 - 1);
        let products = self
            .counts
            .matmul(above, (period, period), period, period * period);
        rotations + products + self.counts.rescale(above, 2) * period as u64
    }

    fn finish(
        &self,
        params: &BootstrapParams,
        mut keys: KeyRequest,
        counted: Counted,
    ) -> Result<Forecast, TrainingError> {
        let Counted {
            steps,
            refreshes,
            refresh_rounds,
            at_once,
            work,
            limbs,
        } = counted;
        let outline = BootstrapOutline::new(params)?;
        keys.extend(&outline.request());
        let keys = keys.reduced(params.scheme().log_n());
        let refresh = outline.work(&keys)?.total();
        Ok(Forecast {
            steps,
            refreshes,
            refresh_rounds,
            refresh,
            work,
            threads: self.threads,
            key_bytes: keys.bytes(params.scheme().chain()),
            matrix_bytes: outline.matrix_bytes(),
            ciphertext_bytes: limbs as u64 * params.scheme().limb_bytes()
                + outline.working_bytes() * self.threads.min(at_once) as u64,
            keys,
        })
    }
}

impl Ridge {
    /// What a training on `groups` groups of images takes with `threads` threads; features at the level that refreshes give.
    ///
    /// # Errors
    /// [`TrainingError::Setting`], [`TrainingError::Bootstrap`].
    pub fn forecast(
        &self,
        layout: &FeatureLayout,
        groups: usize,
        params: &BootstrapParams,
        threads: usize,
    ) -> Result<Forecast, TrainingError> {
        let p = Parts::new(params, layout, threads);
        let steps = self.iterations()?.len();
        let (blocks, lanes, period) = (layout.blocks(), layout.lanes(), layout.period());
        let (width, top) = (self.baby_steps(layout), p.output);
        let giants = lanes / width;
        let at = Level::new;
        let sums = blocks * (lanes / 2 + 1) + blocks * (blocks - 1) / 2 * lanes;
        let cross = blocks * period;

        let rotations = (blocks * (width + giants - 2) + period - 1) as u64;
        let group = p.counts.hoisted_rotation(at(top), at(top)) * rotations
            + p.counts.sum_of_products(at(top), 2) * (sums + cross) as u64;
        let below = top - 1;
        let total = p.counts.relinearize_rescale(at(top), at(top))
            + p.doublings(below, top, layout.images());
        let cut = p.counts.mul_plain(at(below)) + p.counts.rescale(at(below), 2);
        let diagonal = cut + p.doublings(below - 1, top, period);
        let mirrored = (blocks * blocks * lanes - sums) as u64 * 2;
        let centred = match self.bias {
            true => p.counts.mul(at(below)) + p.counts.relinearize(at(below), at(top)),
            false => Work::default(),
        };
        let finish = centred * (sums + blocks) as u64
            + total * (sums + cross) as u64
            + diagonal * sums as u64
            + p.counts.rotate(at(below - 1), at(top)) * mirrored
            + p.counts.mul_plain(at(below)) * (cross * period) as u64;

        // Iterations go down from two levels below the features.
        let (mut level, mut refreshes) = (top.saturating_sub(2), 0);
        let mut iterations = Work::default();
        for step in 1..steps {
            let pairs = blocks * width;
            let inner = p.counts.sum_of_products(at(level), pairs)
                + p.counts.relinearize(at(level), at(top))
                + p.counts.rotate(at(level), at(top));
            iterations += p.counts.rotate_many(at(level), at(top), width as u64 - 1)
                * blocks as u64
                + inner * (blocks * giants) as u64;
            level -= 1;
            if level == p.input && step + 1 < steps {
                refreshes += blocks;
                level = top.saturating_sub(2);
            }
        }
        // Sums, and what a group's products are made of; then all diagonals, and what is multiplied with them.
        let rotated = blocks * (width + giants) + period;
        let summing = 3 * (sums + cross) + 2 * rotated + 2 * (blocks + 1) * groups;
        let products = blocks * blocks * lanes + blocks * (width + giants + 5);
        let counted = Counted {
            steps,
            refreshes,
            refresh_rounds: refreshes / blocks * blocks.div_ceil(threads),
            at_once: blocks,
            work: group * groups as u64 + finish + iterations,
            limbs: top * summing.max(2 * products),
        };
        let keys = ridge_keys(self, layout, params.output_level())?;
        p.finish(params, keys, counted)
    }
}

impl Softmax {
    /// What a training on `groups` groups of images takes with `threads` threads; features at the level that refreshes give.
    ///
    /// # Errors
    /// [`TrainingError::Setting`], [`TrainingError::Bootstrap`].
    pub fn forecast(
        &self,
        layout: &FeatureLayout,
        groups: usize,
        params: &BootstrapParams,
        threads: usize,
    ) -> Result<Forecast, TrainingError> {
        let p = Parts::new(params, layout, threads);
        let levels = step_levels(self, layout, groups, params)?;
        let steps = self.steps(groups);
        let (blocks, lanes, period) = (layout.blocks(), layout.lanes(), layout.period());
        let (images, top) = (layout.images(), p.output);
        let at = Level::new;
        let of_block = |level: usize| {
            p.counts
                .rotate_many(at(level), at(level), period as u64 - 1)
                + p.counts.sum_of_products(at(level), period)
                + p.skewed(level)
        };
        let scores = of_block(levels.weights) * blocks as u64
            + p.counts.relinearize_rescale(at(levels.weights), at(top))
            + p.doublings(levels.weights - 1, levels.weights, lanes / period);
        // Half way between the levels that a refresh gives and those that it takes.
        let middle = (p.input + top) / 2;
        let softmax = p.product(middle, top) * levels.products as u64
            + p.doublings(middle, levels.sums, period) * levels.class_sums as u64;
        let excess = levels.excess;
        let products = p.skewed(excess)
            + p.counts.rotate(at(excess), at(excess)) * (period as u64 - 1)
            + p.counts.sum_of_products(at(excess), period);
        let gradient = p.counts.relinearize_rescale(at(excess), at(top))
            + p.doublings(excess - 1, excess, images / period)
            + p.counts.mul_plain(at(excess - 1));
        let turned = p
            .counts
            .rotate_many(at(excess), at(excess), period as u64 - 1);
        // Weights are unpacked above the level at which they meet the features, and packed below the excess.
        let (packs, above) = (self.packs(layout) as u64, levels.weights + 1);
        let many = self.blocks(layout) as u64;
        let moved = many - packs;
        let unpacked = p.counts.mod_up(at(above), at(above)) * packs
            + p.counts.hoisted_rotation(at(above), at(above)) * moved
            + (p.counts.mul_plain(at(above)) + p.counts.rescale(at(above), 2)) * many
            + p.doublings(levels.weights, above, images / period) * many;
        let packed = p.counts.rotate(at(excess - 1), at(excess)) * moved
            + (p.counts.rotate(at(top), at(top)) + p.counts.rescale(at(excess - 1), 2)) * packs;
        let of_group = scores + softmax + turned + products * blocks as u64;
        // A bias has sums over images instead of a product, which is more.
        let of_step = gradient * many + unpacked + packed;
        let visits = self.epochs * groups;
        let work = of_group * visits as u64 + of_step * steps as u64;
        let pairs = |step| self.groups_of_step(step, groups).len().div_ceil(2);
        let rounds: usize = (0..steps)
            .map(|step| pairs(step).div_ceil(threads) * levels.refreshes)
            .sum();
        let packs = self.packs(layout);
        // Data; weights before and after; what a block of every group is multiplied with.
        let weights = packs * 2 * top + 2 * self.blocks(layout) * levels.weights;
        let products = self.step_groups * 2 * period * 2 * top;
        let counted = Counted {
            steps,
            refreshes: self.refreshes(groups, levels.refreshes, packs),
            refresh_rounds: rounds + (steps - 1) * packs.div_ceil(threads),
            at_once: packs.max(self.step_groups.div_ceil(2)),
            work,
            limbs: 2 * top * (blocks + 1) * groups + products + weights,
        };
        let keys = softmax_keys(self, layout, groups, params)?;
        p.finish(params, keys, counted)
    }
}
