//! Arguments. The help texts are the documentation that people read first.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::ckks_scheme::exec::KernelChoice;
use pipeline::he_layers::Rotating;
use pipeline::planner::{Pin, Pins};
use pipeline::screening::OutOfRange;

use crate::words::Split;

/// Classifies images that stay encrypted on many machines, with convolutional networks under RNS-CKKS.
#[derive(Debug, Parser)]
#[command(
    name = "polyphase-mpi",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Under mpirun: encrypt a batch of images, classify it on all ranks, and compare with the plaintext network
    Infer(Box<InferArgs>),
    /// What the planner expects of 1 to 64 equal machines; runs nothing, and needs no mpirun
    Scaling(ScalingArgs),
}

/// Arguments of `infer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mpirun -n 5 polyphase-mpi infer --data cifar --batch 2048
  mpirun -n 3 polyphase-mpi infer --batch 64 --threads 8 --memory-gib 30 --checkpoint state
  mpirun -n 5 polyphase-mpi infer --batch 32 --split channels

Rank 0 is the client: it makes the keys, encrypts, decrypts and reports, and it alone has the secret
key. All other ranks are servers. There is one plan, for the weakest rank. All ranks take the same
arguments; model, machine file and the keys' folder must be there on all machines.")]
pub struct InferArgs {
    /// A bundled model, or a model file with its weights beside it
    #[arg(long, value_name = "NAME|FILE.ron", default_value = "resnet20")]
    pub model: String,

    /// CIFAR's binary files, a folder of pictures, or a .npy, .npz or .safetensors file; read by rank 0 [default:
    /// synthetic images]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Images to skip at the beginning
    #[arg(long, value_name = "K", default_value = "0")]
    pub offset: usize,

    /// Images
    #[arg(long, value_name = "B", default_value = "32")]
    pub batch: NonZeroUsize,

    /// Threads that compute, of each rank [default: all cores, divided by the ranks of the machine]
    #[arg(long, value_name = "T")]
    pub threads: Option<NonZeroUsize>,

    /// Upper bound for the resident memory of each rank, in GiB (2^30 bytes) [default: 80 % of what is free, divided by the
    /// ranks of the machine]
    #[arg(long, value_name = "M", value_parser = gib, allow_negative_numbers = true)]
    pub memory_gib: Option<f64>,

    /// Kernel of the arithmetic
    #[arg(
        long,
        value_name = "NAME",
        default_value = "auto",
        env = "POLYPHASE_KERNEL"
    )]
    pub kernel: KernelName,

    /// Speed of the machines, from `polyphase calibrate` [default: built-in figures of the kernel]
    #[arg(long, value_name = "FILE.ron")]
    pub machine: Option<PathBuf>,

    /// Obey this plan instead of making one; it must be for all images of the batch
    #[arg(long, value_name = "FILE.ron", conflicts_with = "pin")]
    pub plan: Option<PathBuf>,

    /// Write the plan, for `polyphase infer --plan`
    #[arg(long, value_name = "FILE.ron")]
    pub plan_out: Option<PathBuf>,

    /// Largest error of a logit that the plan may lead to, in deviations of the logits
    #[arg(long, value_name = "E", default_value = "0.02", value_parser = error_bound)]
    pub max_logit_error: f64,

    /// Fix a choice of the planner, as for `polyphase infer`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub pin: Vec<Pin>,

    /// How the batch is shared out
    #[arg(long, value_name = "WHAT", default_value = "groups")]
    pub split: Split,

    /// With `--split channels`: where the rotations of inputs are made [default: where that is faster, by the speed of machines
    /// and network]
    #[arg(long, value_name = "WHERE")]
    pub rotate: Option<RotateName>,

    /// Bytes per second that the network brings to a machine, for `--split channels` [default: those of the machine file, else
    /// 1.25e9; 3e9 where all ranks are on one machine]
    #[arg(long, value_name = "R", value_parser = rate, allow_negative_numbers = true)]
    pub network: Option<f64>,

    /// Keys and encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// What to do with images that leave a declared range of the network
    #[arg(long, value_name = "WHAT", default_value = "blank")]
    pub out_of_range: OutOfRangeName,

    /// A folder that all machines see: evaluation keys go through a file there, which is removed in the end [default: they
    /// are broadcast]
    #[arg(long, value_name = "DIR")]
    pub keys_dir: Option<PathBuf>,

    /// Keep finished groups here; the same command, with any number of ranks, goes on with those that are left
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,

    /// Report how often every operation ran on all servers and what it took
    #[arg(long)]
    pub profile: bool,

    /// Add the logits of every image to the JSON report
    #[arg(long, requires = "json")]
    pub logits: bool,

    /// Write the report as JSON; with `-` to standard output, and nothing else there
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

