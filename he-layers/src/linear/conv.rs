//! Convolutions: the description.

use std::ops::Range;

use crate::checks::{check_array, check_length, check_sizes};
use crate::error::LayerError;
use crate::tensor::Chw;

/// Zeros around a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl From<(usize, usize)> for Padding {
    /// So many rows above and below, so many columns on either side.
    fn from((rows, cols): (usize, usize)) -> Self {
        Self {
            top: rows,
            left: cols,
            bottom: rows,
            right: cols,
        }
    }
}

/// A convolution with zero padding and a bias that may depend on which taps lie inside the map.
///
/// `y[o, y, x] = bias[o] + sum over taps (ky, kx) inside the map of (tap_bias[o, ky, kx] + sum over i of
/// weight[o, i, ky, kx] * x[g + i, y * stride + ky - top, x * stride + kx - left])`, where `i` runs over the
/// `in_channels / groups` channels of the group of `o`, of which `g` is the first.
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
    /// Groups of channels. Output channels of a group read the input channels of that group. The number divides both numbers
    /// of channels.
    pub groups: usize,
    /// Kernel rows and columns.
    pub kernel: (usize, usize),
    /// Step between output pixels along rows and columns.
    pub stride: (usize, usize),
    /// Zeros around the map.
    pub padding: Padding,
    /// `[out_channels][in_channels / groups][kernel.0][kernel.1]`.
    pub weight: Vec<f64>,
    /// `[out_channels]`.
    pub bias: Vec<f64>,
    /// `[out_channels][kernel.0][kernel.1]`, added for every tap that lies inside the map.
    pub tap_bias: Vec<f64>,
}

