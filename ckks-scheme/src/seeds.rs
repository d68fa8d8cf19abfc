//! The seeds that keys and fresh ciphertexts are expanded from, and how.
//!
//! Two pairs of one secret that share their uniform half but not the rest give the secret away: their difference is free
//! of `a`. The same holds for pairs that share the error but not the uniform half. So the uniform halves, expanded from a
//! public seed, and the errors, expanded from a private one, are both bound to the secret's identity, the fingerprint of
//! all parameters (P among them), what the pair is for, its level and its digit. Even a generator that is in the same state
//! twice gives either the very same pair again or two independent ones.

use crate::ciphertext::Level;
use crate::keys::{Galois, KeyId, KeyKind, PublicSeed};
use crate::params::Parameters;
use crate::secret::{self, SecretLimb};
use chacha20::ChaCha20Rng;
use ckks_math::{Eval, Limb, LimbRing, MathError, RnsPoly, sample};
use rand::{CryptoRng, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const UNIFORM_CONTEXT: &str = "polyphase ckks-scheme 1 uniform half";
const ERROR_CONTEXT: &str = "polyphase ckks-scheme 1 error";
const EPHEMERAL_CONTEXT: &str = "polyphase ckks-scheme 1 ephemeral secret";

/// What one set of keys or one ciphertext is expanded from.
pub(crate) struct Seeds {
    pub(crate) public: PublicSeed,
    /// Of the errors and of the ephemeral secrets.
    pub(crate) private: Zeroizing<[u8; 32]>,
}

impl Seeds {
    /// Fresh seeds.
    pub(crate) fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seeds = Self {
            public: [0; 32],
            private: Zeroizing::default(),
        };
        rng.fill_bytes(&mut seeds.public);
        rng.fill_bytes(&mut *seeds.private);
        seeds
    }
}

/// What an RLWE pair is for.
#[derive(Clone, Copy)]
enum Purpose {
    Switching(KeyKind),
    PublicKey,
    Ciphertext,
}

/// Where a pair belongs: everything that its random parts are bound to, besides their seeds.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    params: &'a Parameters,
    /// The secret that the pair is under, or that the key was made for.
    key: KeyId,
    purpose: Purpose,
    level: Level,
}

impl<'a> Place<'a> {
    pub(crate) fn of_public_key(params: &'a Parameters, key: KeyId) -> Self {
        Self {
            params,
            key,
            purpose: Purpose::PublicKey,
            level: params.max_level(),
        }
    }

    pub(crate) fn of_switching_key(
        params: &'a Parameters,
        key: KeyId,
        kind: KeyKind,
        level: Level,
    ) -> Self {
        Self {
            params,
            key,
            purpose: Purpose::Switching(kind),
            level,
        }
    }

    pub(crate) fn of_ciphertext(params: &'a Parameters, key: KeyId, level: Level) -> Self {
        Self {
            params,
            key,
            purpose: Purpose::Ciphertext,
            level,
        }
    }

    /// Limb `limb` (counted over the ciphertext primes and then the special primes) of the uniform half of a digit.
    pub(crate) fn uniform_into(
        self,
        seed: &PublicSeed,
        digit: usize,
        limb: usize,
        ring: &LimbRing,
        out: &mut [u64],
    ) {
        let mut rng = self.generator(UNIFORM_CONTEXT, seed, [digit as u64, limb as u64]);
        sample::uniform_into(ring.modulus(), &mut rng, out);
    }

    /// The error polynomial of a digit.
    pub(crate) fn error(self, seed: &[u8; 32], digit: usize) -> Zeroizing<Vec<i64>> {
        let mut rng = self.generator(ERROR_CONTEXT, seed, [digit as u64, 0]);
        secret::error(self.params.degree(), &mut rng)
    }

    /// The sparse secret of one key generation: of all that a place has, it depends on the parameters and the key alone.
    pub(crate) fn ephemeral(self, seed: &[u8; 32], weight: u32) -> Zeroizing<Vec<i64>> {
        let purpose = Purpose::Switching(KeyKind::ToEphemeral(weight));
        let level = Level::new(1);
        let place = Self {
            purpose,
            level,
            ..self
        };
        let mut rng = place.generator(EPHEMERAL_CONTEXT, seed, [0, 0]);
        let mut coeffs = Zeroizing::new(vec![0; self.params.degree()]);
        sample::sparse_ternary_into(&mut rng, weight as usize, &mut coeffs);
        coeffs
    }

    /// `a s + e` over the level's ciphertext primes, limb by limb, together with each `a`; `s` has a limb for each.
    pub(crate) fn masked_errors(
        self,
        seeds: &Seeds,
        s: &[SecretLimb],
        mut take: impl FnMut(Limb, Limb) -> Result<(), MathError>,
    ) -> Result<(), MathError> {
        let pool = self.params.limbs();
        let e = self.error(&seeds.private, 0);
        let rings = &self.params.q()[..self.level.limbs()];
        for (i, (ring, s)) in rings.iter().zip(s).enumerate() {
            let mut a = pool.limb()?;
            self.uniform_into(&seeds.public, 0, i, ring, &mut a);
            take(secret::masked_error(pool, ring, &a, s, &e)?, a)?;
        }
        Ok(())
    }

