//! Rescaling and lifting.

use super::Evaluator;
use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::EvalError;
use crate::profile::Operation;
use ckks_math::{Eval, RnsPoly};

impl Evaluator {
    /// Divides by the last prime q_l and rounds: level l -> l-1, scale s -> s / q_l.
    ///
    /// # Errors
    /// [`EvalError::LevelTooLow`] at level 1.
    ///
    /// # Reference
    /// Cheon, Han, Kim, Kim, Song: A full RNS variant of approximate homomorphic encryption, section 3,
    /// <https://eprint.iacr.org/2018/931>.
    pub fn rescale(&self, ct: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let _timer = self.time(Operation::Rescale);
        let level = ct.level();
        let Some(below) = level.below(1) else {
            return Err(EvalError::LevelTooLow {
                op: "rescale",
                need: Level::new(2),
                have: level,
            });
        };
        let parts = ct
            .parts
            .iter()
            .map(|part| self.rescale_poly(part))
            .collect::<Result<Vec<_>, EvalError>>()?;
        let scale = Scale::new(ct.scale.value() / self.params.prime(level) as f64);
        let rounding = self.params.noise().rounding() / scale.value();
        debug_assert_eq!(parts[0].limbs(), below.limbs());
        Ok(Ciphertext {
            parts,
            scale,
            tracked: ct.tracked.plus_error(rounding),
        })
    }

    fn rescale_poly(&self, poly: &RnsPoly<Eval>) -> Result<RnsPoly<Eval>, EvalError> {
        let top = poly.limbs() - 1;
        let last = &self.params.q()[top];
        let mut remainder = self.limb()?;
        remainder.copy_from_slice(poly.limb(top));
        last.intt(&mut remainder);
        let mut correction = self.limb()?;
        let mut out = RnsPoly::from_limbs(Vec::new());
        for (i, ring) in self.rings(top).iter().enumerate() {
            ring.change_modulus_centered_into(&mut correction, &remainder, last.modulus());
            ring.ntt(&mut correction);
            let q = ring.modulus();
            let inverse = q.inv(q.reduce(last.modulus().value()));
            let mut limb = self.limb()?;
            ring.sub_mul_scalar_into(&mut limb, poly.limb(i), &correction, inverse);
            out.push(limb);
        }
        Ok(out)
    }

    /// Brings a ciphertext at scale s and a level of at least `target - 1` to level `target` and scale s q_target,
    /// exactly and without noise: drops to the limbs below q_target, multiplies by q_target and appends a zero limb.
    /// This is how a residual stream joins sums that are not rescaled yet.
    ///
    /// # Errors
    /// [`EvalError::LevelTooLow`] if the ciphertext has fewer than `target - 1` primes or `target` is 1.
    pub fn lift(&self, mut ct: Ciphertext, target: Level) -> Result<Ciphertext, EvalError> {
        let _timer = self.time(Operation::Addition);
        let Some(below) = target.below(1).filter(|b| *b <= ct.level()) else {
            let need = target.below(1).unwrap_or(Level::new(2));
            return Err(EvalError::LevelTooLow {
                op: "lift",
                need,
                have: ct.level(),
            });
        };
        self.drop_level(&mut ct, below)?;
        let top = self.params.prime(target);
        for part in &mut ct.parts {
            for (i, ring) in self.rings(below.limbs()).iter().enumerate() {
                ring.mul_scalar_assign(part.limb_mut(i), ring.modulus().reduce(top));
            }
            part.push(self.params.pool().zeroed()?);
        }
        ct.scale = Scale::new(ct.scale.value() * top as f64);
        Ok(ct)
    }
}
