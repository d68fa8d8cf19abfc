//! The buffer pool: every limb of one ring degree, with a budget and a high-water mark.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::MathError;

mod slab;

use slab::{Block, Slab};

/// A pool of limbs of `2^log_n` words each. Cloning shares it.
///
/// Memory comes from the system in slabs of 64 limbs, at most 32 MiB (huge pages where the system
/// grants them), and stays mapped until the pool and its last limb are gone: fresh pages are slow,
/// so limbs are reused and never cleared needlessly. Long limbs are a few cache lines more than their
/// length apart: otherwise the same word of all limbs would fall into the same set of every cache.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log_n: u32,
    limb_bytes: usize,
    /// Distance of two limbs.
    stride_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: Vec<Block>,
    slabs: Vec<Slab>,
    budget_bytes: Option<u64>,
    in_use_bytes: u64,
    high_water_bytes: u64,
}

/// Limbs of a slab, unless that is more than [`SLAB_BYTES`].
const SLAB_LIMBS: usize = 64;

/// Largest size of a slab.
const SLAB_BYTES: usize = 32 << 20;

/// What long limbs are apart beyond their length: an odd number of cache lines, so that 64 limbs in a
/// row use all sets of a cache; and large, because a load waits for stores a few lines before it that
/// agree with its address in the low 12 bits.
const STAGGER_BYTES: usize = 17 * slab::ALIGNMENT;

/// Limbs from this length on are staggered.
const STAGGERED_LIMB_BYTES: usize = 32 << 10;

impl Pool {
    /// An empty pool for limbs of `2^log_n` words; no memory is taken yet. Limbs in use will never
    /// exceed `budget_bytes`, nor will mapped memory, save for the small distance between limbs.
    ///
    /// # Panics
    /// If `log_n > 20`.
    pub fn new(log_n: u32, budget_bytes: Option<u64>) -> Self {
        assert!(log_n <= 20, "pool of limbs of 2^{log_n} words");
        let limb_bytes = (size_of::<u64>() << log_n).max(slab::ALIGNMENT);
        let stagger = if limb_bytes >= STAGGERED_LIMB_BYTES {
            STAGGER_BYTES
        } else {
            0
        };
        let state = State {
            free: Vec::new(),
            slabs: Vec::new(),
            budget_bytes,
            in_use_bytes: 0,
            high_water_bytes: 0,
        };
        Self(Arc::new(Inner {
            log_n,
            limb_bytes,
            stride_bytes: limb_bytes + stagger,
            state: Mutex::new(state),
        }))
    }

    /// Base-2 logarithm of the words of a limb.
    pub fn log_n(&self) -> u32 {
        self.0.log_n
    }

    /// A limb of unspecified contents.
    ///
    /// # Errors
    /// [`MathError::PoolExhausted`] if it would exceed the budget, [`MathError::OutOfMemory`].
    pub fn limb(&self) -> Result<Limb, MathError> {
        let mut state = self.0.lock();
        let needed_bytes = state.in_use_bytes + self.0.limb_bytes as u64;
        if let Some(budget_bytes) = state.budget_bytes.filter(|&budget| needed_bytes > budget) {
            return Err(MathError::PoolExhausted {
                budget_bytes,
                needed_bytes,
            });
        }
        if state.free.is_empty() {
            let slab = self.0.map_slab(&state, SLAB_LIMBS)?;
            state.add(slab);
        }
        let block = state.free.pop().expect("a slab has at least one block");
        state.in_use_bytes = needed_bytes;
        state.high_water_bytes = state.high_water_bytes.max(needed_bytes);
        Ok(Limb {
            block: Some(block),
            pool: self.0.clone(),
        })
    }

    /// A limb of zeros.
    ///
    /// # Errors
    /// As [`Pool::limb`].
    pub fn zeroed(&self) -> Result<Limb, MathError> {
        let mut limb = self.limb()?;
        limb.fill(0);
        Ok(limb)
    }

