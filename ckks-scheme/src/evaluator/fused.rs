//! Operations merged with the one that follows, for circuits of many products.

use super::Evaluator;
use super::add::round_to_integer;
use crate::ciphertext::{Ciphertext, Level};
use crate::error::EvalError;
use crate::keys::KeyKind;
use crate::noise::Tracked;
use crate::profile::Operation;
use ckks_math::{Eval, RnsPoly};
use num_complex::Complex64;

impl Evaluator {
    /// Relinearises and rescales with one ModDown by P q_l: cheaper than one after the other, and one rounding less.
    ///
    /// # Errors
    /// [`EvalError::Parts`] unless there are three polynomials; [`EvalError::LevelTooLow`] at level 1;
    /// [`EvalError::Key`] without a key for the level.
    pub fn relinearize_rescale(&self, mut ct: Ciphertext) -> Result<Ciphertext, EvalError> {
        let op = "relinearise and rescale";
        Self::check_parts(op, &ct, 3)?;
        let level = ct.level();
        if level.below(1).is_none() {
            return Err(EvalError::LevelTooLow {
                op,
                need: Level::new(2),
                have: level,
            });
        }
        let key = self.switching_key(KeyKind::Relinearization, level)?;
        let d2 = ct.parts.pop().expect("three parts");
        let digits = self.mod_up(&d2, key.shape)?;
        let switched = self.inner_product(&digits, &d2, &key)?;
        drop((digits, d2));
        let mut parts = Vec::with_capacity(2);
        for (mut ext, part) in switched.into_iter().zip(&ct.parts) {
            self.add_times_specials(&mut ext, part, key.shape.specials);
            parts.push(self.mod_down(ext, level, key.shape.specials, 1)?);
        }
        let scale = Self::scale(op, ct.scale.value() / self.params.prime(level) as f64)?;
        let error = self.switch_error(key.shape, level, 1) / scale.value();
        Ok(Ciphertext {
            parts,
            scale,
            tracked: ct.tracked.plus_error(error),
        })
    }

    /// `factor` times the slot-wise product modulo the primes of `level`, at or below those of both operands: three
    /// polynomials. A limb is multiplied by the factor while it is in the caches, and operands are not copied to the level.
    pub(crate) fn product_at(
        &self,
        a: &Ciphertext,
        b: &Ciphertext,
        level: Level,
        factor: u32,
    ) -> Result<Ciphertext, EvalError> {
        let op = "multiply";
        for operand in [a, b] {
            Self::check_parts(op, operand, 2)?;
            if operand.level() < level {
                let (need, have) = (level, operand.level());
                return Err(EvalError::LevelTooLow { op, need, have });
            }
        }
        let same = std::ptr::eq(a, b);
        let parts = self.tensor(level.limbs(), |ring, i, mut d| {
            let (a0, a1) = (a.parts[0].limb(i), a.parts[1].limb(i));
            let [d0, d1, d2] = &mut d;
            if same {
                ring.square_real_into([d0, d1, d2], [a0, a1]);
            } else {
                let (b0, b1) = (b.parts[0].limb(i), b.parts[1].limb(i));
                ring.tensor_into([d0, d1, d2], [a0, a1], [b0, b1]);
            }
            if factor != 1 {
                let factor = ring.modulus().reduce(factor.into());
                for d in d {
                    ring.mul_scalar_assign(d, factor);
                }
            }
        })?;
        let tracked = if same {
            a.tracked.square()
        } else {
            a.tracked.product(&b.tracked)
        };
        self.check_range(
            op,
            Ciphertext {
                parts,
                scale: Self::scale(op, a.scale.value() * b.scale.value())?,
                tracked: tracked.scaled(factor.into()),
            },
        )
    }

    /// The sum of slot-wise products of pairs, modulo the primes of `level`, at or below those of all operands: three
    /// polynomials; relinearise next. All products at one scale. Cheaper than products that are added up one after the other,
    /// because a sum stays in the caches while its terms are made.
    ///
    /// # Errors
    /// [`EvalError::Shape`] for no pair; [`EvalError::NoSuchLevel`], [`EvalError::LevelTooLow`] for an operand below `level`;
    /// [`EvalError::ScaleMismatch`], [`EvalError::Parts`], [`EvalError::Range`].
    pub fn sum_of_products(
        &self,
        pairs: &[(&Ciphertext, &Ciphertext)],
        level: Level,
    ) -> Result<Ciphertext, EvalError> {
        let op = "sum of products";
        self.check_level(op, level)?;
        let Some(&(a, b)) = pairs.first() else {
            return Err(EvalError::Shape {
                op,
                what: "number of pairs",
                found: 0,
                expected: 1,
            });
        };
        let scale = Self::scale(op, a.scale.value() * b.scale.value())?;
        let mut tracked = Tracked::exact(0.0, 0.0);
        for &(a, b) in pairs {
            for operand in [a, b] {
                Self::check_parts(op, operand, 2)?;
                if operand.level() < level {
                    let (need, have) = (level, operand.level());
                    return Err(EvalError::LevelTooLow { op, need, have });
                }
            }
            let product = Self::scale(op, a.scale.value() * b.scale.value())?;
            Self::check_scale(op, scale, product)?;
            tracked = tracked.sum(&if std::ptr::eq(a, b) {
                a.tracked.square()
            } else {
                a.tracked.product(&b.tracked)
            });
        }
        let _timer = self.time(Operation::Tensor);
        let mut terms = [self.limb()?, self.limb()?, self.limb()?];
        let mut parts: Vec<RnsPoly<Eval>> =
            (0..3).map(|_| RnsPoly::from_limbs(Vec::new())).collect();
        for (i, ring) in self.rings(level.limbs()).enumerate() {
            let mut sums = [self.limb()?, self.limb()?, self.limb()?];
            for (at, (a, b)) in pairs.iter().enumerate() {
                let (a0, a1): (&[u64], &[u64]) = (a.parts[0].limb(i), a.parts[1].limb(i));
                let (b0, b1): (&[u64], &[u64]) = (b.parts[0].limb(i), b.parts[1].limb(i));
                let [d0, d1, d2] = if at == 0 { &mut sums } else { &mut terms };
                ring.tensor_into([d0, d1, d2], [a0, a1], [b0, b1]);
                if at > 0 {
                    for (sum, term) in sums.iter_mut().zip(&terms) {
                        ring.add_assign(sum, term);
                    }
                }
            }
            for (part, sum) in parts.iter_mut().zip(sums) {
                part.push(sum);
            }
        }
        self.check_range(
            op,
            Ciphertext {
                parts,
                scale,
                tracked,
            },
        )
    }

