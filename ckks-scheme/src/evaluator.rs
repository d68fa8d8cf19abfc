//! Homomorphic operations.
//!
//! Every operation allocates its result and its temporaries from the parameter set's pool and runs on the calling
//! thread (products with a [`crate::PeriodicMatrix`] excepted, which spread their limbs over the current rayon pool);
//! callers run independent ciphertexts in parallel. Scales and levels are never repaired silently: operands that do not
//! match are an error.

mod add;
mod keyswitch;
mod matmul;
mod mul;
mod rescale;
mod rotate;

use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::EvalError;
use crate::keys::KeySource;
use crate::noise::Tracked;
use crate::params::Parameters;
use crate::profile::{Operation, Profile, Timer};
use ckks_math::{Eval, Limb, LimbRing, MathError, RnsPoly};
use std::sync::Arc;

/// Computes on ciphertexts with switching keys; holds no secret and no buffers.
#[derive(Clone, Debug)]
pub struct Evaluator {
    params: Parameters,
    keys: Arc<dyn KeySource>,
    profile: Arc<Profile>,
}

impl Evaluator {
    /// An evaluator over `params` that finds its switching keys in `keys`.
    pub fn new(params: &Parameters, keys: Arc<dyn KeySource>) -> Self {
        Self {
            params: params.clone(),
            keys,
            profile: Arc::default(),
        }
    }

    /// What the operations of this evaluator and its clones took so far.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    fn time(&self, op: Operation) -> Timer<'_> {
        self.profile.start(op)
    }

    /// The parameter set.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// A trivial encryption of zero: an accumulator.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn zero(&self, level: Level, scale: Scale) -> Result<Ciphertext, EvalError> {
        let zero = || -> Result<RnsPoly<Eval>, MathError> {
            let limbs = (0..level.limbs()).map(|_| self.params.pool().zeroed());
            Ok(RnsPoly::from_limbs(limbs.collect::<Result<Vec<_>, _>>()?))
        };
        Ok(Ciphertext {
            parts: vec![zero()?, zero()?],
            scale,
            tracked: Tracked::exact(0.0, 0.0),
        })
    }

    fn rings(&self, limbs: usize) -> &[LimbRing] {
        &self.params.q()[..limbs]
    }

    fn limb(&self) -> Result<Limb, MathError> {
        self.params.pool().limb()
    }

    fn check_parts(op: &'static str, ct: &Ciphertext, expected: usize) -> Result<(), EvalError> {
        if ct.parts() == expected {
            Ok(())
        } else {
            Err(EvalError::Parts {
                op,
                expected,
                found: ct.parts(),
            })
        }
    }

    fn check_same(
        op: &'static str,
        left: (Level, Scale),
        right: (Level, Scale),
    ) -> Result<(), EvalError> {
        if left.0 != right.0 {
            return Err(EvalError::LevelMismatch {
                op,
                left: left.0,
                right: right.0,
            });
        }
        Self::check_scale(op, left.1, right.1)
    }

    fn check_scale(op: &'static str, left: Scale, right: Scale) -> Result<(), EvalError> {
        if left.matches(right) {
            Ok(())
        } else {
            Err(EvalError::ScaleMismatch {
                op,
                left_log2: left.log2(),
                right_log2: right.log2(),
            })
        }
    }

    /// The declared values, at the scale, must not wrap around the modulus.
    fn check_range(&self, op: &'static str, ct: Ciphertext) -> Result<Ciphertext, EvalError> {
        let have_bits = self.params.log_q(ct.level());
        let need_bits = (ct.tracked.max + ct.tracked.error_bound())
            .max(f64::MIN_POSITIVE)
            .log2()
            + ct.scale.log2()
            + 1.0;
        if need_bits < have_bits {
            return Ok(ct);
        }
        Err(EvalError::Range {
            op,
            max: ct.tracked.max,
            scale_log2: ct.scale.log2(),
            need_bits,
            have_bits,
            level: ct.level(),
        })
    }
}
