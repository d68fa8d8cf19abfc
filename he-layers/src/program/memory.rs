//! Upper bounds of the limbs that a run's ciphertexts hold.

use std::collections::BTreeSet;

use super::prepared::{PreparedProgram, Step};

/// What the sums of a node hold before and after a step.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Limbs before the step.
    before: usize,
    /// Limbs once the step's products have begun.
    opened: usize,
    /// Limbs that each ciphertext of the step's tensor adds, where the step only adds values as they are.
    each: usize,
}

impl PreparedProgram {
    /// Most limbs (of `8 N` bytes) that ciphertexts hold at any moment of step `step`, everything that waits included, when
    /// it takes `group_blocks` channel blocks at a time. Temporaries of single operations and stages come on top.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn peak_limbs(&self, step: usize, group_blocks: usize) -> usize {
        let number = step;
        let step = &self.steps[step];
        let input = &self.values[step.tensor].spec;
        let n = input.layout.ciphertexts();
        let group = group_blocks.max(1) * input.layout.ciphertexts_per_block();
        let waiting = self.waiting_limbs(number);
        let held: Vec<Held> = (0..self.nodes.len())
            .map(|node| self.held(node, number))
            .collect();
        let sums = |done: usize| -> usize {
            held.iter()
                .map(|h| h.before + h.opened + h.each * done)
                .sum()
        };
        let absorbing = (0..n)
            .step_by(group)
            .map(|from| {
                let to = n.min(from + group);
                let start = input.limbs(n - from) + sums(from);
                let end = input.limbs(n - to) + self.rotated_limbs(step, from..to) + sums(to);
                start.max(end)
            })
            .max()
            .unwrap_or(0);
        // Nodes are finished one after another: inner sums that are rotated live beside what they become.
        let mut alive = sums(n);
        let mut finishing = alive;
        for &node in &step.finishes {
            let held = &held[node];
            let inner = held.before + held.opened + held.each * n;
            let node = &self.nodes[node];
            let output = &self.values[node.value].spec;
            let outputs = output.limbs(output.layout.ciphertexts());
            if node.finish.has_giants() {
                finishing = finishing.max(alive + outputs);
            }
            alive = alive - inner + outputs;
            finishing = finishing.max(alive);
        }
        waiting + absorbing.max(finishing)
    }

    /// Tensors that are finished before a step and read after it.
    fn waiting_limbs(&self, number: usize) -> usize {
        let later = self.steps[number + 1..].iter().map(|s| s.tensor);
        let finished: BTreeSet<usize> = self.steps[..number]
            .iter()
            .flat_map(|s| &s.finishes)
            .map(|node| self.nodes[*node].value)
            .collect();
        later
            .filter(|tensor| finished.contains(tensor))
            .map(|tensor| {
                let spec = &self.values[tensor].spec;
                spec.limbs(spec.layout.ciphertexts())
            })
            .sum()
    }

    /// Limbs of the inner sums of a node around a step.
    fn held(&self, node: usize, number: usize) -> Held {
        let finished = |s: &Step| s.finishes.contains(&node);
        if self.steps[..number].iter().any(finished) {
            return Held::default();
        }
        let prepared = &self.nodes[node];
        let sums = &self.values[prepared.value].spec;
        let ciphertexts = sums.layout.ciphertexts();
        let mut giants = vec![BTreeSet::new(); ciphertexts];
        let mut add = |values: &[usize], adds: bool| {
            for &value in values {
                let value = &self.values[value];
                for &(_, product) in value.products.iter().filter(|p| p.0 == node) {
                    let steps = prepared.products[product].map.giant_steps();
                    for (all, of_map) in giants.iter_mut().zip(steps) {
                        all.extend(of_map);
                    }
                }
                if adds && value.adds.contains(&node) {
                    for all in &mut giants {
                        all.insert(0);
                    }
                }
            }
            sums.limbs(giants.iter().map(BTreeSet::len).sum())
        };
        for step in &self.steps[..number] {
            add(&step.values, true);
        }
        let before = add(&[], false);
        let opened = add(&self.steps[number].values, false) - before;
        let all = add(&self.steps[number].values, true);
        // One ciphertext more for every one that is added, where there is no sum yet to add it to.
        let each = (all - before - opened).div_ceil(ciphertexts);
        Held {
            before,
            opened,
            each,
        }
    }

    /// Limbs of the rotations that the products of a group of ciphertexts read.
    fn rotated_limbs(&self, step: &Step, group: std::ops::Range<usize>) -> usize {
        let rotations = |value: &usize| {
            let value = &self.values[*value];
            value
                .spec
                .limbs(value.steps[group.clone()].iter().map(Vec::len).sum())
        };
        step.values.iter().map(rotations).sum()
    }

    /// Most limbs that the stages of one ciphertext of step `step` hold in one thread, beside what [`Self::peak_limbs`]
    /// counts.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn working_limbs(&self, step: usize) -> usize {
        let step = &self.steps[step];
        let one = |value: &usize| {
            let value = &self.values[*value];
            let stage = value.stage.as_ref();
            stage.map_or(0, |s| s.stage.working_limbs()) + value.spec.limbs(1)
        };
        let largest = step.values.iter().map(one).max().unwrap_or(0);
        // A rescaled copy for additions, and what is added.
        let tensor = &self.values[step.tensor];
        let copies = usize::from(self.needs_rescaled(tensor)) + tensor.adds.len();
        largest + copies * tensor.spec.limbs(1)
    }
}
