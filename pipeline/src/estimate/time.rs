//! Seconds of a step: primitive work, counted by the layers, times what each primitive takes on the machine.

use std::collections::BTreeMap;

use ckks_scheme::counts::{PrimitiveCosts, Work};
use ckks_scheme::{Level, ModulusChain};
use he_layers::{OpCounts, cost};
use serde::{Deserialize, Serialize};

use crate::decisions::KeySteps;

/// Speed of a machine: seconds of the primitives on one thread, by ring degree. Rings that were not measured take built-in
/// figures of the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Kernel of the arithmetic that the figures are for.
    pub kernel: String,
    /// Seconds of one unit of each primitive, by base-2 logarithm of the ring degree.
    pub rings: BTreeMap<u32, PrimitiveCosts>,
}

impl Speed {
    /// The figures that come with the library for a kernel.
    pub fn built_in(kernel: impl Into<String>) -> Self {
        Self {
            kernel: kernel.into(),
            rings: BTreeMap::new(),
        }
    }

    /// Seconds of the primitives at ring degree `2^log_n`.
    pub fn at(&self, log_n: u32) -> PrimitiveCosts {
        let measured = self.rings.get(&log_n).copied();
        measured.unwrap_or_else(|| PrimitiveCosts::built_in(&self.kernel, log_n))
    }
}

/// What turns counted operations into seconds: a chain of primes, the levels that have keys, and a machine's speed.
pub(crate) struct Clock<'a> {
    chain: &'a ModulusChain,
    steps: &'a KeySteps,
    costs: PrimitiveCosts,
    cells: usize,
    refresh: Work,
}

impl<'a> Clock<'a> {
    pub fn new(
        chain: &'a ModulusChain,
        steps: &'a KeySteps,
        speed: &Speed,
        cells: usize,
        refresh: Work,
    ) -> Self {
        Self {
            chain,
            steps,
            costs: speed.at(chain.log_n()),
            cells,
            refresh,
        }
    }

    /// Level of the key that serves `level`.
    pub fn key_level(&self, level: Level) -> Level {
        self.steps.key_level(level, self.chain.max_level())
    }

    /// Seconds of counted operations on one thread.
    pub fn seconds(&self, counts: &OpCounts) -> f64 {
        let key_level = |level| self.key_level(level);
        let work = cost::work(
            counts,
            &self.chain.counts(),
            &key_level,
            self.cells,
            &|_| self.refresh,
        );
        // Weights are rounded during the run.
        let encoding = cost::encoding_work(counts, &self.chain.counts(), self.cells);
        self.costs.seconds(&(work + encoding))
    }
}
