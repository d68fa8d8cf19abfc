//! The order in which a prepared program reads and finishes its tensors, and what it rotates on the way.

use super::prepared::{Entry, PreparedProgram, Step};

impl PreparedProgram {
    /// Fixes all of it, when values and nodes are there.
    pub(super) fn order(&mut self) {
        self.collect_rotations();
        self.order_children();
        self.order_steps();
    }

    /// For each value and ciphertext all rotations that its products read.
    fn collect_rotations(&mut self) {
        for product in self.nodes.iter().flat_map(|node| &node.products) {
            join(
                &mut self.values[product.value].steps,
                product.map.baby_steps(),
            );
        }
        self.values
            .iter_mut()
            .flat_map(|value| &mut value.steps)
            .for_each(sort);
    }

    /// Stages that read a dropped copy come first: the first of the others may take the rescaled sums.
    fn order_children(&mut self) {
        for value in 0..self.values.len() {
            let mut children = std::mem::take(&mut self.values[value].children);
            children.sort_by_key(|child| self.entry(*child) == Entry::Direct);
            self.values[value].children = children;
        }
    }

    /// The tensor that a value is made of.
    fn tensor_of(&self, mut value: usize) -> usize {
        while let Some(stage) = &self.values[value].stage {
            value = stage.of;
        }
        value
    }

    /// One step for each tensor that is read, in order.
    fn order_steps(&mut self) {
        let tensors: Vec<usize> = (0..self.values.len())
            .filter(|v| self.values[*v].stage.is_none() && *v != self.output)
            .collect();
        let mut last_read = vec![0; self.nodes.len()];
        let mut values = vec![Vec::new(); self.values.len()];
        for (index, value) in self.values.iter().enumerate() {
            let tensor = self.tensor_of(index);
            values[tensor].push(index);
            for node in value
                .products
                .iter()
                .map(|p| p.0)
                .chain(value.adds.iter().copied())
            {
                last_read[node] = last_read[node].max(tensor);
            }
        }
        self.steps = tensors
            .into_iter()
            .map(|tensor| Step {
                tensor,
                values: std::mem::take(&mut values[tensor]),
                finishes: (0..self.nodes.len())
                    .filter(|node| last_read[*node] == tensor)
                    .collect(),
            })
            .collect();
    }
}

/// Adds the steps of a map to those of each ciphertext.
pub(super) fn join(all: &mut [Vec<i64>], of_map: &[Vec<i64>]) {
    for (all, of_map) in all.iter_mut().zip(of_map) {
        all.extend(of_map);
    }
}

/// Sorts steps, each of them once.
pub(super) fn sort(steps: &mut Vec<i64>) {
    steps.sort_unstable();
    steps.dedup();
}
