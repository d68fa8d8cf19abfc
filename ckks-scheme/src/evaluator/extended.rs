//! Linear transforms with double hoisting: rotated terms stay over the ciphertext primes and the special primes, times
//! the latter, until they are summed up.
//!
//! Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux: Efficient bootstrapping for approximate homomorphic encryption with
//! non-sparse keys, 2021, section 4, <https://eprint.iacr.org/2020/1203>. Baby steps share one ModUp and are never
//! divided by the special primes; a giant step divides one of its two polynomials, and there is one more division of
//! both at the end, merged with the rescale.

use super::Evaluator;
use super::counted::CountedRing;
use super::keyswitch::Digits;
use super::raise::Raised;
use crate::ciphertext::{Ciphertext, Level};
use crate::counts::Work;
use crate::error::EvalError;
use crate::keys::{ExtendedPoly, Galois, SwitchingKey};
use crate::linear::{Diagonals, LinearTransform};
use crate::noise::Tracked;
use crate::profile::Operation;
use ckks_math::kernel::MAX_DOT_TERMS;
use ckks_math::{Automorphism, Limb};
use std::f64::consts::SQRT_2;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A rotation of the input: a key switch, or none where the input is under the secret and not rotated, and a permutation.
#[derive(Default)]
struct Baby {
    key: Option<Arc<SwitchingKey>>,
    automorphism: Option<Arc<Automorphism>>,
}

impl Evaluator {
    /// The transform of every slot vector, not rescaled: at scale `ct.scale() * t.scale()`.
    ///
    /// # Effect on metadata
    /// Declared values grow by the norms of the matrix, as if slots were independent; values that the caller knows
    /// better should be declared anew. Whether they fit the modulus is not checked for that reason.
    /// # Memory
    /// Two polynomials over all ciphertext and special primes of the level for each giant step.
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

    /// [`Self::linear_transform`], divided by the last `dropped` primes, 0 or 1.
    pub(crate) fn transform(
        &self,
        ct: &Ciphertext,
        t: &LinearTransform,
        dropped: usize,
    ) -> Result<Ciphertext, EvalError> {
        Self::check_transform(ct, t, dropped)?;
        let babies = t.plan.babies().iter().map(|&steps| {
            let found = self.transform_key(steps, t)?;
            let Some((galois, key)) = found else {
                return Ok(Baby::default());
            };
            Ok(Baby {
                key: Some(key),
                automorphism: Some(self.params.automorphism(galois)?),
            })
        });
        let babies = babies.collect::<Result<Vec<_>, EvalError>>()?;
        let digits = match babies.iter().any(|baby| baby.key.is_some()) {
            true => Some(self.mod_up(&ct.parts[1], t.shape)?),
            false => None,
        };
        let error = self.digit_error(t.shape, ct.level(), 0);
        self.transform_with(ct, t, dropped, &babies, (digits.as_ref(), error))
    }

    /// The same of a raised ciphertext, by a transform that leads from the ephemeral secret back to the secret.
    pub(crate) fn transform_raised(
        &self,
        raised: &Raised,
        t: &LinearTransform,
        dropped: usize,
    ) -> Result<Ciphertext, EvalError> {
        Self::check_transform(&raised.ct, t, dropped)?;
        let babies = t.plan.babies().iter().map(|&steps| {
            let galois = Galois::Rotation(steps).reduced(self.params.log_n());
            let rotates = galois != Galois::Rotation(0);
            Ok(Baby {
                key: Some(self.ephemeral_key(raised, steps)?),
                automorphism: rotates
                    .then(|| self.params.automorphism(galois))
                    .transpose()?,
            })
        });
        let babies = babies.collect::<Result<Vec<_>, EvalError>>()?;
        let error = self.raised_error(t.shape.specials, 1);
        self.transform_with(
            &raised.ct,
            t,
            dropped,
            &babies,
            (Some(&raised.whole), error),
        )
    }

    fn check_transform(
        ct: &Ciphertext,
        t: &LinearTransform,
        dropped: usize,
    ) -> Result<(), EvalError> {
        let op = "linear transform";
        Self::check_parts(op, ct, 2)?;
        let level = ct.level();
        if level != t.plan.level() {
            return Err(EvalError::LevelMismatch {
                op,
                left: level,
                right: t.plan.level(),
            });
        }
        if level.limbs() <= dropped {
            return Err(EvalError::LevelTooLow {
                op,
                need: Level::new(dropped + 1),
                have: level,
            });
        }
        Ok(())
    }

