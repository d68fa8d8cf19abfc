//! What a computation asks for: kinds of switching keys, and the levels to make them for.

use crate::ciphertext::Level;
use crate::error::KeyError;
use crate::params::ModulusChain;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An automorphism of the slots: a rotation or the complex conjugation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Galois {
    /// Slot j of the result is slot j + steps of the input (cyclically).
    Rotation(i64),
    /// Every slot is conjugated.
    Conjugation,
}

impl Galois {
    /// The exponent g of X -> X^g in the ring of degree 2^log_n, 2 <= log_n < 62.
    pub fn element(self, log_n: u32) -> u64 {
        let two_n = 1u64 << (log_n + 1);
        match self {
            Self::Conjugation => two_n - 1,
            Self::Rotation(steps) => {
                let mut exponent = steps.rem_euclid((two_n / 4) as i64) as u64;
                let (mut base, mut g) = (5u64, 1u64);
                while exponent > 0 {
                    if exponent & 1 == 1 {
                        g = g * base % two_n;
                    }
                    base = base * base % two_n;
                    exponent >>= 1;
                }
                g
            }
        }
    }

    /// The same automorphism with its steps in `0..slots`, in the ring of degree 2^log_n, 2 <= log_n < 62.
    pub fn reduced(self, log_n: u32) -> Self {
        match self {
            Self::Conjugation => self,
            Self::Rotation(steps) => Self::Rotation(steps.rem_euclid(1 << (log_n - 1))),
        }
    }
}

/// What a switching key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyKind {
    /// s^2 to s.
    Relinearization,
    /// For an automorphism.
    Galois(Galois),
    /// From the secret to a sparse ephemeral secret of the given Hamming weight: only ever for level 1.
    ToEphemeral(u32),
    /// From that ephemeral secret back to the secret, for a ciphertext whose modulus was raised; and a rotation after it.
    FromEphemeral {
        /// Hamming weight of the ephemeral secret.
        weight: u32,
        /// Steps of the rotation; 0 for none.
        steps: i64,
    },
}

impl KeyKind {
    /// The same with the steps of a rotation in `0..slots`, in the ring of degree 2^log_n.
    pub(crate) fn reduced(self, log_n: u32) -> Self {
        match self {
            Self::Galois(g) => Self::Galois(g.reduced(log_n)),
            Self::FromEphemeral { weight, steps } => Self::FromEphemeral {
                weight,
                steps: steps.rem_euclid(1 << (log_n - 1)),
            },
            Self::Relinearization | Self::ToEphemeral(_) => self,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relinearization => f.write_str("relinearisation"),
            Self::Galois(Galois::Conjugation) => f.write_str("conjugation"),
            Self::Galois(Galois::Rotation(s)) => write!(f, "rotation by {s}"),
            Self::ToEphemeral(h) => write!(f, "to the ephemeral secret of weight {h}"),
            Self::FromEphemeral { weight, steps } => {
                write!(f, "from the ephemeral secret of weight {weight}")?;
                match steps {
                    0 => Ok(()),
                    steps => write!(f, " with a rotation by {steps}"),
                }
            }
        }
    }
}

/// The switching keys that a computation needs, each with the levels to make it for. A key made for a level serves
/// every level below; one made for a lower level is smaller and faster there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRequest {
    keys: BTreeMap<KeyKind, BTreeSet<Level>>,
}

impl KeyRequest {
    /// A request of no keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any kind of key.
    pub fn add(&mut self, kind: KeyKind, level: Level) {
        self.keys.entry(kind).or_default().insert(level);
    }

    /// Adds the relinearisation key.
    pub fn relin(&mut self, level: Level) {
        self.add(KeyKind::Relinearization, level);
    }

    /// Adds a rotation key; a rotation by 0 needs none.
    pub fn rotation(&mut self, steps: i64, level: Level) {
        if steps != 0 {
            self.add(KeyKind::Galois(Galois::Rotation(steps)), level);
        }
    }

    /// Adds the conjugation key.
    pub fn conjugation(&mut self, level: Level) {
        self.add(KeyKind::Galois(Galois::Conjugation), level);
    }

