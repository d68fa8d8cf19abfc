//! Arguments of `calibrate`.

use std::path::PathBuf;

use clap::Args;

use super::{JsonArgs, MachineArgs};

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase calibrate --out machine.ron
  polyphase infer --data cifar --batch 512 --machine machine.ron
  polyphase plan --batch 512 --machine machine.ron --threads 64 --memory-gib 128

Transforms, base conversions, products and the reading of keys are timed for rings of 2^13 to 2^17, with
one thread at work and with all of them side by side, twice: one to two minutes. Other work on the
machine spoils the figures; the spread between the two passes tells. FILE.ron is text: a machine that
you do not have can be made from one that you have, by other threads and memory.")]
pub struct CalibrateArgs {
    /// Write the machine here
    #[arg(long, value_name = "FILE.ron")]
    pub out: PathBuf,

    #[command(flatten)]
    pub machine: MachineArgs,

    #[command(flatten)]
    pub json: JsonArgs,
}
