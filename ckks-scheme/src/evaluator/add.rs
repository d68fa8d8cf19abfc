//! Additions, constants, negation.

use super::Evaluator;
use super::counted::CountedRing;
use crate::ciphertext::{Ciphertext, Level, Plaintext};
use crate::counts::Work;
use crate::encoding::check_fits;
use crate::encoding::periodic::PeriodicPlain;
use crate::error::{EncodeError, EvalError};
use crate::noise::Tracked;
use crate::profile::Operation;
use ckks_math::{Eval, Limb, RnsPoly};
use num_complex::Complex64;

impl Evaluator {
    /// `a += b`; same level, scale and number of polynomials.
    ///
    /// # Errors
    /// [`EvalError::LevelMismatch`], [`EvalError::ScaleMismatch`], [`EvalError::Parts`].
    pub fn add_assign(&self, a: &mut Ciphertext, b: &Ciphertext) -> Result<(), EvalError> {
        self.combine("add", a, b, |ring, a, b| ring.add_assign(a, b))
    }

    /// `a -= b`; same level, scale and number of polynomials.
    ///
    /// # Errors
    /// As [`Self::add_assign`].
    pub fn sub_assign(&self, a: &mut Ciphertext, b: &Ciphertext) -> Result<(), EvalError> {
        self.combine("subtract", a, b, |ring, a, b| ring.sub_assign(a, b))
    }

