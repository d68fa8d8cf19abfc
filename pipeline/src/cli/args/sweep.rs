//! Arguments of `sweep`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{MachineArgs, ModelArgs, error_bound, positive};

/// Arguments of `sweep`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase sweep --data cifar --batches 1,16,64,256,512 --json sweep.json --svg sweep.svg
  polyphase sweep --model resnet34 --simulate --batches 1,2,4,8,16,32,64,128,256,512,1024,2048,4096 --csv sweep.csv
  polyphase sweep --simulate --machine machine.ron --threads 64 --memory-gib 256 --batches 64,512,4096

Each batch is planned and, unless --simulate, run encrypted on the first images of the data and compared
with the network in the clear. All files are written again after each batch. The JSON file keeps the
rows: the same command goes on where it was stopped. A batch that is not feasible is a row that says why.")]
pub struct SweepArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// CIFAR's binary files, a folder of PNG or JPEG files, or an array file [default: synthetic images]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Numbers of images, separated by commas
    #[arg(
        long,
        value_name = "B,B,..",
        value_delimiter = ',',
        default_value = "1,8,32,128,512",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub batches: Vec<NonZeroUsize>,

    /// Plan only
    #[arg(long, conflicts_with_all = ["data", "seed"])]
    pub simulate: bool,

    #[command(flatten)]
    pub machine: MachineArgs,

    /// Speed of the machine, from `polyphase calibrate`; with `--simulate` its threads and memory too
    #[arg(long = "machine", value_name = "FILE.ron")]
    pub machine_file: Option<PathBuf>,

    /// Largest error of a logit that plans may lead to, in deviations of the logits
    #[arg(long, value_name = "E", default_value = "0.02", value_parser = error_bound)]
    pub max_logit_error: f64,

    /// Keys and encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// Keep the rows here, and go on with those that are there
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the rows as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Draw seconds per image, seconds of a batch and peak memory
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}
