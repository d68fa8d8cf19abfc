//! Convolution of one image as a matrix product over unrolled patches ("im2col").

use std::ops::Range;

use he_layers::Chw;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, Slice, linalg::general_mat_mul};

use crate::linear::Conv2d;

/// Values of unrolled patches that are held at a time: small enough for a second-level cache.
const TILE_VALUES: usize = 1 << 15;

/// The buffer of unrolled patches: `[in channel][kernel row][kernel column][pixel]`.
#[derive(Default)]
pub(super) struct Columns {
    values: Vec<f64>,
}

/// A convolution for maps of one shape.
pub(super) struct Convolution<'a> {
    conv: &'a Conv2d,
    input: Chw,
    output: Chw,
    /// `[out][row][column]` where the bias depends on the place.
    bias: Option<Vec<f64>>,
}

impl<'a> Convolution<'a> {
    pub(super) fn new(conv: &'a Conv2d, input: Chw, output: Chw) -> Self {
        let uniform = conv.tap_bias.iter().all(|b| *b == 0.0);
        Self {
            conv,
            input,
            output,
            bias: (!uniform).then(|| bias_map(conv, input, output)),
        }
    }

    /// The convolution of one image, tile by tile of output rows.
    pub(super) fn forward(&self, image: &[f64], columns: &mut Columns, out: &mut Vec<f64>) {
        let pixels = self.output.pixels();
        out.clear();
        match &self.bias {
            Some(map) => out.extend_from_slice(map),
            None => self.conv.bias.iter().for_each(|b| out.extend(std::iter::repeat_n(*b, pixels))),
        }
        let groups = self.conv.groups;
        let (ins, outs) = (self.conv.in_channels / groups, self.conv.out_channels / groups);
        let taps = ins * self.conv.kernel.0 * self.conv.kernel.1;
        for group in 0..groups {
            let weight = &self.conv.weight[group * outs * taps..(group + 1) * outs * taps];
            let weight = matrix(weight, outs, taps);
            let from = self.input.pixels() * ins;
            let image = &image[group * from..(group + 1) * from];
            let out = &mut out[group * outs * pixels..(group + 1) * outs * pixels];
            let mut out = ArrayViewMut2::from_shape((outs, pixels), out)
                .expect("the output has its shape's length");
            if self.is_pointwise() {
                general_mat_mul(1.0, &weight, &matrix(image, ins, pixels), 1.0, &mut out);
                continue;
            }
            let (height, width) = (self.output.height, self.output.width);
            let tile_rows = (TILE_VALUES / (taps * width)).clamp(1, height);
            for first in (0..height).step_by(tile_rows) {
                let rows = first..(first + tile_rows).min(height);
                let tile = rows.start * width..rows.end * width;
                self.unroll(image, rows, &mut columns.values);
                let columns = matrix(&columns.values, taps, tile.len());
                let mut out = out.slice_axis_mut(Axis(1), Slice::from(tile));
                general_mat_mul(1.0, &weight, &columns, 1.0, &mut out);
            }
        }
    }

    /// Whether patches are single pixels in their order.
    fn is_pointwise(&self) -> bool {
        let conv = self.conv;
        conv.kernel == (1, 1) && conv.stride == (1, 1) && self.input.pixels() == self.output.pixels()
            && (self.input.height == self.output.height)
            && (conv.padding.top, conv.padding.left) == (0, 0)
    }

    /// Fills the buffer with the patches of some output rows.
    fn unroll(&self, image: &[f64], rows: Range<usize>, values: &mut Vec<f64>) {
        let (conv, shape, width) = (self.conv, self.input, self.output.width);
        let (top, left_pad) = (conv.padding.top, conv.padding.left);
        let (row_step, step) = conv.stride;
        values.clear();
        for channel in image.chunks_exact(shape.pixels()) {
            for (ky, kx) in taps(conv.kernel) {
                let inside = inside(kx, step, left_pad, shape.width, width);
                for oy in rows.clone() {
                    let y = oy * row_step + ky;
                    if y < top || y - top >= shape.height || inside.is_empty() {
                        values.extend(std::iter::repeat_n(0.0, width));
                        continue;
                    }
                    let row = &channel[(y - top) * shape.width..][..shape.width];
                    values.extend(std::iter::repeat_n(0.0, inside.start));
                    let first = inside.start * step + kx - left_pad;
                    let last = (inside.end - 1) * step + kx - left_pad;
                    match step {
                        1 => values.extend_from_slice(&row[first..=last]),
                        _ => values.extend(row[first..=last].iter().step_by(step)),
                    }
                    values.extend(std::iter::repeat_n(0.0, width - inside.end));
                }
            }
        }
    }
}

fn taps(kernel: (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
    (0..kernel.0).flat_map(move |ky| (0..kernel.1).map(move |kx| (ky, kx)))
}

/// Output positions along an axis whose tap `k` lies inside the map.
fn inside(k: usize, stride: usize, padding: usize, size: usize, outputs: usize) -> Range<usize> {
    let from = padding.saturating_sub(k).div_ceil(stride).min(outputs);
    let to = (size + padding).saturating_sub(k).div_ceil(stride);
    from..to.clamp(from, outputs)
}

/// The bias of every output position: `bias` and the `tap_bias` of the taps inside.
fn bias_map(conv: &Conv2d, input: Chw, output: Chw) -> Vec<f64> {
    let (kh, kw) = conv.kernel;
    let mut map = Vec::with_capacity(output.volume());
    for (bias, tap_bias) in conv.bias.iter().zip(conv.tap_bias.chunks_exact(kh * kw)) {
        let start = map.len();
        map.extend(std::iter::repeat_n(*bias, output.pixels()));
        for ((ky, kx), b) in taps(conv.kernel).zip(tap_bias).filter(|(_, b)| **b != 0.0) {
            let rows = inside(ky, conv.stride.0, conv.padding.top, input.height, output.height);
            let columns = inside(kx, conv.stride.1, conv.padding.left, input.width, output.width);
            for y in rows {
                let row = &mut map[start + y * output.width..][..output.width];
                row[columns.clone()].iter_mut().for_each(|v| *v += b);
            }
        }
    }
    map
}

fn matrix(values: &[f64], rows: usize, columns: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, columns), values).expect("the matrix has its shape's length")
}
