//! Keys: the secret key (client only), the public key, switching keys, and what a computation asks for.

mod request;

pub use request::{Galois, KeyKind, KeyRequest};

use crate::ciphertext::Level;
use crate::error::KeyError;
use crate::params::{Fingerprint, KeyShape, Parameters};
use crate::secret::SecretLimb;
use ckks_math::{Eval, Limb, MathError, RnsPoly};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// Which secret key something belongs to: a hash of the parameters' fingerprint and the secret's coefficients. It is public
/// and says nothing of the secret, which has far more entropy than anyone can search.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The identity of no key.
    pub const NONE: Self = Self([0; 16]);

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn of(params: &Parameters, coeffs: &[i64]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("polyphase ckks-scheme 1 key identity");
        hasher.update(params.fingerprint());
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(coeffs.iter().map(|&c| c as u8).collect());
        hasher.update(&bytes);
        let mut id = Self::NONE;
        id.0.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        hasher.zeroize();
        id
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The secret key: coefficients in {-1, 0, 1} and their transform. Belongs to the client; nothing that evaluates can
/// hold one. Wiped when dropped, never printed.
pub struct SecretKey {
    pub(crate) params: Parameters,
    pub(crate) id: KeyId,
    pub(crate) coeffs: Zeroizing<Vec<i64>>,
    /// Transform modulo every ciphertext prime.
    pub(crate) q: Vec<SecretLimb>,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

impl SecretKey {
    /// The key of these coefficients, N of them, each -1, 0 or 1.
    pub(crate) fn from_coeffs(
        params: &Parameters,
        coeffs: Zeroizing<Vec<i64>>,
    ) -> Result<Self, MathError> {
        let transform = |ring| SecretLimb::transformed(params.limbs(), ring, &coeffs);
        Ok(Self {
            params: params.clone(),
            id: KeyId::of(params, &coeffs),
            q: params.q().iter().map(transform).collect::<Result<_, _>>()?,
            coeffs,
        })
    }

    /// The parameter set that the key belongs to.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// The identity that everything made with this key carries in its files.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// What uniform halves are expanded from; anyone may know it.
pub(crate) type PublicSeed = [u8; 32];

/// A public encryption key: an encryption `(a s + e, -a)` of zero at the highest level.
pub struct PublicKey {
    pub(crate) params: Parameters,
    pub(crate) id: KeyId,
    /// Of `a`.
    pub(crate) seed: PublicSeed,
    pub(crate) b: RnsPoly<Eval>,
    /// The second half, `-a`.
    pub(crate) a: RnsPoly<Eval>,
}

impl PublicKey {
    /// The parameter set that the key belongs to.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// The identity of its secret key.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}

/// Polynomial modulo some ciphertext primes and some special primes, Eval order.
#[derive(Default)]
pub(crate) struct ExtendedPoly {
    pub(crate) q: Vec<Limb>,
    pub(crate) p: Vec<Limb>,
}

impl ExtendedPoly {
    /// Limb `i` of the ciphertext primes followed by the special primes, with `q_limbs` ciphertext primes in use.
    pub(crate) fn limb(&self, i: usize, q_limbs: usize) -> &[u64] {
        if i < q_limbs {
            &self.q[i]
        } else {
            &self.p[i - q_limbs]
        }
    }

    /// Adds a limb at the end of those of the ciphertext primes, or of those of the special primes.
    pub(crate) fn push(&mut self, limb: Limb, of_q: bool) {
        if of_q {
            self.q.push(limb);
        } else {
            self.p.push(limb);
        }
    }

    /// The same, to be written.
    pub(crate) fn limb_mut(&mut self, i: usize, q_limbs: usize) -> &mut [u64] {
        if i < q_limbs {
            &mut self.q[i]
        } else {
            &mut self.p[i - q_limbs]
        }
    }
}

/// A hybrid switching key: one RLWE pair `(b, a)` a digit.
pub struct SwitchingKey {
    /// Of the parameters that the key was made for.
    pub(crate) fingerprint: Fingerprint,
    /// Of the uniform halves; the same for all keys of one key generation.
    pub(crate) seed: PublicSeed,
    pub(crate) level: Level,
    pub(crate) shape: KeyShape,
    pub(crate) digits: Vec<[ExtendedPoly; 2]>,
}

impl fmt::Debug for SwitchingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchingKey")
            .field("level", &self.level)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl SwitchingKey {
    /// Highest level that the key serves.
    pub fn level(&self) -> Level {
        self.level
    }
}

/// Where an evaluator finds switching keys.
pub trait KeySource: Send + Sync + fmt::Debug {
    /// A key of the kind that serves `level`: the one made for the lowest such level. Evaluators ask for rotations with
    /// steps in `1..slots`.
    ///
    /// # Errors
    /// [`KeyError::Missing`] if there is none.
    fn switching_key(&self, kind: KeyKind, level: Level) -> Result<Arc<SwitchingKey>, KeyError>;
}

/// Switching keys in memory; public material, holds nothing secret.
#[derive(Debug, Default)]
pub struct EvaluationKeys {
    pub(crate) id: KeyId,
    pub(crate) keys: BTreeMap<(KeyKind, Level), Arc<SwitchingKey>>,
    pub(crate) bytes: u64,
}

impl EvaluationKeys {
    pub(crate) fn new(
        params: &Parameters,
        id: KeyId,
        keys: BTreeMap<(KeyKind, Level), Arc<SwitchingKey>>,
    ) -> Self {
        let bytes = keys
            .keys()
            .map(|(kind, level)| params.switching_key_bytes(*kind, *level))
            .sum();
        Self { id, keys, bytes }
    }

    /// The identity of the secret key that they were made with.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What is there, kind by kind, levels ascending.
    pub fn iter(&self) -> impl Iterator<Item = (KeyKind, Level)> + '_ {
        self.keys.keys().copied()
    }

    /// Number of keys.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Bytes as resident.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl KeySource for EvaluationKeys {
    fn switching_key(&self, kind: KeyKind, level: Level) -> Result<Arc<SwitchingKey>, KeyError> {
        let top = Level::new(u32::MAX as usize);
        if let Some((_, key)) = self.keys.range((kind, level)..=(kind, top)).next() {
            return Ok(key.clone());
        }
        let of_kind = self.keys.keys().filter(|(k, _)| *k == kind);
        Err(KeyError::missing(kind, level, of_kind.map(|(_, l)| l)))
    }
}
