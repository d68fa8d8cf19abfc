//! What rounding the weights of a compiled map adds to its outputs.

use ckks_scheme::Scale;

use super::Linear;
use super::connect::Weights;
use super::conv::Conv2d;
use super::dense::Dense;
use super::map::LinearMap;
use super::product::Column;
use crate::noise::weight_rounding_variance;

impl LinearMap {
    /// Whether some weights are rounded alike for all pixels: those of a convolution that are the same in all cells, and those
    /// of a dense layer with equal weights over the pixels of a channel.
    fn rounds_alike(&self) -> bool {
        match self.linear.as_ref() {
            Linear::Conv(_) => self
                .plan
                .terms
                .iter()
                .flatten()
                .any(|term| term.is_constant()),
            Linear::Dense(_) => Weights::of(&self.linear).is_uniform(),
        }
    }

    /// What rounding the weights at `scale` adds and pixels have in common, as a map of the same input; nothing where they have
    /// nothing in common. Such errors add up where pixels are summed, and do not average out. The mean error is corrected.
    /// `draw` gives standard normal numbers.
    pub(crate) fn common_rounding(
        &self,
        scale: Scale,
        draw: &mut dyn FnMut() -> f64,
    ) -> Option<Linear> {
        if !self.rounds_alike() {
            return None;
        }
        Some(match self.linear.as_ref() {
            Linear::Conv(conv) => self.common_of_conv(conv, scale).into(),
            Linear::Dense(dense) => self.common_of_dense(dense, scale, draw).into(),
        })
    }

    fn common_of_conv(&self, conv: &Conv2d, scale: Scale) -> Conv2d {
        let mut errors = conv.clone();
        errors.bias.fill(0.0);
        errors.tap_bias.fill(0.0);
        let (weights, taps) = (Weights::of(&self.linear), conv.taps());
        let of_outputs = errors.weight.chunks_exact_mut(conv.group_inputs() * taps);
        let corrections = errors.tap_bias.chunks_exact_mut(taps);
        for (o, (of_output, corrections)) in of_outputs.zip(corrections).enumerate() {
            for (i, weights) in weights.inputs_of(o).zip(of_output.chunks_exact_mut(taps)) {
                for (weight, correction) in weights.iter_mut().zip(&mut *corrections) {
                    *weight = rounding_error(*weight, scale);
                    *correction -= *weight * self.input_mean[i];
                }
            }
        }
        errors
    }

    /// Equal weights in cells of one place in the masks' period are rounded alike.
    fn common_of_dense(&self, dense: &Dense, scale: Scale, draw: &mut dyn FnMut() -> f64) -> Dense {
        let (shape, mut errors) = (dense.input, dense.clone());
        errors.bias.fill(0.0);
        let terms = self.plan.terms.iter().flatten();
        let period = terms.map(|term| term.period).max().unwrap_or(1);
        let std = weight_rounding_variance(period, scale).sqrt();
        let of_channels = errors.weight.chunks_exact_mut(shape.pixels()).enumerate();
        for (index, weights) in of_channels {
            let (o, c) = (index / shape.channels, index % shape.channels);
            let mut drawn = vec![None; period];
            // Products leave out channels without a weight.
            for (pixel, weight) in weights.iter_mut().enumerate().filter(|(_, w)| **w != 0.0) {
                let (y, x) = (pixel / shape.width, pixel % shape.width);
                *weight = match period {
                    1 => rounding_error(*weight, scale),
                    _ => {
                        let cell = self.input.place(c, y, x).cell % period;
                        *drawn[cell].get_or_insert_with(|| std * draw())
                    }
                };
                errors.bias[o] -= *weight * self.input_mean[c];
            }
        }
        errors
    }

    /// Deviation of each output channel that rounding the weights at `scale` causes beside [`Self::common_rounding`], when each
    /// input channel deviates by `spread` from its mean.
    pub(crate) fn predicted_rounding(&self, scale: Scale, spread: &[f64]) -> Vec<f64> {
        let channels = self.output.shape().channels;
        let common = match (self.rounds_alike(), self.linear.as_ref()) {
            (true, Linear::Dense(_)) => return vec![0.0; channels],
            (true, Linear::Conv(_)) => weight_rounding_variance(1, scale),
            (false, _) => 0.0,
        };
        let cells = self.input.grid().cells();
        let squares: Vec<f64> = spread.iter().map(|s| s * s).collect();
        let block_squares = |block| {
            let plane = self.input.channel_plane(block, &squares);
            plane.iter().sum::<f64>() / cells as f64
        };
        let block_squares: Vec<f64> = (0..self.input.blocks()).map(block_squares).collect();
        let mut variance = vec![0.0; self.output.blocks()];
        for task in self.tasks() {
            let term = |column: &Column| {
                let period = self.plan.terms[task.out_phase][column.term].period;
                (weight_rounding_variance(period, scale) - common) * block_squares[column.block]
            };
            let sum: f64 = task.cols.iter().map(term).sum();
            for row in &task.rows {
                variance[*row] += sum / self.output.ciphertexts_per_block() as f64;
            }
        }
        // Each fold adds as many independent errors again.
        let folded = f64::from(1u32 << self.fold().len());
        (0..channels)
            .map(|c| (folded * variance[c / self.output.channels_per_ct()]).sqrt())
            .collect()
    }
}

/// By how much a weight that is the same in all cells is off at `scale`.
fn rounding_error(weight: f64, scale: Scale) -> f64 {
    (weight * scale.value()).round() / scale.value() - weight
}
