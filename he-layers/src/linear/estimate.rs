//! What a compiled map costs and how errors pass through it, from its geometry and weights.

use ckks_scheme::Scale;

use std::ops::Range;

use super::map::LinearMap;
use super::product::{Column, ProductTask};
use crate::noise::weight_rounding_variance;

impl LinearMap {
    /// Weights of the columns `cols` of a product that differ from cell to cell, by geometry: those count that happen to be
    /// the same number in all cells.
    pub fn masked_weights(&self, task: &ProductTask, cols: Range<usize>) -> usize {
        let terms = &self.plan.terms[task.out_phase];
        let masked = |column: &&Column| !terms[column.term].is_constant();
        task.cols[cols].iter().filter(masked).count() * task.rows.len()
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
