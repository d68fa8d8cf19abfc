//! Key generation.
//!
//! A switching key from a source secret `t` to a target secret `u`, at level L with digits of `alpha` primes and k
//! special primes, holds for every digit j a pair `b_j = -a_j u + e_j + P Q~_j t`, where `P Q~_j` is P on the limbs of
//! digit j and 0 elsewhere (Han, Ki: Better bootstrapping for approximate homomorphic encryption, section 3,
//! <https://eprint.iacr.org/2019/688>).
//!
//! Two pairs of one secret that share their uniform half but not the rest give the secret away: their difference is free
//! of `a`. So the uniform halves, expanded from a public seed, and the errors, expanded from a private one, are both bound
//! to the fingerprint of all parameters (P among them), the key's kind and level, and the digit. Even a generator that is
//! in the same state twice, as in an experiment that is repeated from its seed with other parameters or other requests,
//! gives either the very same pair again or two independent ones.

use crate::ciphertext::Level;
use crate::error::KeyError;
use crate::keys::{
    EvaluationKeys, ExtendedPoly, Galois, KeyKind, KeyRequest, PublicKey, SecretKey, SwitchingKey,
};
use crate::params::{Parameters, digit_range, max_log_qp_ephemeral_128};
use crate::secret::{self, SecretLimb, SecretRng};
use ckks_math::{Limb, LimbRing, MathError, sample};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

const UNIFORM_CONTEXT: &str = "polyphase ckks-scheme 1 switching key uniform half";
const EPHEMERAL_CONTEXT: &str = "polyphase ckks-scheme 1 ephemeral secret";
const ERROR_CONTEXT: &str = "polyphase ckks-scheme 1 switching key error";

/// Generates keys for one parameter set. The generators of randomness that its methods take are the caller's and must be
/// seeded from the system's randomness, except in experiments.
#[derive(Clone, Debug)]
pub struct KeyGenerator {
    params: Parameters,
}

/// What one set of evaluation keys is expanded from.
struct Seeds {
    /// Of the uniform halves; anyone may know it.
    public: [u8; 32],
    /// Of the errors.
    private: Zeroizing<[u8; 32]>,
}

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
    pub fn secret_key<R: CryptoRng>(&self, rng: &mut R) -> Result<SecretKey, KeyError> {
        let mut coeffs = Zeroizing::new(vec![0; self.params.degree()]);
        sample::ternary_into(rng, &mut coeffs);
        let transform = |ring| SecretLimb::transformed(self.params.limbs(), ring, &coeffs);
        Ok(SecretKey {
            params: self.params.clone(),
            q: self
                .params
                .q()
                .iter()
                .map(transform)
                .collect::<Result<_, _>>()?,
            coeffs,
        })
    }

    /// The public encryption key of `sk`, for the parameter set of `sk`.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn public_key<R: CryptoRng>(
        &self,
        sk: &SecretKey,
        rng: &mut R,
    ) -> Result<PublicKey, KeyError> {
        let params = &sk.params;
        let [b, a] = secret::rlwe_sample(params.limbs(), params.q(), &sk.q, rng)?;
        Ok(PublicKey {
            params: params.clone(),
            b,
            a,
        })
    }

    /// The switching keys of a request, for the parameter set of `sk`, generated in parallel on the current rayon pool.
    /// A key does not depend on what else is requested.
    ///
    /// # Errors
    /// [`KeyError::LevelTooHigh`] for a level that the set does not have; [`KeyError::EphemeralInsecure`] and
    /// [`KeyError::EphemeralWeight`] for sparse secrets that are not secure or not possible; or when the pool's budget is exhausted.
    pub fn evaluation_keys<R: CryptoRng>(
        &self,
        sk: &SecretKey,
        request: &KeyRequest,
        rng: &mut R,
    ) -> Result<EvaluationKeys, KeyError> {
        let params = &sk.params;
        let mut seeds = Seeds {
            public: [0; 32],
            private: Zeroizing::default(),
        };
        rng.fill_bytes(&mut seeds.public);
        rng.fill_bytes(&mut *seeds.private);
        let wanted: Vec<_> = request.reduced(params.log_n()).iter().collect();
        let max = params.max_level();
        if let Some(&(_, level)) = wanted.iter().find(|(_, level)| !params.has_level(*level)) {
            return Err(KeyError::LevelTooHigh { level, max });
        }
        for &(kind, level) in &wanted {
            check_ephemeral(params, kind, level)?;
        }
        let keys = wanted
            .into_par_iter()
            .map(|(kind, level)| {
                let key = switching_key(sk, kind, level, &seeds)?;
                Ok(((kind, level), Arc::new(key)))
            })
            .collect::<Result<BTreeMap<_, _>, MathError>>()?;
        let bytes = keys
            .keys()
            .map(|(_, level)| params.switching_key_bytes(*level))
            .sum();
        Ok(EvaluationKeys { keys, bytes })
    }
}

