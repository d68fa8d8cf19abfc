//! Automorphisms: rotations, hoisted rotations, conjugation.
//!
//! The key switch comes first and the automorphism, a permutation in Eval order, last: a key leads from s to the
//! pre-image of s. Hoisted rotations share the ModUp.

use super::Evaluator;
use super::keyswitch::Digits;
use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::EvalError;
use crate::keys::{ExtendedPoly, Galois, KeyKind, SwitchingKey};
use crate::profile::Operation;
use ckks_math::{Eval, Limb, RnsPoly};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Evaluator {
    /// Slot j of the result is slot j + `steps` of the input, cyclically.
    ///
    /// # Errors
    /// [`EvalError::Parts`] unless there are two; [`EvalError::Key`] without a key for the rotation and level.
    pub fn rotate(&self, ct: &Ciphertext, steps: i64) -> Result<Ciphertext, EvalError> {
        let mut out = self.rotate_many(ct, &[steps])?;
        Ok(out.pop().expect("one rotation"))
    }

    /// Rotations of one ciphertext by several steps, sharing one ModUp (Halevi, Shoup: Faster homomorphic linear
    /// transformations in HElib, section 4, <https://eprint.iacr.org/2018/244>). Steps of 0 are copies.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_many(
        &self,
        ct: &Ciphertext,
        steps: &[i64],
    ) -> Result<Vec<Ciphertext>, EvalError> {
        Self::check_parts("rotate", ct, 2)?;
        let mut hoisted: Option<(Digits, usize)> = None;
        let mut out = Vec::with_capacity(steps.len());
        for &s in steps {
            let galois = Galois::Rotation(s).reduced(self.params.log_n());
            if galois == Galois::Rotation(0) {
                out.push(ct.try_clone()?);
                continue;
            }
            let key = self.galois_key(galois, ct.level())?;
            // Digits fit every key of the same shape; keys of one level all have it.
            let shape = key.level().limbs();
            let digits = match hoisted.take() {
                Some((digits, have)) if have == shape => digits,
                _ => self.mod_up(&ct.parts[1], &key)?,
            };
            out.push(self.automorphism_with(ct, &digits, &key, galois, 0)?);
            hoisted = Some((digits, shape));
        }
        Ok(out)
    }

    /// The complex conjugate of every slot.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn conjugate(&self, ct: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.conjugate_dropping(ct, 0)
    }

    /// The conjugate divided by the last prime: a conjugation and a rescale with one ModDown by P q_l.
    ///
    /// # Errors
    /// As [`Self::rotate`]; [`EvalError::LevelTooLow`] at level 1.
    pub fn conjugate_rescale(&self, ct: &Ciphertext) -> Result<Ciphertext, EvalError> {
        if ct.level().below(1).is_none() {
            let op = "conjugate and rescale";
            return Err(EvalError::LevelTooLow {
                op,
                need: Level::new(2),
                have: ct.level(),
            });
        }
        self.conjugate_dropping(ct, 1)
    }

    fn conjugate_dropping(&self, ct: &Ciphertext, dropped: usize) -> Result<Ciphertext, EvalError> {
        Self::check_parts("conjugate", ct, 2)?;
        let key = self.galois_key(Galois::Conjugation, ct.level())?;
        let digits = self.mod_up(&ct.parts[1], &key)?;
        self.automorphism_with(ct, &digits, &key, Galois::Conjugation, dropped)
    }

    /// Sum of rotations of different ciphertexts, `sum_k rot(ct_k, steps_k)`, with one ModDown for all rotations whose
    /// keys are of one level. All ciphertexts at the same level and scale.
    ///
    /// # Errors
    /// As [`Self::rotate`], [`EvalError::LevelMismatch`], [`EvalError::ScaleMismatch`]; [`EvalError::Shape`] for none.
    pub fn rotate_sum(&self, terms: &[(&Ciphertext, i64)]) -> Result<Ciphertext, EvalError> {
        let op = "sum of rotations";
        let Some(&(first, _)) = terms.first() else {
            let (found, expected) = (0, 1);
            return Err(EvalError::Shape {
                op,
                what: "number of terms",
                found,
                expected,
            });
        };
        let level = first.level();
        let mut sum = self.zero(level, first.scale)?;
        let mut rotated: BTreeMap<Level, (Arc<SwitchingKey>, [ExtendedPoly; 2])> = BTreeMap::new();
        let mut error = 0f64;
        for &(ct, steps) in terms {
            Self::check_parts(op, ct, 2)?;
            Self::check_same(op, (level, first.scale), (ct.level(), ct.scale))?;
            let galois = Galois::Rotation(steps).reduced(self.params.log_n());
            if galois == Galois::Rotation(0) {
                self.add_assign(&mut sum, ct)?;
                continue;
            }
            let key = self.galois_key(galois, level)?;
            let term = self.rotate_extended(ct, galois, &key)?;
            error = error.hypot(self.switch_error(&key, level, 0));
            sum.tracked = sum.tracked.sum(&ct.tracked);
            match rotated.get_mut(&key.level()) {
                Some((_, acc)) => {
                    for (x, y) in acc.iter_mut().zip(&term) {
                        self.add_extended(x, y);
                    }
                }
                None => {
                    rotated.insert(key.level(), (key, term));
                }
            }
        }
        for (key, term) in rotated.into_values() {
            for (part, ext) in sum.parts.iter_mut().zip(term) {
                let switched = self.mod_down(ext, level, &key, 0)?;
                self.add_poly(part, &switched);
            }
        }
        sum.tracked = sum.tracked.plus_error(error / sum.scale.value());
        Ok(sum)
    }

    /// P times a rotated ciphertext, over the ciphertext primes and the key's special primes.
    fn rotate_extended(
        &self,
        ct: &Ciphertext,
        galois: Galois,
        key: &SwitchingKey,
    ) -> Result<[ExtendedPoly; 2], EvalError> {
        let digits = self.mod_up(&ct.parts[1], key)?;
        let [mut b, a] = self.inner_product(&digits, &ct.parts[1], key)?;
        drop(digits);
        self.add_times_specials(&mut b, &ct.parts[0], key.specials);
        Ok([
            self.permute_extended(b, galois)?,
            self.permute_extended(a, galois)?,
        ])
    }

    fn galois_key(&self, galois: Galois, level: Level) -> Result<Arc<SwitchingKey>, EvalError> {
        Ok(self.keys.switching_key(KeyKind::Galois(galois), level)?)
    }

    fn automorphism_with(
        &self,
        ct: &Ciphertext,
        digits: &Digits,
        key: &SwitchingKey,
        galois: Galois,
        dropped: usize,
    ) -> Result<Ciphertext, EvalError> {
        let level = ct.level();
        let [mut b, a] = self.inner_product(digits, &ct.parts[1], key)?;
        self.add_times_specials(&mut b, &ct.parts[0], key.specials);
        let mut parts = Vec::with_capacity(2);
        for ext in [b, a] {
            let switched = self.mod_down(ext, level, key, dropped)?;
            let limbs = (0..switched.limbs()).map(|i| self.permute(switched.limb(i), galois));
            parts.push(RnsPoly::<Eval>::from_limbs(
                limbs.collect::<Result<Vec<_>, _>>()?,
            ));
        }
        let divisor = if dropped == 1 {
            self.params.prime(level) as f64
        } else {
            1.0
        };
        let scale = Scale::new(ct.scale.value() / divisor);
        let error = self.switch_error(key, level, dropped) / scale.value();
        Ok(Ciphertext {
            parts,
            scale,
            tracked: ct.tracked.plus_error(error),
        })
    }

    fn permute(&self, limb: &[u64], galois: Galois) -> Result<Limb, EvalError> {
        let _timer = self.time(Operation::Automorphism);
        let automorphism = self.params.automorphism(galois)?;
        let mut out = self.limb()?;
        automorphism.apply_into(&mut out, limb);
        Ok(out)
    }

    fn permute_extended(
        &self,
        ext: ExtendedPoly,
        galois: Galois,
    ) -> Result<ExtendedPoly, EvalError> {
        let permute = |limbs: Vec<Limb>| {
            limbs
                .iter()
                .map(|l| self.permute(l, galois))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(ExtendedPoly {
            q: permute(ext.q)?,
            p: permute(ext.p)?,
        })
    }

    fn add_extended(&self, a: &mut ExtendedPoly, b: &ExtendedPoly) {
        let _timer = self.time(Operation::Addition);
        let limbs = a.q.iter_mut().zip(&b.q).zip(self.params.q());
        let specials = a.p.iter_mut().zip(&b.p).zip(self.params.p());
        for ((x, y), ring) in limbs.chain(specials) {
            ring.add_assign(x, y);
        }
    }
}
