//! What a compiled map costs and how errors pass through it, from its geometry and weights.

use ckks_scheme::Scale;

use std::ops::Range;

use super::Linear;
use super::connect::Weights;
use super::dense::Dense;
use super::map::LinearMap;
use super::product::{Column, ProductTask};
use super::term::Term;
use crate::noise::weight_rounding_variance;

impl LinearMap {
    /// How many of the columns `cols` of a product, in ranges, have weights that differ from cell to cell, by geometry: those
    /// count that happen to be the same number in all cells.
    pub fn masked_columns(
        &self,
        task: &ProductTask,
        cols: impl IntoIterator<Item = Range<usize>>,
    ) -> usize {
        let terms = &self.plan.terms[task.out_phase];
        let masked = |column: &&Column| !terms[column.term].is_constant();
        let cols = cols.into_iter().flat_map(|part| &task.cols[part]);
        cols.filter(masked).count()
    }

    /// Bytes of the weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        let numbers = match self.linear.as_ref() {
            Linear::Conv(conv) => conv.weight.len() + conv.bias.len() + conv.tap_bias.len(),
            Linear::Dense(dense) => dense.weight.len() + dense.bias.len(),
        };
        numbers * size_of::<f64>()
    }

    /// Bytes of what was compiled: terms, products and rotations.
    pub(crate) fn compiled_bytes(&self) -> usize {
        let parts = |term: &Term| size_of::<Term>() + term.parts.len() * size_of::<[usize; 2]>();
        let product = |task: &ProductTask| {
            size_of::<ProductTask>()
                + task.inputs.len() * (size_of::<(usize, i64)>() + size_of::<Column>())
                + task.outputs.len() * 2 * size_of::<usize>()
        };
        let steps = |steps: &Vec<i64>| size_of::<Vec<i64>>() + size_of_val(&steps[..]);
        let rotations = self.baby_steps().iter().chain(self.giant_steps());
        self.plan.terms.iter().flatten().map(parts).sum::<usize>()
            + self.tasks().iter().map(product).sum::<usize>()
            + rotations.map(steps).sum::<usize>()
    }

    /// Whether this is a dense layer with equal weights over the pixels of a channel: see [`Self::drawn_rounding`].
    pub(crate) fn rounds_alike(&self) -> bool {
        let dense = matches!(self.linear.as_ref(), Linear::Dense(_));
        dense && Weights::of(&self.linear).is_uniform()
    }

    /// What rounding the weights at `scale` adds to a dense layer with equal weights over the pixels of a channel. Those that
    /// stand in cells of the same phase of the masks' period are rounded alike, so that their errors add up over the pixels,
    /// and do not average out. `draw` gives standard normal numbers. Nothing for other maps.
    pub(crate) fn drawn_rounding(
        &self,
        scale: Scale,
        draw: &mut dyn FnMut() -> f64,
    ) -> Option<Dense> {
        let Linear::Dense(dense) = self.linear.as_ref() else {
            return None;
        };
        if !self.rounds_alike() {
            return None;
        }
        let terms = self.plan.terms.iter().flatten();
        let period = terms.map(|term| term.period).max()?;
        let std = weight_rounding_variance(period, scale).sqrt();
        let (shape, mut errors) = (dense.input, dense.clone());
        errors.bias.fill(0.0);
        let of_channels = errors.weight.chunks_exact_mut(shape.pixels()).enumerate();
        for (index, weights) in of_channels {
            let (o, c) = (index / shape.channels, index % shape.channels);
            let mut drawn = vec![None; period];
            // Products leave out channels without a weight.
            for (pixel, weight) in weights.iter_mut().enumerate().filter(|(_, w)| **w != 0.0) {
                let (y, x) = (pixel / shape.width, pixel % shape.width);
                let cell = self.input.place(c, y, x).cell % period;
                let error: &mut f64 = drawn[cell].get_or_insert_with(|| std * draw());
                *weight = *error;
                // The mean is corrected.
                errors.bias[o] -= *error * self.input_mean[c];
            }
        }
        Some(errors)
    }

    /// Deviation of each output channel that rounding the weights at `scale` causes, when each input channel deviates by
    /// `spread` from its mean.
    pub(crate) fn predicted_rounding(&self, scale: Scale, spread: &[f64]) -> Vec<f64> {
        let cells = self.input.grid().cells();
        let squares: Vec<f64> = spread.iter().map(|s| s * s).collect();
        let block_squares = |block| {
            self.input
                .channel_plane(block, &squares)
                .iter()
                .sum::<f64>()
                / cells as f64
        };
        let block_squares: Vec<f64> = (0..self.input.blocks()).map(block_squares).collect();
        let mut variance = vec![0.0; self.output.blocks()];
        for task in self.tasks() {
            let term = |column: &Column| {
                let period = self.plan.terms[task.out_phase][column.term].period;
                weight_rounding_variance(period, scale) * block_squares[column.block]
            };
            let sum: f64 = task.cols.iter().map(term).sum();
            for row in &task.rows {
                variance[*row] += sum / self.output.ciphertexts_per_block() as f64;
            }
        }
        // Each fold adds as many independent errors again.
        let folded = f64::from(1u32 << self.fold().len());
        let channels = 0..self.output.shape().channels;
        channels
            .map(|c| (folded * variance[c / self.output.channels_per_ct()]).sqrt())
            .collect()
    }
}
