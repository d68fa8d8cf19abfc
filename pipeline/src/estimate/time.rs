//! Seconds of a step: primitive work, counted by the layers, times what each primitive takes on the machine.

use std::collections::BTreeMap;

use ckks_scheme::counts::{PrimitiveCosts, Work};
use ckks_scheme::{Level, ModulusChain, ParamsLiteral};
use he_layers::{Phase, PreparedProgram, Share, cost};
use serde::{Deserialize, Serialize};

use crate::decisions::KeySteps;

/// Speed of a machine: seconds of the primitives on a thread while as many are at work, by ring degree. Threads share caches, the
/// way to the memory, and often the units of a core. Rings that were not measured take built-in figures of the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Kernel of the arithmetic that the figures are for.
    pub kernel: String,
    /// Seconds of one unit of each primitive, by base-2 logarithm of the ring degree and by the number of threads at work.
    pub rings: BTreeMap<u32, BTreeMap<usize, PrimitiveCosts>>,
}

impl Speed {
    /// The figures that come with the library for a kernel.
    pub fn built_in(kernel: impl Into<String>) -> Self {
        Self {
            kernel: kernel.into(),
            rings: BTreeMap::new(),
        }
    }

    /// Seconds of the primitives at ring degree `2^log_n` with `threads` threads at work: as measured, or between what was
    /// measured with fewer and with more of them.
    pub fn at(&self, log_n: u32, threads: usize) -> PrimitiveCosts {
        let built_in = || PrimitiveCosts::built_in(&self.kernel, log_n);
        let Some(measured) = self.rings.get(&log_n) else {
            return built_in();
        };
        let fewer = measured.range(..=threads).next_back();
        let more = measured.range(threads..).next();
        match (fewer, more) {
            (Some((few, a)), Some((many, b))) if few < many => {
                let part = (threads - few) as f64 / (many - few) as f64;
                let mut costs = a.to_array();
                for (cost, other) in costs.iter_mut().zip(b.to_array()) {
                    *cost += part * (other - *cost);
                }
                PrimitiveCosts::from_array(costs)
            }
            (Some((_, costs)), _) | (None, Some((_, costs))) => *costs,
            (None, None) => built_in(),
        }
    }
}

/// What turns counted operations into seconds: a chain of primes, the levels that have keys, and a machine's speed.
pub(crate) struct Clock<'a> {
    chain: &'a ModulusChain,
    steps: &'a KeySteps,
    speed: &'a Speed,
    cells: usize,
    refresh: Work,
}

impl<'a> Clock<'a> {
    pub fn new(
        chain: &'a ModulusChain,
        steps: &'a KeySteps,
        speed: &'a Speed,
        cells: usize,
        refresh: Work,
    ) -> Self {
        Self {
            chain,
            steps,
            speed,
            cells,
            refresh,
        }
    }

    /// Level of the key that serves `level`.
    pub fn key_level(&self, level: Level) -> Level {
        self.steps.key_level(level, self.chain.max_level())
    }

    /// Work of a part of a step.
    pub fn work(&self, phase: &Phase) -> Work {
        let key_level = |level| self.key_level(level);
        let counts = &phase.counts;
        let chain = self.chain.counts();
        let work = cost::work(counts, &chain, &key_level, self.cells, &|_| self.refresh);
        // Weights are rounded during the run.
        work + cost::encoding_work(counts, &chain, self.cells)
    }

    /// Seconds of a step on so many threads, from its parts and their work. Threads that have nothing to do leave the others
    /// the way to the memory.
    pub fn seconds(&self, phases: &[(&Phase, Work)], threads: usize) -> f64 {
        let log_n = self.chain.log_n();
        let of_phase = |(phase, work): &(&Phase, Work)| {
            let costs = self.speed.at(log_n, phase.busy(threads));
            costs.seconds(work) * phase.share(threads)
        };
        phases.iter().map(of_phase).sum()
    }
}

/// Several processes that compute every group together. What is forecast is for one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Together {
    /// The process's part of every group.
    pub share: Share,
    /// Bytes per second that come to a process from the others.
    pub bytes_per_second: f64,
}

/// Bytes of a limb in a file: residues packed to the bits of their primes, of which this is the mean.
pub fn packed_limb_bytes(literal: &ParamsLiteral) -> f64 {
    let bits: u32 = literal.q_bits.iter().sum();
    let bits = f64::from(bits) / literal.q_bits.len() as f64;
    f64::from(1u32 << literal.log_n) * bits / 8.0
}

/// Seconds in which the processes that compute a group together get of one another what a step needs, limbs as they lie in memory.
/// All do at the same time. The first has the most blocks of its own, the last the most of others: the slower one counts.
pub(crate) fn exchange_seconds(
    together: &Together,
    prepared: &PreparedProgram,
    step: usize,
    chain: &ModulusChain,
) -> f64 {
    let parts = together.share.parts();
    let ends = [0, parts - 1].into_iter();
    let ends = ends.filter_map(|part| Share::new(part, parts, together.share.rotating()));
    let limbs = ends.map(|share| prepared.received_limbs(step, share)).max();
    limbs.unwrap_or(0) as f64 * chain.limb_bytes() as f64 / together.bytes_per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_between_measured_numbers_of_threads_are_in_between() {
        let costs = |forward| PrimitiveCosts {
            forward,
            ..PrimitiveCosts::default()
        };
        let mut speed = Speed::built_in("scalar");
        assert_eq!(speed.at(14, 3), PrimitiveCosts::built_in("scalar", 14));
        let measured = [(2, costs(1.0)), (8, costs(4.0))];
        speed.rings.insert(14, BTreeMap::from(measured));
        let forward = |threads| speed.at(14, threads).forward;
        assert_eq!([1, 2, 4, 8, 64].map(forward), [1.0, 1.0, 2.0, 4.0, 4.0]);
        assert_eq!(speed.at(15, 2), PrimitiveCosts::built_in("scalar", 15));
    }
}
