//! Arguments of `train`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::precision::presets;
use super::{CheckpointArgs, JsonArgs, MachineArgs, ModelArgs, error_bound, positive};

/// A number above 0.
fn above_zero(text: &str) -> Result<f64, &'static str> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|x| x.is_finite() && *x > 0.0)
        .ok_or("expected a number above 0")
}

/// A share, 0 included and 1 not.
fn share(text: &str) -> Result<f64, &'static str> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|x| (0.0..1.0).contains(x))
        .ok_or("expected a number from 0 up to but not including 1")
}

/// Arguments of `train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyphase train --model resnet34 --data cifar --classes 10 --own-data cifar --loss ridge --images 5000
  polyphase train --model resnet34 --data cifar --classes 10 --own-data cifar --loss softmax \\
      --images 5000 --epochs 10 --json softmax.json
  polyphase train --model resnet34 --data cifar --classes 10 --own-data cifar --images 5000 --plan-only

The network gives features: the mean of each channel of its last activation. Their units, bounds of their
size, and the settings that follow from these, are measured on its own training images (--own-data), never
on the new ones. Images and labels are encrypted; features, head and scores are computed without any secret key; the client looks
at the scores of test images, and at the head for comparison. The same training runs in the clear too.")]
pub struct TrainArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Activation whose channel means are the features [default: the network's last]
    #[arg(long, value_name = "NAME")]
    pub until: Option<String>,

    /// Labelled images: CIFAR's folder, a folder of PNG or JPEG files by class, or an array file. The head is trained on the
    /// training part and tried on the test part
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Number of classes of the labels
    #[arg(long, value_name = "C", value_parser = positive, allow_negative_numbers = true)]
    pub classes: NonZeroUsize,

    /// The network's own training images
    #[arg(long, value_name = "DIR")]
    pub own_data: PathBuf,

    /// How many of them to measure on
    #[arg(long, value_name = "K", default_value = "5000", value_parser = positive, allow_negative_numbers = true)]
    pub own_images: NonZeroUsize,

    /// What is minimised
    #[arg(long, value_name = "LOSS", default_value = "ridge")]
    pub loss: LossName,

    /// Images to train on
    #[arg(long, value_name = "K", default_value = "512", value_parser = positive, allow_negative_numbers = true)]
    pub images: NonZeroUsize,

    /// Images to try the head on
    #[arg(long, value_name = "K", default_value = "256", value_parser = positive, allow_negative_numbers = true)]
    pub test_images: NonZeroUsize,

    /// softmax: passes over the images
    #[arg(long, value_name = "E", default_value = "10", value_parser = positive, allow_negative_numbers = true)]
    pub epochs: NonZeroUsize,

    /// softmax: groups of images of a mini-batch: two share every refresh, more are computed in parallel. A plan says how many
    /// images a group holds [default: 2, or as many more as the range of the scores takes]
    #[arg(long, value_name = "G", value_parser = positive, allow_negative_numbers = true)]
    pub step_groups: Option<NonZeroUsize>,

    /// softmax: learning rate [default: one over the largest curvature there can be, from the network's own images]
    #[arg(long, value_name = "R", value_parser = above_zero)]
    pub rate: Option<f64>,

    /// softmax: momentum [default: from the number of steps]
    #[arg(long, value_name = "M", value_parser = share)]
    pub momentum: Option<f64>,

    /// Weight decay of the softmax [default: from rate and steps], or regularisation of the ridge [default: from its own images'
    /// norms and --images]
    #[arg(long, visible_alias = "lambda", value_name = "L", value_parser = above_zero)]
    pub decay: Option<f64>,

    /// Train no bias for the classes
    #[arg(long)]
    pub no_bias: bool,

    /// Declared bound of the norm of an image's features [default: 1.25 times the largest of the network's own images]
    #[arg(long, value_name = "N", value_parser = above_zero)]
    pub norm_bound: Option<f64>,

    /// ridge: declared bound of that norm's root mean square over the images [default: 1.25 times that of the network's own images]
    #[arg(long, value_name = "R", value_parser = above_zero)]
    pub rms_bound: Option<f64>,

    /// Ring and refreshes, of the network and of the training
    #[arg(long, value_name = "NAME", default_value = "n16-precise", value_parser = presets())]
    pub preset: String,

    /// Images that the network runs on at a time
    #[arg(long, value_name = "B", default_value = "256", value_parser = positive, allow_negative_numbers = true)]
    pub batch: NonZeroUsize,

    /// Largest error of a feature that the network's plan may lead to, in deviations of the features
    #[arg(long, value_name = "E", default_value = "0.05", value_parser = error_bound)]
    pub max_feature_error: f64,

    /// Show the plan, and stop
    #[arg(long)]
    pub plan_only: bool,

    #[command(flatten)]
    pub checkpoint: CheckpointArgs,

    /// Keep the folder of --checkpoint, secret key included: a training with another loss finds the network's outputs there
    #[arg(long, requires = "checkpoint")]
    pub keep_checkpoint: bool,

    /// Keys and encryptions from a seed: reproducible, for experiments, not secure
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// Speed of the machine, from `polyphase calibrate` [default: built-in figures of the kernel]
    #[arg(long = "machine", value_name = "FILE.ron")]
    pub machine_file: Option<PathBuf>,

    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// What may be minimised.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LossName {
    /// Squares, by sums over all images and iterations on those
    Ridge,
    /// Cross-entropy, by accelerated gradients on mini-batches
    Softmax,
}
