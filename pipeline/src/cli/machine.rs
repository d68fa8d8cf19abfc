//! What the machine arguments mean on this machine.

use std::num::NonZeroUsize;

use ckks_scheme::exec::KernelChoice;
use pipeline::system;

use super::args::{KernelName, MachineArgs};

/// Share of the free memory that a run may take, unless the user says how much.
const MEMORY_SHARE: f64 = 0.8;
/// Memory to plan for on systems that do not tell how much is free.
const UNKNOWN_MEMORY: u64 = 8 << 30;

impl MachineArgs {
    /// Threads asked for, or all cores.
    pub fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.threads.map_or_else(all, NonZeroUsize::get)
    }

    /// Upper bound for the resident memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match self.memory_gib {
            Some(gib) => (gib * f64::from(1 << 30)) as u64,
            None => system::available_memory_bytes()
                .map_or(UNKNOWN_MEMORY, |free| (free as f64 * MEMORY_SHARE) as u64),
        }
    }

    /// The kernel asked for.
    pub fn kernel(&self) -> KernelChoice {
        match self.kernel {
            KernelName::Auto => KernelChoice::Auto,
            KernelName::Scalar => KernelChoice::Named("scalar"),
            KernelName::Avx512ifma => KernelChoice::Named("avx512ifma"),
        }
    }
}
