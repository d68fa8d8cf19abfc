//! Linear maps that a model file describes without tensors of their own, and the limits of their sizes.

use std::ops::Range;

use he_layers::Chw;

use crate::{
    ModelError,
    linear::{Conv2d, Padding},
    spec::{MAX_EXTENT, MAX_MAP},
};

type Pair = (usize, usize);

/// Top, left, bottom, right.
pub(crate) fn sides((top, left, bottom, right): (usize, usize, usize, usize)) -> Padding {
    Padding {
        top,
        left,
        bottom,
        right,
    }
}

/// A kernel must fit into its padded map.
pub(crate) fn check_kernel(
    name: &str,
    kernel: Pair,
    p: Padding,
    input: Chw,
) -> Result<(), ModelError> {
    let axes = [
        ("rows", kernel.0, p.top + p.bottom, input.height),
        ("columns", kernel.1, p.left + p.right, input.width),
    ];
    for (what, kernel, zeros, size) in axes {
        if kernel > size + zeros || kernel > MAX_EXTENT {
            let what = format!("kernel {what}");
            let expected = format!("at most the map's {size} with {zeros} of padding");
            return Err(ModelError::node(name, what, kernel, expected));
        }
    }
    Ok(())
}

/// Bounds the numbers that a node stands for beyond those of its tensors, and gives their count.
pub(crate) fn limit(name: &str, sizes: &[usize]) -> Result<usize, ModelError> {
    let count = sizes.iter().copied().fold(1, usize::saturating_mul);
    if count > MAX_MAP {
        let expected = format!("at most {MAX_MAP}");
        return Err(ModelError::node(name, "number of weights", count, expected));
    }
    Ok(count)
}

/// Rows and columns of a kernel with its taps spread out.
pub(crate) fn spread(kernel: Pair, dilation: Pair) -> Pair {
    let axis = |kernel: usize, step: usize| (kernel - 1).saturating_mul(step).saturating_add(1);
    (axis(kernel.0, dilation.0), axis(kernel.1, dilation.1))
}

/// The kernels with zeros between their taps.
pub(crate) fn dilated(
    name: &str,
    weight: Vec<f64>,
    kernel: Pair,
    dilation: Pair,
) -> Result<Vec<f64>, ModelError> {
    let whole = spread(kernel, dilation);
    if whole == kernel {
        return Ok(weight);
    }
    let taps = kernel.0 * kernel.1;
    let mut out = vec![0.0; limit(name, &[weight.len() / taps, whole.0, whole.1])?];
    for (from, to) in weight.chunks(taps).zip(out.chunks_mut(whole.0 * whole.1)) {
        for (tap, w) in from.iter().enumerate() {
            let (y, x) = (tap / kernel.1 * dilation.0, tap % kernel.1 * dilation.1);
            to[y * whole.1 + x] = *w;
        }
    }
    Ok(out)
}

/// Every channel averaged over windows.
pub(crate) fn average(
    name: &str,
    channels: usize,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
) -> Result<Conv2d, ModelError> {
    let count = limit(name, &[channels, kernel.0, kernel.1])?;
    let weight = vec![1.0 / (kernel.0 * kernel.1) as f64; count];
    Ok(Conv2d {
        kernel,
        stride,
        padding,
        tap_bias: vec![0.0; count],
        ..channelwise(name, weight, channels)
    })
}

/// Every channel times its gain plus its offset.
pub(crate) fn scaled(name: &str, gain: Vec<f64>, offset: Vec<f64>) -> Conv2d {
    let channels = gain.len();
    Conv2d {
        bias: offset,
        ..channelwise(name, gain, channels)
    }
}

fn channelwise(name: &str, weight: Vec<f64>, channels: usize) -> Conv2d {
    Conv2d {
        name: name.to_owned(),
        in_channels: channels,
        out_channels: channels,
        groups: channels,
        kernel: (1, 1),
        stride: (1, 1),
        padding: Padding::default(),
        weight,
        bias: vec![0.0; channels],
        tap_bias: vec![0.0; channels],
    }
}

/// A 1x1 convolution from `inputs` to `outputs` channels that copies; `pairs`: input and output channel.
fn copy(
    name: &str,
    inputs: usize,
    outputs: usize,
    pairs: impl Iterator<Item = (usize, usize)>,
) -> Result<Conv2d, ModelError> {
    let mut weight = vec![0.0; limit(name, &[outputs, inputs])?];
    for (i, o) in pairs {
        weight[o * inputs + i] = 1.0;
    }
    Ok(Conv2d {
        name: name.to_owned(),
        in_channels: inputs,
        out_channels: outputs,
        groups: 1,
        kernel: (1, 1),
        stride: (1, 1),
        padding: Padding::default(),
        weight,
        bias: vec![0.0; outputs],
        tap_bias: vec![0.0; outputs],
    })
}

/// Some channels of a map.
pub(crate) fn slice(name: &str, channels: usize, range: Range<usize>) -> Result<Conv2d, ModelError> {
    if range.end > channels {
        let found = format!("{}..{}", range.start, range.end);
        return Err(ModelError::node(name, "slice", found, format!("within {channels} channels")));
    }
    let from = range.start;
    copy(name, channels, range.len(), range.map(|i| (i, i - from)))
}

/// A map as some channels, from `offset` on, of one with `total`; the others are zero.
pub(crate) fn place(
    name: &str,
    channels: usize,
    offset: usize,
    total: usize,
) -> Result<Conv2d, ModelError> {
    copy(name, channels, total, (0..channels).map(|i| (i, i + offset)))
}