    /// Maps memory until `limbs` limbs are free, and touches its pages, on as many threads as
    /// the machine has cores (at most 4).
    ///
    /// # Errors
    /// [`MathError::PoolExhausted`] if that many cannot be used within the budget,
    /// [`MathError::OutOfMemory`].
    pub fn reserve(&self, limbs: usize) -> Result<(), MathError> {
        let mut fresh = Vec::new();
        {
            let state = self.0.lock();
            let needed_bytes = state.in_use_bytes + (limbs * self.0.limb_bytes) as u64;
            if let Some(budget_bytes) = state.budget_bytes.filter(|&budget| needed_bytes > budget) {
                return Err(MathError::PoolExhausted {
                    budget_bytes,
                    needed_bytes,
                });
            }
            let mut missing = limbs.saturating_sub(state.free.len());
            while missing > 0 {
                let slab = Slab::map(self.0.stride_bytes, missing.min(self.0.slab_limbs()))?;
                missing -= slab.blocks();
                fresh.push(slab);
            }
        }
        slab::touch(&mut fresh);
        let mut state = self.0.lock();
        fresh.into_iter().for_each(|slab| state.add(slab));
        Ok(())
    }

    /// Sets the budget; limbs in use above it stay valid, but no new one is given out.
    pub fn set_budget(&self, budget_bytes: Option<u64>) {
        self.0.lock().budget_bytes = budget_bytes;
    }

    /// Bytes of the limbs that are alive.
    pub fn in_use_bytes(&self) -> u64 {
        self.0.lock().in_use_bytes
    }

    /// Largest value of [`Pool::in_use_bytes`] since the start or the last reset.
    pub fn high_water_bytes(&self) -> u64 {
        self.0.lock().high_water_bytes
    }

    /// Starts a new measurement of the high-water mark from what is in use now.
    pub fn reset_high_water(&self) {
        let mut state = self.0.lock();
        state.high_water_bytes = state.in_use_bytes;
    }

    /// Bytes taken from the system.
    pub fn mapped_bytes(&self) -> u64 {
        self.0.lock().mapped_bytes()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slab_limbs(&self) -> usize {
        SLAB_LIMBS.min(SLAB_BYTES / self.limb_bytes)
    }

    /// Maps a slab of at most `limbs` limbs, fewer if the budget says so, at least one.
    fn map_slab(&self, state: &State, limbs: usize) -> Result<Slab, MathError> {
        let room = state.budget_bytes.map_or(usize::MAX, |budget| {
            usize::try_from(budget.saturating_sub(state.mapped_bytes()) / self.limb_bytes as u64)
                .unwrap_or(usize::MAX)
        });
        Slab::map(
            self.stride_bytes,
            limbs.min(self.slab_limbs()).min(room).max(1),
        )
    }
}

impl State {
    fn add(&mut self, mut slab: Slab) {
        self.free.extend(slab.take_blocks());
        self.slabs.push(slab);
    }

    fn mapped_bytes(&self) -> u64 {
        self.slabs.iter().map(|slab| slab.bytes() as u64).sum()
    }
}

/// `N` words from a [`Pool`], aligned to 64 bytes; dropping it gives them back.
#[derive(Debug)]
pub struct Limb {
    /// `None` only while it is dropped.
    block: Option<Block>,
    pool: Arc<Inner>,
}

impl Limb {
    /// A copy, from the same pool.
    ///
    /// # Errors
    /// As [`Pool::limb`].
    pub fn try_clone(&self) -> Result<Self, MathError> {
        let mut copy = Pool(self.pool.clone()).limb()?;
        copy.copy_from_slice(self);
        Ok(copy)
    }
}

impl Deref for Limb {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        let block = self
            .block
            .as_ref()
            .expect("a limb has its block until it is dropped");
        &block.words()[..1 << self.pool.log_n]
    }
}

impl DerefMut for Limb {
    fn deref_mut(&mut self) -> &mut [u64] {
        let block = self
            .block
            .as_mut()
            .expect("a limb has its block until it is dropped");
        &mut block.words_mut()[..1 << self.pool.log_n]
    }
}

