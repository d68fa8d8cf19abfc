//! ModRaise with sparse-secret encapsulation.

use super::Evaluator;
use super::counted::CountedRing;
use super::keyswitch::Digits;
use crate::ciphertext::{Ciphertext, Level};
use crate::error::EvalError;
use crate::keys::{KeyKind, SwitchingKey};
use ckks_math::{Eval, Limb, RnsPoly};
use std::sync::Arc;

/// A ciphertext read over a larger modulus, still under the ephemeral secret.
pub(crate) struct Raised {
    /// Under the ephemeral secret.
    pub(super) ct: Ciphertext,
    /// The second polynomial: its coefficients are below the base prime.
    pub(super) whole: Digits,
    pub(super) weight: u32,
    specials: usize,
}

impl Raised {
    /// Holds the same numbers for those of another scale, `factor` times as large.
    pub(crate) fn reinterpret(&mut self, factor: f64) {
        self.ct.reinterpret(factor);
    }
}

impl Evaluator {
    /// Reads a ciphertext of level 1 as one of `target`: with base prime q and message polynomial m, the result decrypts
    /// to `m + q I`, I of integers with `|m + q I| <= q (weight + 1) / 2`. For that bound the ciphertext is first
    /// switched to a sparse ephemeral secret of Hamming weight `weight`, and back afterwards (Bossuat,
    /// Troncoso-Pastoriza, Hubaux, <https://eprint.iacr.org/2022/024>).
    ///
    /// # Effect on metadata
    /// The scale stays; the declared values become those of `q I`, spread over the slots.
    /// # Errors
    /// [`EvalError::Parts`] unless there are two polynomials, [`EvalError::LevelMismatch`] above level 1,
    /// [`EvalError::NoSuchLevel`], [`EvalError::Key`] without the keys of [`crate::KeyRequest::encapsulation`].
    pub fn mod_raise(
        &self,
        ct: &Ciphertext,
        weight: u32,
        target: Level,
    ) -> Result<Ciphertext, EvalError> {
        let key = self.switching_key(KeyKind::FromEphemeral { weight, steps: 0 }, target)?;
        let raised = self.raise(ct, weight, target, key.shape.specials)?;
        self.switch_back(&raised)
    }

    /// The first half of [`Self::mod_raise`]: the result is under the ephemeral secret, and ready for keys of so many
    /// special primes.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn raise(
        &self,
        ct: &Ciphertext,
        weight: u32,
        target: Level,
        specials: usize,
    ) -> Result<Raised, EvalError> {
        let op = "raise modulus";
        let bottom = Level::new(1);
        if ct.level() != bottom {
            return Err(EvalError::LevelMismatch {
                op,
                left: ct.level(),
                right: bottom,
            });
        }
        self.check_level(op, target)?;
        Self::check_parts(op, ct, 2)?;
        let key = self.switching_key(KeyKind::ToEphemeral(weight), bottom)?;
        let digits = self.mod_up(&ct.parts[1], key.shape)?;
        let error = self.digit_error(key.shape, bottom, 0);
        let sparse = self.switch_with(ct, &digits, &key, error)?;
        let (c0, _) = self.raise_poly(&sparse.parts[0], target, 0)?;
        let (c1, extended) = self.raise_poly(&sparse.parts[1], target, specials)?;
        let mut out = Ciphertext {
            parts: vec![c0, c1],
            scale: ct.scale,
            tracked: sparse.tracked,
        };
        // Coefficients are sums of weight + 1 uniform ones; a slot is a sum of N of them.
        let (degree, terms) = (self.params.degree() as f64, f64::from(weight) + 1.0);
        let unit = self.params.prime(bottom) as f64 / ct.scale.value();
        out.declare_values(
            unit * degree * terms / 2.0,
            unit * (degree * terms / 12.0).sqrt(),
        );
        Ok(Raised {
            ct: out,
            whole: Digits::Whole(extended),
            weight,
            specials,
        })
    }

    /// The second half of [`Self::mod_raise`]: back to the secret.
    ///
    /// # Errors
    /// [`EvalError::Key`] without the key.
    pub(crate) fn switch_back(&self, raised: &Raised) -> Result<Ciphertext, EvalError> {
        let key = self.ephemeral_key(raised, 0)?;
        let error = self.raised_error(raised.specials, key.digits.len());
        self.switch_with(&raised.ct, &raised.whole, &key, error)
    }

    /// The key that leads from the ephemeral secret to the pre-image of the secret under a rotation.
    pub(super) fn ephemeral_key(
        &self,
        raised: &Raised,
        steps: i64,
    ) -> Result<Arc<SwitchingKey>, EvalError> {
        let weight = raised.weight;
        let kind = KeyKind::FromEphemeral { weight, steps }.reduced(self.params.log_n());
        let key = self.switching_key(kind, raised.ct.level())?;
        if key.shape.specials == raised.specials {
            return Ok(key);
        }
        Err(EvalError::Shape {
            op: "raise modulus",
            what: "number of special primes of a key from the ephemeral secret",
            found: key.shape.specials,
            expected: raised.specials,
        })
    }

    /// Slot deviation that errors in a key of so many parts make of a raised polynomial, before the rounding by the ModDown, in
    /// units of the last place.
    pub(super) fn raised_error(&self, specials: usize, parts: usize) -> f64 {
        let base = self.params.log_q(Level::new(1));
        let divisor = self.params.log_p(specials);
        self.params.noise().key_switch(parts, base, divisor)
    }

    /// A key switch of a ciphertext whose second polynomial has these digits; `error`: what the key's errors make of them.
    fn switch_with(
        &self,
        ct: &Ciphertext,
        digits: &Digits,
        key: &SwitchingKey,
        error: f64,
    ) -> Result<Ciphertext, EvalError> {
        let level = ct.level();
        let [mut b, a] = self.inner_product(digits, &ct.parts[1], key)?;
        self.add_times_specials(&mut b, &ct.parts[0], key.shape.specials);
        let mut parts = Vec::with_capacity(2);
        for ext in [b, a] {
            parts.push(self.mod_down(ext, level, key.shape.specials, 0)?);
        }
        let error = error.hypot(self.params.noise().rounding()) / ct.scale.value();
        Ok(Ciphertext {
            parts,
            scale: ct.scale,
            tracked: ct.tracked.plus_error(error),
        })
    }

    /// The centred residues modulo the base prime, modulo all primes of `target` and so many special primes.
    fn raise_poly(
        &self,
        poly: &RnsPoly<Eval>,
        target: Level,
        specials: usize,
    ) -> Result<(RnsPoly<Eval>, Vec<Limb>), EvalError> {
        let base = self.ring(0);
        let mut coeffs = self.limb()?;
        base.intt_into(&mut coeffs, poly.limb(0));
        let raised = |ring: CountedRing<'_>| {
            let mut limb = self.limb()?;
            ring.change_modulus_centered_into(&mut limb, &coeffs, base.modulus());
            ring.ntt(&mut limb);
            Ok::<_, EvalError>(limb)
        };
        let mut out = RnsPoly::from_limbs(vec![self.copy_limb(poly.limb(0))?]);
        for ring in self.rings(target.limbs()).skip(1) {
            out.push(raised(ring)?);
        }
        let extended = self.special_rings(specials).map(raised);
        Ok((out, extended.collect::<Result<_, _>>()?))
    }
}