    /// `digits`: those of the second polynomial, and the error that a key makes of them in units of the last place.
    fn transform_with(
        &self,
        ct: &Ciphertext,
        t: &LinearTransform,
        dropped: usize,
        babies: &[Baby],
        (digits, error): (Option<&Digits>, f64),
    ) -> Result<Ciphertext, EvalError> {
        let op = "linear transform";
        let level = ct.level();
        let mut scale = ct.scale.value() * t.scale.value();
        if dropped == 1 {
            scale /= self.params.prime(level) as f64;
        }
        let scale = Self::scale(op, scale)?;
        let specials = t.shape.specials;

        let mut sums = self.giant_sums(ct, t, babies, digits)?.into_iter();
        let mut total = sums.next().expect("a transform has a diagonal");
        for (&steps, sum) in t.plan.giants().iter().zip(sums) {
            let (galois, key) = self
                .transform_key(steps, t)?
                .expect("giant steps are different from each other");
            total = self.giant_step(total, galois, &key, sum, level)?;
        }
        let mut parts = Vec::with_capacity(2);
        for ext in total {
            parts.push(self.mod_down(ext, level, specials, dropped)?);
        }

        let noise = self.params.noise();
        let norms = &t.norms;
        let encoding = noise.encoding() * (norms.diagonals as f64).sqrt() / t.scale.value();
        let baby = error / ct.scale.value();
        let giants = (t.plan.giants().len() as f64).sqrt() * self.switch_error(t.shape, level, 0);
        let tracked = Tracked {
            error_std: (ct.tracked.error_std.hypot(baby) * norms.l2)
                .hypot(encoding * ct.tracked.rms)
                .hypot(giants / (ct.scale.value() * t.scale.value()))
                .hypot(noise.rounding() / scale.value()),
            // Complex entries mix the components.
            systematic: SQRT_2 * ct.tracked.systematic * norms.l1,
            max: ct.tracked.max * norms.l1,
            rms: ct.tracked.rms * norms.mean_l2,
        };
        Ok(Ciphertext {
            parts,
            scale,
            tracked,
        })
    }

    /// For every giant step the sum of diagonal times baby step, times the special primes. All of it is done limb by limb,
    /// so that rotated limbs are used up while they are in the caches.
    fn giant_sums(
        &self,
        ct: &Ciphertext,
        t: &LinearTransform,
        babies: &[Baby],
        digits: Option<&Digits>,
    ) -> Result<Vec<[ExtendedPoly; 2]>, EvalError> {
        let level = t.plan.level().limbs();
        let mut sums: Vec<[ExtendedPoly; 2]> = (0..=t.plan.giants().len())
            .map(|_| <_>::default())
            .collect();
        let mut rotated = (0..babies.len())
            .map(|_| Ok([self.limb()?, self.limb()?]))
            .collect::<Result<Vec<_>, EvalError>>()?;
        let mut product = [self.limb()?, self.limb()?];
        let (mut rotating, mut multiplying) = (Duration::ZERO, Duration::ZERO);
        let rings = self.extended_rings(level, t.shape.specials);
        for (i, ring) in rings.enumerate() {
            let start = Instant::now();
            let specials = self.specials_product(ring, t.shape.specials);
            for (baby, halves) in babies.iter().zip(&mut rotated) {
                if let (Some(key), Some(digits)) = (&baby.key, digits) {
                    let switched = match baby.automorphism {
                        Some(_) => &mut product,
                        None => &mut *halves,
                    };
                    digits.inner_product_limb(&ct.parts[1], key, i, ring, switched);
                    if i < level {
                        let c0 = ct.parts[0].limb(i);
                        ring.mul_scalar_add_assign(&mut switched[0], c0, specials);
                    }
                    if let Some(automorphism) = &baby.automorphism {
                        for (out, product) in halves.iter_mut().zip(&product) {
                            self.permute_into(automorphism, out, product);
                        }
                    }
                    continue;
                }
                for (out, part) in halves.iter_mut().zip(&ct.parts) {
                    if i < level {
                        ring.mul_scalar_into(out, part.limb(i), specials);
                    } else {
                        // A multiple of the special primes.
                        self.profile.count(Work::pass(out.len(), 0, 1));
                        out.fill(0);
                    }
                }
            }
            let rotated_by = Instant::now();
            rotating += rotated_by - start;
            self.diagonal_sums(t, i, ring, &rotated, &mut sums)?;
            multiplying += rotated_by.elapsed();
        }
        self.profile.add_mixed(&[
            (Operation::InnerProduct, rotating),
            (Operation::PlainProduct, multiplying),
        ]);
        Ok(sums)
    }

