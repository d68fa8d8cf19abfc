//! What the nodes of a model file compute.

use serde::{Deserialize, Serialize};

/// What a node computes, with the names of its tensors and its sizes. Pairs are rows and columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum OpSpec {
    /// A convolution with zero padding.
    Conv2d {
        /// Output channels.
        channels: usize,
        /// Rows and columns of the kernel.
        kernel: (usize, usize),
        /// Step between output pixels.
        #[serde(default = "ones", skip_serializing_if = "is_ones")]
        stride: (usize, usize),
        /// Zeros added at the top, left, bottom and right.
        #[serde(default, skip_serializing_if = "is_zeros")]
        padding: (usize, usize, usize, usize),
        /// Step between the pixels that neighbouring taps read.
        #[serde(default = "ones", skip_serializing_if = "is_ones")]
        dilation: (usize, usize),
        /// Groups of channels that do not mix.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
        /// Tensor `[channels][input channels / groups][kernel rows][kernel columns]`.
        weight: String,
        /// Tensor `[channels]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// `weight (x - mean) / sqrt(variance + epsilon) + bias`, per channel; all four are tensors `[channels]`.
    BatchNorm {
        /// Gains.
        weight: String,
        /// Offsets.
        bias: String,
        /// Running means.
        mean: String,
        /// Running variances.
        variance: String,
        /// Added to the variances.
        epsilon: f64,
    },
    /// `gain x + offset`, per channel.
    Affine {
        /// Tensor `[channels]`.
        gain: String,
        /// Tensor `[channels]`.
        offset: String,
    },
    /// The activation `g (x + t)^2 + d`, per channel; all three are tensors `[channels]`.
    Quadratic {
        /// Gains.
        g: String,
        /// Offsets before the square.
        t: String,
        /// Offsets after it.
        d: String,
    },
    /// An activation by one polynomial, the same for all channels.
    Polynomial {
        /// Coefficients of the Chebyshev polynomials `T_0, T_1, ...` on the interval.
        coefficients: Vec<f64>,
        /// The interval on which it is meant.
        interval: (f64, f64),
    },
    /// The activation `max(x, 0)`.
    Relu {
        /// What stands for it in the encrypted run.
        approximation: ReluApproximation,
    },
    /// The sum of two or more nodes of one shape.
    Add,
    /// Two or more nodes of one size, channel after channel.
    Concat,
    /// The channels `from..to`.
    Slice {
        /// First channel.
        from: usize,
        /// The channel after the last one.
        to: usize,
    },
    /// Averages over windows; pixels of the padding count as zeros.
    AvgPool {
        /// Rows and columns of the window.
        kernel: (usize, usize),
        /// Step between windows.
        stride: (usize, usize),
        /// Zeros added at the top, left, bottom and right.
        #[serde(default, skip_serializing_if = "is_zeros")]
        padding: (usize, usize, usize, usize),
    },
    /// The average over all pixels.
    GlobalAvgPool,
    /// All values of an image one after the other. Only a dense layer may read it, unless maps are one pixel.
    Flatten,
    /// A dense layer; what it reads is flattened in the order channel, row, column.
    Dense {
        /// Outputs.
        outputs: usize,
        /// Tensor `[outputs][inputs]`.
        weight: String,
        /// Tensor `[outputs]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
}

/// What stands for a ReLU in the encrypted run, on its declared range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ReluApproximation {
    /// One Chebyshev interpolation. A degree of `2^k - 1` takes `k` levels; the error falls as range over degree.
    Polynomial {
        /// Degree, 1 to 1023.
        degree: usize,
    },
    /// `x (1 + sign(x)) / 2` with a sign of composed minimax polynomials.
    Composite {
        /// Their degrees, odd, the first one applied first.
        degrees: Vec<usize>,
        /// Part of the range around zero where the sign is not exact.
        gap: f64,
    },
    /// The refresh itself applies the ReLU, by a Fourier series of which `2^k - 1` harmonics take `k` levels. Its error is
    /// largest at the kink: 0.0032 of the range for 31 harmonics, 0.0018 for 63. Beyond the range it stays bounded.
    Refresh {
        /// Harmonics of the series, 1 to 255.
        harmonics: usize,
    },
}

impl OpSpec {
    /// Whether statistics of its input belong into the model file.
    #[must_use]
    pub fn is_activation(&self) -> bool {
        matches!(
            self,
            Self::Quadratic { .. } | Self::Polynomial { .. } | Self::Relu { .. }
        )
    }

    /// Names of its tensors.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        let (required, bias): (Vec<&String>, &Option<String>) = match self {
            Self::Conv2d { weight, bias, .. } | Self::Dense { weight, bias, .. } => {
                (vec![weight], bias)
            }
            Self::BatchNorm {
                weight,
                bias,
                mean,
                variance,
                ..
            } => (vec![weight, bias, mean, variance], &None),
            Self::Affine { gain, offset } => (vec![gain, offset], &None),
            Self::Quadratic { g, t, d } => (vec![g, t, d], &None),
            Self::Polynomial { .. }
            | Self::Relu { .. }
            | Self::Add
            | Self::Concat
            | Self::Slice { .. }
            | Self::AvgPool { .. }
            | Self::GlobalAvgPool
            | Self::Flatten => (vec![], &None),
        };
        required.into_iter().chain(bias).map(String::as_str)
    }

    /// Whether it takes two or more inputs; all others take one.
    #[must_use]
    pub fn joins(&self) -> bool {
        matches!(self, Self::Add | Self::Concat)
    }
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

fn ones() -> (usize, usize) {
    (1, 1)
}

fn is_ones(pair: &(usize, usize)) -> bool {
    *pair == (1, 1)
}

fn is_zeros(padding: &(usize, usize, usize, usize)) -> bool {
    *padding == (0, 0, 0, 0)
}
