//! The one error type of this crate.

use thiserror::Error;

/// What can go wrong in this crate. Slice lengths that do not match are bugs of the caller and
/// panic; everything that depends on data or machine is reported here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MathError {
    /// A modulus outside `2..2^62`.
    #[error("modulus {modulus} is not in 2..2^62")]
    ModulusOutOfRange {
        /// The modulus asked for.
        modulus: u64,
    },
    /// A modulus that is not prime, where a prime is needed.
    #[error("modulus {modulus} is not prime")]
    ModulusNotPrime {
        /// The modulus asked for.
        modulus: u64,
    },
    /// A prime without roots of unity of order `2^(log_n + 1)`.
    #[error("modulus {modulus} is not 1 modulo 2^{}", log_n + 1)]
    NoRootOfUnity {
        /// The modulus asked for.
        modulus: u64,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// A given root is not a primitive root of unity of order `2^(log_n + 1)`.
    #[error("{root} is not a primitive root of unity of order 2^{} modulo {modulus}", log_n + 1)]
    NotPrimitiveRoot {
        /// The root given.
        root: u64,
        /// The modulus.
        modulus: u64,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// A ring degree that is not supported.
    #[error("ring degree 2^{log_n} is not supported (log_n must be in {min}..={max})")]
    DegreeOutOfRange {
        /// Base-2 logarithm of the ring degree asked for.
        log_n: u32,
        /// Smallest supported logarithm.
        min: u32,
        /// Largest supported logarithm.
        max: u32,
    },
    /// No kernel of this name exists.
    #[error("there is no kernel named {name:?}")]
    UnknownKernel {
        /// The name asked for.
        name: String,
    },
    /// The kernel exists, but this processor, modulus or degree is outside its reach.
    #[error(
        "kernel {kernel} does not support modulus {modulus} at degree 2^{log_n} on this machine"
    )]
    KernelUnsupported {
        /// Name of the kernel.
        kernel: &'static str,
        /// The modulus asked for.
        modulus: u64,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// The kernel exists, but not for this processor.
    #[error("kernel {kernel} is not available on this processor")]
    KernelUnavailable {
        /// Name of the kernel.
        kernel: &'static str,
    },
    /// A Galois element that is even.
    #[error("galois element {element} is even: no automorphism of the ring")]
    EvenGaloisElement {
        /// The element given.
        element: u64,
    },
    /// A base conversion without source or destination moduli.
    #[error(
        "base conversion from {sources} to {targets} moduli: both must be at least 1 and sources at most {max_sources}"
    )]
    BasisSize {
        /// Number of source moduli.
        sources: usize,
        /// Number of target moduli.
        targets: usize,
        /// Largest number of source moduli.
        max_sources: usize,
    },
    /// The same modulus twice in the source basis.
    #[error("modulus {modulus} occurs twice in the source basis")]
    RepeatedModulus {
        /// The repeated modulus.
        modulus: u64,
    },
    /// Rings of different degrees in one basis.
    #[error("rings of degree 2^{found} and 2^{expected} in one basis")]
    DegreeMismatch {
        /// Base-2 logarithm of the degree found.
        found: u32,
        /// Base-2 logarithm of the degree expected.
        expected: u32,
    },
    /// The memory budget of a pool does not cover what is asked for.
    #[error("buffer pool exhausted: {needed_bytes} bytes needed, budget {budget_bytes} bytes")]
    PoolExhausted {
        /// The budget.
        budget_bytes: u64,
        /// What would be in use if the request were granted.
        needed_bytes: u64,
    },
    /// The operating system refused memory.
    #[error("the operating system refused {bytes} bytes")]
    OutOfMemory {
        /// Size of the request.
        bytes: u64,
    },
}

impl MathError {
    /// Whether memory ran out: a pool's budget, or the system's.
    pub fn out_of_memory(&self) -> bool {
        matches!(self, Self::PoolExhausted { .. } | Self::OutOfMemory { .. })
    }
}
