//! Where the time of a refresh goes.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The four parts of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(usize)]
pub enum Stage {
    /// From the slots to the coefficients.
    SlotsToCoeffs,
    /// From the base prime to the whole modulus, through the ephemeral secret.
    ModRaise,
    /// From the coefficients to the slots.
    CoeffsToSlots,
    /// Reduction modulo the base prime.
    EvalMod,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SlotsToCoeffs,
        Self::ModRaise,
        Self::CoeffsToSlots,
        Self::EvalMod,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlotsToCoeffs => "SlotsToCoeffs",
            Self::ModRaise => "ModRaise",
            Self::CoeffsToSlots => "CoeffsToSlots",
            Self::EvalMod => "EvalMod",
        }
    }
}

/// Seconds of every stage, added up over refreshes and threads.
#[derive(Debug, Default)]
pub(super) struct StageClock {
    nanoseconds: [AtomicU64; Stage::ALL.len()],
}

impl StageClock {
    /// Runs `f` and adds the time that it takes.
    pub(super) fn time<T>(&self, stage: Stage, f: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let out = f();
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds[stage as usize].fetch_add(ns, Ordering::Relaxed);
        out
    }

    pub(super) fn seconds(&self) -> [(Stage, f64); Stage::ALL.len()] {
        Stage::ALL.map(|stage| {
            let ns = self.nanoseconds[stage as usize].load(Ordering::Relaxed);
            (stage, ns as f64 * 1e-9)
        })
    }
}