    fn combine(
        &self,
        op: &'static str,
        a: &mut Ciphertext,
        b: &Ciphertext,
        f: impl Fn(CountedRing<'_>, &mut [u64], &[u64]),
    ) -> Result<(), EvalError> {
        let _timer = self.time(Operation::Addition);
        Self::check_same(op, (a.level(), a.scale), (b.level(), b.scale))?;
        Self::check_parts(op, b, a.parts())?;
        let rings = self.rings(a.level().limbs());
        for (pa, pb) in a.parts.iter_mut().zip(&b.parts) {
            for (i, ring) in rings.clone().enumerate() {
                f(ring, pa.limb_mut(i), pb.limb(i));
            }
        }
        a.tracked = a.tracked.sum(&b.tracked);
        Ok(())
    }

    pub(super) fn add_poly(&self, a: &mut RnsPoly<Eval>, b: &RnsPoly<Eval>) {
        let _timer = self.time(Operation::Addition);
        for (i, ring) in self.rings(a.limbs()).enumerate() {
            ring.add_assign(a.limb_mut(i), b.limb(i));
        }
    }

    /// `a = -a`.
    pub fn negate_assign(&self, a: &mut Ciphertext) {
        let _timer = self.time(Operation::Addition);
        let rings = self.rings(a.level().limbs());
        for part in &mut a.parts {
            for (i, ring) in rings.clone().enumerate() {
                ring.neg_assign(part.limb_mut(i));
            }
        }
    }

    /// Adds a plaintext of the same scale; its level may be higher.
    ///
    /// # Errors
    /// [`EvalError::LevelTooLow`] for a plaintext of fewer primes, [`EvalError::ScaleMismatch`].
    pub fn add_plain_assign(&self, a: &mut Ciphertext, b: &Plaintext) -> Result<(), EvalError> {
        self.combine_plain("add plaintext", a, b, |ring, a, b| ring.add_assign(a, b))
    }

    /// Subtracts a plaintext of the same scale; its level may be higher.
    ///
    /// # Errors
    /// As [`Self::add_plain_assign`].
    pub fn sub_plain_assign(&self, a: &mut Ciphertext, b: &Plaintext) -> Result<(), EvalError> {
        self.combine_plain("subtract plaintext", a, b, |ring, a, b| {
            ring.sub_assign(a, b)
        })
    }

    fn combine_plain(
        &self,
        op: &'static str,
        a: &mut Ciphertext,
        b: &Plaintext,
        f: impl Fn(CountedRing<'_>, &mut [u64], &[u64]),
    ) -> Result<(), EvalError> {
        let _timer = self.time(Operation::Addition);
        Self::plain_covers(op, a, b)?;
        Self::check_scale(op, a.scale, b.scale)?;
        for (i, ring) in self.rings(a.level().limbs()).enumerate() {
            f(ring, a.parts[0].limb_mut(i), b.poly.limb(i));
        }
        a.tracked = a.tracked.sum(&b.tracked);
        Ok(())
    }

    pub(super) fn plain_covers(
        op: &'static str,
        a: &Ciphertext,
        b: &Plaintext,
    ) -> Result<(), EvalError> {
        if b.level() < a.level() {
            return Err(EvalError::LevelTooLow {
                op,
                need: a.level(),
                have: b.level(),
            });
        }
        Ok(())
    }

    /// Adds the same complex constant to every slot, rounded to the scale.
    ///
    /// # Errors
    /// [`EncodeError::NotFinite`] or [`EncodeError::TooLarge`] for a constant that cannot be encoded at the
    /// ciphertext's scale.
    pub fn add_const_assign(&self, a: &mut Ciphertext, c: Complex64) -> Result<(), EvalError> {
        let _timer = self.time(Operation::Addition);
        let re = round_to_integer(c.re, a.scale.value())?;
        let im = round_to_integer(c.im, a.scale.value())?;
        for (i, ring) in self.rings(a.level().limbs()).enumerate() {
            let q = ring.modulus();
            ring.add_i_scalar_assign(a.parts[0].limb_mut(i), q.from_i128(re), q.from_i128(im));
        }
        let exact = Tracked::exact(c.norm(), c.norm());
        let rounding = 0.5 / a.scale.value();
        a.tracked = a.tracked.sum(&exact.plus_bounded_error(rounding));
        Ok(())
    }

    /// Adds a slot-periodic plaintext of the same scale.
    ///
    /// # Errors
    /// [`EvalError::ScaleMismatch`], or [`EvalError::Shape`] for a period longer than the slots.
    pub fn add_periodic_assign(
        &self,
        a: &mut Ciphertext,
        plain: &PeriodicPlain,
    ) -> Result<(), EvalError> {
        let _timer = self.time(Operation::Addition);
        let op = "add periodic plaintext";
        Self::check_scale(op, a.scale, plain.scale)?;
        let words = plain.coeffs.len();
        if words > self.params.degree() {
            let (found, expected) = (words / 2, self.params.slots());
            return Err(EvalError::Shape {
                op,
                what: "period",
                found,
                expected,
            });
        }
        let subrings = self.params.subrings(words.trailing_zeros())?;
        let block = self.params.degree() / words;
        let mut residues = vec![0u64; words];
        let rings = self.rings(a.level().limbs());
        let rings = rings.zip(self.counted(&subrings));
        for (i, (ring, subring)) in rings.enumerate() {
            for (r, &c) in residues.iter_mut().zip(&plain.coeffs) {
                *r = ring.modulus().from_i128(c);
            }
            self.profile.count(Work::residues(words));
            subring.ntt(&mut residues);
            let limb: &mut Limb = a.parts[0].limb_mut(i);
            for (chunk, &r) in limb.chunks_exact_mut(block).zip(&residues) {
                ring.add_scalar_assign(chunk, r);
            }
        }
        a.tracked = a.tracked.sum(&plain.tracked);
        Ok(())
    }

    /// Drops primes without changing values: `a mod Q_level`; gives their memory back.
    ///
    /// # Errors
    /// [`EvalError::NoSuchLevel`], [`EvalError::LevelTooLow`] if the ciphertext has fewer, [`EvalError::Range`] if its
    /// declared values do not fit what is left of the modulus.
    pub fn drop_level(&self, a: &mut Ciphertext, level: Level) -> Result<(), EvalError> {
        let op = "drop level";
        self.check_level(op, level)?;
        if a.level() < level {
            let (need, have) = (level, a.level());
            return Err(EvalError::LevelTooLow { op, need, have });
        }
        a.check_fits(op, level, self.params.log_q(level))?;
        for part in &mut a.parts {
            part.truncate(level.limbs());
        }
        Ok(())
    }
}

/// The integer nearest to a value times a scale.
pub(super) fn round_to_integer(value: f64, scale: f64) -> Result<i128, EncodeError> {
    if !value.is_finite() {
        return Err(EncodeError::NotFinite { slot: 0, value });
    }
    check_fits(&[value], scale, f64::INFINITY)?;
    Ok((value * scale).round() as i128)
}