/// The key of one kind for one level that the set has.
fn switching_key(
    sk: &SecretKey,
    kind: KeyKind,
    level: Level,
    seeds: &Seeds,
) -> Result<SwitchingKey, MathError> {
    let params = &sk.params;
    let pool = params.limbs();
    let shape = params.key_shape(level);
    let l = level.limbs();
    let specials = &params.p()[..shape.specials];
    let digit_count = l.div_ceil(shape.digit_limbs);
    let stream = |context, seed: &[u8; 32], digit: usize, limb: Option<usize>| {
        derive(context, seed, params, kind, level, digit, limb)
    };

    let ephemeral = match kind {
        KeyKind::ToEphemeral(weight) | KeyKind::FromEphemeral(weight) => {
            Some(ephemeral_secret(params, weight, &seeds.private))
        }
        KeyKind::Relinearization | KeyKind::Galois(_) => None,
    };
    // Relinearisation: s^2 -> s. An automorphism is applied after the switch (hoisting), so its key leads from s to the
    // pre-image of s.
    let mut minus_target = match (kind, &ephemeral) {
        (KeyKind::ToEphemeral(_), Some(ephemeral)) => ephemeral.clone(),
        (KeyKind::Galois(g), _) => preimage(&sk.coeffs, g.element(params.log_n())),
        _ => sk.coeffs.clone(),
    };
    minus_target.iter_mut().for_each(|c| *c = -*c);
    let errors: Vec<_> = (0..digit_count)
        .map(|digit| {
            let mut rng = stream(ERROR_CONTEXT, &seeds.private, digit, None);
            secret::error(params.degree(), &mut rng.0)
        })
        .collect();

    let mut digits: Vec<[ExtendedPoly; 2]> = (0..digit_count).map(|_| <_>::default()).collect();
    for (i, ring) in params.q()[..l].iter().chain(specials).enumerate() {
        let minus_target = SecretLimb::transformed(pool, ring, &minus_target)?;
        let gadget = if i < l {
            let ephemeral = ephemeral.as_ref().map(|e| &e[..]);
            Some(gadget_limb(sk, kind, ephemeral, i, specials)?)
        } else {
            None
        };
        for (digit, (pair, error)) in digits.iter_mut().zip(&errors).enumerate() {
            let mut a: Limb = pool.limb()?;
            let mut rng = stream(UNIFORM_CONTEXT, &seeds.public, digit, Some(i));
            sample::uniform_into(ring.modulus(), &mut rng.0, &mut a);
            let mut b = secret::masked_error(pool, ring, &a, &minus_target, error)?;
            let (from, to) = digit_range(l, shape.digit_limbs, digit);
            if let Some(gadget) = gadget.as_ref().filter(|_| (from..to).contains(&i)) {
                ring.add_assign(&mut b, gadget);
            }
            for (half, limb) in pair.iter_mut().zip([b, a]) {
                if i < l {
                    half.q.push(limb);
                } else {
                    half.p.push(limb);
                }
            }
        }
    }
    Ok(SwitchingKey {
        fingerprint: *params.fingerprint(),
        level,
        shape,
        digits,
    })
}

/// A key under a sparse secret is for level 1 only, and its modulus within that secret's own bound.
fn check_ephemeral(params: &Parameters, kind: KeyKind, level: Level) -> Result<(), KeyError> {
    let (KeyKind::ToEphemeral(weight) | KeyKind::FromEphemeral(weight)) = kind else {
        return Ok(());
    };
    let degree = params.degree();
    if !(1..=degree).contains(&(weight as usize)) {
        return Err(KeyError::EphemeralWeight { weight, degree });
    }
    if kind == KeyKind::FromEphemeral(weight) {
        return Ok(());
    }
    let bound = max_log_qp_ephemeral_128(params.log_n(), weight);
    let log_qp = params.log_q(level) + params.log_p(params.key_shape(level).specials);
    let secure = log_qp <= f64::from(bound) || params.security_bits() == 0;
    if level == Level::new(1) && secure {
        return Ok(());
    }
    Err(KeyError::EphemeralInsecure {
        weight,
        level,
        log_qp,
        bound,
    })
}

/// The sparse secret of one key generation: it depends on the private seed, the parameters and the weight only.
fn ephemeral_secret(params: &Parameters, weight: u32, seed: &[u8; 32]) -> Zeroizing<Vec<i64>> {
    let kind = KeyKind::ToEphemeral(weight);
    let mut rng = derive(
        EPHEMERAL_CONTEXT,
        seed,
        params,
        kind,
        Level::new(1),
        0,
        None,
    );
    let mut coeffs = Zeroizing::new(vec![0; params.degree()]);
    sample::sparse_ternary_into(&mut rng.0, weight as usize, &mut coeffs);
    coeffs
}

