//! Arguments of the commands. The help texts are the documentation that people read first.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ckks_scheme::{BootstrapPreset, RefreshFunction};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};
use datasets::Split;
use he_models::spec::ReluApproximation;
use pipeline::planner::Pin;
use pipeline::screening::OutOfRange;

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
    /// Encrypt a batch of images, classify it encrypted, and compare with the plaintext network
    Infer(InferArgs),
    /// Show how a batch would be run, and what it would take, without running it
    Plan(PlanArgs),
    /// Evaluate the plaintext network on a test set: accuracy, and how near its values come to the declared ranges
    Eval(EvalArgs),
    /// Bring a network in from ONNX or safetensors, and measure its ranges on images
    Import(ImportArgs),
    /// Measure the ranges of a model's activations on images, and write them into its file
    Ranges(RangesArgs),
    /// Bootstrapping: precision, speed and key size, measured on random ciphertexts
    Precision(PrecisionArgs),
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

/// An amount of memory.
fn gib(text: &str) -> Result<f64, &'static str> {
    let gib: Option<f64> = text.parse().ok();
    gib.filter(|gib| gib.is_finite() && *gib > 0.0)
        .ok_or("expected a number of GiB above 0")
}

/// An error in deviations of the logits.
fn error_bound(text: &str) -> Result<f64, &'static str> {
    let error: Option<f64> = text.parse().ok();
    error
        .filter(|error| *error > 0.0)
        .ok_or("expected a number above 0")
}

/// Channels, rows and columns.
fn shape(text: &str) -> Result<(usize, usize, usize), &'static str> {
    let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
    match sizes.as_deref() {
        Some(&[channels, height, width]) => Ok((channels, height, width)),
        _ => Err("expected channels, rows and columns, such as 3x32x32"),
    }
}

/// What stands for a ReLU. The model file checks the numbers.
fn relu(text: &str) -> Result<ReluApproximation, &'static str> {
    let expected =
        "expected polynomial=DEGREE, refresh=HARMONICS or composite=DEGREE,DEGREE,..:GAP";
    let (kind, value) = text.split_once('=').ok_or(expected)?;
    let number = || value.parse::<usize>().map_err(|_| expected);
    match kind {
        "polynomial" => Ok(ReluApproximation::Polynomial { degree: number()? }),
        "refresh" => Ok(ReluApproximation::Refresh {
            harmonics: number()?,
        }),
        "composite" => {
            let (degrees, gap) = value.split_once(':').ok_or(expected)?;
            let degrees: Result<_, _> = degrees.split(',').map(str::parse).collect();
            Ok(ReluApproximation::Composite {
                degrees: degrees.map_err(|_| expected)?,
                gap: gap.parse().map_err(|_| expected)?,
            })
        }
        _ => Err(expected),
    }
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

    /// Upper bound for the resident memory of the whole process, in GiB [default: 80 % of what is free]
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
}

/// Where the report goes.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Write the report as JSON; with `-` to standard output, and nothing else there
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
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

    /// Obey this plan instead of making one
    #[arg(long, value_name = "FILE.ron", conflicts_with = "pin")]
    pub plan: Option<PathBuf>,

    /// Largest error of a logit that the plan may lead to, in deviations of the logits
    #[arg(long, value_name = "E", default_value = "0.02", value_parser = error_bound)]
    pub max_logit_error: f64,

    /// Fix a choice of the planner: log_n, packing, grid, prime_bits, digits, log_scale, blocks,
    /// bootstrap=never|allowed|N; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub pin: Vec<Pin>,
}

/// The kernels of the arithmetic.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum KernelName {
    /// The fastest that the processor has
    Auto,
    /// Portable
    Scalar,
    /// 52-bit multiply-add on vectors of 512 bits
    Avx512ifma,
}

/// Arguments of `infer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase infer                                   32 synthetic images through resnet20
  polyphase infer --data cifar --batch 512          the first 512 images of the CIFAR-10 test set
  polyphase infer --data cifar --batch 100 --memory-gib 6 --json report.json
  polyphase infer --batch 32 --pin packing=complex --profile

Images that leave a declared range of the network in the clear would spoil the others in their
ciphertexts. The network with its ranges is at hand here, so they are found before anything is
encrypted.

Keys are made, images encrypted, the network run on ciphertexts and evaluation keys alone, and the
logits decrypted, all in this process. They are then compared with the network in the clear, once
with its weights as they are and once with the weights rounded as the encrypted run rounds them.")]
pub struct InferArgs {
    #[command(flatten)]
    pub planning: PlanningArgs,
    #[command(flatten)]
    pub data: DataArgs,

    /// Keys and encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// What to do with images that leave a declared range of the network, and would spoil others
    #[arg(long, value_name = "WHAT", default_value = "blank")]
    pub out_of_range: OutOfRangeName,

    /// Report how often every operation ran and what it took
    #[arg(long)]
    pub profile: bool,

    /// Add the logits of every image to the JSON report
    #[arg(long, requires = "json")]
    pub logits: bool,

    #[command(flatten)]
    pub json: JsonArgs,
}

/// What may be done with images that leave a declared range.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
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