impl Drop for Limb {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.free.extend(self.block.take());
        state.in_use_bytes -= self.pool.limb_bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limb_is_aligned_and_reused() {
        let pool = Pool::new(4, None);
        let mut limb = pool.limb().unwrap();
        assert_eq!((limb.len(), limb.as_ptr() as usize % 64), (16, 0));
        limb.fill(7);
        let address = limb.as_ptr();
        drop(limb);
        let again = pool.limb().unwrap();
        assert_eq!((again.as_ptr(), again[15]), (address, 7));
        assert!(pool.zeroed().unwrap().iter().all(|&w| w == 0));
        assert_eq!(pool.mapped_bytes(), 64 * 16 * 8);
    }

    #[test]
    fn limbs_do_not_overlap() {
        let pool = Pool::new(3, None);
        let mut limbs: Vec<Limb> = (0..200).map(|_| pool.limb().unwrap()).collect();
        limbs
            .iter_mut()
            .enumerate()
            .for_each(|(i, limb)| limb.fill(i as u64));
        for (i, limb) in limbs.iter().enumerate() {
            assert!(limb.iter().all(|&w| w == i as u64));
            assert_eq!(limb.try_clone().unwrap()[..], limb[..]);
        }
    }

    #[test]
    fn pool_keeps_its_budget_and_high_water_mark() {
        let bytes = 8 << 10;
        let pool = Pool::new(10, Some(3 * bytes + 1));
        let mut limbs: Vec<Limb> = (0..3).map(|_| pool.limb().unwrap()).collect();
        let exhausted = MathError::PoolExhausted {
            budget_bytes: 3 * bytes + 1,
            needed_bytes: 4 * bytes,
        };
        assert!(exhausted.out_of_memory() && MathError::OutOfMemory { bytes: 1 }.out_of_memory());
        assert_eq!(pool.limb().unwrap_err(), exhausted);
        assert_eq!(pool.reserve(1).unwrap_err(), exhausted);
        assert_eq!(
            (pool.in_use_bytes(), pool.mapped_bytes()),
            (3 * bytes, 3 * bytes)
        );
        limbs.pop();
        assert_eq!(
            (pool.in_use_bytes(), pool.high_water_bytes()),
            (2 * bytes, 3 * bytes)
        );
        pool.reset_high_water();
        assert_eq!(pool.high_water_bytes(), 2 * bytes);
        pool.set_budget(Some(0));
        assert!(matches!(
            pool.limb(),
            Err(MathError::PoolExhausted {
                budget_bytes: 0,
                ..
            })
        ));
        pool.set_budget(None);
        limbs.extend((0..100).map(|_| pool.limb().unwrap()));
        assert_eq!(pool.high_water_bytes(), 102 * bytes);
        drop(limbs);
        assert_eq!(pool.in_use_bytes(), 0);
    }

    #[test]
    fn reserve_maps_ahead() {
        for log_n in [2, 12, 15] {
            let pool = Pool::new(log_n, None);
            pool.reserve(130).unwrap();
            let mapped = pool.mapped_bytes();
            let limbs: Vec<Limb> = (0..130).map(|_| pool.limb().unwrap()).collect();
            assert!(limbs.iter().all(|limb| limb.len() == 1 << log_n));
            assert_eq!(pool.mapped_bytes(), mapped);
            drop(limbs);
            pool.reserve(130).unwrap();
            assert_eq!(pool.mapped_bytes(), mapped);
        }
    }

    #[test]
    fn limbs_outlive_the_pool_handle_and_move_between_threads() {
        let mut limb = Pool::new(6, None).zeroed().unwrap();
        let limb = std::thread::spawn(move || {
            limb[63] = 5;
            limb
        });
        assert_eq!(limb.join().unwrap()[63], 5);
    }

    #[test]
    fn pool_is_consistent_under_contention() {
        let pool = Pool::new(3, None);
        std::thread::scope(|scope| {
            for id in 0..4u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..500 {
                        let mut limbs: Vec<Limb> = (0..5).map(|_| pool.limb().unwrap()).collect();
                        limbs
                            .iter_mut()
                            .for_each(|limb| limb.fill(id * 1000 + round));
                        assert!(
                            limbs
                                .iter()
                                .all(|limb| limb.iter().all(|&w| w == id * 1000 + round))
                        );
                    }
                });
            }
        });
        assert_eq!(pool.in_use_bytes(), 0);
        assert!(pool.high_water_bytes() <= 20 * 64);
    }
}
