//! Products: by constants, plaintexts and ciphertexts; squares in both packings; relinearisation.

use super::Evaluator;
use super::add::round_to_integer;
use super::counted::CountedRing;
use crate::ciphertext::{Ciphertext, Plaintext, Scale};
use crate::error::EvalError;
use crate::keys::KeyKind;
use crate::profile::Operation;
use ckks_math::{Eval, MathError, RnsPoly};

impl Evaluator {
    /// Multiplies every slot by a real constant encoded as one integer at `scale`; the ciphertext's scale grows by it.
    ///
    /// # Errors
    /// As [`Self::add_const_assign`]; [`EvalError::Range`] if the product would wrap, [`EvalError::ScaleRange`].
    pub fn mul_const(
        &self,
        a: &Ciphertext,
        value: f64,
        scale: Scale,
    ) -> Result<Ciphertext, EvalError> {
        let op = "multiply by constant";
        let integer = round_to_integer(value, scale.value())?;
        let effective = integer as f64 / scale.value();
        let out_scale = Self::scale(op, a.scale.value() * scale.value())?;
        let parts = self.map_parts(a, |ring, _, out, x| {
            ring.mul_scalar_into(out, x, ring.modulus().from_i128(integer));
        })?;
        // The same factor is off in every slot: no random error.
        let rounding = (effective - value).abs() * a.tracked.max;
        self.check_range(
            op,
            Ciphertext {
                parts,
                scale: out_scale,
                tracked: a
                    .tracked
                    .scaled(effective.abs())
                    .plus_bounded_error(rounding),
            },
        )
    }

    /// Multiplies every slot by i: free of noise, level and scale.
    pub fn mul_i_assign(&self, a: &mut Ciphertext) {
        let _timer = self.time(Operation::PlainProduct);
        let rings = self.rings(a.level().limbs());
        for part in &mut a.parts {
            for (i, ring) in rings.clone().enumerate() {
                ring.mul_i_assign(part.limb_mut(i));
            }
        }
    }

    /// Slot-wise product with a plaintext of the same or a higher level; scales multiply.
    ///
    /// # Errors
    /// [`EvalError::LevelTooLow`] for a plaintext of fewer primes; [`EvalError::Range`].
    pub fn mul_plain(&self, a: &Ciphertext, b: &Plaintext) -> Result<Ciphertext, EvalError> {
        let op = "multiply by plaintext";
        Self::plain_covers(op, a, b)?;
        let parts = self.map_parts(a, |ring, i, out, x| ring.mul_into(out, x, b.poly.limb(i)))?;
        self.check_range(
            op,
            Ciphertext {
                parts,
                scale: Self::scale(op, a.scale.value() * b.scale.value())?,
                tracked: a.tracked.product(&b.tracked),
            },
        )
    }

    fn map_parts(
        &self,
        a: &Ciphertext,
        f: impl Fn(CountedRing<'_>, usize, &mut [u64], &[u64]),
    ) -> Result<Vec<RnsPoly<Eval>>, EvalError> {
        let _timer = self.time(Operation::PlainProduct);
        let rings = self.rings(a.level().limbs());
        a.parts
            .iter()
            .map(|part| {
                let mut out = RnsPoly::from_limbs(Vec::new());
                for (i, ring) in rings.clone().enumerate() {
                    let mut limb = self.limb()?;
                    f(ring, i, &mut limb, part.limb(i));
                    out.push(limb);
                }
                Ok(out)
            })
            .collect()
    }

    /// Slot-wise product, three polynomials; relinearise next. Scales may differ and multiply. Errors are predicted as
    /// independent, unless both operands are the very same ciphertext.
    ///
    /// # Errors
    /// [`EvalError::LevelMismatch`], [`EvalError::Parts`], [`EvalError::Range`].
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let op = "multiply";
        Self::check_parts(op, a, 2)?;
        Self::check_parts(op, b, 2)?;
        if a.level() != b.level() {
            return Err(EvalError::LevelMismatch {
                op,
                left: a.level(),
                right: b.level(),
            });
        }
        let parts = self.tensor(a.level().limbs(), |ring, i, d| {
            let (a0, a1, b0, b1) = (
                a.parts[0].limb(i),
                a.parts[1].limb(i),
                b.parts[0].limb(i),
                b.parts[1].limb(i),
            );
            ring.tensor_into(d, [a0, a1], [b0, b1]);
        })?;
        self.check_range(
            op,
            Ciphertext {
                parts,
                scale: Self::scale(op, a.scale.value() * b.scale.value())?,
                tracked: if std::ptr::eq(a, b) {
                    a.tracked.square()
                } else {
                    a.tracked.product(&b.tracked)
                },
            },
        )
    }

