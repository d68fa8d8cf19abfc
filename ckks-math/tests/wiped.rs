//! Memory that held secrets is wiped before it is freed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ckks_math::{Complex64, Embedding, sample};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Looks at every block of the size that a test asks for as it is freed.
struct Watching;

static SIZE: AtomicUsize = AtomicUsize::new(0);
static WIPED: AtomicUsize = AtomicUsize::new(0);
static LEFT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is done by the system's allocator; blocks are read while they still belong to the caller.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() == SIZE.load(Ordering::SeqCst) {
            // SAFETY: the block has that size, was zeroed when it was allocated, and is not freed yet.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            let count = if bytes.iter().all(|b| *b == 0) {
                &WIPED
            } else {
                &LEFT
            };
            count.fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: the caller's block and layout, passed on.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// How many blocks of `size` bytes were freed wiped and not wiped while `f` ran.
fn freed(size: usize, f: impl FnOnce()) -> (usize, usize) {
    WIPED.store(0, Ordering::SeqCst);
    LEFT.store(0, Ordering::SeqCst);
    SIZE.store(size, Ordering::SeqCst);
    f();
    SIZE.store(0, Ordering::SeqCst);
    (WIPED.load(Ordering::SeqCst), LEFT.load(Ordering::SeqCst))
}

/// One test, because the counters are shared.
#[test]
fn secrets_are_wiped_before_their_memory_is_freed() {
    // The watcher sees what is left.
    assert_eq!(freed(1009, || drop(vec![1u8; 1009])), (0, 1));

    let degree = 1237;
    let mut out = vec![0i64; degree];
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let positions = freed(degree * size_of::<usize>(), || {
        sample::sparse_ternary_into(&mut rng, 32, &mut out);
    });
    assert_eq!(positions, (1, 0), "positions of a sparse secret");
    assert_eq!(out.iter().filter(|x| **x != 0).count(), 32);

    let embedding = Embedding::new(9);
    let slots = vec![Complex64::new(0.5, 0.25); 256];
    let mut coeffs = vec![0.0; 512];
    let work = freed(256 * size_of::<Complex64>(), || {
        embedding.slots_to_coeffs(&slots, &mut coeffs);
    });
    assert_eq!(work, (1, 0), "slots on the way to coefficients");
}