impl InferArgs {
    /// The kernel asked for.
    pub fn kernel(&self) -> KernelChoice {
        self.kernel.choice()
    }

    /// What is fixed.
    pub fn pins(&self) -> Pins {
        let mut pins = Pins::default();
        pins.extend(self.pin.iter().copied());
        pins
    }
}

/// Arguments of `scaling`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase-mpi scaling --batch 8192 --machine node.ron
  polyphase-mpi scaling --model resnet34 --batch 4096 --threads 96 --memory-gib 360
  polyphase-mpi scaling --batch 32 --split channels --machine node.ron

A machine file may say how fast the network is: network_bytes_per_second: Some(1.25e9).")]
pub struct ScalingArgs {
    /// A bundled model, or a model file with its weights beside it
    #[arg(long, value_name = "NAME|FILE.ron", default_value = "resnet20")]
    pub model: String,

    /// Images
    #[arg(long, value_name = "B", default_value = "8192")]
    pub batch: NonZeroUsize,

    /// Numbers of machines
    #[arg(
        long,
        value_name = "N,N,..",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32,64"
    )]
    pub machines: Vec<NonZeroUsize>,

    /// How the images are shared out
    #[arg(long, value_name = "WHAT", default_value = "groups")]
    pub split: Split,

    /// Machines of this file: threads, memory, speed and network
    #[arg(long, value_name = "FILE.ron")]
    pub machine: Option<PathBuf>,

    /// Threads of each [default: those of the machine file, else 64]
    #[arg(long, value_name = "T")]
    pub threads: Option<NonZeroUsize>,

    /// Memory of each in GiB [default: that of the machine file, else 256]
    #[arg(long, value_name = "M", value_parser = gib, allow_negative_numbers = true)]
    pub memory_gib: Option<f64>,

    /// Bytes per second that the network brings to a machine [default: those of the machine file, else 1.25e9]
    #[arg(long, value_name = "R", value_parser = rate, allow_negative_numbers = true)]
    pub network: Option<f64>,

    /// Largest error of a logit that the plan may lead to, in deviations of the logits
    #[arg(long, value_name = "E", default_value = "0.02", value_parser = error_bound)]
    pub max_logit_error: f64,

    /// Write the table as JSON; with `-` to standard output, and nothing else there
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// The kernels of the arithmetic.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KernelName {
    /// The fastest that the processor has
    Auto,
    /// Portable
    Scalar,
    /// Floating-point multiply-add on vectors of 256 bits
    Avx2,
    /// 52-bit multiply-add on vectors of 512 bits
    Avx512ifma,
}

impl KernelName {
    /// The kernel asked for.
    pub fn choice(self) -> KernelChoice {
        match self {
            Self::Auto => KernelChoice::Auto,
            Self::Scalar => KernelChoice::Named("scalar"),
            Self::Avx2 => KernelChoice::Named("avx2"),
            Self::Avx512ifma => KernelChoice::Named("avx512ifma"),
        }
    }
}

/// Where the rotations of inputs are made if servers share the channels of a group.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RotateName {
    /// On every server: the fewest bytes between them
    Everywhere,
    /// Each on one server, which gives it to the others: the least work
    Once,
}

impl RotateName {
    /// What is tried for an argument.
    pub fn candidates(name: Option<Self>) -> &'static [Rotating] {
        match name {
            None => &[Rotating::Once, Rotating::Everywhere],
            Some(Self::Everywhere) => &[Rotating::Everywhere],
            Some(Self::Once) => &[Rotating::Once],
        }
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

fn above_zero(text: &str) -> Option<f64> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|number| number.is_finite() && *number > 0.0)
}

/// An amount of memory.
fn gib(text: &str) -> Result<f64, &'static str> {
    above_zero(text).ok_or("expected a number of GiB above 0")
}

/// A speed.
fn rate(text: &str) -> Result<f64, &'static str> {
    above_zero(text).ok_or("expected a number of bytes per second above 0")
}

/// An error in deviations of the logits.
fn error_bound(text: &str) -> Result<f64, &'static str> {
    let error: Option<f64> = text.parse().ok();
    error
        .filter(|error| *error > 0.0)
        .ok_or("expected a number above 0")
}
