//! What a rank says of its machine, and what a plan for all of them may use.

use std::fs;
use std::num::NonZeroUsize;
use std::thread;

use pipeline::calibration::MachineFile;
use pipeline::estimate::time::Speed;
use pipeline::planner::Machine;
use pipeline::system;

use crate::args::InferArgs;
use crate::error::RankError;
use crate::words::Facts;

/// Clock ticks per second in what Linux says of a process.
const TICKS: f64 = 100.0;

impl Facts {
    /// This rank, one of `on_host` on its machine.
    pub fn here(args: &InferArgs, on_host: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = args.threads.map(NonZeroUsize::get);
        let memory_bytes = match args.memory_gib {
            Some(gib) => (gib * f64::from(1 << 30)) as u64,
            None => system::memory_for_a_run() / on_host as u64,
        };
        Self {
            host: mpi::environment::processor_name().unwrap_or_default(),
            threads: threads.unwrap_or_else(|| (cores / on_host).max(1)),
            memory_bytes,
            kernel: args.kernel().name().to_owned(),
        }
    }

    /// As much of each as the weakest rank has.
    pub fn weakest(ranks: &[Self]) -> Option<Self> {
        let mut weakest = ranks.first()?.clone();
        for rank in ranks {
            weakest.threads = weakest.threads.min(rank.threads);
            weakest.memory_bytes = weakest.memory_bytes.min(rank.memory_bytes);
            if rank.kernel == "scalar" {
                weakest.kernel.clone_from(&rank.kernel);
            }
        }
        Some(weakest)
    }

    /// The machine that these facts describe, with the speed of the machine file that the arguments name.
    ///
    /// # Errors
    /// For a file that is none, or one of another kernel.
    pub fn machine(&self, args: &InferArgs) -> Result<Machine, RankError> {
        let speed = match &args.machine {
            None => Speed::built_in(self.kernel.as_str()),
            Some(path) => {
                let file = MachineFile::read(path)?;
                if file.speed.kernel != self.kernel {
                    return Err(RankError::MachineKernel {
                        path: path.clone(),
                        found: file.speed.kernel,
                        expected: self.kernel.clone(),
                    });
                }
                file.speed
            }
        };
        Ok(Machine {
            threads: self.threads,
            memory_bytes: self.memory_bytes,
            beside_bytes: 0,
            speed,
        })
    }
}

/// Time on processors of all threads of this process in seconds, where the system tells.
pub fn seconds_processor() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_for_the_weakest_rank() {
        let rank = |threads, memory_bytes, kernel: &str| Facts {
            host: String::new(),
            threads,
            memory_bytes,
            kernel: kernel.to_owned(),
        };
        let ranks = [
            rank(8, 10, "avx512ifma"),
            rank(4, 30, "scalar"),
            rank(9, 9, "avx512ifma"),
        ];
        assert_eq!(Facts::weakest(&ranks), Some(rank(4, 9, "scalar")));
        assert_eq!(Facts::weakest(&[]), None);
    }

    #[test]
    fn time_on_processors_grows() {
        let before = seconds_processor().unwrap();
        let start = std::time::Instant::now();
        let mut sum = 0u64;
        while start.elapsed().as_secs_f64() < 0.3 {
            sum = std::hint::black_box(sum + 1);
        }
        let after = seconds_processor().unwrap();
        assert!(
            after > before && after < before + 10.0,
            "{before} to {after}"
        );
    }
}
