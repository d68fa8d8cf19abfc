//! Encryption and decryption: the client's side.

use crate::ciphertext::{Ciphertext, Level, Plaintext};
use crate::encoding::{Encoder, ReconstructedCoeffs};
use crate::error::EvalError;
use crate::keys::{PublicKey, SecretKey};
use crate::noise::BOUND_SIGMAS;
use ckks_math::{Limb, LimbRing, MathError, RnsPoly, sample};
use num_complex::Complex64;
use rand::{CryptoRng, RngExt};
use zeroize::{Zeroize, Zeroizing};

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

    /// `(b v + e0 + m, a v + e1)` at the plaintext's level, `v` ternary.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn encrypt<R: CryptoRng>(
        &self,
        pt: &Plaintext,
        rng: &mut R,
    ) -> Result<Ciphertext, MathError> {
        let params = &self.key.params;
        let mut v = Zeroizing::new(vec![0i64; params.degree()]);
        sample::ternary_into(rng, &mut v);
        let mut errors = [v.clone(), v.clone()];
        for e in &mut errors {
            sample::gaussian_into(rng, e);
        }
        let (mut c0, mut c1) = (Vec::new(), Vec::new());
        for (i, ring) in params.q()[..pt.level().limbs()].iter().enumerate() {
            let mut v_eval = signed_limb(params.pool(), ring, &v)?;
            for (out, key, e) in [
                (&mut c0, &self.key.b, &errors[0]),
                (&mut c1, &self.key.a, &errors[1]),
            ] {
                let mut c = signed_limb(params.pool(), ring, e)?;
                ring.mul_add_assign(&mut c, key.limb(i), &v_eval);
                out.push(c);
            }
            ring.add_assign(&mut c0[i], pt.poly.limb(i));
            v_eval[..].zeroize();
        }
        let std = params.noise().fresh_public() / pt.scale.value();
        Ok(Ciphertext {
            parts: vec![RnsPoly::from_limbs(c0), RnsPoly::from_limbs(c1)],
            scale: pt.scale,
            tracked: pt.tracked.plus_error(std),
        })
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

    /// `(-a s + e + m, a)` at the plaintext's level, `a` uniform.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn encrypt<R: CryptoRng>(
        &self,
        pt: &Plaintext,
        rng: &mut R,
    ) -> Result<Ciphertext, MathError> {
        let params = &self.key.params;
        let mut error = Zeroizing::new(vec![0i64; params.degree()]);
        sample::gaussian_into(rng, &mut error);
        let (mut c0, mut c1) = (Vec::new(), Vec::new());
        for (i, ring) in params.q()[..pt.level().limbs()].iter().enumerate() {
            let mut a = params.pool().limb()?;
            sample::uniform_into(ring.modulus(), rng, &mut a);
            let mut b = signed_limb(params.pool(), ring, &error)?;
            ring.add_assign(&mut b, pt.poly.limb(i));
            let mut product = params.pool().limb()?;
            ring.mul_into(&mut product, &a, &self.key.q[i]);
            ring.sub_assign(&mut b, &product);
            c0.push(b);
            c1.push(a);
        }
        let std = params.noise().fresh_secret() / pt.scale.value();
        Ok(Ciphertext {
            parts: vec![RnsPoly::from_limbs(c0), RnsPoly::from_limbs(c1)],
            scale: pt.scale,
            tracked: pt.tracked.plus_error(std),
        })
    }
}

fn signed_limb(pool: &ckks_math::Pool, ring: &LimbRing, coeffs: &[i64]) -> Result<Limb, MathError> {
    let mut limb = pool.limb()?;
    ring.reduce_signed_into(&mut limb, coeffs);
    ring.ntt(&mut limb);
    Ok(limb)
}

/// Decrypts. Belongs to the key's owner.
#[derive(Debug)]
pub struct Decryptor<'a> {
    key: &'a SecretKey,
}

impl<'a> Decryptor<'a> {
    /// A decryptor for `key`.
    pub fn new(key: &'a SecretKey) -> Self {
        Self { key }
    }

    /// The slots as they are, error included, for the key owner's own eyes: whoever learns the exact values of a
    /// decryption learns the error and may recover the key (Li, Micciancio, <https://eprint.iacr.org/2020/1533>). What
    /// leaves the owner's hands comes from [`Self::decrypt_flooded`].
    ///
    /// # Errors
    /// When the pool's budget is exhausted, or for a ciphertext of another number of parts than 2 or 3.
    pub fn decrypt(&self, ct: &Ciphertext, encoder: &Encoder) -> Result<Vec<Complex64>, EvalError> {
        Ok(encoder.decode_coeffs(&self.coefficients(ct)?, ct.scale))
    }

    /// The slots with Gaussian noise added that hides the error: its deviation is 2^`flood_bits` times the predicted
    /// error bound of the ciphertext. For decryptions that are shown to others.
    ///
    /// # Errors
    /// As [`Self::decrypt`].
    pub fn decrypt_flooded<R: CryptoRng>(
        &self,
        ct: &Ciphertext,
        encoder: &Encoder,
        flood_bits: f64,
        rng: &mut R,
    ) -> Result<Vec<Complex64>, EvalError> {
        let std = ct.tracked.error_std * BOUND_SIGMAS * flood_bits.exp2();
        let mut slots = self.decrypt(ct, encoder)?;
        for z in &mut slots {
            // Box-Muller: one complex Gaussian.
            let u: f64 = 1.0 - rng.random::<f64>();
            let phase = std::f64::consts::TAU * rng.random::<f64>();
            *z += Complex64::from_polar(std * (-2.0 * u.ln()).sqrt(), phase);
        }
        Ok(slots)
    }

    fn coefficients(&self, ct: &Ciphertext) -> Result<ReconstructedCoeffs, EvalError> {
        if !(2..=3).contains(&ct.parts()) {
            return Err(EvalError::Parts {
                op: "decrypt",
                expected: 2,
                found: ct.parts(),
            });
        }
        let params = &self.key.params;
        // The message is far below the product of three primes: the others are not needed.
        let limbs = ct.level().limbs().min(Level::new(3).limbs());
        let mut out = Vec::with_capacity(limbs);
        for (i, ring) in params.q()[..limbs].iter().enumerate() {
            let mut m = params.pool().zeroed()?;
            for part in ct.parts[1..].iter().rev() {
                ring.add_assign(&mut m, part.limb(i));
                ring.mul_assign(&mut m, &self.key.q[i]);
            }
            ring.add_assign(&mut m, ct.parts[0].limb(i));
            ring.intt(&mut m);
            out.push(m);
        }
        let moduli: Vec<_> = params.q()[..limbs].iter().map(LimbRing::modulus).collect();
        Ok(ReconstructedCoeffs::from_residues(&out, &moduli))
    }
}
