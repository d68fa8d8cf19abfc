//! Encryption: the client's side.
//!
//! The generators that are given here must never be in a state twice: two encryptions with the same randomness differ by
//! the difference of their messages.

use crate::ciphertext::{Ciphertext, Plaintext};
use crate::error::EvalError;
use crate::keys::{PublicKey, SecretKey};
use crate::params::Parameters;
use crate::secret::{self, SecretLimb, SecretRng};
use ckks_math::{Eval, RnsPoly, sample};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use zeroize::Zeroizing;

/// Encrypts under a public key.
#[derive(Debug)]
pub struct Encryptor<'a> {
    key: &'a PublicKey,
}

impl<'a> Encryptor<'a> {
    /// An encryptor for `key`.
    pub fn new(key: &'a PublicKey) -> Self {
        Self { key }
    }

    /// `(b v + e0 + m, a v + e1)` at the plaintext's level, `(b, a)` being the public key and `v` uniform ternary.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn encrypt<R: CryptoRng>(
        &self,
        pt: &Plaintext,
        rng: &mut R,
    ) -> Result<Ciphertext, EvalError> {
        let params = &self.key.params;
        let pool = params.limbs();
        let mut v = Zeroizing::new(vec![0i64; params.degree()]);
        sample::ternary_into(rng, &mut v);
        let errors = [(); 2].map(|()| secret::error(params.degree(), rng));
        let mut zero = [Vec::new(), Vec::new()];
        for (i, ring) in params.q()[..pt.level().limbs()].iter().enumerate() {
            let v = SecretLimb::transformed(pool, ring, &v)?;
            let halves = [&self.key.b, &self.key.a].into_iter().zip(&errors);
            for (part, (half, e)) in zero.iter_mut().zip(halves) {
                part.push(secret::masked_error(pool, ring, half.limb(i), &v, e)?);
            }
        }
        let zero = zero.map(RnsPoly::from_limbs);
        Ok(masked(params, zero, pt, params.noise().fresh_public()))
    }
}

/// Encrypts under the secret key itself: less noise than a public key gives, for a client that holds it anyway.
#[derive(Debug)]
pub struct SecretEncryptor<'a> {
    key: &'a SecretKey,
}

impl<'a> SecretEncryptor<'a> {
    /// An encryptor for `key`.
    pub fn new(key: &'a SecretKey) -> Self {
        Self { key }
    }

    /// `(a s + e + m, -a)` at the plaintext's level, `a` uniform.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn encrypt<R: CryptoRng>(
        &self,
        pt: &Plaintext,
        rng: &mut R,
    ) -> Result<Ciphertext, EvalError> {
        let params = &self.key.params;
        let rings = &params.q()[..pt.level().limbs()];
        let zero = secret::rlwe_sample(params.limbs(), rings, &self.key.q, rng)?;
        Ok(masked(params, zero, pt, params.noise().fresh_secret()))
    }

    /// Encrypts many plaintexts, in parallel on the current rayon pool, and frees each as soon as it is encrypted. Each
    /// ciphertext has a generator of its own, seeded from `rng` in order, so that the results do not depend on the number
    /// of threads.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn encrypt_many<R: CryptoRng>(
        &self,
        plaintexts: Vec<Plaintext>,
        rng: &mut R,
    ) -> Result<Vec<Ciphertext>, EvalError> {
        let jobs: Vec<(Plaintext, SecretRng)> = plaintexts
            .into_iter()
            .map(|pt| (pt, SecretRng(ChaCha20Rng::from_rng(rng))))
            .collect();
        jobs.into_par_iter()
            .map(|(pt, mut rng)| self.encrypt(&pt, &mut rng.0))
            .collect()
    }
}

/// The ciphertext of `pt` that an encryption of zero masks, whose error has slot deviation `std` units of the last place.
fn masked(params: &Parameters, zero: [RnsPoly<Eval>; 2], pt: &Plaintext, std: f64) -> Ciphertext {
    let mut parts = Vec::from(zero);
    for (i, ring) in params.q()[..pt.level().limbs()].iter().enumerate() {
        ring.add_assign(parts[0].limb_mut(i), pt.poly.limb(i));
    }
    Ciphertext {
        parts,
        scale: pt.scale,
        tracked: pt.tracked.plus_error(std / pt.scale.value()),
    }
}
