//! Automorphisms: rotations, hoisted rotations, conjugation.
//!
//! The key switch comes first and the automorphism, a permutation in Eval order, last: a key leads from s to the
//! pre-image of s. Hoisted rotations share the ModUp.

use super::Evaluator;
use super::keyswitch::Digits;
use crate::ciphertext::{Ciphertext, Level};
use crate::error::EvalError;
use crate::keys::{ExtendedPoly, Galois, KeyKind, SwitchingKey};
use crate::params::KeyShape;
use crate::profile::Operation;
use ckks_math::Limb;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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

    /// Rotations of one ciphertext by several steps, in their order, sharing one ModUp among all keys of one shape
    /// (Halevi, Shoup: Faster homomorphic linear transformations in HElib, section 4,
    /// <https://eprint.iacr.org/2018/244>). Steps of 0 are copies.
    ///
    /// # Errors
    /// As [`Self::rotate`]; nothing is computed if any key is missing.
    pub fn rotate_many(
        &self,
        ct: &Ciphertext,
        steps: &[i64],
    ) -> Result<Vec<Ciphertext>, EvalError> {
        Self::check_parts("rotate", ct, 2)?;
        let mut by_shape: BTreeMap<KeyShape, Vec<(usize, Galois, Arc<SwitchingKey>)>> =
            BTreeMap::new();
        let mut out: Vec<Option<Ciphertext>> = Vec::with_capacity(steps.len());
        for (index, &steps) in steps.iter().enumerate() {
            if let Some((galois, key)) = self.rotation_key(steps, ct.level())? {
                let group = by_shape.entry(key.shape).or_default();
                group.push((index, galois, key));
            }
            out.push(None);
        }
        for (shape, rotations) in by_shape {
            let digits = self.mod_up(&ct.parts[1], shape)?;
            for (index, galois, key) in rotations {
                out[index] = Some(self.automorphism_with(ct, &digits, &key, galois, 0)?);
            }
        }
        out.into_iter()
            .map(|rotated| rotated.map_or_else(|| self.copy(ct), Ok))
            .collect()
    }

    /// The automorphism and the key of a rotation that is not the identity.
    pub(super) fn rotation_key(
        &self,
        steps: i64,
        level: Level,
    ) -> Result<Option<(Galois, Arc<SwitchingKey>)>, EvalError> {
        let galois = Galois::Rotation(steps).reduced(self.params.log_n());
        if galois == Galois::Rotation(0) {
            return Ok(None);
        }
        let key = self.switching_key(KeyKind::Galois(galois), level)?;
        Ok(Some((galois, key)))
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
            let (op, need, have) = ("conjugate and rescale", Level::new(2), ct.level());
            return Err(EvalError::LevelTooLow { op, need, have });
        }
        self.conjugate_dropping(ct, 1)
    }

    fn conjugate_dropping(&self, ct: &Ciphertext, dropped: usize) -> Result<Ciphertext, EvalError> {
        Self::check_parts("conjugate", ct, 2)?;
        let kind = KeyKind::Galois(Galois::Conjugation);
        let key = self.switching_key(kind, ct.level())?;
        let digits = self.mod_up(&ct.parts[1], key.shape)?;
        self.automorphism_with(ct, &digits, &key, Galois::Conjugation, dropped)
    }

    /// Sum of rotations of different ciphertexts, `sum_k rot(ct_k, steps_k)`, with one ModDown for all rotations whose
    /// keys have as many special primes. All ciphertexts at the same level and scale.
    ///
    /// # Errors
    /// As [`Self::rotate`], [`EvalError::LevelMismatch`], [`EvalError::ScaleMismatch`]; [`EvalError::Shape`] for none.
    pub fn rotate_sum(&self, terms: &[(&Ciphertext, i64)]) -> Result<Ciphertext, EvalError> {
        let op = "sum of rotations";
        let Some(&(first, _)) = terms.first() else {
            let (what, found, expected) = ("number of terms", 0, 1);
            return Err(EvalError::Shape {
                op,
                what,
                found,
                expected,
            });
        };
        let level = first.level();
        let mut sum = self.zero(level, first.scale)?;
        // By the number of special primes: sums of rotated ciphertexts times those primes.
        let mut rotated: BTreeMap<usize, [ExtendedPoly; 2]> = BTreeMap::new();
        let mut error = 0f64;
        for &(ct, steps) in terms {
            Self::check_parts(op, ct, 2)?;
            Self::check_same(op, (level, first.scale), (ct.level(), ct.scale))?;
            let Some((galois, key)) = self.rotation_key(steps, level)? else {
                self.add_assign(&mut sum, ct)?;
                continue;
            };
            let term = self.rotate_extended(ct, galois, &key)?;
            error = error.hypot(self.digit_error(key.shape, level, 0));
            sum.tracked = sum.tracked.sum(&ct.tracked);
            match rotated.entry(key.shape.specials) {
                Entry::Vacant(entry) => {
                    entry.insert(term);
                }
                Entry::Occupied(mut entry) => {
                    for (x, y) in entry.get_mut().iter_mut().zip(&term) {
                        self.add_extended(x, y);
                    }
                }
            }
        }
        for (specials, term) in rotated {
            error = error.hypot(self.params.noise().rounding());
            for (part, ext) in sum.parts.iter_mut().zip(term) {
                let switched = self.mod_down(ext, level, specials, 0)?;
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
        let digits = self.mod_up(&ct.parts[1], key.shape)?;
        let [mut b, a] = self.inner_product(&digits, &ct.parts[1], key)?;
        drop(digits);
        self.add_times_specials(&mut b, &ct.parts[0], key.shape.specials);
        Ok([
            self.permute_extended(b, galois)?,
            self.permute_extended(a, galois)?,
        ])
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
        let specials = key.shape.specials;
        let divisor = if dropped == 1 {
            self.params.prime(level) as f64
        } else {
            1.0
        };
        let scale = Self::scale("automorphism", ct.scale.value() / divisor)?;
        let [mut b, a] = self.inner_product(digits, &ct.parts[1], key)?;
        let automorphism = self.params.automorphism(galois)?;
        let permute = |limb: Limb| {
            let mut out = self.limb()?;
            self.permute_into(&automorphism, &mut out, &limb);
            Ok(out)
        };
        let c0 = &ct.parts[0];
        if dropped > 0 {
            self.add_times_specials(&mut b, c0, specials);
        }
        let b = self.mod_down_then(b, level, specials, dropped, |i, mut limb| {
            if dropped == 0 {
                self.ring(i).add_assign(&mut limb, c0.limb(i));
            }
            permute(limb)
        })?;
        let a = self.mod_down_then(a, level, specials, dropped, |_, limb| permute(limb))?;
        let parts = vec![b, a];
        let error = self.switch_error(key.shape, level, dropped) / scale.value();
        Ok(Ciphertext {
            parts,
            scale,
            tracked: ct.tracked.plus_error(error),
        })
    }

    fn permute(&self, limbs: Vec<Limb>, galois: Galois) -> Result<Vec<Limb>, EvalError> {
        let _timer = self.time(Operation::Automorphism);
        let automorphism = self.params.automorphism(galois)?;
        self.each(limbs, |_, limb| {
            let mut out = self.limb()?;
            self.permute_into(&automorphism, &mut out, &limb);
            Ok(out)
        })
    }

    pub(super) fn permute_extended(
        &self,
        ext: ExtendedPoly,
        galois: Galois,
    ) -> Result<ExtendedPoly, EvalError> {
        Ok(ExtendedPoly {
            q: self.permute(ext.q, galois)?,
            p: self.permute(ext.p, galois)?,
        })
    }

    pub(super) fn add_extended(&self, a: &mut ExtendedPoly, b: &ExtendedPoly) {
        let _timer = self.time(Operation::Addition);
        let rings = self.extended_rings(a.q.len(), a.p.len());
        let limbs = a.q.iter_mut().chain(&mut a.p);
        for ((x, y), ring) in limbs.zip(b.q.iter().chain(&b.p)).zip(rings) {
            ring.add_assign(x, y);
        }
    }
}
