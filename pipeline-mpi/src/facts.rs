//! What a rank says of its machine, and what a plan for all of them may use.

use std::num::NonZeroUsize;
use std::thread;

use pipeline::calibration::MachineFile;
use pipeline::estimate::time::{Speed, Together};
use pipeline::he_layers::Share;
use pipeline::planner::Machine;
use pipeline::system;

use crate::args::InferArgs;
use crate::error::RankError;
use crate::exchange::BESIDE_BYTES;
use crate::words::Facts;

/// Bytes per second of a network of which nothing is said: 10 Gbit/s.
pub const NETWORK: f64 = 1.25e9;
/// Bytes per second between ranks of one machine: limbs are copied once and checked.
const WITHIN_MACHINE: f64 = 3e9;

impl Facts {
    /// This rank, one of `on_host` on its machine, of `ranks` in all.
    pub fn here(args: &InferArgs, on_host: usize, ranks: usize) -> Self {
        let is_alone = on_host == ranks;
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
            kernel: args.kernel.choice().name().to_owned(),
            is_alone,
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

    /// The machine that these facts describe, with the speed of the machine file that the arguments name, alone or for a share of
    /// every group.
    ///
    /// # Errors
    /// For a file that is none, or one of another kernel.
    pub fn machine(&self, args: &InferArgs, share: Option<Share>) -> Result<Machine, RankError> {
        let mut network = args.network;
        let speed = match &args.machine {
            None => Speed::built_in(self.kernel.as_str()),
            Some(path) => {
                let file = MachineFile::read(path)?;
                network = network.or(file.network_bytes_per_second);
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
            beside_bytes: share.map_or(0, |_| BESIDE_BYTES),
            together: share.map(|share| Together {
                share,
                bytes_per_second: network.unwrap_or(match self.is_alone {
                    true => WITHIN_MACHINE,
                    false => NETWORK,
                }),
            }),
            speed,
        })
    }
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
            is_alone: false,
        };
        let ranks = [
            rank(8, 10, "avx512ifma"),
            rank(4, 30, "scalar"),
            rank(9, 9, "avx512ifma"),
        ];
        assert_eq!(Facts::weakest(&ranks), Some(rank(4, 9, "scalar")));
        assert_eq!(Facts::weakest(&[]), None);
    }
}
