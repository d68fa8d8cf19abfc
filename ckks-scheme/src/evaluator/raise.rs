//! ModRaise with sparse-secret encapsulation.

use super::Evaluator;
use crate::ciphertext::{Ciphertext, Level};
use crate::error::EvalError;
use crate::keys::KeyKind;
use ckks_math::{Eval, RnsPoly};

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
        let sparse = self.switch_secret(op, ct, KeyKind::ToEphemeral(weight))?;
        let parts = sparse
            .parts
            .iter()
            .map(|part| self.raise_poly(part, target));
        let raised = Ciphertext {
            parts: parts.collect::<Result<_, _>>()?,
            scale: ct.scale,
            tracked: sparse.tracked,
        };
        let mut out = self.switch_secret(op, &raised, KeyKind::FromEphemeral(weight))?;
        // Coefficients are sums of weight + 1 uniform ones; a slot is a sum of N of them.
        let (degree, terms) = (self.params.degree() as f64, f64::from(weight) + 1.0);
        let unit = self.params.prime(bottom) as f64 / ct.scale.value();
        out.declare_values(
            unit * degree * terms / 2.0,
            unit * (degree * terms / 12.0).sqrt(),
        );
        Ok(out)
    }

    fn switch_secret(
        &self,
        op: &'static str,
        ct: &Ciphertext,
        kind: KeyKind,
    ) -> Result<Ciphertext, EvalError> {
        Self::check_parts(op, ct, 2)?;
        let level = ct.level();
        let key = self.switching_key(kind, level)?;
        let digits = self.mod_up(&ct.parts[1], key.shape)?;
        let [mut b, a] = self.inner_product(&digits, &ct.parts[1], &key)?;
        self.add_times_specials(&mut b, &ct.parts[0], key.shape.specials);
        let mut parts = Vec::with_capacity(2);
        for ext in [b, a] {
            parts.push(self.mod_down(ext, level, key.shape.specials, 0)?);
        }
        let error = self.switch_error(key.shape, level, 0) / ct.scale.value();
        Ok(Ciphertext {
            parts,
            scale: ct.scale,
            tracked: ct.tracked.plus_error(error),
        })
    }

    /// The centred residues modulo the base prime, modulo all primes of `target`.
    fn raise_poly(&self, poly: &RnsPoly<Eval>, target: Level) -> Result<RnsPoly<Eval>, EvalError> {
        let base = self.ring(0);
        let mut coeffs = self.limb()?;
        base.intt_into(&mut coeffs, poly.limb(0));
        let mut out = RnsPoly::from_limbs(vec![self.copy_limb(poly.limb(0))?]);
        for ring in self.rings(target.limbs()).skip(1) {
            let mut limb = self.limb()?;
            ring.change_modulus_centered_into(&mut limb, &coeffs, base.modulus());
            ring.ntt(&mut limb);
            out.push(limb);
        }
        Ok(out)
    }
}
