//! Tables that operations ask for: made at their first use, then shared.

use super::{Inner, Parameters};
use crate::keys::Galois;
use ckks_math::{Automorphism, BaseConverter, LimbRing, MathError, ResidueMatrix};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A map that is filled as it is read.
type Cache<K, V> = RwLock<HashMap<K, Arc<V>>>;

#[derive(Default)]
pub(super) struct Tables {
    automorphisms: Cache<Galois, Automorphism>,
    converters: Cache<ConverterId, BaseConverter>,
    subrings: Cache<u32, Vec<LimbRing>>,
    residues: Mutex<Vec<ResidueMatrix>>,
}

/// Which base conversion: a run of source primes to a run of ciphertext primes and special primes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ConverterId {
    /// Digit `digit` of `digit_limbs` limbs at `level`, to the other limbs of `level` and `specials` special primes.
    ModUp {
        level: usize,
        digit_limbs: usize,
        digit: usize,
        specials: usize,
    },
    /// From `specials` special primes and the `dropped` last ciphertext primes of `level` to those below.
    ModDown {
        level: usize,
        dropped: usize,
        specials: usize,
    },
}

impl Parameters {
    pub(crate) fn automorphism(&self, g: Galois) -> Result<Arc<Automorphism>, MathError> {
        let Inner { tables, kernel, .. } = &*self.0;
        cached(&tables.automorphisms, g, || {
            Automorphism::with_kernel(self.log_n(), g.element(self.log_n()), kernel)
        })
    }

    pub(crate) fn converter(&self, id: ConverterId) -> Result<Arc<BaseConverter>, MathError> {
        let Inner { tables, q, p, .. } = &*self.0;
        cached(&tables.converters, id, || match id {
            ConverterId::ModUp {
                level,
                digit_limbs,
                digit,
                specials,
            } => {
                let (from, to) = digit_range(level, digit_limbs, digit);
                let mut dst = q[..from].to_vec();
                dst.extend_from_slice(&q[to..level]);
                dst.extend_from_slice(&p[..specials]);
                BaseConverter::new(&q[from..to], &dst)
            }
            ConverterId::ModDown {
                level,
                dropped,
                specials,
            } => {
                let mut src = p[..specials].to_vec();
                src.extend_from_slice(&q[level - dropped..level]);
                BaseConverter::new(&src, &q[..level - dropped])
            }
        })
    }

    /// The sub-rings of degree `2^log_degree` of every ciphertext prime.
    pub(crate) fn subrings(&self, log_degree: u32) -> Result<Arc<Vec<LimbRing>>, MathError> {
        let Inner { tables, q, .. } = &*self.0;
        cached(&tables.subrings, log_degree, || {
            q.iter().map(|r| r.subring(log_degree)).collect()
        })
    }

    /// Runs `f` with a reusable residue buffer.
    pub(crate) fn with_residues<T>(&self, f: impl FnOnce(&mut ResidueMatrix) -> T) -> T {
        let buffers = &self.0.tables.residues;
        let lock = || buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = lock().pop().unwrap_or_default();
        let out = f(&mut buffer);
        lock().push(buffer);
        out
    }
}

/// Limbs `[from, to)` of digit `digit`.
pub(crate) fn digit_range(level: usize, digit_limbs: usize, digit: usize) -> (usize, usize) {
    let from = digit * digit_limbs;
    (from, (from + digit_limbs).min(level))
}

/// The value of a key, made without holding the lock: two threads may make it, and the first one's is kept.
fn cached<K: Copy + Eq + Hash, V>(
    map: &Cache<K, V>,
    key: K,
    make: impl FnOnce() -> Result<V, MathError>,
) -> Result<Arc<V>, MathError> {
    let read = map.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(v) = read.get(&key) {
        return Ok(v.clone());
    }
    drop(read);
    let made = Arc::new(make()?);
    let mut write = map.write().unwrap_or_else(PoisonError::into_inner);
    Ok(write.entry(key).or_insert(made).clone())
}
