//! Encryption: the client's side.
//!
//! The generators that are given here must never be in a state twice: two encryptions with the same randomness differ by
//! the difference of their messages.

use crate::ciphertext::{Ciphertext, Plaintext};
use crate::keys::{PublicKey, SecretKey};
use crate::noise::Tracked;
use crate::params::Parameters;
use crate::secret::{self, SecretLimb};
use crate::seeded::SeededCiphertext;
use crate::seeds::{Place, Seeds};
use ckks_math::{Eval, Limb, LimbRing, MathError, RnsPoly, sample};
use rand::CryptoRng;
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
    ) -> Result<Ciphertext, MathError> {
        let params = &self.key.params;
        let pool = params.pool();
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
    ) -> Result<Ciphertext, MathError> {
        let mut second = Vec::new();
        let seeded = self.encrypt_keeping(pt, rng, |ring, mut a| {
            ring.neg_assign(&mut a);
            second.push(a);
        })?;
        Ok(seeded.with_second(RnsPoly::from_limbs(second)))
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
    ) -> Result<SeededCiphertext, MathError> {
        self.encrypt_keeping(pt, rng, |_, _| {})
    }

    /// `keep` gets the limbs of `a` in order.
    fn encrypt_keeping<R: CryptoRng>(
        &self,
        pt: &Plaintext,
        rng: &mut R,
        mut keep: impl FnMut(&LimbRing, Limb),
    ) -> Result<SeededCiphertext, MathError> {
        let (params, id) = (&self.key.params, self.key.id);
        let seeds = Seeds::draw(rng);
        let place = Place::of_ciphertext(params, id, pt.level());
        let mut limbs = Vec::with_capacity(pt.level().limbs());
        place.masked_errors(&seeds, &self.key.q, |mut b, a| {
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
