//! Arguments of the commands that measure ranges: `import` and `ranges`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use datasets::Split;
use he_models::spec::ReluApproximation;

use super::{JsonArgs, ThreadArgs, count, positive};

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
that activations see on the images, times 2 for quadratics, 1.2 for ReLUs that a refresh applies and
1.5 for others. The weights are written beside the model file, as NAME.safetensors.")]
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
quadratics, 1.2 for ReLUs that a refresh applies and 1.5 for others. The file is replaced when all is measured.")]
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
