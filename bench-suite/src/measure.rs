//! Times of repeated calls: medians, on one thread or on several side by side.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use rayon::ThreadPoolBuildError;
use serde::Serialize;

/// Something to be timed again and again. A call returns the time that counts, so that preparation need not.
pub type Worker<'a> = Box<dyn FnMut() -> Duration + Send + 'a>;

/// How long to measure one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Repeat until that much time was spent,
    pub budget: Duration,
    /// but at least so often.
    pub min_repeats: usize,
}

impl Effort {
    /// For numbers that will be reported.
    pub const FULL: Self = Self {
        budget: Duration::from_millis(600),
        min_repeats: 9,
    };
    /// To see that everything runs.
    pub const QUICK: Self = Self {
        budget: Duration::from_millis(5),
        min_repeats: 3,
    };
}

/// Seconds of one call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Time {
    /// Half of the calls were faster.
    #[serde(rename = "seconds")]
    pub median: f64,
    /// The fastest call. Far below the median, the machine was busy.
    #[serde(rename = "best_seconds")]
    pub best: f64,
    /// Calls.
    pub repeats: usize,
}

impl Time {
    /// The time of one of `count` equal parts of a call.
    #[must_use]
    pub fn per(self, count: usize) -> Self {
        Self {
            median: self.median / count as f64,
            best: self.best / count as f64,
            repeats: self.repeats,
        }
    }

    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self {
            median: samples[samples.len() / 2],
            best: samples[0],
            repeats: samples.len(),
        }
    }
}

/// A worker of which the whole call counts.
pub fn whole<'a>(mut call: impl FnMut() + Send + 'a) -> Worker<'a> {
    Box::new(move || {
        let start = Instant::now();
        call();
        start.elapsed()
    })
}

/// Runs the workers at the same time, each on a thread (and a thread pool of one thread) of its own, once to warm up and
/// then until the effort is spent, and takes all their calls together. Divide by the number of workers for the time that
/// one of the calls takes from the machine.
///
/// # Errors
/// If the system gives no threads.
///
/// # Panics
/// If a worker does, or if there is none.
pub fn side_by_side(
    effort: Effort,
    workers: &mut [Worker<'_>],
) -> Result<Time, ThreadPoolBuildError> {
    let samples = on_threads(workers, |worker, barrier| {
        worker();
        barrier.wait();
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < effort.min_repeats || start.elapsed() < effort.budget {
            samples.push(worker().as_secs_f64());
        }
        samples
    })?;
    Ok(Time::of(samples.concat()))
}

/// As [`side_by_side`], but the workers begin every call together, and the slowest tells its time. For limits: what some
/// threads reach while others pause is not one.
///
/// # Errors
/// As [`side_by_side`].
///
/// # Panics
/// As [`side_by_side`].
pub fn in_step(effort: Effort, workers: &mut [Worker<'_>]) -> Result<Time, ThreadPoolBuildError> {
    let once = workers[0]().max(Duration::from_micros(1));
    let repeats = (effort.budget.as_nanos() / once.as_nanos()) as usize;
    let repeats = repeats.clamp(effort.min_repeats, 10_000);
    let samples = on_threads(workers, |worker, barrier| {
        worker();
        let timed = |_| {
            barrier.wait();
            worker().as_secs_f64()
        };
        (0..repeats).map(timed).collect::<Vec<_>>()
    })?;
    let slowest = |i| samples.iter().map(|thread| thread[i]).fold(0.0, f64::max);
    Ok(Time::of((0..repeats).map(slowest).collect()))
}

fn on_threads<T: Send>(
    workers: &mut [Worker<'_>],
    run: impl Fn(&mut Worker<'_>, &Barrier) -> T + Sync,
) -> Result<Vec<T>, ThreadPoolBuildError> {
    let barrier = Barrier::new(workers.len());
    let pools = workers
        .iter()
        .map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .zip(&pools)
            .map(|(worker, pool)| scope.spawn(|| pool.install(|| run(worker, &barrier))))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.expect("a worker that is timed does not panic"))
            .collect()
    }))
}

/// Times several things in turn, call by call, so that a change of the machine's speed meets all of them alike.
pub fn interleaved<const K: usize>(
    effort: Effort,
    mut workers: [&mut dyn FnMut() -> Duration; K],
) -> [Time; K] {
    workers.iter_mut().for_each(|worker| {
        worker();
    });
    let mut samples: [Vec<f64>; K] = std::array::from_fn(|_| Vec::new());
    let start = Instant::now();
    while samples[0].len() < effort.min_repeats || start.elapsed() < effort.budget * K as u32 {
        for (samples, worker) in samples.iter_mut().zip(&mut workers) {
            samples.push(worker().as_secs_f64());
        }
    }
    samples.map(Time::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_best_are_of_all_calls() {
        let time = Time::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        let expected = Time {
            median: 3.0,
            best: 1.0,
            repeats: 5,
        };
        assert_eq!(time, expected);
        assert_eq!(time.per(2).median, 1.5);
    }

    #[test]
    fn only_what_a_worker_returns_counts() {
        let effort = Effort {
            budget: Duration::ZERO,
            min_repeats: 4,
        };
        let mut calls = [0; 2];
        let [a, b] = calls.each_mut().map(|calls| {
            move || {
                *calls += 1;
                Duration::from_secs(*calls)
            }
        });
        let (mut a, mut b) = (a, b);
        let [first, second] = interleaved(effort, [&mut a, &mut b]);
        // The first call warms up.
        assert_eq!((first.best, first.repeats), (2.0, 4));
        assert_eq!(first, second);

        let mut workers: Vec<Worker<'_>> = (0..3)
            .map(|i| Box::new(move || Duration::from_secs(i + 1)) as Worker<'_>)
            .collect();
        let time = side_by_side(effort, &mut workers).unwrap();
        assert_eq!((time.median, time.best, time.repeats), (2.0, 1.0, 12));
        let time = in_step(effort, &mut workers).unwrap();
        assert_eq!((time.median, time.best, time.repeats), (3.0, 3.0, 4));
    }
}
