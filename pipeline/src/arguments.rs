//! Arguments that several programs take: `polyphase` and `polyphase-mpi`. The help texts are the documentation that people read
//! first.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ckks_scheme::exec::KernelChoice;
use clap::{Args, ValueEnum};

use crate::screening::OutOfRange;

/// A count of which there must be at least one.
///
/// # Errors
/// For anything else.
pub fn positive(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number from 1 on")
}

/// A count that may be zero.
///
/// # Errors
/// For anything else.
pub fn count(text: &str) -> Result<usize, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number from 0 on")
}

/// A finite number above 0.
fn above_zero(text: &str) -> Option<f64> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|number| number.is_finite() && *number > 0.0)
}

/// An amount of memory in GiB (2^30 bytes): a finite number above 0.
///
/// # Errors
/// For anything else.
pub fn gib(text: &str) -> Result<f64, &'static str> {
    above_zero(text).ok_or("expected a number of GiB above 0")
}

/// A speed in bytes per second: a finite number above 0.
///
/// # Errors
/// For anything else.
pub fn rate(text: &str) -> Result<f64, &'static str> {
    above_zero(text).ok_or("expected a number of bytes per second above 0")
}

/// An error in deviations of the logits: a number above 0, which may be infinite.
///
/// # Errors
/// For anything else.
pub fn error_bound(text: &str) -> Result<f64, &'static str> {
    let error: Option<f64> = text.parse().ok();
    error
        .filter(|error| *error > 0.0)
        .ok_or("expected a number above 0")
}

/// The network that a command works with.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A bundled model, or a model file with its weights beside it
    #[arg(long, value_name = "NAME|FILE.ron", default_value = "resnet20")]
    pub model: String,
}

/// The images that a command reads, and where it begins.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// CIFAR's binary files, a folder of PNG or JPEG files (by class or flat), or a .npy, .npz or .safetensors file
    /// [default: synthetic images]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Images to skip at the beginning
    #[arg(
        long,
        value_name = "K",
        default_value = "0",
        value_parser = count,
        allow_negative_numbers = true
    )]
    pub offset: usize,
}

/// Where the report goes.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Write the report as JSON; with `-` to standard output, and nothing else there
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// The kernel that computes: see [`KernelChoice`].
#[derive(Debug, Args)]
pub struct KernelArgs {
    /// Kernel of the arithmetic
    #[arg(
        long,
        value_name = "NAME",
        default_value = "auto",
        env = "POLYPHASE_KERNEL"
    )]
    pub kernel: KernelName,
}

/// The kernels of the arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KernelName {
    /// The fastest that the processor has
    #[default]
    Auto,
    /// Portable
    Scalar,
    /// Floating-point multiply-add on vectors of 256 bits
    Avx2,
    /// 52-bit multiply-add on vectors of 512 bits
    Avx512ifma,
}

impl From<KernelName> for KernelChoice {
    fn from(name: KernelName) -> Self {
        match name {
            KernelName::Auto => Self::Auto,
            KernelName::Scalar => Self::Named("scalar"),
            KernelName::Avx2 => Self::Named("avx2"),
            KernelName::Avx512ifma => Self::Named("avx512ifma"),
        }
    }
}

impl KernelArgs {
    /// The kernel asked for.
    pub fn choice(&self) -> KernelChoice {
        self.kernel.into()
    }
}

/// What may be done with images that leave a declared range.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OutOfRangeName {
    /// Encrypt nothing, and name them
    Refuse,
    /// Encrypt the mean picture instead; they get no answer
    Blank,
    /// Encrypt them all the same
    Allow,
}

impl From<OutOfRangeName> for OutOfRange {
    fn from(name: OutOfRangeName) -> Self {
        match name {
            OutOfRangeName::Refuse => Self::Refuse,
            OutOfRangeName::Blank => Self::Blank,
            OutOfRangeName::Allow => Self::Allow,
        }
    }
}
