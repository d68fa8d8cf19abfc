//! Key generation.
//!
//! A switching key from a source secret `t` to a target secret `u`, at level L with digits of `alpha` primes and k
//! special primes, holds for every digit j a pair `b_j = -a_j u + e_j + P Q~_j t`, where `P Q~_j` is P on the limbs of
//! digit j and 0 elsewhere (Han, Ki: Better bootstrapping for approximate homomorphic encryption, section 3,
//! <https://eprint.iacr.org/2019/688>). The uniform half `a_j` is expanded from a public seed bound to the key's kind,
//! level, number of special primes, digit and limb: keys of different P never share it, which would reveal the secret.

use crate::ciphertext::Level;
use crate::error::KeyError;
use crate::keys::{
    EvaluationKeys, ExtendedPoly, Galois, KeyKind, KeyRequest, PublicKey, SecretKey, SwitchingKey,
};
use crate::params::{KeyShape, Parameters, digit_range};
use ckks_math::{Limb, LimbRing, MathError, RnsPoly, sample};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// Generates keys for one parameter set.
#[derive(Clone, Debug)]
pub struct KeyGenerator {
    params: Parameters,
}

/// Seed of all uniform halves of one set of evaluation keys; public.
type PublicSeed = [u8; 32];

impl KeyGenerator {
    /// A generator for `params`.
    pub fn new(params: &Parameters) -> Self {
        Self {
            params: params.clone(),
        }
    }

