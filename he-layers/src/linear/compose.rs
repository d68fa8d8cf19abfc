//! Two linear maps in a row as one, where that is exact: it saves a level and the rotations of one map.

use rayon::prelude::*;

use super::Linear;
use super::conv::{Conv2d, ConvAxis, Padding};
use super::dense::Dense;
use crate::error::LayerError;
use crate::layout::gcd;
use crate::tensor::Chw;

/// Most products that the merged map may have, as a multiple of what the two have together: products are a fifth of the time
/// of a map, and a level less makes all maps before it cheaper.
const MOST_PRODUCTS: usize = 4;

/// Weights that a merged convolution may always have, zeros included; more only in proportion to those of the two. A dense
/// layer may have so many whatever the two have: its rotations are those of the second.
const MOST_WEIGHTS: usize = 1 << 22;

impl Linear {
    /// `next` after `self` as one map, for inputs of shape `input`; `None` where no such map is exact, or where it would have
    /// more than four times the products of the two. So a depthwise and a pointwise convolution mostly stay two, while a pooling
    /// of 2x2 joins the convolution before or after it. A dense layer of up to 4 million weights takes in whatever comes
    /// before.
    ///
    /// Exact are dense layers after anything, and a convolution after a convolution if the padding of the second sees nothing
    /// that the merged one would not: no row that the first would compute there from inputs, and no bias that it would add.
    ///
    /// # Errors
    /// As [`Self::validate`] and [`Self::output_shape`], of either.
    pub fn then(&self, next: &Linear, input: Chw) -> Result<Option<Linear>, LayerError> {
        self.validate()?;
        next.validate()?;
        let middle = self.output_shape(input)?;
        let output = next.output_shape(middle)?;
        let most = MOST_PRODUCTS * (self.products(input)? + next.products(middle)?);
        if let (Linear::Conv(first), Linear::Conv(second)) = (self, next) {
            let merged = conv_conv(first, second, input, middle, most).map(Linear::from);
            return match merged {
                Some(merged) if merged.products(input)? <= most => Ok(Some(merged)),
                _ => Ok(None),
            };
        }
        // Looked at before anything of that size is made.
        let larger = input.volume().max(middle.volume());
        if output.channels.saturating_mul(larger) > most.max(MOST_WEIGHTS) {
            return Ok(None);
        }
        let second = next.flattened(middle)?;
        Ok(second.map(|second| self.dense_after(&second, input).into()))
    }

    /// The map as a dense layer, for inputs of shape `input`; `None` if a convolution gives more than one pixel.
    ///
    /// # Errors
    /// As [`Self::output_shape`].
    pub fn flattened(&self, input: Chw) -> Result<Option<Dense>, LayerError> {
        let output = self.output_shape(input)?;
        match self {
            Linear::Dense(dense) => Ok(Some(dense.clone())),
            Linear::Conv(_) if output.pixels() != 1 => Ok(None),
            Linear::Conv(conv) => {
                let mut weight = vec![0.0; output.channels * input.volume()];
                for (o, row) in weight.chunks_exact_mut(input.volume()).enumerate() {
                    let mut unit = vec![0.0; output.channels];
                    unit[o] = 1.0;
                    conv.add_transposed(&unit, input, output, row);
                }
                let map = conv.bias_map(input);
                let bias = (0..output.channels).map(|o| map.at(o, 0, 0)).collect();
                let name = conv.name.clone();
                Dense::new(name, input, output.channels, weight, bias).map(Some)
            }
        }
    }

    /// A dense layer that reads the output of this map.
    fn dense_after(&self, second: &Dense, input: Chw) -> Dense {
        let (volume, middle) = (input.volume(), second.input);
        let mut weight = vec![0.0; second.outputs * volume];
        let rows = weight.par_chunks_exact_mut(volume);
        let seconds = second.weight.par_chunks_exact(middle.volume());
        let constant = match self {
            Linear::Conv(conv) => {
                let mut bias = vec![0.0; middle.volume()];
                conv.bias_map(input).fill(0, &mut bias);
                bias
            }
            Linear::Dense(first) => first.bias.clone(),
        };
        rows.zip(seconds).for_each(|(row, second)| match self {
            Linear::Conv(conv) => conv.add_transposed(second, input, middle, row),
            Linear::Dense(first) => {
                for (factor, first) in second.iter().zip(first.weight.chunks_exact(volume)) {
                    row.iter_mut()
                        .zip(first)
                        .for_each(|(w, f)| *w += factor * f);
                }
            }
        });
        let each = second.weight.chunks_exact(middle.volume());
        let bias = each
            .zip(&second.bias)
            .map(|(row, bias)| bias + row.iter().zip(&constant).map(|(w, c)| w * c).sum::<f64>());
        Dense {
            name: joined(self.name(), &second.name),
            input,
            outputs: second.outputs,
            bias: bias.collect(),
            weight,
        }
    }
}

fn joined(first: &str, second: &str) -> String {
    format!("{first}+{second}")
}

