//! What the machine can do at most: 52-bit multiply-adds from registers, and memory.

use std::error::Error;
use std::hint::black_box;

use ckks_math::kernel::multiply_add_pairs;
use ckks_math::{Limb, MathError, Pool};
use serde::Serialize;

use crate::measure::{self, Effort, Worker};

/// Limits of some number of threads together. Rates are those of the fastest repeat: they are meant as bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Threads.
    pub threads: usize,
    /// 52-bit multiply-adds a second, low and high half, one on each word; `None` where the processor has none.
    pub multiply_adds: Option<f64>,
    /// Bytes a second, read.
    pub read: f64,
    /// Bytes a second, written.
    pub write: f64,
    /// Bytes a second of a copy, read and written.
    pub copy: f64,
}

impl Limits {
    /// The best of the three rates of memory.
    pub fn bytes(&self) -> f64 {
        self.read.max(self.write).max(self.copy)
    }

    /// Measures. `buffer_bytes` are the bytes of each of the two buffers, of all threads together.
    ///
    /// # Errors
    /// If there is not that much memory, or threads.
    pub fn measure(
        threads: usize,
        buffer_bytes: usize,
        effort: Effort,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let pool = Pool::new(PROBE_LOG_WORDS, None);
        let limbs = (buffer_bytes / LIMB_BYTES / threads).max(1);
        let buffers = || -> Result<Vec<Limb>, MathError> {
            (0..threads * limbs).map(|_| pool.zeroed()).collect()
        };
        let (source, mut target) = (buffers()?, buffers()?);
        let read = source
            .chunks(limbs)
            .map(|limbs| {
                measure::whole(move || {
                    black_box(
                        limbs
                            .iter()
                            .map(|limb| sum(limb))
                            .fold(0, u64::wrapping_add),
                    );
                })
            })
            .collect();
        let bytes = (limbs * LIMB_BYTES) as f64;
        let read = bytes * rate(effort, read)?;
        let write = target
            .chunks_mut(limbs)
            .map(|limbs| {
                measure::whole(|| limbs.iter_mut().for_each(|limb| limb.fill(black_box(1))))
            })
            .collect();
        let write = bytes * rate(effort, write)?;
        let copy = source
            .chunks(limbs)
            .zip(target.chunks_mut(limbs))
            .map(|(source, target)| {
                measure::whole(|| {
                    for (source, target) in source.iter().zip(target.iter_mut()) {
                        target.copy_from_slice(source);
                    }
                })
            })
            .collect();
        let copy = 2.0 * bytes * rate(effort, copy)?;
        Ok(Self {
            threads,
            multiply_adds: peak(threads, effort)?,
            read,
            write,
            copy,
        })
    }
}

/// Words of a piece of a buffer: a mebibyte, in huge pages where the system grants them.
const PROBE_LOG_WORDS: u32 = 17;
const LIMB_BYTES: usize = 8 << PROBE_LOG_WORDS;

/// Rounds of the multiply-add probe in one call: less than a millisecond.
const ROUNDS: u64 = 50_000;

/// Fewest repeats of a probe: on a busy machine some of them will have it for themselves.
const MIN_REPEATS: usize = 50;

fn peak(threads: usize, effort: Effort) -> Result<Option<f64>, Box<dyn Error + Send + Sync>> {
    let Some(pairs) = multiply_add_pairs(1) else {
        return Ok(None);
    };
    let workers = (0..threads)
        .map(|_| {
            measure::whole(|| {
                black_box(multiply_add_pairs(black_box(ROUNDS)));
            })
        })
        .collect();
    Ok(Some((pairs * ROUNDS) as f64 * rate(effort, workers)?))
}

/// Calls a second of all workers together.
fn rate(effort: Effort, mut workers: Vec<Worker<'_>>) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let threads = workers.len() as f64;
    let effort = Effort {
        min_repeats: MIN_REPEATS,
        ..effort
    };
    Ok(threads / measure::in_step(effort, &mut workers)?.best)
}

/// Sum of all words, in as many parts as fit the registers.
fn sum(words: &[u64]) -> u64 {
    let (chunks, rest) = words.as_chunks::<16>();
    let mut sums = [0u64; 16];
    for chunk in chunks {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().chain(rest).fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_positive_and_sums_right() {
        let words: Vec<u64> = (0..100).collect();
        assert_eq!(sum(&words), 4950);
        let limits = Limits::measure(2, 4 << 20, Effort::QUICK).unwrap();
        assert!(limits.read > 0.0 && limits.write > 0.0 && limits.copy > 0.0);
        assert!(limits.bytes() >= limits.copy);
        assert_eq!(
            limits.multiply_adds.is_some(),
            multiply_add_pairs(1).is_some()
        );
    }
}
