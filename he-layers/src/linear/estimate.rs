//! What a compiled map takes, from its geometry and weights.

use std::ops::Range;

use super::Linear;
use super::map::LinearMap;
use super::product::{Column, ProductTask};
use super::term::Term;

impl LinearMap {
    /// Weights of the columns `cols` of a product that differ from cell to cell, by geometry: those count that happen to be
    /// the same number in all cells.
    pub fn masked_weights(&self, task: &ProductTask, cols: Range<usize>) -> usize {
        let terms = &self.plan.terms[task.out_phase];
        let masked = |column: &&Column| !terms[column.term].is_constant();
        task.cols[cols].iter().filter(masked).count() * task.rows.len()
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
}
