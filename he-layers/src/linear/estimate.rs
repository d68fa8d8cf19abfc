//! What a compiled map takes, from its geometry and weights.

use std::ops::Range;

use super::map::LinearMap;
use super::product::ProductTask;

impl LinearMap {
    /// Weights of the columns `cols` of a product that differ from cell to cell, by geometry: those count that happen to be
    /// the same number in all cells.
    pub fn masked_weights(&self, task: &ProductTask, cols: Range<usize>) -> usize {
        let terms = &self.plan.terms[task.out_phase];
        let masked = |column: &&Column| !terms[column.term].is_constant();
        task.cols[cols].iter().filter(masked).count() * task.rows.len()
    }
}
