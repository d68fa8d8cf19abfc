//! Homomorphic operations.
//!
//! Every operation allocates its result and its temporaries from the parameter set's pool and runs on the calling
//! thread (products with a [`crate::PeriodicMatrix`] excepted, which spread their limbs over the current rayon pool);
//! callers run independent ciphertexts in parallel, or have an evaluator [spread](Evaluator::spread_limbs) the limbs of one. Scales and levels are never repaired silently: operands that do not
//! match are an error. Products and drops of levels whose declared values would wrap around the modulus are errors as
//! well; sums are not looked at, because bounds of long sums say little before a layer declares what it knows.
//!
//! Ciphertexts and plaintexts of another parameter set are a mistake of the caller and may panic; keys are checked.

mod add;
mod counted;
mod extended;
mod fused;
mod keyswitch;
mod matmul;
mod mul;
mod raise;
mod rescale;
mod rotate;
mod spread;

pub(crate) use raise::Raised;

use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::{EvalError, KeyError};
use crate::keys::{KeyKind, KeySource, SwitchingKey};
use crate::noise::Tracked;
use crate::params::Parameters;
use crate::profile::{Operation, Profile, Timer};
use ckks_math::{Limb, MathError, RnsPoly};
use std::sync::Arc;
use std::time::Instant;

/// Computes on ciphertexts with switching keys; holds no secret and no buffers.
#[derive(Clone, Debug)]
pub struct Evaluator {
    params: Parameters,
    keys: Arc<dyn KeySource>,
    profile: Arc<Profile>,
    spreads_limbs: bool,
}

impl Evaluator {
    /// An evaluator over `params` that finds its switching keys in `keys`.
    pub fn new(params: &Parameters, keys: Arc<dyn KeySource>) -> Self {
        Self {
            params: params.clone(),
            keys,
            profile: Arc::default(),
            spreads_limbs: false,
        }
    }

    /// What the operations of this evaluator and its clones took so far, in time and in primitive work.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Records from now on when every operation of this evaluator and its clones runs, in times since `origin`, and how many
    /// bytes of the limb pool are in use: [`Profile::trace`] gives it. At most
    /// [`Trace::MOST_BYTES`](crate::Trace::MOST_BYTES) are taken for that.
    pub fn record(&self, origin: Instant) {
        self.profile.record(origin, self.params.pool().clone());
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
    /// [`EvalError::NoSuchLevel`], or when the pool's budget is exhausted.
    pub fn zero(&self, level: Level, scale: Scale) -> Result<Ciphertext, EvalError> {
        self.check_level("zero", level)?;
        let zero = || -> Result<_, MathError> {
            let limbs = (0..level.limbs()).map(|_| self.zero_limb());
            Ok(RnsPoly::from_limbs(limbs.collect::<Result<_, _>>()?))
        };
        Ok(Ciphertext {
            parts: vec![zero()?, zero()?],
            scale,
            tracked: Tracked::exact(0.0, 0.0),
        })
    }

    fn limb(&self) -> Result<Limb, MathError> {
        self.params.limbs().limb()
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

    fn check_level(&self, op: &'static str, level: Level) -> Result<(), EvalError> {
        if self.params.has_level(level) {
            Ok(())
        } else {
            let max = self.params.max_level();
            Err(EvalError::NoSuchLevel { op, level, max })
        }
    }

    /// The declared values, at the scale, must not wrap around the modulus.
    fn check_range(&self, op: &'static str, ct: Ciphertext) -> Result<Ciphertext, EvalError> {
        ct.check_fits(op, ct.level(), self.params.log_q(ct.level()))?;
        Ok(ct)
    }

    /// A scale that was computed.
    fn scale(op: &'static str, value: f64) -> Result<Scale, EvalError> {
        let log2 = value.log2();
        Scale::checked(value).ok_or(EvalError::ScaleRange { op, log2 })
    }

    fn switching_key(&self, kind: KeyKind, level: Level) -> Result<Arc<SwitchingKey>, EvalError> {
        let key = self.keys.switching_key(kind, level)?;
        if key.fingerprint != *self.params.fingerprint() || key.level < level {
            return Err(KeyError::Foreign { kind, level }.into());
        }
        Ok(key)
    }
}
