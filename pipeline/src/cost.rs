//! The cost model: seconds of an operation, from counts of butterflies, multiply-adds and words moved.

use ckks_scheme::{KeyShape, Level, Parameters};
use he_layers::{Op, OpCounts};
use serde::{Deserialize, Serialize};

/// Seconds of the primitives that everything consists of, on one thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostModel {
    /// One butterfly of a transform (a limb has N/2 log2 N).
    pub butterfly: f64,
    /// One multiply-add of a base conversion.
    pub conversion: f64,
    /// One multiply-add of the inner product with a key.
    pub inner_product: f64,
    /// One multiply-add of the RNS matrix product.
    pub matrix_product: f64,
    /// One word of a pointwise pass: addition, permutation, copy, one product.
    pub word: f64,
}

impl Default for CostModel {
    /// One core of an AMD EPYC 9004 with the kernel `avx512ifma`, memory shared with a second one: measured with
    /// `cargo run --release -p ckks-math --example kernel_speed`.
    fn default() -> Self {
        Self {
            butterfly: 0.28e-9,
            conversion: 0.16e-9,
            inner_product: 0.5e-9,
            matrix_product: 0.11e-9,
            word: 0.5e-9,
        }
    }
}

/// The level of the keys that serve each level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySteps(pub Vec<Level>);

impl KeySteps {
    /// The level of the key that an operation at `level` uses.
    pub fn key_level(&self, level: Level, top: Level) -> Level {
        self.0
            .iter()
            .copied()
            .filter(|s| *s >= level)
            .min()
            .unwrap_or(top)
    }
}

impl CostModel {
    /// Seconds of all operations on one thread; weights have a period of `cells`.
    pub fn seconds(
        &self,
        counts: &OpCounts,
        params: &Parameters,
        steps: &KeySteps,
        cells: usize,
    ) -> f64 {
        let one = |op, level| {
            self.operation(op, level, params, steps) + self.weight(op, level, cells as f64)
        };
        counts
            .iter()
            .map(|((op, level), count)| count as f64 * one(op, level))
            .sum()
    }

    /// Making the residues of one weight: 2 G words a limb, transformed if it is masked.
    fn weight(&self, op: Op, level: Level, cells: f64) -> f64 {
        let (l, words) = (level.limbs() as f64, 2.0 * cells);
        match op {
            Op::ConstantTerm => l * words * self.word,
            Op::MaskedTerm => l * words * (self.word + words.log2() / 2.0 * self.butterfly),
            Op::Rescale
            | Op::ConjugateRescale
            | Op::AddPlane
            | Op::SquareReal
            | Op::SquareComplex
            | Op::Relinearize
            | Op::Hoist
            | Op::HoistedRotation
            | Op::GiantRotation
            | Op::GiantSum
            | Op::FoldRotation
            | Op::Lift
            | Op::AccumulatorPass => 0.0,
        }
    }

    fn operation(&self, op: Op, level: Level, params: &Parameters, steps: &KeySteps) -> f64 {
        let l = level.limbs() as f64;
        let shape = params.key_shape(steps.key_level(level, params.max_level()));
        let below = (l - 1.0).max(0.0);
        match op {
            Op::Rescale => self.transforms(params, 2.0 * l) + self.words(params, 4.0 * below),
            Op::ConjugateRescale => {
                self.mod_up(params, l, shape) + self.switch(params, l, shape, 1.0)
            }
            Op::Relinearize => self.mod_up(params, l, shape) + self.switch(params, l, shape, 0.0),
            Op::FoldRotation => self.mod_up(params, l, shape) + self.switch(params, l, shape, 0.0),
            Op::Hoist => self.mod_up(params, l, shape),
            Op::HoistedRotation => self.switch(params, l, shape, 0.0),
            Op::GiantRotation => {
                self.mod_up(params, l, shape)
                    + self.inner(params, l, shape)
                    + self.words(params, 5.0 * l)
            }
            Op::GiantSum => self.mod_down(params, l, shape, 0.0),
            Op::SquareReal => self.words(params, 5.0 * l),
            Op::SquareComplex => self.words(params, 10.0 * l),
            Op::AddPlane => self.words(params, l),
            Op::Lift => self.words(params, 2.0 * l),
            Op::ConstantTerm | Op::MaskedTerm => {
                2.0 * l * params.degree() as f64 * self.matrix_product
            }
            Op::AccumulatorPass => self.words(params, 4.0 * l),
        }
    }

    fn transforms(&self, params: &Parameters, limbs: f64) -> f64 {
        let butterflies = params.degree() as f64 / 2.0 * f64::from(params.log_n());
        limbs * butterflies * self.butterfly
    }

    fn words(&self, params: &Parameters, limbs: f64) -> f64 {
        limbs * params.degree() as f64 * self.word
    }

    fn mod_up(&self, params: &Parameters, l: f64, shape: KeyShape) -> f64 {
        let (alpha, k) = (shape.digit_limbs as f64, shape.specials as f64);
        let digits = (l / alpha).ceil();
        // Each limb belongs to one digit, which is converted to all limbs but its own.
        let targets = l + k - l / digits;
        self.transforms(params, l + digits * targets)
            + l * targets * params.degree() as f64 * self.conversion
            + self.words(params, l)
    }

    fn inner(&self, params: &Parameters, l: f64, shape: KeyShape) -> f64 {
        let digits = (l / shape.digit_limbs as f64).ceil();
        let limbs = l + shape.specials as f64;
        2.0 * digits * limbs * params.degree() as f64 * self.inner_product
    }

    fn mod_down(&self, params: &Parameters, l: f64, shape: KeyShape, dropped: f64) -> f64 {
        let (k, kept) = (shape.specials as f64 + dropped, l - dropped);
        2.0 * (self.transforms(params, k + kept)
            + k * kept * params.degree() as f64 * self.conversion
            + self.words(params, 2.0 * kept))
    }

    /// Inner product, ModDown and permutation.
    fn switch(&self, params: &Parameters, l: f64, shape: KeyShape, dropped: f64) -> f64 {
        self.inner(params, l, shape)
            + self.mod_down(params, l, shape, dropped)
            + self.words(params, 3.0 * l)
    }
}