impl Conv2d {
    /// Adds to `to`, of shape `input`, what each input contributes to the sum of the outputs times `factors`.
    fn add_transposed(&self, factors: &[f64], input: Chw, output: Chw, to: &mut [f64]) {
        let (rows, cols) = self.axes(input);
        for (o, map) in factors.chunks_exact(output.pixels()).enumerate() {
            for (at, factor) in map.iter().enumerate().filter(|(_, f)| **f != 0.0) {
                let (y, x) = (at / output.width, at % output.width);
                for i in self.inputs_of(o) {
                    for ky in rows.inside(y) {
                        for kx in cols.inside(x) {
                            let place = rows.source(y, ky).zip(cols.source(x, kx));
                            if let Some((sy, sx)) = place {
                                to[(i * input.height + sy) * input.width + sx] +=
                                    factor * self.weight_at(o, i, ky, kx);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Two axes as one.
struct JoinedAxis {
    axis: ConvAxis,
    /// Whether the second reads its padding.
    padded: bool,
    /// The tap of the first that lies inside the map just when the pixel between the two does, if there is one.
    marker: Option<usize>,
}

/// `second` after `first` along one axis; `None` if padding of the second stands where the first would read inputs.
fn join(first: ConvAxis, second: ConvAxis) -> Option<JoinedAxis> {
    let between = 0..second.size as i64;
    let read = |tap: usize, at: i64| {
        let source = at * first.stride as i64 + tap as i64 - first.before as i64;
        (0..first.size as i64).contains(&source)
    };
    let mut markers = vec![true; first.kernel];
    let mut padded = false;
    for output in 0..second.outputs()? {
        for tap in 0..second.kernel {
            let at = (output * second.stride + tap) as i64 - second.before as i64;
            let inside = between.contains(&at);
            for (tap, marker) in markers.iter_mut().enumerate() {
                if !inside && read(tap, at) {
                    return None;
                }
                *marker &= inside == read(tap, at);
            }
            padded |= !inside;
        }
    }
    let axis = ConvAxis {
        size: first.size,
        kernel: first.kernel + (second.kernel - 1) * first.stride,
        stride: first.stride * second.stride,
        before: first.before + first.stride * second.before,
        after: first.after + first.stride * second.after,
    };
    Some(JoinedAxis {
        axis,
        padded,
        marker: markers.iter().position(|marker| *marker),
    })
}

fn conv_conv(
    first: &Conv2d,
    second: &Conv2d,
    input: Chw,
    middle: Chw,
    most: usize,
) -> Option<Conv2d> {
    let (firsts, seconds) = (first.axes(input), second.axes(middle));
    let (rows, cols) = (join(firsts.0, seconds.0)?, join(firsts.1, seconds.1)?);
    let groups = gcd(first.groups, second.groups);
    let kernel = (rows.axis.kernel, cols.axis.kernel);
    let taps = kernel.0 * kernel.1;
    let (ins, outs) = (first.in_channels / groups, second.out_channels);
    let dense = |conv: &Conv2d| conv.weight.iter().all(|w| *w != 0.0);
    let pixels = rows.axis.outputs()? * cols.axis.outputs()?;
    let weights = [ins, kernel.0, kernel.1]
        .into_iter()
        .try_fold(outs, usize::checked_mul)?;
    if weights > MOST_WEIGHTS.max(MOST_PRODUCTS * (first.weight.len() + second.weight.len())) {
        return None;
    }
    let gapless = first.stride.0 <= first.kernel.0 && first.stride.1 <= first.kernel.1;
    if gapless && dense(first) && dense(second) && weights * pixels > most {
        return None;
    }
    // Where the constants between the two go: all of them are seen, or those inside the map.
    let constant = first.bias.iter().chain(&second.tap_bias).any(|b| *b != 0.0);
    let marker = match rows.padded || cols.padded {
        true if constant => Some((rows.marker?, cols.marker?)),
        _ => None,
    };

    let mut weight = vec![0.0; weights];
    let mut tap_bias = vec![0.0; outs * taps];
    let mut bias = second.bias.clone();
    for o in 0..outs {
        let group = o / (outs / groups) * ins;
        let weight = &mut weight[o * ins * taps..(o + 1) * ins * taps];
        let tap_bias = &mut tap_bias[o * taps..(o + 1) * taps];
        for ty in 0..second.kernel.0 {
            for tx in 0..second.kernel.1 {
                // The tap of the merged kernel where the window of the first starts.
                let start = (ty * first.stride.0, tx * first.stride.1);
                let tap = |y: usize, x: usize| (start.0 + y) * kernel.1 + start.1 + x;
                let mut seen = second.tap_bias[(o * second.kernel.0 + ty) * second.kernel.1 + tx];
                for m in second.inputs_of(o) {
                    let factor = second.weight_at(o, m, ty, tx);
                    if factor == 0.0 {
                        continue;
                    }
                    seen += factor * first.bias[m];
                    for y in 0..first.kernel.0 {
                        for x in 0..first.kernel.1 {
                            let from = (m * first.kernel.0 + y) * first.kernel.1 + x;
                            tap_bias[tap(y, x)] += factor * first.tap_bias[from];
                            for i in first.inputs_of(m) {
                                weight[(i - group) * taps + tap(y, x)] +=
                                    factor * first.weight_at(m, i, y, x);
                            }
                        }
                    }
                }
                match marker {
                    Some((y, x)) => tap_bias[tap(y, x)] += seen,
                    None => bias[o] += seen,
                }
            }
        }
    }
    Some(Conv2d {
        name: joined(&first.name, &second.name),
        in_channels: first.in_channels,
        out_channels: outs,
        groups,
        kernel,
        stride: (rows.axis.stride, cols.axis.stride),
        padding: Padding {
            top: rows.axis.before,
            left: cols.axis.before,
            bottom: rows.axis.after,
            right: cols.axis.after,
        },
        weight,
        bias,
        tap_bias,
    })
}