    /// A fresh uniform ternary secret key.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn secret_key<R: CryptoRng>(&self, rng: &mut R) -> Result<SecretKey, MathError> {
        let mut coeffs = vec![0; self.params.degree()];
        sample::ternary_into(rng, &mut coeffs);
        let transform = |rings: &[LimbRing]| {
            rings
                .iter()
                .map(|r| self.signed_limb(r, &coeffs))
                .collect::<Result<Vec<_>, _>>()
        };
        let q = transform(self.params.q())?;
        let p = transform(self.params.p())?;
        Ok(SecretKey {
            params: self.params.clone(),
            coeffs,
            q,
            p,
        })
    }

    /// The public encryption key of `sk`.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn public_key<R: CryptoRng>(
        &self,
        sk: &SecretKey,
        rng: &mut R,
    ) -> Result<PublicKey, MathError> {
        let error = self.error(rng);
        let (mut bs, mut as_) = (Vec::new(), Vec::new());
        for (ring, s) in self.params.q().iter().zip(&sk.q) {
            let mut a = self.params.pool().limb()?;
            sample::uniform_into(ring.modulus(), rng, &mut a);
            bs.push(self.rlwe_sample(ring, &a, s, &error)?);
            as_.push(a);
        }
        Ok(PublicKey {
            params: self.params.clone(),
            b: RnsPoly::from_limbs(bs),
            a: RnsPoly::from_limbs(as_),
        })
    }

    /// The switching keys of a request, generated in parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`KeyError::LevelTooHigh`] for a level that the set does not have; or when the pool's budget is exhausted.
    pub fn evaluation_keys<R: CryptoRng>(
        &self,
        sk: &SecretKey,
        request: &KeyRequest,
        rng: &mut R,
    ) -> Result<EvaluationKeys, KeyError> {
        let mut public_seed: PublicSeed = [0; 32];
        rng.fill_bytes(&mut public_seed);
        let request = request.reduced(self.params.log_n());
        // One private generator a key, so that the keys can be made in parallel and still reproducibly.
        let jobs: Vec<_> = request
            .iter()
            .map(|(kind, level)| {
                let mut seed = Zeroizing::new([0u8; 32]);
                rng.fill_bytes(&mut *seed);
                (kind, level, seed)
            })
            .collect();
        let keys = jobs
            .par_iter()
            .map(|(kind, level, seed)| {
                let mut rng = ChaCha20Rng::from_seed(**seed);
                let key = self.switching_key(sk, *kind, *level, &public_seed, &mut rng)?;
                Ok(((*kind, *level), Arc::new(key)))
            })
            .collect::<Result<BTreeMap<_, _>, KeyError>>()?;
        let bytes = keys
            .keys()
            .map(|(_, level)| self.params.switching_key_bytes(*level))
            .sum();
        Ok(EvaluationKeys {
            log_n: self.params.log_n(),
            keys,
            bytes,
        })
    }

    fn switching_key<R: CryptoRng>(
        &self,
        sk: &SecretKey,
        kind: KeyKind,
        level: Level,
        public_seed: &PublicSeed,
        rng: &mut R,
    ) -> Result<SwitchingKey, KeyError> {
        let max = self.params.max_level();
        if level > max {
            return Err(KeyError::LevelTooHigh { level, max });
        }
        let l = level.limbs();
        let KeyShape {
            digit_limbs,
            specials,
        } = self.params.key_shape(level);
        let q = &self.params.q()[..l];
        let p = &self.params.p()[..specials];

        // Relinearisation: s^2 -> s. An automorphism is applied after the switch (hoisting), so its key leads from s
        // to the pre-image of s.
        let target = match kind {
            KeyKind::Relinearization => Zeroizing::new(sk.coeffs.clone()),
            KeyKind::Galois(g) => Zeroizing::new(self.preimage(&sk.coeffs, g)),
        };
        let mut digits = Vec::new();
        for digit in 0..l.div_ceil(digit_limbs) {
            let (from, to) = digit_range(l, digit_limbs, digit);
            let error = self.error(rng);
            let (mut b, mut a) = (empty_extended(), empty_extended());
            for (i, ring) in q.iter().chain(p).enumerate() {
                let uniform = self.expand(ring, public_seed, kind, level, specials, digit, i)?;
                let mut u = self.signed_limb(ring, &target)?;
                let mut sample = self.rlwe_sample(ring, &uniform, &u, &error)?;
                u[..].zeroize();
                if (from..to).contains(&i) {
                    let p_mod = p.iter().fold(1, |acc, x| {
                        ring.modulus()
                            .mul(acc, ring.modulus().reduce(x.modulus().value()))
                    });
                    let s = &sk.q[i];
                    let mut source = s.try_clone()?;
                    if kind == KeyKind::Relinearization {
                        ring.mul_assign(&mut source, s);
                    }
                    ring.mul_scalar_add_assign(&mut sample, &source, p_mod);
                    source[..].zeroize();
                }
                let (b, a) = if i < l {
                    (&mut b.q, &mut a.q)
                } else {
                    (&mut b.p, &mut a.p)
                };
                b.push(sample);
                a.push(uniform);
            }
            digits.push([b, a]);
        }
        Ok(SwitchingKey {
            level,
            digit_limbs,
            specials,
            digits,
        })
    }

    /// Coefficients of the polynomial whose image under `g` has coefficients `s`.
    fn preimage(&self, s: &[i64], g: Galois) -> Vec<i64> {
        let two_n = 2 * s.len() as u64;
        let g = g.element(self.params.log_n());
        // Coefficient k of the pre-image goes to exponent k g mod 2N, negated beyond N.
        (0..s.len() as u64)
            .map(|k| {
                let e = (k * g % two_n) as usize;
                if e < s.len() { s[e] } else { -s[e - s.len()] }
            })
            .collect()
    }

    fn error<R: CryptoRng>(&self, rng: &mut R) -> Zeroizing<Vec<i64>> {
        let mut e = Zeroizing::new(vec![0; self.params.degree()]);
        sample::gaussian_into(rng, &mut e);
        e
    }

    fn signed_limb(&self, ring: &LimbRing, coeffs: &[i64]) -> Result<Limb, MathError> {
        let mut limb = self.params.pool().limb()?;
        ring.reduce_signed_into(&mut limb, coeffs);
        ring.ntt(&mut limb);
        Ok(limb)
    }

    /// `-a s + e` in Eval order.
    fn rlwe_sample(
        &self,
        ring: &LimbRing,
        a: &[u64],
        s: &[u64],
        error: &[i64],
    ) -> Result<Limb, MathError> {
        let mut b = self.signed_limb(ring, error)?;
        let mut product = self.params.pool().limb()?;
        ring.mul_into(&mut product, a, s);
        ring.sub_assign(&mut b, &product);
        Ok(b)
    }

    fn expand(
        &self,
        ring: &LimbRing,
        seed: &PublicSeed,
        kind: KeyKind,
        level: Level,
        specials: usize,
        digit: usize,
        limb: usize,
    ) -> Result<Limb, MathError> {
        let mut out = self.params.pool().limb()?;
        let tag = format!(
            "{kind}; level {level}; specials {specials}; digit {digit}; limb {limb}; modulus {}",
            ring.modulus().value()
        );
        let mut hasher =
            blake3::Hasher::new_derive_key("polyphase ckks-scheme 1 switching key uniform half");
        hasher.update(seed);
        hasher.update(tag.as_bytes());
        let mut rng = ChaCha20Rng::from_seed(*hasher.finalize().as_bytes());
        sample::uniform_into(ring.modulus(), &mut rng, &mut out);
        Ok(out)
    }
}

fn empty_extended() -> ExtendedPoly {
    ExtendedPoly {
        q: Vec::new(),
        p: Vec::new(),
    }
}
