//! Arguments of the commands. The help texts are the documentation that people read first.

mod calibrate;
#[cfg(feature = "download")]
mod fetch_data;
mod measure;
mod precision;
mod sides;
mod sweep;
mod train;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pipeline::arguments::{count, error_bound, gib, positive};
use pipeline::planner::Pin;

pub use calibrate::CalibrateArgs;
#[cfg(feature = "download")]
pub use fetch_data::{DataSetName, FetchDataArgs};
pub use measure::{ImportArgs, MeasureArgs, RangesArgs};
pub use pipeline::arguments::{DataArgs, JsonArgs, KernelArgs, ModelArgs, OutOfRangeName};
pub use precision::PrecisionArgs;
pub use sides::{DecryptArgs, EncryptArgs, KeygenArgs, PassphraseArgs, RunArgs};
pub use sweep::SweepArgs;
pub use train::{LossName, TrainArgs};

/// Classifies images that stay encrypted, with convolutional networks under RNS-CKKS.
#[derive(Debug, Parser)]
#[command(
    name = "polyphase",
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
    /// Encrypt a batch of images, classify it encrypted, and compare with the plaintext network
    Infer(InferArgs),
    /// Client: make keys for a network, some for the server and one that stays
    Keygen(KeygenArgs),
    /// Client: encrypt images for the server
    Encrypt(EncryptArgs),
    /// Server: classify encrypted images, without any secret key
    Run(RunArgs),
    /// Client: decrypt the server's answer into classes and logits
    Decrypt(DecryptArgs),
    /// Show how a batch would be run, and what it would take, without running it
    Plan(PlanArgs),
    /// Evaluate the plaintext network on a test set: accuracy, and how near its values come to the declared ranges
    Eval(EvalArgs),
    /// Bring a network in from ONNX or safetensors, and measure its ranges on images
    Import(ImportArgs),
    /// Measure the ranges of a model's activations on images, and write them into its file
    Ranges(RangesArgs),
    /// Plan, or run, batches of many sizes: a table, CSV and plots
    Sweep(SweepArgs),
    /// Train a classification head on encrypted images, and compare it with the same training in the clear
    Train(TrainArgs),
    /// Measure how fast this machine's primitives are, for plans
    Calibrate(CalibrateArgs),
    /// Bootstrapping: precision, speed and key size, measured on random ciphertexts
    Precision(PrecisionArgs),
    /// Download CIFAR-10 and CIFAR-100 from their authors' site, and check them
    #[cfg(feature = "download")]
    FetchData(FetchDataArgs),
}

/// A file for a timeline, whose name says its format.
fn timeline(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg" | "json") => Ok(path),
        _ => Err("expected a name that ends in .svg or .json"),
    }
}

/// How many threads.
#[derive(Debug, Args)]
pub struct ThreadArgs {
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "T", value_parser = positive, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
}

/// What encrypted computation may use.
#[derive(Debug, Args)]
pub struct MachineArgs {
    #[command(flatten)]
    pub threads: ThreadArgs,

    /// Upper bound for the resident memory of the whole process, in GiB (2^30 bytes) [default: 80 % of what is free]
    #[arg(long, value_name = "M", value_parser = gib, allow_negative_numbers = true)]
    pub memory_gib: Option<f64>,

    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Where a run keeps its state.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// Keep the run's state in this folder: killed at any moment, the same command goes on from there
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
}

/// What a plan depends on.
#[derive(Debug, Args)]
pub struct PlanningArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Images; more than one set of ciphertexts holds run group by group
    #[arg(
        long,
        value_name = "B",
        default_value = "32",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub batch: NonZeroUsize,

    #[command(flatten)]
    pub machine: MachineArgs,

    /// Speed of the machine that the plan is for, from `polyphase calibrate`; for `plan` and `keygen` its threads and memory
    /// too [default: built-in figures of the kernel]
    #[arg(long = "machine", value_name = "FILE.ron")]
    pub machine_file: Option<PathBuf>,

    /// Obey this plan instead of making one
    #[arg(long, value_name = "FILE.ron", conflicts_with = "pin")]
    pub plan: Option<PathBuf>,

    /// Largest error of a logit that the plan may lead to, in deviations of the logits; approximated activations, which no
    /// plan makes better, are told apart
    #[arg(long, value_name = "E", default_value = "0.02", value_parser = error_bound)]
    pub max_logit_error: f64,

    /// Fix a choice of the planner: log_n, packing, grid, prime_bits, digits, log_scale, blocks,
    /// bootstrap=never|allowed|N, groups=equal|any; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub pin: Vec<Pin>,
}