/// `P t` modulo ciphertext prime `i`, `t` being the source secret.
fn gadget_limb(
    sk: &SecretKey,
    kind: KeyKind,
    ephemeral: Option<&[i64]>,
    i: usize,
    specials: &[LimbRing],
) -> Result<SecretLimb, MathError> {
    let ring = &sk.params.q()[i];
    let mut source = match (kind, ephemeral) {
        (KeyKind::FromEphemeral(_), Some(ephemeral)) => {
            SecretLimb::transformed(sk.params.limbs(), ring, ephemeral)?
        }
        _ => {
            let mut source = SecretLimb::new(sk.params.limbs())?;
            source.copy_from_slice(&sk.q[i]);
            source
        }
    };
    if kind == KeyKind::Relinearization {
        ring.mul_assign(&mut source, &sk.q[i]);
    }
    let q = ring.modulus();
    let p = specials
        .iter()
        .fold(1, |acc, p| q.mul(acc, p.modulus().value()));
    ring.mul_scalar_assign(&mut source, p);
    Ok(source)
}

/// Coefficients of the polynomial whose image under X -> X^g has coefficients `s`.
fn preimage(s: &[i64], g: u64) -> Zeroizing<Vec<i64>> {
    let n = s.len();
    // Coefficient k of the pre-image goes to exponent k g mod 2N, negated beyond N.
    let coefficient = |k: u64| {
        let e = (k * g % (2 * n as u64)) as usize;
        if e < n { s[e] } else { -s[e - n] }
    };
    Zeroizing::new((0..n as u64).map(coefficient).collect())
}

/// The generator that belongs to a seed and a place: `context` and all that follows `seed` are hashed with it.
fn derive(
    context: &str,
    seed: &[u8; 32],
    params: &Parameters,
    kind: KeyKind,
    level: Level,
    digit: usize,
    limb: Option<usize>,
) -> SecretRng {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(seed);
    hasher.update(params.fingerprint());
    let place = match kind {
        KeyKind::Relinearization => [0, 0],
        KeyKind::Galois(Galois::Conjugation) => [1, 0],
        KeyKind::Galois(Galois::Rotation(steps)) => [2, steps],
        KeyKind::ToEphemeral(weight) => [3, i64::from(weight)],
        KeyKind::FromEphemeral(weight) => [4, i64::from(weight)],
    };
    for number in place {
        hasher.update(&number.to_le_bytes());
    }
    // A limb is never u64::MAX.
    for number in [level.limbs(), digit, limb.unwrap_or(usize::MAX)] {
        hasher.update(&(number as u64).to_le_bytes());
    }
    let mut hash = hasher.finalize();
    hasher.zeroize();
    let rng = SecretRng(ChaCha20Rng::from_seed(*hash.as_bytes()));
    hash.zeroize();
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Parameters;

    /// All words of the key for `kind` and `level` from a generator that starts at `seed`.
    fn words(
        params: &Parameters,
        seed: u64,
        request: &KeyRequest,
        kind: KeyKind,
        level: usize,
    ) -> Vec<Vec<u64>> {
        let keygen = KeyGenerator::new(params);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let sk = keygen.secret_key(&mut rng).unwrap();
        let keys = keygen.evaluation_keys(&sk, request, &mut rng).unwrap();
        let key = &keys.keys[&(kind, Level::new(level))];
        let halves = key.digits.iter().flatten();
        halves
            .flat_map(|half| half.q.iter().chain(&half.p))
            .map(|limb| limb.to_vec())
            .collect()
    }

    fn params(p_bits: u32) -> Parameters {
        Parameters::builder()
            .log_n(5)
            .q_bits([40, 40, 40])
            .p_bits([p_bits, p_bits])
            .build_insecure_for_tests()
            .unwrap()
    }

    #[test]
    fn replayed_generator_gives_the_same_pair_or_an_independent_one() {
        let kind = KeyKind::Galois(Galois::Rotation(3));
        let mut request = KeyRequest::new();
        request.add(kind, Level::new(3));
        let alone = words(&params(45), 1, &request, kind, 3);
        request.relin(Level::new(2));
        request.add(kind, Level::new(2));
        assert_eq!(alone, words(&params(45), 1, &request, kind, 3));
        // Other special primes, another level, another kind: nothing in common, limb by limb.
        for other in [
            words(&params(46), 1, &request, kind, 3),
            words(&params(45), 1, &request, kind, 2),
            words(&params(45), 1, &request, KeyKind::Relinearization, 2),
            words(&params(45), 2, &request, kind, 3),
        ] {
            assert!(other.iter().all(|limb| !alone.contains(limb)));
        }
    }

    #[test]
    fn preimage_goes_back_to_the_polynomial() {
        let s: Vec<i64> = (1..=8).collect();
        for g in [1, 5, 25, 15, 3] {
            let before = preimage(&s, g);
            let mut image = vec![0; 8];
            for (k, &c) in before.iter().enumerate() {
                let e = k as u64 * g % 16;
                image[e as usize % 8] += if e < 8 { c } else { -c };
            }
            assert_eq!(image, s);
        }
    }
}