impl Conv2d {
    /// A convolution without bias and groups, weights in the order `[out][in][row][column]`; `channels`: in, out.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn new(
        name: impl Into<String>,
        channels: (usize, usize),
        kernel: (usize, usize),
        stride: (usize, usize),
        padding: impl Into<Padding>,
        weight: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let conv = Self::unchecked(name.into(), channels, kernel, weight);
        conv.spread(1, stride, padding.into())
    }

    /// A convolution of each channel with a kernel of its own, `[channel][row][column]`.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn depthwise(
        name: impl Into<String>,
        channels: usize,
        kernel: (usize, usize),
        stride: (usize, usize),
        padding: impl Into<Padding>,
        weight: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let conv = Self::unchecked(name.into(), (channels, channels), kernel, weight);
        conv.spread(channels, stride, padding.into())
    }

    /// Averages of each channel over windows of `window` pixels, `stride` pixels apart. Give it a [`Self::padding`] for
    /// averages that count padded zeros.
    ///
    /// # Errors
    /// [`LayerError::ParameterValue`] if a size is zero.
    pub fn average_pool(
        name: impl Into<String>,
        channels: usize,
        window: (usize, usize),
        stride: (usize, usize),
    ) -> Result<Self, LayerError> {
        let taps = window.0 * window.1;
        let weight = vec![1.0 / taps as f64; channels * taps];
        Self::depthwise(name, channels, window, stride, (0, 0), weight)
    }

    /// The channels `range` of `in_channels`: a slice.
    ///
    /// # Errors
    /// [`LayerError::Channels`] if the range is not within the channels, [`LayerError::ParameterValue`] if it is empty.
    pub fn select(
        name: impl Into<String>,
        in_channels: usize,
        range: Range<usize>,
    ) -> Result<Self, LayerError> {
        let name = name.into();
        if range.end > in_channels {
            return Err(LayerError::Channels {
                layer: name,
                found: in_channels,
                expected: range.end,
            });
        }
        let pairs = range.clone().enumerate();
        Self::permute(name, (in_channels, range.len()), pairs)
    }

    /// `channels` channels as the channels from `offset` on of `total`, zeros in the others: concatenations are sums of these.
    ///
    /// # Errors
    /// [`LayerError::Channels`] if they do not fit, [`LayerError::ParameterValue`] if there are none.
    pub fn place(
        name: impl Into<String>,
        channels: usize,
        offset: usize,
        total: usize,
    ) -> Result<Self, LayerError> {
        let name = name.into();
        let end = offset.saturating_add(channels);
        if end > total {
            return Err(LayerError::Channels {
                layer: name,
                found: end,
                expected: total,
            });
        }
        let pairs = (0..channels).map(|c| (offset + c, c));
        Self::permute(name, (channels, total), pairs)
    }

    /// A 1x1 convolution with a weight of 1 for each pair of an output and an input channel.
    fn permute(
        name: String,
        channels: (usize, usize),
        pairs: impl Iterator<Item = (usize, usize)>,
    ) -> Result<Self, LayerError> {
        let mut weight = vec![0.0; channels.0 * channels.1];
        pairs.for_each(|(o, i)| weight[o * channels.0 + i] = 1.0);
        Self::new(name, channels, (1, 1), (1, 1), (0, 0), weight)
    }

    fn unchecked(
        name: String,
        (in_channels, out_channels): (usize, usize),
        kernel: (usize, usize),
        weight: Vec<f64>,
    ) -> Self {
        Self {
            name,
            in_channels,
            out_channels,
            groups: 1,
            kernel,
            stride: (1, 1),
            padding: Padding::default(),
            weight,
            bias: vec![0.0; out_channels],
            tap_bias: vec![0.0; out_channels * kernel.0 * kernel.1],
        }
    }

    fn spread(
        mut self,
        groups: usize,
        stride: (usize, usize),
        padding: Padding,
    ) -> Result<Self, LayerError> {
        (self.groups, self.stride, self.padding) = (groups, stride, padding);
        self.validate()?;
        Ok(self)
    }

    /// Checks that sizes are positive, that the groups divide the channels and that the arrays have the lengths that they
    /// imply.
    ///
    /// # Errors
    /// [`LayerError::ParameterValue`], [`LayerError::ParameterLength`], [`LayerError::NotFinite`].
    pub fn validate(&self) -> Result<(), LayerError> {
        self.check_sizes()?;
        self.arrays()
            .try_for_each(|(what, data, length)| check_array(&self.name, what, data, length))
    }

    /// [`Self::validate`] without a look at each number.
    fn check_sizes(&self) -> Result<(), LayerError> {
        let sizes = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("groups", self.groups),
            ("kernel rows", self.kernel.0),
            ("kernel columns", self.kernel.1),
            ("row stride", self.stride.0),
            ("column stride", self.stride.1),
        ];
        check_sizes(&self.name, &sizes)?;
        let divided = [self.in_channels, self.out_channels];
        if !divided.iter().all(|n| n.is_multiple_of(self.groups)) {
            return Err(LayerError::ParameterValue {
                layer: self.name.clone(),
                what: "groups",
                found: self.groups,
                expected: "a divisor of both numbers of channels",
            });
        }
        self.arrays()
            .try_for_each(|(what, data, length)| check_length(&self.name, what, data, length))
    }

    /// Arrays with their names and the lengths that they must have.
    fn arrays(&self) -> impl Iterator<Item = (&'static str, &[f64], usize)> {
        let taps = self.taps();
        let weights = self.out_channels * self.group_inputs() * taps;
        [
            ("weight", &self.weight[..], weights),
            ("bias", &self.bias[..], self.out_channels),
            ("tap_bias", &self.tap_bias[..], self.out_channels * taps),
        ]
        .into_iter()
    }

    /// Kernel rows times kernel columns.
    pub fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Input channels that an output channel reads.
    pub fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    /// The input channels that output channel `o` reads.
    pub fn inputs_of(&self, o: usize) -> Range<usize> {
        let first = o / (self.out_channels / self.groups) * self.group_inputs();
        first..first + self.group_inputs()
    }

    /// The weight of output channel `o`, input channel `i` and tap `(ky, kx)`; zero if they are in different groups.
    pub fn weight_at(&self, o: usize, i: usize, ky: usize, kx: usize) -> f64 {
        let inputs = self.inputs_of(o);
        if !inputs.contains(&i) {
            return 0.0;
        }
        let row = o * self.group_inputs() + i - inputs.start;
        self.weight[(row * self.kernel.0 + ky) * self.kernel.1 + kx]
    }

    /// Shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// [`LayerError::Channels`], [`LayerError::KernelTooLarge`], and those of [`Self::validate`] but
    /// [`LayerError::NotFinite`]: numbers are not looked at.
    pub fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.check_sizes()?;
        if input.channels != self.in_channels {
            return Err(LayerError::Channels {
                layer: self.name.clone(),
                found: input.channels,
                expected: self.in_channels,
            });
        }
        let axis = |axis: ConvAxis| {
            axis.outputs().ok_or_else(|| LayerError::KernelTooLarge {
                layer: self.name.clone(),
                kernel: axis.kernel,
                axis: axis.size + axis.before + axis.after,
            })
        };
        let (rows, cols) = self.axes(input);
        Ok(Chw::new(self.out_channels, axis(rows)?, axis(cols)?))
    }

    /// Rows and columns for an input of shape `input`.
    pub(crate) fn axes(&self, input: Chw) -> (ConvAxis, ConvAxis) {
        let Padding {
            top,
            left,
            bottom,
            right,
        } = self.padding;
        let rows = ConvAxis {
            size: input.height,
            kernel: self.kernel.0,
            stride: self.stride.0,
            before: top,
            after: bottom,
        };
        let cols = ConvAxis {
            size: input.width,
            kernel: self.kernel.1,
            stride: self.stride.1,
            before: left,
            after: right,
        };
        (rows, cols)
    }

    /// The bias of every output position for inputs of shape `input`, which must fit.
    pub(crate) fn bias_map(&self, input: Chw) -> BiasMap {
        let (rows, cols) = self.axes(input);
        let flat = self.tap_bias.iter().all(|b| *b == 0.0);
        let classes = |axis: ConvAxis| match flat {
            true => (
                vec![0; axis.outputs().unwrap_or(0)],
                std::iter::once(0..0).collect(),
            ),
            false => axis.classes(),
        };
        let ((rows, row_taps), (cols, col_taps)) = (classes(rows), classes(cols));
        let mut values = Vec::with_capacity(self.out_channels * row_taps.len() * col_taps.len());
        for (bias, taps) in self.bias.iter().zip(self.tap_bias.chunks(self.taps())) {
            for ys in &row_taps {
                for xs in &col_taps {
                    let row = |ky: usize| &taps[ky * self.kernel.1..][xs.clone()];
                    values.push(bias + ys.clone().flat_map(row).sum::<f64>());
                }
            }
        }
        BiasMap {
            rows,
            cols,
            classes: (row_taps.len(), col_taps.len()),
            values,
        }
    }
}

