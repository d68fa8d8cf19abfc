//! The choices for a step, and which of them to take.

use std::cmp::Reverse;

use crate::plan::FewerThreads;

/// Most channel blocks at a time that are considered.
const MOST_CONSIDERED: usize = 16;

/// Bytes of the limb pool, and of rounded weights beside it.
#[derive(Clone, Copy)]
pub struct Bytes {
    pub pool: u64,
    pub weights: u64,
}

/// A step with some number of channel blocks at a time, on some number of threads.
pub struct Choice {
    /// Channel blocks at a time.
    pub blocks: usize,
    pub threads: usize,
    /// Most bytes of the limb pool, keys and matrices included.
    pub pool_bytes: u64,
    /// Most bytes of rounded weights, and of threads of its own.
    pub weights: u64,
    pub seconds: f64,
    /// Why these are not all threads, if so.
    pub fewer_threads: Option<FewerThreads>,
}

/// Channel blocks at a time. Fewer do not always take less: sums that are added to again and again are held longer.
pub fn blocks_worth_a_look(blocks: usize, fixed: Option<usize>) -> Vec<usize> {
    if let Some(blocks) = fixed {
        return vec![blocks];
    }
    let most = blocks.clamp(1, MOST_CONSIDERED);
    let sizes = std::iter::successors(Some(1), |g| Some(g * 2));
    sizes.take_while(|g| *g <= most).collect()
}

/// All threads, and fewer: powers of two and three times such. Of two machines with such numbers of cores, the larger has all
/// choices of the smaller.
pub fn threads_worth_a_look(all: usize, fixed: Option<usize>) -> Vec<usize> {
    if let Some(threads) = fixed {
        return vec![threads];
    }
    let powers = (0..usize::BITS).map(|log| 1usize << log);
    let powers = powers.take_while(|power| *power < all);
    let fewer = powers.flat_map(|power| [Some(power), power.checked_mul(3)]);
    let fewer = fewer.flatten().filter(|threads| *threads < all);
    std::iter::once(all.max(1)).chain(fewer).collect()
}

/// The fastest choice within so many bytes; of those, one with the most threads: how much a step leaves them to share is an
/// estimate.
pub fn fastest(choices: &[Choice], bytes: Bytes) -> Option<&Choice> {
    let fits = |c: &&Choice| c.pool_bytes <= bytes.pool && c.weights <= bytes.weights;
    choices.iter().filter(fits).min_by(|a, b| {
        let seconds = a.seconds.total_cmp(&b.seconds);
        seconds.then(Reverse(a.threads).cmp(&Reverse(b.threads)))
    })
}

/// The least bytes that all steps can do with, at least `pool` of them in the pool: the largest of each kind over the steps count.
pub fn smallest(choices: &[Vec<Choice>], pool: u64) -> Bytes {
    let of_step = |(step, of): (usize, &Vec<Choice>)| {
        let figures = of.iter().map(|c| (c.pool_bytes.max(pool), step, c.weights));
        figures.collect::<Vec<_>>()
    };
    let mut all: Vec<_> = choices.iter().enumerate().flat_map(of_step).collect();
    all.sort_unstable();
    // The least weights of each step within a pool that grows.
    let mut least = vec![None; choices.len()];
    let mut best: Option<Bytes> = None;
    let total = |bytes: Bytes| bytes.pool.saturating_add(bytes.weights);
    for (pool, step, weights) in all {
        least[step] = Some(least[step].map_or(weights, |least: u64| least.min(weights)));
        let within: Option<Vec<u64>> = least.iter().copied().collect();
        if let Some(weights) = within.and_then(|weights| weights.into_iter().max()) {
            let bytes = Bytes { pool, weights };
            best = Some(best.filter(|b| total(*b) <= total(bytes)).unwrap_or(bytes));
        }
    }
    best.unwrap_or(Bytes { pool, weights: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice((threads, pool_bytes, weights): (usize, u64, u64), seconds: f64) -> Choice {
        Choice {
            blocks: 1,
            threads,
            pool_bytes,
            weights,
            seconds,
            fewer_threads: None,
        }
    }

    #[test]
    fn the_least_bytes_are_those_of_the_step_that_needs_most() {
        let one = vec![choice((1, 10, 9), 4.0), choice((2, 20, 1), 2.0)];
        let other = vec![choice((1, 15, 3), 4.0)];
        let least = smallest(&[one, other], 5);
        assert_eq!((least.pool, least.weights), (20, 3));
        let least = smallest(&[vec![choice((1, 2, 3), 1.0)]], 5);
        assert_eq!((least.pool, least.weights), (5, 3));
        let least = smallest(&[], 5);
        assert_eq!((least.pool, least.weights), (5, 0));
    }

    #[test]
    fn fewer_threads_are_taken_where_memory_is_needed() {
        let choices =
            [4, 1, 3, 2].map(|n: usize| choice((n, 10 * n as u64, 1), 1.0 / n.min(3) as f64));
        let threads = |pool| fastest(&choices, Bytes { pool, weights: 1 }).map(|c| c.threads);
        assert_eq!(
            [9, 10, 29, 30, 39, 40].map(threads),
            [None, Some(1), Some(2), Some(3), Some(3), Some(4)]
        );
    }

    #[test]
    fn machines_of_more_cores_have_all_choices_of_smaller_ones() {
        assert_eq!(threads_worth_a_look(8, None), [8, 1, 3, 2, 6, 4]);
        assert_eq!(threads_worth_a_look(8, Some(5)), [5]);
        let mut smaller = Vec::new();
        for all in [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192] {
            let choices = threads_worth_a_look(all, None);
            assert!(
                smaller.iter().all(|threads| choices.contains(threads)),
                "{all}"
            );
            smaller = choices;
        }
    }
}
