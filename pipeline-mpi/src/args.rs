//! Arguments. The help texts are the documentation that people read first.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::arguments::{
    DataArgs, JsonArgs, KernelArgs, ModelArgs, OutOfRangeName, error_bound, gib, positive, rate,
};
use pipeline::he_layers::Rotating;
use pipeline::planner::{Pin, Pins};

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

Rank 0 is the client: it reads the data, makes the keys, encrypts, decrypts and reports, and it alone
has the secret key. All other ranks are servers. There is one plan, for the weakest rank. All ranks take
the same arguments; model, machine file and the keys' folder must be there on all machines.")]
pub struct InferArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,

    /// Images
    #[arg(
        long,
        value_name = "B",
        default_value = "32",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub batch: NonZeroUsize,

    /// Threads that compute, of each rank [default: all cores, divided by the ranks of the machine]
    #[arg(long, value_name = "T", value_parser = positive, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,

    /// Upper bound for the resident memory of each rank, in GiB (2^30 bytes) [default: 80 % of what is free, divided by the
    /// ranks of the machine]
    #[arg(long, value_name = "M", value_parser = gib, allow_negative_numbers = true)]
    pub memory_gib: Option<f64>,

    #[command(flatten)]
    pub kernel: KernelArgs,

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

    #[command(flatten)]
    pub json: JsonArgs,
}

impl InferArgs {
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
    #[command(flatten)]
    pub model: ModelArgs,

    /// Images
    #[arg(
        long,
        value_name = "B",
        default_value = "8192",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub batch: NonZeroUsize,

    /// Numbers of machines
    #[arg(
        long,
        value_name = "N,N,..",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32,64",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub machines: Vec<NonZeroUsize>,

    /// How the images are shared out
    #[arg(long, value_name = "WHAT", default_value = "groups")]
    pub split: Split,

    /// Machines of this file: threads, memory, speed and network
    #[arg(long, value_name = "FILE.ron")]
    pub machine: Option<PathBuf>,

    /// Threads of each [default: those of the machine file, else 64]
    #[arg(long, value_name = "T", value_parser = positive, allow_negative_numbers = true)]
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

    #[command(flatten)]
    pub json: JsonArgs,
}

/// Where the rotations of inputs are made if servers share the channels of a group.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RotateName {
    /// On every server, which multiplies them for its own outputs: the least memory
    Everywhere,
    /// Each on one server, which multiplies it for all outputs and gives the others their sums: the least work
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
