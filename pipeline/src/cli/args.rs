//! Arguments of the commands. The help texts are the documentation that people read first.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Classifies images that stay encrypted, with residual networks under RNS-CKKS.
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
    /// Evaluate the plaintext network on a test set: accuracy, and how near its values come to the declared ranges
    Eval(EvalArgs),
    /// Download CIFAR-10 and CIFAR-100 from their authors' site, and check them
    #[cfg(feature = "download")]
    FetchData(FetchDataArgs),
}

/// A count of which there must be at least one.
fn positive(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number from 1 on")
}

/// A count that may be zero.
fn count(text: &str) -> Result<usize, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number from 0 on")
}

/// Which network.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A bundled model, or a model file with its weights beside it
    #[arg(long, value_name = "NAME|FILE.ron", default_value = "resnet20")]
    pub model: String,
}

/// Which images.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder with test_batch.bin (CIFAR-10) or test.bin (CIFAR-100), or its parent [default: synthetic images]
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

/// How many threads.
#[derive(Debug, Args)]
pub struct ThreadArgs {
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "T", value_parser = positive, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
}

/// Where the report goes.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Write the report as JSON; with `-` to standard output, and nothing else there
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase eval --data cifar                      accuracy of resnet20 on the CIFAR-10 test set
  polyphase eval --data cifar --model resnet34     and of resnet34 on CIFAR-100, from the same folder
  polyphase eval --model my/net.ron --batch 100 --json -

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

    #[command(flatten)]
    pub threads: ThreadArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Arguments of `fetch-data`.
#[cfg(feature = "download")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase fetch-data --to cifar                  both data sets: cifar/cifar-10-batches-bin, cifar/cifar-100-binary
  polyphase fetch-data --to cifar --only cifar10   one of them
  polyphase eval --data cifar

Each archive has about 170 MB. Its SHA-256 is checked before it is unpacked, and a folder appears under
its name only when it is whole. What is there already is not downloaded again.")]
pub struct FetchDataArgs {
    /// Folder to put the data sets into; it is created if it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// Only this data set
    #[arg(long, value_name = "NAME")]
    pub only: Option<DataSetName>,

    /// Folder of a mirror to download from; the archives must be the same to the last bit
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

/// The data sets that can be downloaded.
#[cfg(feature = "download")]
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum DataSetName {
    /// 10 classes, for resnet20
    Cifar10,
    /// 100 classes, for resnet34
    Cifar100,
}
