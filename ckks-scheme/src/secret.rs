//! Secret words are wiped before their memory goes back to the pool, which hands it out again uncleared.

use ckks_math::{Limb, LimbRing, MathError, Pool, RnsPoly, sample};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::ops::{Deref, DerefMut};
use zeroize::{Zeroize, Zeroizing};

/// A limb of secret words, wiped when it is dropped, on the paths of errors too.
pub(crate) struct SecretLimb(Limb);

impl SecretLimb {
    /// Of unspecified contents.
    pub(crate) fn new(pool: &Pool) -> Result<Self, MathError> {
        Ok(Self(pool.limb()?))
    }

    /// The transform of signed coefficients.
    pub(crate) fn transformed(
        pool: &Pool,
        ring: &LimbRing,
        coeffs: &[i64],
    ) -> Result<Self, MathError> {
        Ok(Self(transformed(pool, ring, coeffs)?))
    }
}

impl Deref for SecretLimb {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.0
    }
}

impl DerefMut for SecretLimb {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

impl Drop for SecretLimb {
    fn drop(&mut self) {
        self.0[..].zeroize();
    }
}

/// A generator of secret randomness; its state is overwritten when it is dropped.
pub(crate) struct SecretRng(pub(crate) ChaCha20Rng);

impl Drop for SecretRng {
    fn drop(&mut self) {
        self.0 = ChaCha20Rng::from_seed([0; 32]);
        // The generator cannot be wiped by itself; this keeps the overwriting from being optimised away.
        std::hint::black_box(&mut self.0);
    }
}

/// A fresh error polynomial.
pub(crate) fn error(
    degree: usize,
    rng: &mut (impl rand::CryptoRng + ?Sized),
) -> Zeroizing<Vec<i64>> {
    let mut e = Zeroizing::new(vec![0; degree]);
    sample::gaussian_into(rng, &mut e);
    e
}

/// The transform of signed coefficients; the words are as secret as those are.
fn transformed(pool: &Pool, ring: &LimbRing, coeffs: &[i64]) -> Result<Limb, MathError> {
    let mut limb = pool.limb()?;
    ring.reduce_signed_into(&mut limb, coeffs);
    ring.ntt(&mut limb);
    Ok(limb)
}

/// `a s + e`, one limb: public once it is complete. It forms the pair `(a s + e, -a)` of an RLWE sample of the secret
/// `s`, or `(a s + e, a)` of one of the secret `-s`.
pub(crate) fn masked_error(
    pool: &Pool,
    ring: &LimbRing,
    a: &[u64],
    s: &[u64],
    e: &[i64],
) -> Result<Limb, MathError> {
    let mut b = transformed(pool, ring, e)?;
    ring.mul_add_assign(&mut b, a, s);
    Ok(b)
}

/// A fresh RLWE sample `(a s + e, -a)` with uniform `a`, over the rings that `s` has limbs for, or the first of them.
pub(crate) fn rlwe_sample(
    pool: &Pool,
    rings: &[LimbRing],
    s: &[SecretLimb],
    rng: &mut (impl rand::CryptoRng + ?Sized),
) -> Result<[RnsPoly<ckks_math::Eval>; 2], MathError> {
    let e = error(1 << pool.log_n(), rng);
    let mut parts = [Vec::new(), Vec::new()];
    for (ring, s) in rings.iter().zip(s) {
        let mut a = pool.limb()?;
        sample::uniform_into(ring.modulus(), rng, &mut a);
        parts[0].push(masked_error(pool, ring, &a, s, &e)?);
        ring.neg_assign(&mut a);
        parts[1].push(a);
    }
    Ok(parts.map(RnsPoly::from_limbs))
}
