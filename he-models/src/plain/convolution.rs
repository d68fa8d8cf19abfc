//! Convolution of one image as a matrix product over unrolled patches ("im2col").

use he_layers::Chw;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, Slice, linalg::general_mat_mul};

use crate::model::Convolution;

/// Values of unrolled patches that are held at a time: small enough for a second-level cache.
const TILE_VALUES: usize = 1 << 15;

/// The buffer of unrolled patches: `[in channel][kernel row][kernel column][pixel]`.
#[derive(Default)]
pub(super) struct Columns {
    values: Vec<f64>,
}

impl Columns {
    /// `out <- keep * out + conv(input)`, tile by tile of output rows.
    pub(super) fn convolve(
        &mut self,
        conv: &Convolution,
        shape: Chw,
        input: &[f64],
        out_shape: Chw,
        out: &mut [f64],
        keep: f64,
    ) {
        let taps = conv.in_channels * conv.kernel * conv.kernel;
        let weight = matrix(&conv.weight, conv.out_channels, taps);
        let pixels = out_shape.pixels();
        let mut out = ArrayViewMut2::from_shape((conv.out_channels, pixels), out)
            .expect("the output has its shape's length");
        let tile_rows = (TILE_VALUES / (taps * out_shape.width)).clamp(1, out_shape.height);
        for first in (0..out_shape.height).step_by(tile_rows) {
            let rows = first..(first + tile_rows).min(out_shape.height);
            let tile = rows.start * out_shape.width..rows.end * out_shape.width;
            self.unroll(conv, shape, input, out_shape, rows);
            let columns = matrix(&self.values, taps, tile.len());
            general_mat_mul(
                1.0,
                &weight,
                &columns,
                keep,
                &mut out.slice_axis_mut(Axis(1), Slice::from(tile)),
            );
        }
    }

    /// Fills the buffer with the patches of some output rows.
    fn unroll(
        &mut self,
        conv: &Convolution,
        shape: Chw,
        input: &[f64],
        out_shape: Chw,
        rows: std::ops::Range<usize>,
    ) {
        let (kernel, stride, padding) = (conv.kernel, conv.stride, conv.kernel / 2);
        self.values.clear();
        for channel in input.chunks_exact(shape.pixels()) {
            for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                // Output columns whose tap lies inside the map.
                let left = padding
                    .saturating_sub(kx)
                    .div_ceil(stride)
                    .min(out_shape.width);
                let right = (shape.width + padding)
                    .saturating_sub(kx)
                    .div_ceil(stride)
                    .clamp(left, out_shape.width);
                for oy in rows.clone() {
                    let y = oy * stride + ky;
                    if y < padding || y - padding >= shape.height {
                        self.values
                            .extend(std::iter::repeat_n(0.0, out_shape.width));
                        continue;
                    }
                    let row = &channel[(y - padding) * shape.width..][..shape.width];
                    self.values.extend(std::iter::repeat_n(0.0, left));
                    if left < right {
                        let first = left * stride + kx - padding;
                        let last = (right - 1) * stride + kx - padding;
                        match stride {
                            1 => self.values.extend_from_slice(&row[first..=last]),
                            _ => self.values.extend(row[first..=last].iter().step_by(stride)),
                        }
                    }
                    self.values
                        .extend(std::iter::repeat_n(0.0, out_shape.width - right));
                }
            }
        }
    }
}

fn matrix(values: &[f64], rows: usize, columns: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, columns), values).expect("the matrix has its shape's length")
}
