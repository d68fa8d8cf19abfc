//! Key generation.
//!
//! A switching key from a source secret `t` to a target secret `u`, at level L with digits of `alpha` primes and k
//! special primes, holds for every digit j a pair `b_j = -a_j u + e_j + P Q~_j t`, where `P Q~_j` is P on the limbs of
//! digit j and 0 elsewhere (Han, Ki: Better bootstrapping for approximate homomorphic encryption, section 3,
//! <https://eprint.iacr.org/2019/688>). A key from an ephemeral secret has one digit, of all limbs.
//!
//! Uniform halves and errors are expanded from two seeds and bound to the place of each pair. Even a generator that is in
//! the same state twice, as in an experiment that is repeated from its seed with other parameters or other requests, gives
//! either the very same pair again or two independent ones.

use crate::ciphertext::Level;
use crate::error::KeyError;
use crate::keys::{
    EvaluationKeys, ExtendedPoly, Galois, KeyId, KeyKind, KeyRequest, PublicKey, PublicSeed,
    SecretKey, SwitchingKey,
};
use crate::params::{Parameters, digit_range, max_log_qp_ephemeral_128};
use crate::secret::{self, SecretLimb};
use crate::seeds::{Place, Seeds};
use ckks_math::{Eval, Limb, LimbRing, MathError, RnsPoly, sample};
use rand::CryptoRng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Generates keys for one parameter set. The generators of randomness that its methods take are the caller's and must be
/// seeded from the system's randomness, except in experiments.
#[derive(Clone, Debug)]
pub struct KeyGenerator {
    params: Parameters,
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
        Ok(SecretKey::from_coeffs(&self.params, coeffs)?)
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
        let seeds = Seeds::draw(rng);
        let mut b = Vec::new();
        let place = Place::of_public_key(params, sk.id);
        place.masked_errors(&seeds, &sk.q, |limb, _| {
            b.push(limb);
            Ok(())
        })?;
        let b = RnsPoly::from_limbs(b);
        Ok(expand_public_key(params, sk.id, seeds.public, b)?)
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
        let seeds = Seeds::draw(rng);
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
        Ok(EvaluationKeys::new(params, sk.id, keys))
    }
}

/// The public key whose first half is `b`, at the highest level, and whose second half comes from `seed`.
pub(crate) fn expand_public_key(
    params: &Parameters,
    id: KeyId,
    seed: PublicSeed,
    b: RnsPoly<Eval>,
) -> Result<PublicKey, MathError> {
    Ok(PublicKey {
        a: Place::of_public_key(params, id).minus_uniform(&seed)?,
        params: params.clone(),
        id,
        seed,
        b,
    })
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
    let shape = params.chain().key_shape_of(kind, level);
    let l = level.limbs();
    let specials = &params.p()[..shape.specials];
    let digit_count = l.div_ceil(shape.digit_limbs);
    let place = Place::of_switching_key(params, sk.id, kind, level);

    let ephemeral = match kind {
        KeyKind::ToEphemeral(weight) | KeyKind::FromEphemeral { weight, .. } => {
            Some(place.ephemeral(&seeds.private, weight))
        }
        KeyKind::Relinearization | KeyKind::Galois(_) => None,
    };
    // Relinearisation: s^2 -> s. An automorphism is applied after the switch (hoisting), so its key leads from s to the
    // pre-image of s.
    let mut minus_target = match (kind, &ephemeral) {
        (KeyKind::ToEphemeral(_), Some(ephemeral)) => ephemeral.clone(),
        (KeyKind::Galois(g), _) => preimage(&sk.coeffs, g.element(params.log_n())),
        (KeyKind::FromEphemeral { steps, .. }, _) => {
            preimage(&sk.coeffs, Galois::Rotation(steps).element(params.log_n()))
        }
        _ => sk.coeffs.clone(),
    };
    minus_target.iter_mut().for_each(|c| *c = -*c);
    let errors: Vec<_> = (0..digit_count)
        .map(|digit| place.error(&seeds.private, digit))
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
            place.uniform_into(&seeds.public, digit, i, ring, &mut a);
            let mut b = secret::masked_error(pool, ring, &a, &minus_target, error)?;
            let (from, to) = digit_range(l, shape.digit_limbs, digit);
            if let Some(gadget) = gadget.as_ref().filter(|_| (from..to).contains(&i)) {
                ring.add_assign(&mut b, gadget);
            }
            for (half, limb) in pair.iter_mut().zip([b, a]) {
                half.push(limb, i < l);
            }
        }
    }
    Ok(SwitchingKey {
        fingerprint: *params.fingerprint(),
        seed: seeds.public,
        level,
        shape,
        digits,
    })
}

/// A key under a sparse secret is for level 1 only, and its modulus within that secret's own bound.
pub(crate) fn check_ephemeral(
    params: &Parameters,
    kind: KeyKind,
    level: Level,
) -> Result<(), KeyError> {
    let (KeyKind::ToEphemeral(weight) | KeyKind::FromEphemeral { weight, .. }) = kind else {
        return Ok(());
    };
    let degree = params.degree();
    if !(1..=degree).contains(&(weight as usize)) {
        return Err(KeyError::EphemeralWeight { weight, degree });
    }
    if kind != KeyKind::ToEphemeral(weight) {
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
        (KeyKind::FromEphemeral { .. }, Some(ephemeral)) => {
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

#[cfg(test)]
mod randomness;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Parameters;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

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
