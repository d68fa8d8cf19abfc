//! When every operation ran, on which worker, and how much memory was in use meanwhile.

use super::Operation;
use crate::params::LimbPool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most operations that are kept. When there are more, the shortest are left out, so that the whole time stays in view.
const MOST_SPANS: usize = 1 << 19;
/// Most points of the memory curve. When there are more, every second one is left out.
const MOST_POINTS: usize = 1 << 16;
/// Least distance of two points at first.
const POINTS_APART: Duration = Duration::from_micros(500);

/// One operation. Times count from the origin of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What ran.
    pub operation: Operation,
    /// Index of the worker in its rayon pool; 0 outside of one.
    pub worker: u32,
    /// When it began.
    pub start: Duration,
    /// How long it took; at most 71 minutes are told.
    pub length: Duration,
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The operations, in the order in which they ended.
    pub spans: Vec<Span>,
    /// Points of time and the bytes of all limbs that were alive then.
    pub memory: Vec<(Duration, u64)>,
    /// Operations that are not among `spans`, because they were too many and these the shortest.
    pub left_out: u64,
}

impl Trace {
    /// Most bytes that a recording and its trace take: operations while their vector grows by doubling, and once more as
    /// [`Span`]s; the memory curve twice.
    pub const MOST_BYTES: u64 = (MOST_SPANS * (3 * size_of::<Kept>() + size_of::<Span>())
        + MOST_POINTS * 3 * size_of::<(Duration, u64)>()) as u64;
}

/// What is kept of an operation.
#[derive(Clone, Copy, Debug)]
struct Kept {
    start: u64,
    micros: u32,
    worker: u16,
    operation: Operation,
}

#[derive(Debug, Default)]
struct Recorded {
    spans: Vec<Kept>,
    /// Shorter operations are left out.
    least_micros: u32,
    left_out: u64,
    memory: Vec<(Duration, u64)>,
    apart: Duration,
}

/// Writes down what ends.
#[derive(Debug)]
pub(super) struct Recorder {
    origin: Instant,
    pool: LimbPool,
    recorded: Mutex<Recorded>,
}

impl Recorder {
    pub(super) fn new(origin: Instant, pool: LimbPool) -> Self {
        let recorded = Mutex::new(Recorded {
            apart: POINTS_APART,
            ..Recorded::default()
        });
        Self {
            origin,
            pool,
            recorded,
        }
    }

    /// An operation that took so long and ended so long ago.
    pub(super) fn record(&self, operation: Operation, length: Duration, ago: Duration) {
        let now = self.origin.elapsed();
        let worker = rayon::current_thread_index().unwrap_or(0);
        let start = now.saturating_sub(ago).saturating_sub(length);
        let kept = Kept {
            start: u64::try_from(start.as_nanos()).unwrap_or(u64::MAX),
            micros: u32::try_from(length.as_micros()).unwrap_or(u32::MAX),
            worker: u16::try_from(worker).unwrap_or(u16::MAX),
            operation,
        };
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.add(kept);
        let last = recorded.memory.last().map(|(at, _)| *at);
        if last.is_none_or(|last| now >= last + recorded.apart) {
            recorded.add_point(now, self.pool.in_use_bytes());
        }
    }

    pub(super) fn trace(&self) -> Trace {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let span = |kept: &Kept| Span {
            operation: kept.operation,
            worker: u32::from(kept.worker),
            start: Duration::from_nanos(kept.start),
            length: Duration::from_micros(u64::from(kept.micros)),
        };
        Trace {
            spans: recorded.spans.iter().map(span).collect(),
            memory: recorded.memory.clone(),
            left_out: recorded.left_out,
        }
    }
}

impl Recorded {
    fn add(&mut self, span: Kept) {
        if span.micros < self.least_micros {
            self.left_out += 1;
            return;
        }
        self.spans.push(span);
        while self.spans.len() > MOST_SPANS {
            self.least_micros = (2 * self.least_micros).max(1);
            let (before, least) = (self.spans.len(), self.least_micros);
            self.spans.retain(|span| span.micros >= least);
            self.left_out += (before - self.spans.len()) as u64;
        }
    }

    fn add_point(&mut self, at: Duration, bytes: u64) {
        self.memory.push((at, bytes));
        if self.memory.len() > MOST_POINTS {
            let mut index = 0;
            self.memory.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.apart *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(index: usize) -> Kept {
        Kept {
            start: index as u64,
            micros: (index % 8) as u32,
            worker: 0,
            operation: Operation::Rescale,
        }
    }

    #[test]
    fn of_too_many_operations_the_longest_are_kept() {
        let mut recorded = Recorded::default();
        let all = 2 * MOST_SPANS;
        (0..all).for_each(|index| recorded.add(span(index)));
        assert!(recorded.spans.len() <= MOST_SPANS);
        let left_out = all - recorded.spans.len();
        assert_eq!(recorded.left_out, left_out as u64);
        let least = recorded.spans.iter().map(|span| span.micros).min();
        assert!(least >= Some(2));
        // Both ends of the time are there.
        let starts = || recorded.spans.iter().map(|span| span.start);
        assert!(starts().min() < Some(16) && starts().max() > Some(all as u64 - 16));
    }

    #[test]
    fn a_long_memory_curve_gets_coarser() {
        let mut recorded = Recorded {
            apart: POINTS_APART,
            ..Recorded::default()
        };
        for index in 0..3 * MOST_POINTS as u64 {
            recorded.add_point(Duration::from_millis(index), index);
        }
        assert!(recorded.memory.len() <= MOST_POINTS);
        assert!(recorded.apart > POINTS_APART);
        assert_eq!(recorded.memory[0], (Duration::ZERO, 0));
    }
}