    /// `-a` over the level's ciphertext primes.
    pub(crate) fn minus_uniform(self, seed: &PublicSeed) -> Result<RnsPoly<Eval>, MathError> {
        let rings = &self.params.q()[..self.level.limbs()];
        let limb = |(i, ring): (usize, &LimbRing)| {
            let mut a = self.params.limbs().limb()?;
            self.uniform_into(seed, 0, i, ring, &mut a);
            ring.neg_assign(&mut a);
            Ok(a)
        };
        let limbs: Result<_, MathError> = rings.iter().enumerate().map(limb).collect();
        Ok(RnsPoly::from_limbs(limbs?))
    }

    /// The generator of one part: `context`, the seed, the place and `part` are hashed. Its state is wiped when it is
    /// dropped.
    fn generator(
        self,
        context: &str,
        seed: &[u8; 32],
        part: [u64; 2],
    ) -> impl CryptoRng + ZeroizeOnDrop + use<> {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(seed);
        hasher.update(self.params.fingerprint());
        hasher.update(self.key.as_bytes());
        let purpose = match self.purpose {
            Purpose::Switching(KeyKind::Relinearization) => [0, 0],
            Purpose::Switching(KeyKind::Galois(Galois::Conjugation)) => [1, 0],
            Purpose::Switching(KeyKind::Galois(Galois::Rotation(steps))) => [2, steps],
            Purpose::Switching(KeyKind::ToEphemeral(weight)) => [3, i64::from(weight)],
            Purpose::Switching(KeyKind::FromEphemeral { weight, steps }) => {
                [4, i64::from(weight) | steps << 32]
            }
            Purpose::PublicKey => [5, 0],
            Purpose::Ciphertext => [6, 0],
        };
        for number in purpose {
            hasher.update(&number.to_le_bytes());
        }
        for number in [self.level.limbs() as u64, part[0], part[1]] {
            hasher.update(&number.to_le_bytes());
        }
        let mut hash = hasher.finalize();
        hasher.zeroize();
        let rng = ChaCha20Rng::from_seed(*hash.as_bytes());
        hash.zeroize();
        rng
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use std::collections::HashMap;

    fn params(last: u32) -> Parameters {
        Parameters::builder()
            .log_n(5)
            .q_bits([40, 40, last])
            .build_insecure_for_tests()
            .unwrap()
    }

    #[test]
    fn streams_are_bound_to_everything_that_a_place_has() {
        let purposes = [
            Purpose::Switching(KeyKind::Relinearization),
            Purpose::Switching(KeyKind::Galois(Galois::Conjugation)),
            Purpose::Switching(KeyKind::Galois(Galois::Rotation(0))),
            Purpose::Switching(KeyKind::Galois(Galois::Rotation(1))),
            Purpose::Switching(KeyKind::Galois(Galois::Rotation(-1))),
            Purpose::Switching(KeyKind::ToEphemeral(1)),
            Purpose::Switching(KeyKind::ToEphemeral(32)),
            Purpose::Switching(KeyKind::FromEphemeral {
                weight: 1,
                steps: 0,
            }),
            Purpose::Switching(KeyKind::FromEphemeral {
                weight: 32,
                steps: 0,
            }),
            Purpose::Switching(KeyKind::FromEphemeral {
                weight: 32,
                steps: 1,
            }),
            Purpose::PublicKey,
            Purpose::Ciphertext,
        ];
        let sets = [params(40), params(41)];
        let keys = [[1; 16], [2; 16]].map(KeyId::from_bytes);
        let mut seen = HashMap::new();
        let mut draw = |place: Place<'_>, context: &'static str, seed: u8, part| {
            let mut words = [0; 32];
            place
                .generator(context, &[seed; 32], part)
                .fill_bytes(&mut words);
            let set = place.params.literal().q_bits[2];
            let (key, level) = (place.key, place.level);
            let what = format!("{set} {key} {level} {context} {seed} {part:?}");
            if let Some(other) = seen.insert(words, what.clone()) {
                panic!("the same stream twice: {other} and {what}");
            }
        };
        let mut count = 0;
        for params in &sets {
            for key in keys {
                for purpose in purposes {
                    for level in [1, 2].map(Level::new) {
                        let place = Place {
                            params,
                            key,
                            purpose,
                            level,
                        };
                        for context in [UNIFORM_CONTEXT, ERROR_CONTEXT, EPHEMERAL_CONTEXT] {
                            for part in [[0, 0], [0, 1], [1, 0]] {
                                for seed in [1, 2] {
                                    draw(place, context, seed, part);
                                    count += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(count, 2 * 2 * 12 * 2 * 3 * 3 * 2);
    }

    #[test]
    fn parts_have_their_own_streams() {
        let params = params(40);
        let place = Place::of_ciphertext(&params, KeyId::NONE, Level::new(2));
        let ring = &params.q()[0];
        let uniform = |seed, digit, limb| {
            let mut out = vec![0; params.degree()];
            place.uniform_into(&[seed; 32], digit, limb, ring, &mut out);
            out
        };
        let first = uniform(1, 0, 0);
        assert_eq!(first, uniform(1, 0, 0));
        for other in [uniform(2, 0, 0), uniform(1, 1, 0), uniform(1, 0, 1)] {
            assert_ne!(first, other);
        }
        let error = |seed, digit| place.error(&[seed; 32], digit).to_vec();
        assert_eq!(error(1, 0), error(1, 0));
        assert_ne!(error(1, 0), error(2, 0));
        assert_ne!(error(1, 0), error(1, 1));
    }
}
