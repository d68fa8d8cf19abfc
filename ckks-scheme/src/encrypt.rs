//! Encryption: the client's side.
//!
//! The generators that are given here must never be in a state twice: two encryptions with the same randomness differ by
//! the difference of their messages.

use crate::ciphertext::{Ciphertext, Plaintext};
use crate::error::EvalError;
use crate::keys::{PublicKey, SecretKey};
use crate::noise::Tracked;
use crate::params::Parameters;
use crate::secret::{self, SecretLimb};
use crate::seeded::SeededCiphertext;
use crate::seeds::{Place, Seeds};
use ckks_math::{Eval, Limb, LimbRing, RnsPoly, sample};
use rand::CryptoRng;
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
        self.encrypt_whole(pt, &Seeds::draw(rng))
    }

    /// [`Self::encrypt`] with the second polynomial left as the seed that it is expanded from: half the size, to be sent
    /// or stored. [`SeededCiphertext::expand`] gives the ciphertext.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn encrypt_seeded<R: CryptoRng>(
        &self,
        pt: &Plaintext,
        rng: &mut R,
    ) -> Result<SeededCiphertext, EvalError> {
        self.encrypt_keeping(pt, &Seeds::draw(rng), |_, _| {})
    }

    fn encrypt_whole(&self, pt: &Plaintext, seeds: &Seeds) -> Result<Ciphertext, EvalError> {
        let mut second = Vec::new();
        let seeded = self.encrypt_keeping(pt, seeds, |ring, mut a| {
            ring.neg_assign(&mut a);
            second.push(a);
        })?;
        Ok(seeded.with_second(RnsPoly::from_limbs(second)))
    }

    /// `keep` gets the limbs of `a` in order.
    fn encrypt_keeping(
        &self,
        pt: &Plaintext,
        seeds: &Seeds,
        mut keep: impl FnMut(&LimbRing, Limb),
    ) -> Result<SeededCiphertext, EvalError> {
        let (params, id) = (&self.key.params, self.key.id);
        let place = Place::of_ciphertext(params, id, pt.level());
        let mut limbs = Vec::with_capacity(pt.level().limbs());
        place.masked_errors(seeds, &self.key.q, |mut b, a| {
            let i = limbs.len();
            let ring = &params.q()[i];
            ring.add_assign(&mut b, pt.poly.limb(i));
            limbs.push(b);
            keep(ring, a);
            Ok(())
        })?;
        Ok(SeededCiphertext {
            params: params.clone(),
            id,
            seed: seeds.public,
            first: RnsPoly::from_limbs(limbs),
            scale: pt.scale,
            tracked: with_fresh_error(pt, params.noise().fresh_secret()),
        })
    }

    /// Encrypts many plaintexts, in parallel on the current rayon pool, and frees each as soon as it is encrypted. Each
    /// ciphertext has seeds of its own, drawn from `rng` in order and wiped afterwards, so that the results do not depend
    /// on the number of threads: they are those of [`Self::encrypt`], one after the other.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn encrypt_many<R: CryptoRng>(
        &self,
        plaintexts: Vec<Plaintext>,
        rng: &mut R,
    ) -> Result<Vec<Ciphertext>, EvalError> {
        in_parallel(plaintexts, rng, |pt, seeds| self.encrypt_whole(pt, seeds))
    }

    /// As [`Self::encrypt_many`], each as by [`Self::encrypt_seeded`].
    ///
    /// # Errors
    /// As there.
    pub fn encrypt_seeded_many<R: CryptoRng>(
        &self,
        plaintexts: Vec<Plaintext>,
        rng: &mut R,
    ) -> Result<Vec<SeededCiphertext>, EvalError> {
        in_parallel(plaintexts, rng, |pt, seeds| {
            self.encrypt_keeping(pt, seeds, |_, _| {})
        })
    }
}

fn in_parallel<R: CryptoRng, T: Send>(
    plaintexts: Vec<Plaintext>,
    rng: &mut R,
    encrypt: impl Fn(&Plaintext, &Seeds) -> Result<T, EvalError> + Sync,
) -> Result<Vec<T>, EvalError> {
    let jobs: Vec<(Plaintext, Seeds)> = plaintexts
        .into_iter()
        .map(|pt| (pt, Seeds::draw(rng)))
        .collect();
    jobs.into_par_iter()
        .map(|(pt, seeds)| encrypt(&pt, &seeds))
        .collect()
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
        tracked: with_fresh_error(pt, std),
    }
}

fn with_fresh_error(pt: &Plaintext, std: f64) -> Tracked {
    pt.tracked.plus_error(std / pt.scale.value())
}