    /// `acc += value * x`, exactly at the scale of `acc`: the real or complex constant is encoded at the quotient of the
    /// two scales. `x` may be at a higher level and have fewer polynomials.
    ///
    /// # Errors
    /// [`EvalError::LevelTooLow`] for an `x` below `acc`, [`EvalError::Parts`] for one of more polynomials,
    /// [`EvalError::Encode`] for a constant that is not finite or too large.
    pub fn add_scaled_assign(
        &self,
        acc: &mut Ciphertext,
        x: &Ciphertext,
        value: impl Into<Complex64>,
    ) -> Result<(), EvalError> {
        let op = "add multiple";
        if x.level() < acc.level() {
            return Err(EvalError::LevelTooLow {
                op,
                need: acc.level(),
                have: x.level(),
            });
        }
        if x.parts() > acc.parts() {
            return Err(EvalError::Parts {
                op,
                expected: acc.parts(),
                found: x.parts(),
            });
        }
        let value: Complex64 = value.into();
        let factor = acc.scale.value() / x.scale.value();
        let re = round_to_integer(value.re, factor)?;
        let im = round_to_integer(value.im, factor)?;
        let _timer = self.time(Operation::PlainProduct);
        let rings = self.rings(acc.level().limbs());
        let half = self.params.degree() / 2;
        for (to, from) in acc.parts.iter_mut().zip(&x.parts) {
            for (i, ring) in rings.clone().enumerate() {
                let q = ring.modulus();
                // In evaluation order, i is one residue on one half of the words and its negative on the other.
                let (re, im) = (
                    q.from_i128(re),
                    q.mul(q.from_i128(im), ring.imaginary_unit()),
                );
                let factors = [q.add(re, im), q.sub(re, im)];
                let halves = to.limb_mut(i).chunks_exact_mut(half);
                for ((to, from), s) in halves.zip(from.limb(i).chunks_exact(half)).zip(factors) {
                    ring.mul_scalar_add_assign(to, from, s);
                }
            }
        }
        // The same factor is off in every slot: no random error.
        let encoded = Complex64::new(re as f64, im as f64) / factor;
        let rounding = (encoded - value).norm() * x.tracked.max;
        let term = x.tracked.scaled(value.norm()).plus_bounded_error(rounding);
        acc.tracked = acc.tracked.sum(&term);
        Ok(())
    }

    /// A copy.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn copy(&self, ct: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.copy_limbs(ct, ct.level().limbs())
    }

    /// A copy modulo the primes of a level at or below the ciphertext's.
    ///
    /// # Errors
    /// [`EvalError::NoSuchLevel`], [`EvalError::LevelTooLow`] if the ciphertext has fewer, [`EvalError::Range`] if its
    /// declared values do not fit; or when the pool's budget is exhausted.
    pub fn copy_at_level(&self, ct: &Ciphertext, level: Level) -> Result<Ciphertext, EvalError> {
        let op = "copy at level";
        self.check_level(op, level)?;
        if ct.level() < level {
            let (need, have) = (level, ct.level());
            return Err(EvalError::LevelTooLow { op, need, have });
        }
        ct.check_fits(op, level, self.params.log_q(level))?;
        self.copy_limbs(ct, level.limbs())
    }

    fn copy_limbs(&self, ct: &Ciphertext, limbs: usize) -> Result<Ciphertext, EvalError> {
        let parts = ct
            .parts
            .iter()
            .map(|part| {
                let limbs = part.iter().take(limbs).map(|l| self.copy_limb(l));
                Ok(RnsPoly::from_limbs(limbs.collect::<Result<Vec<_>, _>>()?))
            })
            .collect::<Result<Vec<_>, EvalError>>()?;
        Ok(Ciphertext {
            parts,
            scale: ct.scale,
            tracked: ct.tracked,
        })
    }
}
