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

/// The same convolution without the taps that only ever meet padding: a kernel may be far larger than the map. It has no
/// biases of taps yet.
pub(crate) fn cropped(conv: Conv2d, input: Chw) -> Conv2d {
    let (kernel, stride, p) = (conv.kernel, conv.stride, conv.padding);
    let rows = axis_crop(input.height, kernel.0, stride.0, (p.top, p.bottom));
    let cols = axis_crop(input.width, kernel.1, stride.1, (p.left, p.right));
    let cut = (rows.taps.len(), cols.taps.len());
    if cut == kernel {
        return conv;
    }
    let weight = conv.weight.chunks_exact(kernel.0 * kernel.1);
    let weight = weight.flat_map(|taps| {
        let rows = taps.chunks_exact(kernel.1).skip(rows.taps.start);
        rows.take(cut.0)
            .flat_map(|row| &row[cols.taps.clone()])
            .copied()
    });
    Conv2d {
        weight: weight.collect(),
        tap_bias: vec![0.0; conv.out_channels * cut.0 * cut.1],
        kernel: cut,
        padding: sides((
            rows.padding.0,
            cols.padding.0,
            rows.padding.1,
            cols.padding.1,
        )),
        ..conv
    }
}

/// The taps of an axis that meet the map, and the padding before and after it that they need.
struct AxisCrop {
    taps: Range<usize>,
    padding: Pair,
}

/// `kernel` fits into the padded map. Output `o` reads `o stride - before + tap`.
fn axis_crop(size: usize, kernel: usize, stride: usize, (before, after): Pair) -> AxisCrop {
    let last = (size + before + after - kernel) / stride * stride;
    let taps = before.saturating_sub(last)..kernel.min(size + before);
    if taps.is_empty() || taps.len() == kernel {
        return AxisCrop {
            taps: 0..kernel,
            padding: (before, after),
        };
    }
    let before = before - taps.start.min(before);
    AxisCrop {
        padding: (before, (last + taps.len()).saturating_sub(size + before)),
        taps,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The outputs of a convolution of one channel, by its definition.
    fn outputs(conv: &Conv2d, input: Chw, x: &[f64]) -> Vec<f64> {
        let shape = conv.output_shape(input).unwrap();
        let (kernel, p) = (conv.kernel, conv.padding);
        let at = |y: usize, x_: usize| {
            let (y, x_) = (y.checked_sub(p.top)?, x_.checked_sub(p.left)?);
            (y < input.height && x_ < input.width).then(|| x[y * input.width + x_])
        };
        let output = |i: usize| {
            let (oy, ox) = (i / shape.width, i % shape.width);
            let tap = |t: usize| {
                let (ky, kx) = (t / kernel.1, t % kernel.1);
                let value = at(oy * conv.stride.0 + ky, ox * conv.stride.1 + kx);
                conv.weight[t] * value.unwrap_or(0.0)
            };
            (0..kernel.0 * kernel.1).map(tap).sum()
        };
        (0..shape.pixels()).map(output).collect()
    }

    #[test]
    fn kernels_larger_than_the_map_lose_the_taps_that_only_meet_padding() {
        let mut cut = 0;
        for (height, width) in [(1, 1), (2, 3), (5, 4)] {
            for kernel in [(1, 1), (3, 9), (12, 2), (11, 11)] {
                for stride in [(1, 1), (2, 3), (7, 1)] {
                    for zeros in [(0, 0, 0, 0), (5, 5, 5, 5), (11, 0, 0, 12), (0, 13, 12, 1)] {
                        let input = Chw::new(1, height, width);
                        let padding = sides(zeros);
                        if check_kernel("conv", kernel, padding, input).is_err() {
                            continue;
                        }
                        let taps = kernel.0 * kernel.1;
                        let weight = (0..taps).map(|t| (t * 7 % 23) as f64 + 1.0).collect();
                        let conv = Conv2d::new("conv", (1, 1), kernel, stride, (0, 0), weight);
                        let conv = Conv2d {
                            padding,
                            ..conv.unwrap()
                        };
                        let x: Vec<f64> = (0..input.volume())
                            .map(|i| (i * i % 5) as f64 - 1.5)
                            .collect();
                        let small = cropped(conv.clone(), input);
                        assert!(small.validate().is_ok());
                        assert_eq!(
                            outputs(&small, input, &x),
                            outputs(&conv, input, &x),
                            "{height}x{width}, {kernel:?}, {stride:?}, {zeros:?}"
                        );
                        if small.kernel != kernel {
                            cut += 1;
                            assert!(small.weight.len() < conv.weight.len());
                        }
                    }
                }
            }
        }
        assert!(cut > 20, "{cut}");
    }
}