/// What ranges are measured on.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Training images: CIFAR's folder, a folder of PNG or JPEG files, or an array file
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Which part of the data, where there are several
    #[arg(long, value_name = "PART", default_value = "train")]
    pub split: SplitName,

    /// Images to skip at the beginning
    #[arg(
        long,
        value_name = "K",
        default_value = "0",
        value_parser = count,
        allow_negative_numbers = true
    )]
    pub offset: usize,

    /// Images to measure on [default: all of them]
    #[arg(long, value_name = "B", value_parser = positive, allow_negative_numbers = true)]
    pub batch: Option<NonZeroUsize>,

    #[command(flatten)]
    pub threads: ThreadArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// The parts of a data set.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum SplitName {
    /// The training images
    Train,
    /// The test images
    Test,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Test => Self::Test,
        }
    }
}

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase import net.onnx --data images --out net.ron --mean 0.5 --std 0.25
  polyphase import resnet20.safetensors --data cifar --out relu20.ron --relu refresh=31 \\
      --mean 0.4914,0.4822,0.4465 --std 0.2023,0.1994,0.2010
  polyphase infer --model net.ron --data images

ONNX files as both exporters of PyTorch write them; safetensors files with the names of the ReLU
networks of arXiv 2604.16834. The network sees (pixel / 255 - mean) / std. Ranges are the largest values
that activations see on the images, times 2 for quadratics and 1.5 for others. The weights are
written beside the model file, as NAME.safetensors.")]
pub struct ImportArgs {
    /// The network
    #[arg(value_name = "FILE.onnx|FILE.safetensors")]
    pub file: PathBuf,

    /// Write the model file here
    #[arg(long, value_name = "FILE.ron")]
    pub out: PathBuf,

    #[command(flatten)]
    pub measure: MeasureArgs,

    /// The model's name [default: the file's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Channels, rows and columns of an image, where the file leaves them open
    #[arg(long, value_name = "CxHxW", value_parser = shape)]
    pub shape: Option<(usize, usize, usize)>,

    /// Mean of each channel of pixels in [0, 1], or of all [default: what the file says, or 0]
    #[arg(
        long,
        value_name = "M,..",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    pub mean: Vec<f64>,

    /// Standard deviation of each channel, or of all [default: what the file says, or 1]
    #[arg(
        long,
        value_name = "S,..",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    pub std: Vec<f64>,

    /// Names of the classes, in the order of the logits [default: 0,1,..]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub classes: Vec<String>,

    /// What stands for ReLUs when encrypted: polynomial=DEGREE, refresh=HARMONICS, or composite=D,D,..:GAP, a sign of
    /// odd degrees that is exact outside GAP of the range [default: polynomial=63]
    #[arg(long, value_name = "KIND=..", value_parser = relu)]
    pub relu: Option<ReluApproximation>,

    /// What the network was trained on, for the model file
    #[arg(long, value_name = "NAME", default_value = "")]
    pub dataset: String,
}

/// Arguments of `ranges`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase ranges --model net.ron --data images
  polyphase ranges --model net.ron --data cifar --batch 10000 --out measured.ron

The declared range of an activation is the largest value that it sees, in each channel, times 2 for
quadratics and 1.5 for others. The file is replaced when all is measured.")]
pub struct RangesArgs {
    /// The model file, its weights beside it
    #[arg(long, value_name = "FILE.ron")]
    pub model: PathBuf,

    /// Write another file instead; in another folder, with a copy of the weights
    #[arg(long, value_name = "FILE.ron")]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// Arguments of `precision`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase precision                              20 ciphertexts with the default preset, N = 2^16
  polyphase precision --preset n15 --ciphertexts 4 --threads 1
  polyphase precision --preset n16-l2 --function relu   a ReLU applied by the refresh itself
  polyphase precision --json - --profile

Values uniform in [-1, 1] fill the real and the imaginary parts of all slots. Bits are -log2 of the
absolute error of one such part: of the mean error, the median, and the largest. Seconds are wall time
divided by ciphertexts, after one on every thread that is not counted; those of the stages are spent
by one thread on one ciphertext. Microseconds per output bit: seconds over slots, used parts of a slot
and bits of the mean error, which presets of different precision compare by. A function is compared
with the Fourier series that stands for it; its distance from the function is told apart. What is left
for the user is the modulus above what the next refresh takes. The probability of a failure is
computed from the parameters; -1074, the logarithm of the least number in double precision, stands
for one that cannot happen.")]
pub struct PrecisionArgs {
    /// Parameters, all of them with 128-bit security
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PRESET, value_parser = presets())]
    pub preset: String,

    /// What the refresh applies to every value
    #[arg(long, value_name = "F", default_value = "identity")]
    pub function: FunctionName,

    /// Ciphertexts to refresh
    #[arg(
        long,
        value_name = "K",
        default_value = "20",
        value_parser = positive,
        allow_negative_numbers = true
    )]
    pub ciphertexts: NonZeroUsize,

    #[command(flatten)]
    pub machine: MachineArgs,

    /// Keys, values and encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// Report how often every operation ran and what it took
    #[arg(long)]
    pub profile: bool,

    #[command(flatten)]
    pub json: JsonArgs,
}

/// The functions that a refresh may apply.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum FunctionName {
    /// None: values stay what they are
    Identity,
    /// max(v, 0), over the preset's chain for it
    Relu,
}

impl From<FunctionName> for RefreshFunction {
    fn from(name: FunctionName) -> Self {
        match name {
            FunctionName::Identity => Self::Identity,
            FunctionName::Relu => Self::Relu,
        }
    }
}

/// The first preset of the list.
const DEFAULT_PRESET: &str = BootstrapPreset::ALL[0].name();

/// The presets, with what they are.
fn presets() -> PossibleValuesParser {
    let value = |preset: BootstrapPreset| PossibleValue::new(preset.name()).help(preset.summary());
    PossibleValuesParser::new(BootstrapPreset::ALL.map(value))
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
