//! What a tensor is before it is encrypted or computed: layout, level and scale; and the chain of primes that fixes them.

use ckks_scheme::{Ciphertext, Level, ModulusChain, Parameters, Scale};
use serde::{Deserialize, Serialize};

use crate::error::LayerError;
use crate::layout::{Layout, Packing};

/// In which form the numbers of a tensor stand: who may read it, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Form {
    /// What nodes give: level `l`, scale `S * q_l`, not rescaled. Pointwise stages and additions read them.
    Sums,
    /// What squares give, and what inputs are encrypted as: scale `S^2`, packed complex `4 * S^2`. Linear maps read them.
    Squares,
    /// What polynomials give: scale `S`. Everything reads them.
    Values,
    /// What refreshes give: values at a scale of their own. Squares take one level more to read them.
    Refreshed,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Form::Sums => "sums",
            Form::Squares => "squares",
            Form::Values => "values",
            Form::Refreshed => "refreshed values",
        })
    }
}

/// Layout, form, level and scale of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Where the numbers are.
    pub layout: Layout,
    /// What it may be read by.
    pub form: Form,
    /// Ciphertext primes left.
    pub level: Level,
    /// Factor between numbers and encoded integers.
    pub scale: Scale,
}

impl TensorSpec {
    /// Limbs of `ciphertexts` ciphertexts: two polynomials each.
    pub(crate) fn limbs(&self, ciphertexts: usize) -> usize {
        2 * self.level.limbs() * ciphertexts
    }

    pub(crate) fn check(&self, layer: &str, ct: &Ciphertext) -> Result<(), LayerError> {
        let differs = |what| LayerError::ForeignTensor {
            layer: layer.to_owned(),
            what,
        };
        if ct.level() != self.level {
            return Err(differs("level"));
        }
        if ct.scale().matches(self.scale) {
            Ok(())
        } else {
            Err(differs("scale"))
        }
    }

    pub(crate) fn check_same(&self, layer: &str, other: &TensorSpec) -> Result<(), LayerError> {
        let differs = |what| LayerError::ForeignTensor {
            layer: layer.to_owned(),
            what,
        };
        if other.layout != self.layout {
            return Err(differs("layout"));
        }
        if other.form != self.form {
            return Err(differs("form"));
        }
        if other.level != self.level {
            return Err(differs("level"));
        }
        if other.scale.matches(self.scale) {
            Ok(())
        } else {
            Err(differs("scale"))
        }
    }
}

/// The nominal scale `S` of a network and the primes of its ciphertexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleChain {
    scale: Scale,
    primes: Vec<u64>,
}

impl ScaleChain {
    /// A chain with nominal scale `scale` over `primes`, the base prime first; a rescale at level `l` divides by the `l`-th.
    pub fn new(scale: Scale, primes: Vec<u64>) -> Self {
        Self { scale, primes }
    }

    /// The chain of a parameter set.
    pub fn of(params: &Parameters, scale: Scale) -> Self {
        let primes = (1..=params.max_level().limbs())
            .map(|l| params.prime(Level::new(l)))
            .collect();
        Self { scale, primes }
    }

    /// The chain of primes whose tables are not made yet.
    pub fn of_modulus(modulus: &ModulusChain, scale: Scale) -> Self {
        let primes = (1..=modulus.max_level().limbs())
            .map(|l| modulus.prime(Level::new(l)))
            .collect();
        Self { scale, primes }
    }

    /// The nominal scale `S`.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// The highest level.
    pub fn max_level(&self) -> Level {
        Level::new(self.primes.len())
    }

    /// Base-2 logarithm of the modulus at `level`.
    pub fn log_q(&self, level: Level) -> f64 {
        self.primes
            .iter()
            .take(level.limbs())
            .map(|q| (*q as f64).log2())
            .sum()
    }

    /// A tensor in square form at `level`: what a stem reads, and so how inputs are encrypted.
    pub fn square_form(&self, layout: Layout, level: Level) -> TensorSpec {
        let scale = square_scale(self.scale, layout.packing());
        TensorSpec {
            layout,
            form: Form::Squares,
            level,
            scale,
        }
    }

    /// A tensor in value form at `level`: how inputs of networks of polynomial activations are encrypted.
    pub fn value_form(&self, layout: Layout, level: Level) -> TensorSpec {
        TensorSpec {
            layout,
            form: Form::Values,
            level,
            scale: self.scale,
        }
    }

    /// A tensor in sum form at `level`: what activations and blocks read.
    ///
    /// # Errors
    /// [`LayerError::Level`] if the chain has no such level.
    pub fn sum_form(&self, layout: Layout, level: Level) -> Result<TensorSpec, LayerError> {
        let scale = self.sum_scale("sum form", level)?;
        Ok(TensorSpec {
            layout,
            form: Form::Sums,
            level,
            scale,
        })
    }

    /// The prime that a rescale at `level` divides by.
    pub(crate) fn prime(&self, layer: &str, level: Level) -> Result<f64, LayerError> {
        let index = level.limbs().checked_sub(1);
        let prime = index.and_then(|i| self.primes.get(i));
        prime.map(|q| *q as f64).ok_or_else(|| LayerError::Level {
            layer: layer.to_owned(),
            found: level,
            least: Level::new(1),
            most: self.max_level(),
        })
    }

    /// Scale of a sum at `level`.
    pub(crate) fn sum_scale(&self, layer: &str, level: Level) -> Result<Scale, LayerError> {
        Ok(Scale::new(self.scale.value() * self.prime(layer, level)?))
    }

    /// The level `by` below `level`, of which `least` must be left.
    pub(crate) fn below(
        &self,
        layer: &str,
        level: Level,
        by: usize,
        least: usize,
    ) -> Result<Level, LayerError> {
        let lower = level
            .below(by)
            .filter(|l| l.limbs() >= least && level <= self.max_level());
        lower.ok_or_else(|| LayerError::Level {
            layer: layer.to_owned(),
            found: level,
            least: Level::new(by + least),
            most: self.max_level(),
        })
    }

    /// Checks that values up to `max` fit the modulus of a tensor.
    pub(crate) fn check_range(
        &self,
        layer: &str,
        spec: &TensorSpec,
        max: f64,
    ) -> Result<(), LayerError> {
        let need_bits = max.max(f64::MIN_POSITIVE).log2() + spec.scale.log2() + 1.0;
        let have_bits = self.log_q(spec.level);
        if need_bits >= have_bits {
            let (layer, level) = (layer.to_owned(), spec.level);
            return Err(LayerError::Range {
                layer,
                max,
                need_bits,
                have_bits,
                level,
            });
        }
        Ok(())
    }
}

/// Scale of the squares of values at `scale`.
pub(crate) fn square_scale(scale: Scale, packing: Packing) -> Scale {
    let factor = match packing {
        Packing::Real => 1.0,
        Packing::Complex => 4.0,
    };
    Scale::new(factor * scale.value() * scale.value())
}
