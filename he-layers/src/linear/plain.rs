//! Linear maps in the clear: the reference, and what plain evaluations of whole networks run.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, Slice};
use rayon::prelude::*;

use super::conv::{Conv2d, ConvAxis};
use super::dense::Dense;
use crate::error::LayerError;
use crate::tensor::{Chw, PlainTensor};

/// Values of unrolled patches that are held at a time: small enough for a second-level cache.
const TILE_VALUES: usize = 1 << 15;

/// Images that a dense layer takes at a time, so that its weights are read once for all of them.
const DENSE_IMAGES: usize = 16;

impl Conv2d {
    /// The convolution in the clear, parallel over images (current rayon pool): a matrix product over unrolled patches
    /// ("im2col"), tile by tile of output rows, group by group.
    ///
    /// # Errors
    /// As [`Self::validate`] and [`Self::output_shape`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.validate()?;
        let output = self.output_shape(x.shape)?;
        let bias = self.bias_map(x.shape);
        let mut y = PlainTensor::zeros(x.n, output);
        let images = y.data.par_chunks_mut(output.volume()).enumerate();
        images.for_each_init(Vec::new, |columns, (n, out)| {
            bias.fill(0, out);
            let inputs = x
                .image(n)
                .chunks_exact(self.group_inputs() * x.shape.pixels());
            let weights = self.weight.chunks_exact(self.weight.len() / self.groups);
            let outs = out.chunks_exact_mut(output.volume() / self.groups);
            for ((input, weight), out) in inputs.zip(weights).zip(outs) {
                self.add_group(columns, weight, x.shape, input, output, out);
            }
        });
        Ok(y)
    }

    /// Adds the products of one group to its output channels.
    fn add_group(
        &self,
        columns: &mut Vec<f64>,
        weight: &[f64],
        shape: Chw,
        input: &[f64],
        out_shape: Chw,
        out: &mut [f64],
    ) {
        let depth = self.group_inputs() * self.taps();
        let channels = self.out_channels / self.groups;
        let mut out = ArrayViewMut2::from_shape((channels, out_shape.pixels()), out)
            .expect("the output has its shape's length");
        let weight = matrix(weight, channels, depth);
        let tile_rows = (TILE_VALUES / (depth * out_shape.width)).clamp(1, out_shape.height);
        for first in (0..out_shape.height).step_by(tile_rows) {
            let rows = first..(first + tile_rows).min(out_shape.height);
            let tile = rows.start * out_shape.width..rows.end * out_shape.width;
            columns.clear();
            self.unroll(columns, shape, input, rows);
            let columns = matrix(columns, depth, tile.len());
            let mut out = out.slice_axis_mut(Axis(1), Slice::from(tile));
            general_mat_mul(1.0, &weight, &columns, 1.0, &mut out);
        }
    }

    /// Appends the patches of output rows `rows`: `[channel][kernel row][kernel column][pixel]`, zeros outside the map.
    fn unroll(&self, columns: &mut Vec<f64>, shape: Chw, input: &[f64], rows: Range<usize>) {
        let (ys, xs) = self.axes(shape);
        let width = xs.outputs().unwrap_or(0);
        for channel in input.chunks_exact(shape.pixels()) {
            for ky in 0..self.kernel.0 {
                for kx in 0..self.kernel.1 {
                    let inside = outputs_inside(&xs, kx, width);
                    for y in rows.clone() {
                        let Some(line) = ys.source(y, ky) else {
                            columns.extend(std::iter::repeat_n(0.0, width));
                            continue;
                        };
                        let line = &channel[line * shape.width..][..shape.width];
                        columns.extend(std::iter::repeat_n(0.0, inside.start));
                        if !inside.is_empty() {
                            let from = inside.start * xs.stride + kx - xs.before;
                            let until = from + (inside.len() - 1) * xs.stride;
                            match xs.stride {
                                1 => columns.extend_from_slice(&line[from..=until]),
                                _ => columns.extend(line[from..=until].iter().step_by(xs.stride)),
                            }
                        }
                        columns.extend(std::iter::repeat_n(0.0, width - inside.end));
                    }
                }
            }
        }
    }
}

/// Outputs, of `outputs`, whose tap `tap` lies inside the map. An empty range starts at the end.
fn outputs_inside(axis: &ConvAxis, tap: usize, outputs: usize) -> Range<usize> {
    let at = |first: usize| first.saturating_sub(tap).div_ceil(axis.stride).min(outputs);
    let end = at(axis.before + axis.size);
    let start = at(axis.before);
    if start < end {
        start..end
    } else {
        outputs..outputs
    }
}

impl Dense {
    /// The layer in the clear, parallel over images (current rayon pool).
    ///
    /// # Errors
    /// As [`Self::validate`] and [`Self::output_shape`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.validate()?;
        let output = self.output_shape(x.shape)?;
        let volume = self.input.volume();
        let weight = matrix(&self.weight, self.outputs, volume);
        let mut y = PlainTensor::zeros(x.n, output);
        let outs = y.data.par_chunks_mut(DENSE_IMAGES * self.outputs);
        let inputs = x.data.par_chunks(DENSE_IMAGES * volume);
        outs.zip(inputs).for_each(|(out, input)| {
            let images = input.len() / volume;
            let each = out.chunks_exact_mut(self.outputs);
            each.for_each(|out| out.copy_from_slice(&self.bias));
            let mut out = ArrayViewMut2::from_shape((images, self.outputs), out)
                .expect("one row for each image");
            general_mat_mul(
                1.0,
                &matrix(input, images, volume),
                &weight.t(),
                1.0,
                &mut out,
            );
        });
        Ok(y)
    }
}

fn matrix(values: &[f64], rows: usize, columns: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, columns), values).expect("the matrix has its shape's length")
}
