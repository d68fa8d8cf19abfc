//! Rescaling and lifting.

use super::Evaluator;
use crate::ciphertext::{Ciphertext, Level};
use crate::error::EvalError;
use crate::profile::Operation;
use ckks_math::{Eval, MathError, RnsPoly};

impl Evaluator {
    /// Divides by the last prime q_l and rounds: level l -> l-1, scale s -> s / q_l.
    ///
    /// # Errors
    /// [`EvalError::LevelTooLow`] at level 1; [`EvalError::ScaleRange`].
    ///
    /// # Reference
    /// Cheon, Han, Kim, Kim, Song: A full RNS variant of approximate homomorphic encryption, section 3,
    /// <https://eprint.iacr.org/2018/931>.
    pub fn rescale(&self, ct: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let _timer = self.time(Operation::Rescale);
        let op = "rescale";
        let level = ct.level();
        if level.below(1).is_none() {
            let (need, have) = (Level::new(2), level);
            return Err(EvalError::LevelTooLow { op, need, have });
        }
        let scale = Self::scale(op, ct.scale.value() / self.params.prime(level) as f64)?;
        let parts = ct
            .parts
            .iter()
            .map(|part| self.rescale_poly(part))
            .collect::<Result<Vec<_>, EvalError>>()?;
        let rounding = self.params.noise().rounding_of(parts.len()) / scale.value();
        Ok(Ciphertext {
            parts,
            scale,
            tracked: ct.tracked.plus_error(rounding),
        })
    }

    fn rescale_poly(&self, poly: &RnsPoly<Eval>) -> Result<RnsPoly<Eval>, EvalError> {
        let top = poly.limbs() - 1;
        let last = self.ring(top);
        let mut remainder = self.limb()?;
        last.intt_into(&mut remainder, poly.limb(top));
        let rings = self.rings(top).collect();
        let limbs = self.each(rings, |i, ring| -> Result<_, MathError> {
            let q = ring.modulus();
            let inverse = q.inv(q.reduce(last.modulus().value()));
            let mut limb = self.limb()?;
            ring.change_modulus_centered_into(&mut limb, &remainder, last.modulus());
            ring.ntt_sub_mul_scalar(&mut limb, poly.limb(i), inverse);
            Ok(limb)
        })?;
        Ok(RnsPoly::from_limbs(limbs))
    }

    /// Brings a ciphertext at scale s and a level of at least `target - 1` to level `target` and scale s q_target,
    /// exactly and without noise: drops to the limbs below q_target, multiplies by q_target and appends a zero limb.
    /// This is how a residual stream joins sums that are not rescaled yet.
    ///
    /// # Errors
    /// [`EvalError::NoSuchLevel`]; [`EvalError::LevelTooLow`] if the ciphertext has fewer than `target - 1` primes or
    /// `target` is 1; [`EvalError::Range`] as for [`Self::drop_level`]; [`EvalError::ScaleRange`].
    pub fn lift(&self, mut ct: Ciphertext, target: Level) -> Result<Ciphertext, EvalError> {
        let _timer = self.time(Operation::Addition);
        let op = "lift";
        self.check_level(op, target)?;
        let Some(below) = target.below(1) else {
            let (need, have) = (Level::new(2), target);
            return Err(EvalError::LevelTooLow { op, need, have });
        };
        if ct.level() < below {
            let (need, have) = (below, ct.level());
            return Err(EvalError::LevelTooLow { op, need, have });
        }
        let top = self.params.prime(target);
        let scale = Self::scale(op, ct.scale.value() * top as f64)?;
        self.drop_level(&mut ct, below)?;
        for part in &mut ct.parts {
            for (i, ring) in self.rings(below.limbs()).enumerate() {
                ring.mul_scalar_assign(part.limb_mut(i), ring.modulus().reduce(top));
            }
            part.push(self.zero_limb()?);
        }
        ct.scale = scale;
        Ok(ct)
    }
}