/// Biases of output positions. Positions whose taps inside the map are the same share one.
#[derive(Clone, Debug)]
pub(crate) struct BiasMap {
    /// For each output row its class, and so for columns.
    rows: Vec<u32>,
    cols: Vec<u32>,
    /// Numbers of classes.
    classes: (usize, usize),
    /// `[channel][row class][column class]`.
    values: Vec<f64>,
}

impl BiasMap {
    /// One bias for each channel, wherever it is.
    pub(crate) fn uniform(output: Chw, bias: &[f64]) -> Self {
        Self {
            rows: vec![0; output.height],
            cols: vec![0; output.width],
            classes: (1, 1),
            values: bias.to_vec(),
        }
    }

    /// The bias at a position.
    pub(crate) fn at(&self, c: usize, y: usize, x: usize) -> f64 {
        let class = c * self.classes.0 + self.rows[y] as usize;
        self.values[class * self.classes.1 + self.cols[x] as usize]
    }

    /// Fills `maps`, `[channel][row][column]`, with the biases of the channels from `first` on.
    pub(crate) fn fill(&self, first: usize, maps: &mut [f64]) {
        let pixels = self.rows.len() * self.cols.len();
        for (c, map) in maps.chunks_exact_mut(pixels).enumerate() {
            for (line, row) in map.chunks_exact_mut(self.cols.len()).zip(&self.rows) {
                let class = (first + c) * self.classes.0 + *row as usize;
                let values = &self.values[class * self.classes.1..][..self.classes.1];
                let cells = line.iter_mut().zip(&self.cols);
                cells.for_each(|(value, col)| *value = values[*col as usize]);
            }
        }
    }
}

/// One axis of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvAxis {
    /// Pixels of the input.
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    /// Zeros before the first and after the last pixel.
    pub before: usize,
    pub after: usize,
}

impl ConvAxis {
    /// Output pixels; `None` if the kernel is larger than the padded axis.
    pub(crate) fn outputs(&self) -> Option<usize> {
        let padded = self.size + self.before + self.after;
        let steps = padded.checked_sub(self.kernel)? / self.stride;
        Some(steps + 1)
    }

    /// Where tap `tap` of output `at` reads; `None` in the padding.
    pub(crate) fn source(&self, at: usize, tap: usize) -> Option<usize> {
        let padded = at * self.stride + tap;
        padded.checked_sub(self.before).filter(|s| *s < self.size)
    }

    /// Taps of output `at` that lie inside the map.
    pub(crate) fn inside(&self, at: usize) -> Range<usize> {
        let first = at * self.stride;
        let start = self.before.saturating_sub(first).min(self.kernel);
        let end = (self.size + self.before).saturating_sub(first);
        start..end.clamp(start, self.kernel)
    }

    /// For each output its class, and for each class the taps that lie inside the map.
    fn classes(&self) -> (Vec<u32>, Vec<Range<usize>>) {
        let mut taps: Vec<Range<usize>> = Vec::new();
        let class = |at| {
            let inside = self.inside(at);
            let index = taps.iter().rposition(|t| *t == inside);
            let index = index.unwrap_or_else(|| {
                taps.push(inside);
                taps.len() - 1
            });
            index as u32
        };
        let classes = (0..self.outputs().unwrap_or(0)).map(class).collect();
        (classes, taps)
    }
}