    /// Limb `i` of every sum.
    fn diagonal_sums(
        &self,
        t: &LinearTransform,
        i: usize,
        ring: CountedRing<'_>,
        babies: &[[Limb; 2]],
        sums: &mut [[ExtendedPoly; 2]],
    ) -> Result<(), EvalError> {
        let mut outs = [
            Vec::with_capacity(sums.len()),
            Vec::with_capacity(sums.len()),
        ];
        for out in &mut outs {
            for _ in 0..sums.len() {
                out.push(self.limb()?);
            }
        }
        match &t.diagonals {
            Diagonals::Periodic(weights, subrings) => self.params.with_residues(|residues| {
                ring.generate(residues, &subrings[i], weights);
                for (h, out) in outs.iter_mut().enumerate() {
                    let x: Vec<&[u64]> = babies.iter().map(|baby| &baby[h][..]).collect();
                    let mut rows: Vec<&mut [u64]> = out.iter_mut().map(|l| &mut l[..]).collect();
                    ring.block_matmul(&mut rows, &x, residues, false);
                }
            }),
            Diagonals::Whole(rows) => {
                let mut part = None;
                for (row, terms) in rows.iter().enumerate() {
                    for (h, out) in outs.iter_mut().enumerate() {
                        let terms: Vec<(&[u64], &[u64])> = terms
                            .iter()
                            .map(|(column, limbs)| (&babies[*column][h][..], &limbs[i][..]))
                            .collect();
                        let mut chunks = terms.chunks(MAX_DOT_TERMS);
                        let first = chunks.next().unwrap_or_default();
                        ring.dot_with_diagonals_into(&mut out[row], first);
                        for chunk in chunks {
                            let part = match &mut part {
                                Some(part) => part,
                                None => part.insert(self.limb()?),
                            };
                            ring.dot_with_diagonals_into(part, chunk);
                            ring.add_assign(&mut out[row], part);
                        }
                    }
                }
            }
        }
        let [b, a] = outs;
        for (sum, halves) in sums.iter_mut().zip(b.into_iter().zip(a)) {
            for (half, limb) in sum.iter_mut().zip([halves.0, halves.1]) {
                if i < t.plan.level().limbs() {
                    half.q.push(limb);
                } else {
                    half.p.push(limb);
                }
            }
        }
        Ok(())
    }

    /// `sum + rot(total)`, both times the special primes.
    fn giant_step(
        &self,
        [b, a]: [ExtendedPoly; 2],
        galois: Galois,
        key: &SwitchingKey,
        mut sum: [ExtendedPoly; 2],
        level: Level,
    ) -> Result<[ExtendedPoly; 2], EvalError> {
        let specials = key.shape.specials;
        let c = self.mod_down(a, level, specials, 0)?;
        let digits = self.mod_up(&c, key.shape)?;
        let _timer = self.time(Operation::InnerProduct);
        let automorphism = self.params.automorphism(galois)?;
        let (mut product, mut rotated) = ([self.limb()?, self.limb()?], self.limb()?);
        let q_limbs = level.limbs();
        for (i, ring) in self.extended_rings(q_limbs, specials).enumerate() {
            digits.inner_product_limb(&c, key, i, ring, &mut product);
            ring.add_assign(&mut product[0], b.limb(i, q_limbs));
            for (half, product) in sum.iter_mut().zip(&product) {
                self.permute_into(&automorphism, &mut rotated, product);
                ring.add_assign(half.limb_mut(i, q_limbs), &rotated);
            }
        }
        Ok(sum)
    }

    fn transform_key(
        &self,
        steps: i64,
        t: &LinearTransform,
    ) -> Result<Option<(Galois, Arc<SwitchingKey>)>, EvalError> {
        let found = self.rotation_key(steps, t.plan.level())?;
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
}
