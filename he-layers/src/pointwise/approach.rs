//! How a tensor comes to the scale that a circuit wants.

use ckks_scheme::{Ciphertext, EvalError, Evaluator, Level, Scale};

use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::noise::rounding_std;
use crate::spec::{ScaleChain, TensorSpec};

/// A product with an integer, free of noise and level, and rescales: as few as possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Approach {
    factor: f64,
    rescales: usize,
    level: Level,
    scale: Scale,
}

impl Approach {
    /// To about `target(level)`, within half a bit; a small scale that no integer brings closer is the exception.
    pub(crate) fn near(
        layer: &str,
        input: &TensorSpec,
        chain: &ScaleChain,
        target: impl Fn(Level) -> Result<f64, LayerError>,
    ) -> Result<Self, LayerError> {
        let factor = |ratio: f64| (ratio >= 0.5f64.sqrt()).then(|| ratio.round().max(1.0));
        Self::find(layer, input, chain, target, factor)
    }

    /// To `target(level)` within a hundredth; refreshed values have a level to spare for that.
    pub(crate) fn close(
        layer: &str,
        input: &TensorSpec,
        chain: &ScaleChain,
        target: impl Fn(Level) -> Result<f64, LayerError>,
    ) -> Result<Self, LayerError> {
        let factor = |ratio: f64| {
            let factor = ratio.round();
            ((factor / ratio - 1.0).abs() <= 0.01).then_some(factor)
        };
        Self::find(layer, input, chain, target, factor)
    }

    /// To `limit` or less, but not less than half of it.
    pub(crate) fn within(
        layer: &str,
        input: &TensorSpec,
        chain: &ScaleChain,
        limit: f64,
    ) -> Result<Self, LayerError> {
        // A ratio that falls short of an integer by rounding only counts as that integer.
        let factor = |ratio: f64| (ratio * (1.0 + 1e-10)).floor();
        Self::find(
            layer,
            input,
            chain,
            |_| Ok(limit),
            |ratio| Some(factor(ratio)).filter(|f| *f >= 1.0),
        )
    }

    fn find(
        layer: &str,
        input: &TensorSpec,
        chain: &ScaleChain,
        target: impl Fn(Level) -> Result<f64, LayerError>,
        factor: impl Fn(f64) -> Option<f64>,
    ) -> Result<Self, LayerError> {
        let mut divisor = 1.0;
        for rescales in 0.. {
            let level = chain.below(layer, input.level, rescales, 1)?;
            if let Some(factor) = factor(target(level)? * divisor / input.scale.value()) {
                let scale = Scale::new(input.scale.value() * factor / divisor);
                return Ok(Self {
                    factor,
                    rescales,
                    level,
                    scale,
                });
            }
            divisor *= chain.prime(layer, level)?;
        }
        unreachable!("the chain ends before the levels do")
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }

    pub(crate) fn scale(&self) -> Scale {
        self.scale
    }

    pub(crate) fn rescales(&self) -> usize {
        self.rescales
    }

    /// Adds what it does to `ciphertexts` ciphertexts.
    pub(crate) fn count_ops(&self, counts: &mut OpCounts, ciphertexts: usize) {
        let above = |by: usize| Level::new(self.level.limbs() + by);
        if self.factor > 1.0 {
            counts.add(Op::MulConst, above(self.rescales), ciphertexts);
        }
        for by in 1..=self.rescales {
            counts.add(Op::Rescale, above(by), ciphertexts);
        }
    }

    /// Error deviations after it.
    pub(crate) fn predicted_error(&self, slots: usize, std: f64) -> f64 {
        if self.rescales == 0 {
            std
        } else {
            std.hypot(rounding_std(slots, self.scale))
        }
    }

    /// All but the last rescale, of which some operations are a part.
    pub(crate) fn begin(
        &self,
        evaluator: &Evaluator,
        mut ct: Ciphertext,
    ) -> Result<Ciphertext, EvalError> {
        if self.factor > 1.0 {
            ct = evaluator.mul_const(&ct, 1.0, Scale::new(self.factor))?;
        }
        for _ in 1..self.rescales {
            ct = evaluator.rescale(&ct)?;
        }
        Ok(ct)
    }

    /// The last rescale.
    pub(crate) fn end(
        &self,
        evaluator: &Evaluator,
        ct: Ciphertext,
    ) -> Result<Ciphertext, EvalError> {
        if self.rescales > 0 {
            evaluator.rescale(&ct)
        } else {
            Ok(ct)
        }
    }
}