    /// Adds the two keys of a sparse-secret encapsulation (Bossuat, Troncoso-Pastoriza, Hubaux: Bootstrapping for
    /// approximate homomorphic encryption with negligible failure-probability by using sparse-secret encapsulation,
    /// <https://eprint.iacr.org/2022/024>): to an ephemeral secret of Hamming weight `weight` at level 1, and back from
    /// it at `level`. The secret is drawn and forgotten by the key generation, which has to make both at once.
    pub fn encapsulation(&mut self, weight: u32, level: Level) {
        self.add(KeyKind::ToEphemeral(weight), Level::new(1));
        self.add(KeyKind::FromEphemeral { weight, steps: 0 }, level);
    }

    /// Adds all of another request.
    pub fn extend(&mut self, other: &Self) {
        for (kind, levels) in &other.keys {
            self.keys.entry(*kind).or_default().extend(levels);
        }
    }

    /// The same request with steps reduced to the ring's slots (so that -1 and slots-1 are one key, and a rotation all
    /// the way round is none).
    pub fn reduced(&self, log_n: u32) -> Self {
        let mut out = Self::new();
        for (kind, levels) in &self.keys {
            let kind = kind.reduced(log_n);
            if kind != KeyKind::Galois(Galois::Rotation(0)) {
                out.keys.entry(kind).or_default().extend(levels);
            }
        }
        out
    }

    /// A request of fewer keys that serves the same computation: every level is raised to the least of `steps` that
    /// is not below it. Levels above all steps become the request's highest. Keys of one level have one shape, so that
    /// rotations can share work.
    pub fn at_steps(&self, steps: &[Level]) -> Self {
        let mut out = Self::new();
        let Some(top) = self.iter().map(|(_, level)| level).max() else {
            return out;
        };
        for (kind, level) in self.iter() {
            if matches!(kind, KeyKind::ToEphemeral(_)) {
                // Above level 1 the sparse secret would not be secure.
                out.add(kind, level);
                continue;
            }
            let step = steps.iter().copied().filter(|s| *s >= level).min();
            out.add(kind, step.unwrap_or(top));
        }
        out
    }

    /// Every key, kind by kind, levels ascending.
    pub fn iter(&self) -> impl Iterator<Item = (KeyKind, Level)> + '_ {
        self.keys
            .iter()
            .flat_map(|(k, ls)| ls.iter().map(move |l| (*k, *l)))
    }

    /// Level of the key that serves `level`: the lowest that was asked for and is not below. Steps are compared as they
    /// are, see [`Self::reduced`].
    ///
    /// # Errors
    /// [`KeyError::Missing`] if there is none.
    pub fn serving(&self, kind: KeyKind, level: Level) -> Result<Level, KeyError> {
        let levels = self.keys.get(&kind);
        let serving = levels.and_then(|levels| levels.range(level..).next());
        serving
            .copied()
            .ok_or_else(|| KeyError::missing(kind, level, levels.into_iter().flatten()))
    }

    /// Number of keys.
    pub fn count(&self) -> usize {
        self.keys.values().map(BTreeSet::len).sum()
    }

    /// Bytes of all keys, as resident.
    ///
    /// # Panics
    /// If a level is none of the parameter set's.
    pub fn bytes(&self, chain: &ModulusChain) -> u64 {
        let reduced = self.reduced(chain.log_n());
        reduced
            .iter()
            .map(|(kind, level)| chain.switching_key_bytes(kind, level))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn galois_elements_are_powers_of_five_and_minus_one() {
        assert_eq!(Galois::Rotation(0).element(4), 1);
        assert_eq!(Galois::Rotation(1).element(4), 5);
        assert_eq!(Galois::Rotation(-1).element(4) * 5 % 32, 1);
        assert_eq!(Galois::Conjugation.element(4), 31);
        assert_eq!(Galois::Rotation(-1).reduced(4), Galois::Rotation(7));
    }

    #[test]
    fn request_merges_equal_rotations_and_keeps_levels() {
        let mut r = KeyRequest::new();
        r.rotation(-1, Level::new(3));
        r.rotation(7, Level::new(3));
        r.rotation(7, Level::new(2));
        r.rotation(0, Level::new(3));
        r.rotation(8, Level::new(3));
        r.relin(Level::new(3));
        let r = r.reduced(4);
        assert_eq!(r.count(), 3);
        let levels = |r: KeyRequest| r.iter().map(|(_, l)| l.limbs()).collect::<Vec<_>>();
        assert_eq!(levels(r.at_steps(&[])), [3, 3]);
        assert_eq!(levels(r.at_steps(&[Level::new(2)])), [3, 2, 3]);
    }
}
