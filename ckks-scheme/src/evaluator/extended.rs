//! Linear transforms with double hoisting: rotated terms stay over the ciphertext primes and the special primes, times
//! the latter, until they are summed up.
//!
//! Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux: Efficient bootstrapping for approximate homomorphic encryption with
//! non-sparse keys, 2021, section 4, <https://eprint.iacr.org/2020/1203>. Baby steps share one ModUp and are never
//! divided by the special primes; a giant step divides one of its two polynomials, and there is one more division of
//! both at the end, merged with the rescale.

use super::Evaluator;
use crate::ciphertext::{Ciphertext, Level};
use crate::error::EvalError;
use crate::keys::{ExtendedPoly, Galois, SwitchingKey};
use crate::linear::{Giant, LinearTransform};
use crate::noise::Tracked;
use crate::profile::Operation;
use std::sync::Arc;

impl Evaluator {
    /// The transform of every slot vector, not rescaled: at scale `ct.scale() * t.scale()`.
    ///
    /// # Effect on metadata
    /// Declared values grow by the norms of the matrix, as if slots were independent; values that the caller knows
    /// better should be declared anew. Whether they fit the modulus is not checked for that reason.
    /// # Memory
    /// Two polynomials over all ciphertext and special primes of the level for each baby step.
    /// # Errors
    /// [`EvalError::Parts`], [`EvalError::LevelMismatch`], [`EvalError::Key`] without the keys that the transform
    /// requests, [`EvalError::Shape`] for keys of another shape.
    pub fn linear_transform(
        &self,
        ct: &Ciphertext,
        t: &LinearTransform,
    ) -> Result<Ciphertext, EvalError> {
        self.transform(ct, t, 0)
    }

    /// As [`Self::linear_transform`], divided by the last prime: at scale `ct.scale() * t.scale() / q_l`.
    ///
    /// # Errors
    /// As there; [`EvalError::LevelTooLow`] at level 1.
    pub fn linear_transform_rescale(
        &self,
        ct: &Ciphertext,
        t: &LinearTransform,
    ) -> Result<Ciphertext, EvalError> {
        self.transform(ct, t, 1)
    }

    fn transform(
        &self,
        ct: &Ciphertext,
        t: &LinearTransform,
        dropped: usize,
    ) -> Result<Ciphertext, EvalError> {
        let op = "linear transform";
        Self::check_parts(op, ct, 2)?;
        let level = ct.level();
        if level != t.level {
            return Err(EvalError::LevelMismatch {
                op,
                left: level,
                right: t.level,
            });
        }
        if level.limbs() <= dropped {
            return Err(EvalError::LevelTooLow {
                op,
                need: Level::new(dropped + 1),
                have: level,
            });
        }
        let mut scale = ct.scale.value() * t.scale.value();
        if dropped == 1 {
            scale /= self.params.prime(level) as f64;
        }
        let scale = Self::scale(op, scale)?;
        let specials = t.shape.specials;

        let babies = self.baby_steps(ct, t)?;
        let mut total: Option<[ExtendedPoly; 2]> = None;
        for giant in &t.giants {
            let [mut b, mut a] = self.diagonal_sum(&babies, giant, t)?;
            if let Some((galois, key)) = self.transform_key(giant.steps, t)? {
                let c = self.mod_down(a, level, specials, 0)?;
                let digits = self.mod_up(&c, t.shape)?;
                let [kb, ka] = self.inner_product(&digits, &c, &key)?;
                self.add_extended(&mut b, &kb);
                b = self.permute_extended(b, galois)?;
                a = self.permute_extended(ka, galois)?;
            }
            match &mut total {
                None => total = Some([b, a]),
                Some([tb, ta]) => {
                    self.add_extended(tb, &b);
                    self.add_extended(ta, &a);
                }
            }
        }
        drop(babies);
        let mut parts = Vec::with_capacity(2);
        for ext in total.expect("a transform has a diagonal") {
            parts.push(self.mod_down(ext, level, specials, dropped)?);
        }

        let noise = self.params.noise();
        let norms = &t.norms;
        let encoding = noise.encoding() * (norms.diagonals as f64).sqrt() / t.scale.value();
        let baby = self.digit_error(t.shape, level, 0) / ct.scale.value();
        let giants = (t.giants.len() as f64).sqrt() * self.switch_error(t.shape, level, 0);
        let tracked = Tracked {
            error_std: (ct.tracked.error_std.hypot(baby) * norms.l2)
                .hypot(encoding * ct.tracked.rms)
                .hypot(giants / (ct.scale.value() * t.scale.value()))
                .hypot(noise.rounding() / scale.value()),
            max: ct.tracked.max * norms.l1,
            rms: ct.tracked.rms * norms.mean_l2,
        };
        Ok(Ciphertext {
            parts,
            scale,
            tracked,
        })
    }

