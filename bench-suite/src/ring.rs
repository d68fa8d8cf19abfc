//! The ring that criterion benches run on. Criterion keeps the command line to itself, so the environment tells it:
//! `BENCH_LOG_N` (default 13), `BENCH_LEVELS` (default 6), `POLYPHASE_KERNEL`.

use std::env;
use std::str::FromStr;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{ParamError, Parameters};
use clap::ValueEnum;

use crate::args::KernelName;
use crate::naming::BenchId;

/// Bits of a ciphertext prime: those of ResNet-20.
pub const PRIME_BITS: u32 = 48;

/// Degree, length of the chain of primes, and kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Base-2 logarithm of the degree.
    pub log_n: u32,
    /// Ciphertext primes.
    pub levels: usize,
    /// Kernel.
    pub kernel: KernelName,
}

impl Ring {
    /// What the environment says, and the defaults for the rest.
    ///
    /// # Errors
    /// In words, for a variable that is not understood.
    pub fn from_env() -> Result<Self, String> {
        Ok(Self {
            log_n: number("BENCH_LOG_N", 13)?,
            levels: number("BENCH_LEVELS", 6)?,
            kernel: match env::var("POLYPHASE_KERNEL") {
                Ok(name) => KernelName::from_str(&name, true)
                    .map_err(|error| format!("POLYPHASE_KERNEL: {error}"))?,
                Err(_) => KernelName::Auto,
            },
        })
    }

    /// A parameter set of two digits. It is **not checked for security**: speed does not depend on it, and small rings are
    /// not secure at any useful length.
    ///
    /// # Errors
    /// For a degree or a length that cannot be built.
    pub fn parameters(self) -> Result<Parameters, ParamError> {
        Parameters::builder()
            .log_n(self.log_n)
            .q_bits(std::iter::repeat_n(PRIME_BITS, self.levels))
            .kernel(KernelChoice::from(self.kernel))
            .build_insecure_for_tests()
    }
}

/// A name with the ring and the level of an operation on `params`.
pub fn id(crate_name: &'static str, operation: &str, params: &Parameters, level: usize) -> BenchId {
    BenchId::new(crate_name, operation, params.kernel_name())
        .param("logn", params.log_n() as usize)
        .param("l", level)
}

fn number<T: FromStr>(name: &str, default: T) -> Result<T, String> {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name}: found {text}, expected a number")),
        Err(_) => Ok(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_of_the_ring() {
        let ring = Ring {
            log_n: 10,
            levels: 3,
            kernel: KernelName::Scalar,
        };
        let params = ring.parameters().unwrap();
        assert_eq!(params.max_level().limbs(), 3);
        let id = id("ckks-scheme", "rescale", &params, 3);
        assert_eq!(
            id.to_string(),
            "ckks-scheme/rescale/scalar/logn10_l3/b1/t1x1"
        );
    }
}
