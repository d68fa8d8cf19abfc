//! Convolutions: the description, and the plain reference.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use crate::activation::check_array;
use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::linear_map::LinearMap;
use crate::prepared::linear::PreparedLinear;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// A convolution with zero padding and a bias that may depend on which taps lie inside the map.
///
/// `y[o, y, x] = bias[o] + sum over taps (ky, kx) inside the map of (tap_bias[o, ky, kx] + sum over i of
/// weight[o, i, ky, kx] * x[i, y * stride + ky - padding, x * stride + kx - padding])`.
///
/// `tap_bias` is what a constant offset `d` of the input contributes: under zero padding of what comes *after* the
/// offset, only the taps inside the map see it, so that the bias differs at the border.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// Name for reports and errors.
    pub name: String,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel rows and columns.
    pub kernel: (usize, usize),
    /// Step between output pixels along rows and columns.
    pub stride: (usize, usize),
    /// Zeros added on either side of the rows and of the columns.
    pub padding: (usize, usize),
    /// `[out_channels][in_channels][kernel.0][kernel.1]`.
    pub weight: Vec<f64>,
    /// `[out_channels]`.
    pub bias: Vec<f64>,
    /// `[out_channels][kernel.0][kernel.1]`, added for every tap that lies inside the map.
    pub tap_bias: Vec<f64>,
}

