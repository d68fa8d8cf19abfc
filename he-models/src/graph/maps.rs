//! Linear maps that a model file describes without tensors of their own, and the limits of their sizes.

use std::ops::Range;

use he_layers::{Chw, Conv2d, Padding};

use crate::{
    ModelError,
    graph::Affine,
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
    limit(name, &[channels, kernel.0, kernel.1])?;
    Ok(Conv2d {
        padding,
        ..Conv2d::average_pool(name, channels, kernel, stride)?
    })
}

/// Every channel times its gain plus its offset.
pub(crate) fn scaled(name: &str, affine: &Affine) -> Result<Conv2d, ModelError> {
    let gain = affine.gain.clone();
    Ok(Conv2d {
        bias: affine.offset.clone(),
        ..Conv2d::depthwise(name, gain.len(), (1, 1), (1, 1), (0, 0), gain)?
    })
}

/// Some channels of a map.
pub(crate) fn slice(
    name: &str,
    channels: usize,
    range: Range<usize>,
) -> Result<Conv2d, ModelError> {
    limit(name, &[channels, range.len()])?;
    Ok(Conv2d::select(name, channels, range)?)
}

/// A map as some channels, from `offset` on, of one with `total`; the others are zero.
pub(crate) fn place(
    name: &str,
    channels: usize,
    offset: usize,
    total: usize,
) -> Result<Conv2d, ModelError> {
    limit(name, &[channels, total])?;
    Ok(Conv2d::place(name, channels, offset, total)?)
}