/// Arguments of `infer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase infer                                   32 synthetic images through resnet20
  polyphase infer --data cifar --batch 512          the first 512 images of the CIFAR-10 test set
  polyphase infer --data cifar --batch 100 --memory-gib 6 --json report.json
  polyphase infer --batch 32 --pin packing=complex --profile
  polyphase infer --batch 32 --timeline run.json                  for https://ui.perfetto.dev
  polyphase infer --data cifar --batch 8192 --checkpoint state    goes on from there when it was killed

Images that leave a declared range of the network in the clear would spoil the others in their
ciphertexts. The network with its ranges is at hand here, so they are found before anything is
encrypted.

Keys are made, images encrypted, the network run on ciphertexts and evaluation keys alone, and the
logits decrypted, all in this process. They are then compared with the network in the clear, once
with its weights as they are and once with the weights rounded as the encrypted run rounds them.

With --checkpoint the encrypted state is written to DIR/server after each stage of the network, and the
same command goes on from there with the plan that was made first. DIR/client keeps the secret key (mode
0600, as its owner's alone), unless there is a --seed to make it from. All of it is removed when the
report is written.")]
pub struct InferArgs {
    #[command(flatten)]
    pub planning: PlanningArgs,
    #[command(flatten)]
    pub data: DataArgs,

    /// Keys and encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// What to do with images that leave a declared range of the network, and would spoil others; where refreshes apply all
    /// activations, they spoil none, and blank is as allow
    #[arg(long, value_name = "WHAT", default_value = "blank")]
    pub out_of_range: OutOfRangeName,

    #[command(flatten)]
    pub checkpoint: CheckpointArgs,

    /// Draw what ran when on which worker, with the memory beneath, as measured and as predicted: a picture, or a trace in
    /// Chrome's format for ui.perfetto.dev
    #[arg(long, value_name = "FILE.svg|FILE.json", value_parser = timeline)]
    pub timeline: Option<PathBuf>,

    /// Report how often every operation ran and what it took
    #[arg(long)]
    pub profile: bool,

    /// Add the logits of every image to the JSON report
    #[arg(long, requires = "json")]
    pub logits: bool,

    #[command(flatten)]
    pub json: JsonArgs,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase plan --batch 512
  polyphase plan --batch 512 --memory-gib 8 --out plan.ron --svg plan.svg
  polyphase plan --batch 64 --pin grid=16x32
  polyphase infer --batch 512 --plan plan.ron")]
pub struct PlanArgs {
    #[command(flatten)]
    pub planning: PlanningArgs,

    /// Write the plan to a file that `--plan` takes
    #[arg(long, value_name = "FILE.ron")]
    pub out: Option<PathBuf>,

    /// Draw the seconds (an estimate) and the memory (an upper bound) of each stage
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    #[command(flatten)]
    pub json: JsonArgs,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase eval --data cifar                      accuracy of resnet20 on the CIFAR-10 test set
  polyphase eval --data cifar --model resnet34     and of resnet34 on CIFAR-100, from the same folder
  polyphase eval --model my/net.ron --batch 100 --json -
  polyphase eval --data cifar --batch 1000 --robustness   pictures of other kinds, family by family
  polyphase plan --batch 512 --out p.ron && polyphase eval --data cifar --plan p.ron

Nothing is encrypted here: the network is evaluated in double precision, as it was exported.
\"largest |x + t|\" is what the squarings see. Under encryption values beyond the declared range can
spoil a whole ciphertext, so an image that leaves it is counted.")]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,

    /// Images to evaluate [default: all of the test set; 32 synthetic ones]
    #[arg(long, value_name = "B", value_parser = positive, allow_negative_numbers = true)]
    pub batch: Option<NonZeroUsize>,

    /// Evaluate once more, with the weights rounded as a run of this plan rounds them
    #[arg(long, value_name = "FILE.ron")]
    pub plan: Option<PathBuf>,

    /// Evaluate families of other pictures too: the images changed, K pictures of each kind of noise, 5 K drawings, patterns
    #[arg(
        long,
        value_name = "K",
        value_parser = positive,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2000"
    )]
    pub robustness: Option<NonZeroUsize>,

    #[command(flatten)]
    pub threads: ThreadArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}