    /// Slot-wise (complex) square, three polynomials.
    ///
    /// # Errors
    /// [`EvalError::Parts`], [`EvalError::Range`].
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let op = "square";
        Self::check_parts(op, a, 2)?;
        let parts = self.tensor(a.level().limbs(), |ring, i, d| {
            ring.square_real_into(d, [a.parts[0].limb(i), a.parts[1].limb(i)]);
        })?;
        self.check_range(
            op,
            Ciphertext {
                parts,
                scale: Self::scale(op, a.scale.value() * a.scale.value())?,
                tracked: a.tracked.square(),
            },
        )
    }

    /// For z = a + ib and its conjugate: `(z + zc)^2 - i (z - zc)^2 = 4 (a^2 + i b^2)`, the squares of the real and
    /// the imaginary parts by themselves. Three polynomials at scale 4 s^2, so that the value is `a^2 + i b^2`.
    ///
    /// # Errors
    /// [`EvalError::LevelMismatch`], [`EvalError::ScaleMismatch`], [`EvalError::Parts`], [`EvalError::Range`].
    pub fn square_pair(&self, z: &Ciphertext, zc: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let op = "square pair";
        Self::check_parts(op, z, 2)?;
        Self::check_parts(op, zc, 2)?;
        Self::check_same(op, (z.level(), z.scale), (zc.level(), zc.scale))?;
        let parts = self.tensor(z.level().limbs(), |ring, i, d| {
            let (z0, z1, y0, y1) = (
                z.parts[0].limb(i),
                z.parts[1].limb(i),
                zc.parts[0].limb(i),
                zc.parts[1].limb(i),
            );
            ring.square_complex_into(d, [z0, z1], [y0, y1]);
        })?;
        // The parts of z are means of numbers from both ciphertexts, whose errors are at worst the same.
        let mut tracked = z.tracked;
        tracked.error_std = tracked.error_std.max(zc.tracked.error_std);
        tracked.systematic = tracked.systematic.max(zc.tracked.systematic);
        let tracked = tracked.square();
        self.check_range(
            op,
            Ciphertext {
                parts,
                scale: Self::scale(op, 4.0 * z.scale.value() * z.scale.value())?,
                tracked,
            },
        )
    }

    pub(super) fn tensor(
        &self,
        limbs: usize,
        f: impl Fn(CountedRing<'_>, usize, [&mut [u64]; 3]) + Sync + Send,
    ) -> Result<Vec<RnsPoly<Eval>>, EvalError> {
        let _timer = self.time(Operation::Tensor);
        let mut parts: Vec<RnsPoly<Eval>> =
            (0..3).map(|_| RnsPoly::from_limbs(Vec::new())).collect();
        let rings = self.rings(limbs).collect();
        let products = self.each(rings, |i, ring| -> Result<_, MathError> {
            let (mut d0, mut d1, mut d2) = (self.limb()?, self.limb()?, self.limb()?);
            f(ring, i, [&mut d0, &mut d1, &mut d2]);
            Ok([d0, d1, d2])
        })?;
        for products in products {
            for (part, d) in parts.iter_mut().zip(products) {
                part.push(d);
            }
        }
        Ok(parts)
    }

    /// Brings a product back to two polynomials.
    ///
    /// # Errors
    /// [`EvalError::Parts`] unless there are three; [`EvalError::Key`] without a key for the level.
    pub fn relinearize(&self, mut ct: Ciphertext) -> Result<Ciphertext, EvalError> {
        Self::check_parts("relinearise", &ct, 3)?;
        let level = ct.level();
        let key = self.switching_key(KeyKind::Relinearization, level)?;
        let d2 = ct.parts.pop().expect("three parts");
        let digits = self.mod_up(&d2, key.shape)?;
        let [b, a] = self.inner_product(&digits, &d2, &key)?;
        drop((digits, d2));
        for (part, ext) in ct.parts.iter_mut().zip([b, a]) {
            *part = self.mod_down_then(ext, level, key.shape.specials, 0, |i, mut limb| {
                self.ring(i).add_assign(&mut limb, part.limb(i));
                Ok(limb)
            })?;
        }
        let error = self.switch_error(key.shape, level, 0) / ct.scale.value();
        ct.tracked = ct.tracked.plus_error(error);
        Ok(ct)
    }
}