impl Conv2d {
    /// A convolution without bias, weights in the order `[out][in][row][column]`.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn new(
        name: impl Into<String>,
        channels: (usize, usize),
        kernel: (usize, usize),
        stride: (usize, usize),
        padding: (usize, usize),
        weight: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let (in_channels, out_channels) = channels;
        let conv = Self {
            name: name.into(),
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            weight,
            bias: vec![0.0; out_channels],
            tap_bias: vec![0.0; out_channels * kernel.0 * kernel.1],
        };
        conv.validate()?;
        Ok(conv)
    }

    /// Checks that sizes are positive and that the arrays have the lengths that they imply.
    ///
    /// # Errors
    /// [`LayerError::ParameterValue`], [`LayerError::ParameterLength`], [`LayerError::NotFinite`].
    pub fn validate(&self) -> Result<(), LayerError> {
        let sizes = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("kernel rows", self.kernel.0),
            ("kernel columns", self.kernel.1),
            ("row stride", self.stride.0),
            ("column stride", self.stride.1),
        ];
        for (what, found) in sizes {
            if found == 0 {
                return Err(LayerError::ParameterValue {
                    layer: self.name.clone(),
                    what,
                    found,
                    expected: "at least 1",
                });
            }
        }
        let taps = self.kernel.0 * self.kernel.1;
        check_array(
            &self.name,
            "weight",
            &self.weight,
            self.out_channels * self.in_channels * taps,
        )?;
        check_array(&self.name, "bias", &self.bias, self.out_channels)?;
        check_array(
            &self.name,
            "tap_bias",
            &self.tap_bias,
            self.out_channels * taps,
        )
    }

    /// The weight of output channel `o`, input channel `i` and tap `(ky, kx)`.
    pub fn weight_at(&self, o: usize, i: usize, ky: usize, kx: usize) -> f64 {
        self.weight[((o * self.in_channels + i) * self.kernel.0 + ky) * self.kernel.1 + kx]
    }

    /// Shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// [`LayerError::Channels`], [`LayerError::KernelTooLarge`], and those of [`Self::validate`].
    pub fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.validate()?;
        if input.channels != self.in_channels {
            return Err(LayerError::Channels {
                layer: self.name.clone(),
                found: input.channels,
                expected: self.in_channels,
            });
        }
        let axis = |size: usize, kernel: usize, stride: usize, padding: usize| {
            let padded = size + 2 * padding;
            if padded < kernel {
                Err(LayerError::KernelTooLarge {
                    layer: self.name.clone(),
                    kernel,
                    axis: padded,
                })
            } else {
                Ok((padded - kernel) / stride + 1)
            }
        };
        Ok(Chw {
            channels: self.out_channels,
            height: axis(input.height, self.kernel.0, self.stride.0, self.padding.0)?,
            width: axis(input.width, self.kernel.1, self.stride.1, self.padding.1)?,
        })
    }

    /// The bias of every output position, `[out_channels][height][width]`: `bias` and the `tap_bias` of the taps inside.
    ///
    /// # Errors
    /// As [`Self::output_shape`].
    pub fn bias_map(&self, input: Chw) -> Result<Vec<f64>, LayerError> {
        let output = self.output_shape(input)?;
        let (kh, kw) = self.kernel;
        let mut map = Vec::with_capacity(output.volume());
        for o in 0..output.channels {
            let taps = &self.tap_bias[o * kh * kw..(o + 1) * kh * kw];
            for y in 0..output.height {
                for x in 0..output.width {
                    let mut sum = self.bias[o];
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let inside = source(y, ky, self.stride.0, self.padding.0, input.height)
                                .is_some()
                                && source(x, kx, self.stride.1, self.padding.1, input.width)
                                    .is_some();
                            if inside {
                                sum += taps[ky * kw + kx];
                            }
                        }
                    }
                    map.push(sum);
                }
            }
        }
        Ok(map)
    }

    /// The convolution in the clear, parallel over images (current rayon pool).
    ///
    /// # Errors
    /// As [`Self::output_shape`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        let output = self.output_shape(x.shape)?;
        let bias = self.bias_map(x.shape)?;
        let depth = self.in_channels * self.kernel.0 * self.kernel.1;
        let pixels = output.pixels();
        let mut y = PlainTensor::zeros(x.n, output);
        let volume = output.volume();
        y.data.par_chunks_mut(volume).enumerate().for_each_init(
            || vec![0.0; depth * pixels],
            |columns, (n, out)| {
                self.columns_into(columns, x.image(n), x.shape, output);
                out.copy_from_slice(&bias);
                let weight = view(&self.weight, self.out_channels, depth);
                let columns = view(columns, depth, pixels);
                let mut out = ArrayViewMut2::from_shape((self.out_channels, pixels), out)
                    .expect("volume of the output");
                general_mat_mul(1.0, &weight, &columns, 1.0, &mut out);
            },
        );
        Ok(y)
    }

    /// Unfolds one image: row `(i, ky, kx)`, column `(y, x)` holds what that tap reads there, zero outside the map.
    fn columns_into(&self, columns: &mut [f64], image: &[f64], input: Chw, output: Chw) {
        let mut rows = columns.chunks_exact_mut(output.pixels());
        for i in 0..self.in_channels {
            let map = &image[i * input.pixels()..(i + 1) * input.pixels()];
            for ky in 0..self.kernel.0 {
                for kx in 0..self.kernel.1 {
                    let row = rows.next().expect("one row for each channel and tap");
                    for (y, line) in row.chunks_exact_mut(output.width).enumerate() {
                        match source(y, ky, self.stride.0, self.padding.0, input.height) {
                            None => line.fill(0.0),
                            Some(sy) => {
                                let from = &map[sy * input.width..(sy + 1) * input.width];
                                for (x, value) in line.iter_mut().enumerate() {
                                    *value =
                                        source(x, kx, self.stride.1, self.padding.1, input.width)
                                            .map_or(0.0, |sx| from[sx]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Layer for Conv2d {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        Conv2d::output_shape(self, input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        Conv2d::forward_plain(self, x)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        let output = input
            .layout
            .with_shape(self.output_shape(input.layout.shape())?)?;
        let map = LinearMap::conv(self, &input.layout, &output)?;
        Ok(Box::new(PreparedLinear::new(
            map,
            input,
            chain,
            &vec![0.0; self.in_channels],
        )?))
    }
}

/// Where tap `k` of output position `at` reads along one axis of `size` pixels; `None` in the padding.
pub(crate) fn source(
    at: usize,
    k: usize,
    stride: usize,
    padding: usize,
    size: usize,
) -> Option<usize> {
    (at * stride + k).checked_sub(padding).filter(|s| *s < size)
}

fn view(data: &[f64], rows: usize, cols: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, cols), data).expect("validated lengths")
}
