//! The last block of a residual network, trained with the head: scales and offsets of its activations by backpropagation through
//! frozen convolutions.
//!
//! A pre-activation block with an identity shortcut, and what comes after it:
//!
//! ```text
//! z1 -> a1 = g1 (z1 + t1)^2 -> conv1 -> z2 -> a2 = g2 (z2 + t2)^2 -> conv2 -> + z1 -> z3 -> a3 = g3 (z3 + t3)^2 -> mean -> W, b
//! ```
//!
//! The input `z1` and the labels are encrypted; so are the scale `g` and the offset `t` of each channel of each activation, and
//! the head `W`, `b`. The convolutions are plaintext and stay as they are. The loss is half the mean square of `scores - labels` over
//! the images, labels one-hot: the least-squares loss of ridge. Its gradient is linear in the scores, so no polynomial for a
//! softmax is needed.
//!
//! Every derivative is at hand: that of a quadratic is `2 g (z + t)`, and the transpose of a convolution of stride 1 is the
//! convolution with its kernel turned by 180 degrees and its channels swapped ([`turned`]), so that one kind of linear map serves
//! both directions. [`Block::clear_step`] is the twin in double precision, [`BlockTrainer::step`] the step on ciphertexts.

mod clear;
mod client;
mod encrypted;
mod forecast;
mod layout;
mod levels;
mod maps;
mod plan;
mod ranges;
mod weights;

use he_layers::{Chw, Conv2d, Padding};

pub use clear::BlockTrace;
pub use client::BlockClient;
pub use encrypted::{BlockBatch, BlockStep, BlockTrainer, EncryptedWeights};
pub use forecast::BlockForecast;
pub use layout::BlockLayout;
pub use levels::BlockLevels;
pub use plan::{BlockPlan, BlockSettings};
pub use ranges::{Range, Ranges};
pub use weights::{BlockWeights, Rates};

use crate::error::TrainingError;

/// Number of activations of a block, the one after it included.
pub const ACTIVATIONS: usize = 3;

/// A residual block with frozen convolutions of stride 1 and an identity shortcut.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    shape: Chw,
    convolutions: [Conv2d; 2],
    /// Their transposes.
    turned: [Conv2d; 2],
}

impl Block {
    /// A block for maps of shape `shape`. Both convolutions keep the shape.
    ///
    /// # Errors
    /// [`TrainingError::Layer`] for a convolution that does not fit, [`TrainingError::Setting`] for one that changes the shape.
    pub fn new(shape: Chw, convolutions: [Conv2d; 2]) -> Result<Self, TrainingError> {
        for conv in &convolutions {
            conv.validate()?;
            let found = conv.output_shape(shape)?;
            if found != shape || conv.stride != (1, 1) {
                let found = format!("{found} with strides {:?}", conv.stride);
                let expected = format!("{shape} with strides (1, 1)");
                return Err(TrainingError::setting(
                    "output of a block's map",
                    found,
                    expected,
                ));
            }
        }
        let turned = [turned(&convolutions[0])?, turned(&convolutions[1])?];
        Ok(Self {
            shape,
            convolutions,
            turned,
        })
    }

    /// Shape of one image's maps, the same in the whole block.
    pub fn shape(&self) -> Chw {
        self.shape
    }

    /// The two convolutions.
    pub fn convolutions(&self) -> &[Conv2d; 2] {
        &self.convolutions
    }

    /// The transposes of the two convolutions, in the same order; see [`turned`].
    pub fn transposes(&self) -> &[Conv2d; 2] {
        &self.turned
    }
}

/// The transpose of a convolution of stride 1 that keeps the size of maps: its kernel turned by 180 degrees, its channels swapped,
/// without a bias. `y = conv(x)` without bias and `x' = turned(y')` have `<y', y> = <x', x>` for all `x` and `y'`.
///
/// # Errors
/// [`TrainingError::Layer`] for arrays that do not fit, [`TrainingError::Setting`] for another stride, or for padding that is
/// wider than the kernel.
pub fn turned(conv: &Conv2d) -> Result<Conv2d, TrainingError> {
    conv.validate()?;
    let (rows, cols) = conv.kernel;
    let Padding {
        top,
        left,
        bottom,
        right,
    } = conv.padding;
    let inside = top.max(bottom) < rows && left.max(right) < cols;
    if conv.stride != (1, 1) || !inside {
        let found = format!("strides {:?}, padding {:?}", conv.stride, conv.padding);
        let expected = "strides (1, 1) and padding below the kernel's size";
        return Err(TrainingError::setting(
            "a map to transpose",
            found,
            expected,
        ));
    }
    // Output channels of each group become its input channels.
    let outputs = conv.out_channels / conv.groups;
    let mut weight = Vec::with_capacity(conv.weight.len());
    for i in 0..conv.in_channels {
        let group = i / conv.group_inputs();
        for o in group * outputs..(group + 1) * outputs {
            for ky in (0..rows).rev() {
                for kx in (0..cols).rev() {
                    weight.push(conv.weight_at(o, i, ky, kx));
                }
            }
        }
    }
    Ok(Conv2d {
        name: format!("{}.transposed", conv.name),
        in_channels: conv.out_channels,
        out_channels: conv.in_channels,
        groups: conv.groups,
        kernel: conv.kernel,
        stride: (1, 1),
        padding: Padding {
            top: rows - 1 - top,
            left: cols - 1 - left,
            bottom: rows - 1 - bottom,
            right: cols - 1 - right,
        },
        weight,
        bias: vec![0.0; conv.in_channels],
        tap_bias: vec![0.0; conv.in_channels * rows * cols],
    })
}
