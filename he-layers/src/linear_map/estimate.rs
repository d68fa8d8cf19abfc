//! What a compiled map costs and how errors pass through it, from its geometry and weights.

use ckks_scheme::Scale;

use std::ops::Range;

use super::{Column, Kernel, LinearMap, ProductTask};
use crate::noise::weight_rounding_variance;

impl LinearMap {
    /// Weights of the columns `cols` of a product that differ from cell to cell, by geometry: those count that happen to be
    /// the same number in all cells.
    pub fn masked_weights(&self, task: &ProductTask, cols: Range<usize>) -> usize {
        let terms = &self.terms[task.out_phase];
        let masked = |column: &&Column| !terms[column.term].is_constant();
        task.cols[cols].iter().filter(masked).count() * task.rows.len()
    }

    /// Error deviation of each output channel for errors `std` of each input channel: the norm of the weights.
    pub(crate) fn predicted_error(&self, std: &[f64]) -> Vec<f64> {
        let Kernel {
            in_channels, taps, ..
        } = self.kernel;
        // A folded map sums over all pixels.
        let pixels = if self.kernel.summed {
            self.input.shape().pixels() as f64
        } else {
            1.0
        };
        let variance = |o: usize| -> f64 {
            let inputs = (0..in_channels).filter(|i| self.kernel.connects(o, *i));
            inputs
                .map(|i| {
                    (0..taps)
                        .map(|k| (self.kernel.weight(o, i, k) * std[i]).powi(2))
                        .sum::<f64>()
                })
                .sum()
        };
        (0..self.output.shape().channels)
            .map(|o| (pixels * variance(o)).sqrt())
            .collect()
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
        for task in &self.tasks {
            let term = |column: &Column| {
                let period = self.terms[task.out_phase][column.term].period;
                weight_rounding_variance(period, scale) * block_squares[column.block]
            };
            let sum: f64 = task.cols.iter().map(term).sum();
            for row in &task.rows {
                variance[*row] += sum / self.output.ciphertexts_per_block() as f64;
            }
        }
        // Each fold adds as many independent errors again.
        let folded = f64::from(1u32 << self.fold.len());
        let channels = 0..self.output.shape().channels;
        channels
            .map(|c| (folded * variance[c / self.output.channels_per_ct()]).sqrt())
            .collect()
    }
}
