//! Secret words are wiped before their memory goes back to the pool, which hands it out again uncleared.

use ckks_math::{Limb, LimbRing, MathError, Pool, sample};
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

#[cfg(test)]
mod tests {
    use crate::{
        Decryptor, Encoder, Encryptor, KeyGenerator, KeyRequest, Parameters, Scale, SecretEncryptor,
    };
    use ckks_math::Pool;
    use num_complex::Complex64;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use std::collections::HashSet;

    /// Every limb that the pool has ever mapped, as it was left; nothing may be in use.
    fn left_behind(pool: &Pool, limb_bytes: u64) -> Vec<Vec<u64>> {
        assert_eq!(pool.in_use_bytes(), 0);
        let limbs: Vec<_> = (0..pool.mapped_bytes() / limb_bytes)
            .map(|_| pool.limb().unwrap())
            .collect();
        limbs.iter().map(|limb| limb.to_vec()).collect()
    }

    #[test]
    fn nothing_secret_is_left_in_the_pool() {
        let params = Parameters::builder()
            .log_n(5)
            .q_bits([50, 45, 45])
            .build_insecure_for_tests()
            .unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let keygen = KeyGenerator::new(&params);
        let secret = keygen.secret_key(&mut rng).unwrap();
        let public = keygen.public_key(&secret, &mut rng).unwrap();
        let mut request = KeyRequest::new();
        request.relin(params.max_level());
        request.rotation(1, params.max_level());
        let keys = keygen.evaluation_keys(&secret, &request, &mut rng).unwrap();
        let encoder = Encoder::new(&params);
        let slots = vec![Complex64::new(0.5, 1.0); params.slots()];
        let scale = Scale::new(2f64.powi(40));
        let pt = encoder.encode(&slots, params.max_level(), scale).unwrap();
        encoder.decode(&pt).unwrap();
        let a = Encryptor::new(&public).encrypt(&pt, &mut rng).unwrap();
        let b = SecretEncryptor::new(&secret)
            .encrypt(&pt, &mut rng)
            .unwrap();
        for ct in [&a, &b] {
            Decryptor::new(&secret).decrypt(ct, &encoder).unwrap();
        }

        // Whatever follows from the secret and public words: s, -s, s^2, P s, P s^2, products with uniform halves, masked and
        // encoded messages; in both orders of words.
        let mut forbidden = HashSet::new();
        let uniform: Vec<_> = keys
            .keys
            .values()
            .flat_map(|key| key.digits.iter().map(|[_, a]| &a.q))
            .collect();
        for (i, ring) in params.q().iter().enumerate() {
            let q = ring.modulus();
            let p = params.p()[..2]
                .iter()
                .fold(1, |acc, p| q.mul(acc, p.modulus().value()));
            let s = &secret.q[i];
            let mut found = vec![s.to_vec(), pt.poly.limb(i).to_vec()];
            let mut square = s.to_vec();
            ring.mul_assign(&mut square, s);
            found.push(square);
            for a in uniform.iter().map(|a| &a[i][..]).chain([
                &public.a.limb(i)[..],
                &a.parts[1].limb(i)[..],
                &b.parts[1].limb(i)[..],
            ]) {
                let mut product = a.to_vec();
                ring.mul_assign(&mut product, s);
                found.push(product);
            }
            for ct in [&a, &b] {
                let mut message = ct.parts[1].limb(i).to_vec();
                ring.mul_assign(&mut message, s);
                ring.add_assign(&mut message, ct.parts[0].limb(i));
                found.push(message);
            }
            for words in found.clone() {
                let mut times_p = words.clone();
                ring.mul_scalar_assign(&mut times_p, p);
                found.push(times_p);
            }
            for mut words in found {
                for _ in 0..2 {
                    forbidden.insert(words.clone());
                    ring.neg_assign(&mut words);
                    forbidden.insert(words.clone());
                    ring.intt(&mut words);
                }
            }
        }
        let (pool, limb_bytes) = (params.limbs().clone(), params.limb_bytes());
        drop((secret, public, keys, pt, a, b));
        let left = left_behind(&pool, limb_bytes);
        assert!(left.iter().any(|limb| limb.iter().any(|&w| w != 0)));
        for limb in left {
            assert!(!forbidden.contains(&limb));
        }
    }
}