    /// The rotated ciphertexts, times the special primes.
    fn baby_steps(
        &self,
        ct: &Ciphertext,
        t: &LinearTransform,
    ) -> Result<Vec<[ExtendedPoly; 2]>, EvalError> {
        let specials = t.shape.specials;
        let c1 = &ct.parts[1];
        let mut digits = None;
        let mut out = Vec::with_capacity(t.babies.len());
        for &steps in &t.babies {
            out.push(match self.transform_key(steps, t)? {
                None => {
                    let mut pair = [self.zero_extended(t)?, self.zero_extended(t)?];
                    for (ext, part) in pair.iter_mut().zip(&ct.parts) {
                        self.add_times_specials(ext, part, specials);
                    }
                    pair
                }
                Some((galois, key)) => {
                    let digits = match &digits {
                        Some(digits) => digits,
                        None => digits.insert(self.mod_up(c1, t.shape)?),
                    };
                    let [mut b, a] = self.inner_product(digits, c1, &key)?;
                    self.add_times_specials(&mut b, &ct.parts[0], specials);
                    [
                        self.permute_extended(b, galois)?,
                        self.permute_extended(a, galois)?,
                    ]
                }
            });
        }
        Ok(out)
    }

    /// Sum of diagonal times baby step.
    fn diagonal_sum(
        &self,
        babies: &[[ExtendedPoly; 2]],
        giant: &Giant,
        t: &LinearTransform,
    ) -> Result<[ExtendedPoly; 2], EvalError> {
        let _timer = self.time(Operation::PlainProduct);
        let level = t.level.limbs();
        let mut out = <[ExtendedPoly; 2]>::default();
        let buffers = giant.terms.iter().map(|_| self.limb());
        let mut buffers = buffers.collect::<Result<Vec<_>, _>>()?;
        let rings = self.rings(level).iter();
        for (i, ring) in rings
            .chain(&self.params.p()[..t.shape.specials])
            .enumerate()
        {
            let words: Vec<(usize, &[u64])> = giant
                .terms
                .iter()
                .zip(&mut buffers)
                .map(|((baby, diagonal), buffer)| (*baby, diagonal.words(i, buffer)))
                .collect();
            for (h, half) in out.iter_mut().enumerate() {
                let terms: Vec<(&[u64], &[u64])> = words
                    .iter()
                    .map(|(baby, words)| (babies[*baby][h].limb(i, level), *words))
                    .collect();
                let mut limb = self.limb()?;
                ring.dot_into(&mut limb, &terms);
                if i < level {
                    half.q.push(limb);
                } else {
                    half.p.push(limb);
                }
            }
        }
        Ok(out)
    }

    fn transform_key(
        &self,
        steps: i64,
        t: &LinearTransform,
    ) -> Result<Option<(Galois, Arc<SwitchingKey>)>, EvalError> {
        let found = self.rotation_key(steps, t.level)?;
        match &found {
            Some((_, key)) if key.shape != t.shape => Err(EvalError::Shape {
                op: "linear transform",
                what: "number of special primes of a rotation key",
                found: key.shape.specials,
                expected: t.shape.specials,
            }),
            _ => Ok(found),
        }
    }

    fn zero_extended(&self, t: &LinearTransform) -> Result<ExtendedPoly, EvalError> {
        let zeros = |count| (0..count).map(|_| self.params.pool().zeroed());
        Ok(ExtendedPoly {
            q: zeros(t.level.limbs()).collect::<Result<_, _>>()?,
            p: zeros(t.shape.specials).collect::<Result<_, _>>()?,
        })
    }
}
