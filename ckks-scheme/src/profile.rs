//! Where the time goes: count and seconds of every kind of operation of an evaluator, and the primitive work of all.

mod trace;

use crate::counts::{PRIMITIVES, Work};
use crate::params::LimbPool;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use trace::Recorder;
pub use trace::{Span, Trace};

/// The kinds of operation that are told apart. They do not nest, so their times add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Operation {
    /// Additions, subtractions, constants, lifts.
    Addition,
    /// Tensor products and squares.
    Tensor,
    /// Products with constants and plaintexts.
    PlainProduct,
    /// Division by the last prime.
    Rescale,
    /// Digits of a key switch and their base extension.
    ModUp,
    /// Products of digits and key.
    InnerProduct,
    /// Division by the special primes, with the addition or permutation that ends the key switch.
    ModDown,
    /// Permutations of an automorphism.
    Automorphism,
    /// Residues of periodic weights.
    WeightResidues,
    /// RNS matrix product.
    MatrixProduct,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Addition,
        Self::Tensor,
        Self::PlainProduct,
        Self::Rescale,
        Self::ModUp,
        Self::InnerProduct,
        Self::ModDown,
        Self::Automorphism,
        Self::WeightResidues,
        Self::MatrixProduct,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Tensor => "tensor product",
            Self::PlainProduct => "plaintext product",
            Self::Rescale => "rescale",
            Self::ModUp => "ModUp",
            Self::InnerProduct => "key inner product",
            Self::ModDown => "ModDown",
            Self::Automorphism => "automorphism",
            Self::WeightResidues => "weight residues",
            Self::MatrixProduct => "matrix product",
        }
    }
}

/// Counters that an evaluator fills in; shared by its clones.
#[derive(Debug, Default)]
pub struct Profile {
    counts: [AtomicU64; Operation::ALL.len()],
    nanoseconds: [AtomicU64; Operation::ALL.len()],
    work: [AtomicU64; PRIMITIVES],
    recorder: OnceLock<Recorder>,
}

impl Profile {
    /// Records from now on when every operation runs, in times since `origin`, and the use of `pool`. Before that, an operation
    /// pays for the possibility with a glance at one word of memory. A second call changes nothing.
    pub(crate) fn record(&self, origin: Instant, pool: LimbPool) {
        self.recorder.get_or_init(|| Recorder::new(origin, pool));
    }

    /// What was recorded since [`Evaluator::record`](crate::Evaluator::record); nothing if it was not called.
    pub fn trace(&self) -> Option<Trace> {
        self.recorder.get().map(Recorder::trace)
    }

    /// The primitive work of all operations, counted where it was done. What [`crate::counts`] predicts is the same.
    pub fn work(&self) -> Work {
        let numbers = &self.work;
        Work::from_array(std::array::from_fn(|i| numbers[i].load(Ordering::Relaxed)))
    }

    pub(crate) fn count(&self, work: Work) {
        for (counter, amount) in self.work.iter().zip(work.to_array()) {
            if amount > 0 {
                counter.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    /// Every operation that occurred: how often, and seconds added up over threads.
    pub fn entries(&self) -> Vec<(Operation, u64, f64)> {
        let read = |op: Operation| {
            let count = self.counts[op as usize].load(Ordering::Relaxed);
            let ns = self.nanoseconds[op as usize].load(Ordering::Relaxed);
            (op, count, ns as f64 * 1e-9)
        };
        Operation::ALL
            .into_iter()
            .map(read)
            .filter(|(_, count, _)| *count > 0)
            .collect()
    }

    /// Adds operations whose parts took turns and were timed apart. A recording shows them one after another.
    pub(crate) fn add_mixed(&self, operations: &[(Operation, Duration)]) {
        let mut ago: Duration = operations.iter().map(|(_, time)| time).sum();
        for &(op, time) in operations {
            ago = ago.saturating_sub(time);
            self.add(op, time, ago);
        }
    }

    /// Adds one operation that ended so long ago.
    fn add(&self, op: Operation, time: Duration, ago: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[op as usize].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds[op as usize].fetch_add(ns, Ordering::Relaxed);
        if let Some(recorder) = self.recorder.get() {
            recorder.record(op, time, ago);
        }
    }

    pub(crate) fn start(&self, op: Operation) -> Timer<'_> {
        Timer {
            profile: self,
            op,
            start: Instant::now(),
        }
    }
}

/// Adds the time until it is dropped.
pub(crate) struct Timer<'a> {
    profile: &'a Profile,
    op: Operation,
    start: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.profile
            .add(self.op, self.start.elapsed(), Duration::ZERO);
    }
}
