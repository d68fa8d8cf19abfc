//! What the machine arguments mean on this machine.

use std::num::NonZeroUsize;

use ckks_scheme::exec::KernelChoice;
use pipeline::progress::Progress;
use pipeline::system;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::args::{MachineArgs, ThreadArgs};
use crate::error::CliError;

/// More threads than this for each core only wait for one another, and take memory.
const THREADS_PER_CORE: usize = 4;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl ThreadArgs {
    /// Threads asked for, or all cores: what is planned for, on this machine or another.
    pub fn asked(&self) -> usize {
        self.threads.map_or_else(cores, NonZeroUsize::get)
    }

    /// Threads that a run on this machine takes: those asked for, as far as more of them help.
    pub fn here(&self) -> usize {
        self.asked().min(THREADS_PER_CORE.saturating_mul(cores()))
    }

    /// Starts the threads of a run; says so where they are fewer than asked for.
    pub fn pool(&self, ui: &dyn Progress) -> Result<ThreadPool, CliError> {
        let (asked, here) = (self.asked(), self.here());
        if here < asked {
            let cores = cores();
            ui.note(&format!(
                "{here} threads instead of {asked}: more do not help on {cores} cores"
            ));
        }
        Ok(ThreadPoolBuilder::new().num_threads(here).build()?)
    }
}

impl MachineArgs {
    /// Upper bound for the resident memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match self.memory_gib {
            Some(gib) => (gib * f64::from(1 << 30)) as u64,
            None => system::memory_for_a_run(),
        }
    }

    /// The kernel asked for.
    pub fn kernel(&self) -> KernelChoice {
        self.kernel.choice()
    }
}
