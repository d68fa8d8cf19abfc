//! How the inner sums of a node that several processes have come to the owners of its outputs.

use std::collections::{BTreeMap, BTreeSet};

use super::accumulator::Inner;
use super::prepared::PreparedProgram;
use super::share::Share;

/// The way of a node's inner sums to the owners of its outputs, as one process sees it.
pub(super) struct Meeting(Vec<Window>);

/// One channel block of each process. What is of the process itself is empty.
pub(super) struct Window {
    /// Sums that this process gives to each.
    pub given: Vec<Vec<Inner>>,
    /// Sums that it takes from each.
    pub taken: Vec<Vec<Inner>>,
    /// Output ciphertexts of each, those of this process too.
    pub outputs: Vec<Vec<usize>>,
}

impl Meeting {
    /// What is brought together at a time: the same windows for all processes.
    pub fn windows(&self) -> &[Window] {
        &self.0
    }

    /// Sums that this process takes.
    pub fn taken(&self) -> usize {
        let windows = self.0.iter().flat_map(|window| &window.taken);
        windows.map(Vec::len).sum()
    }
}

impl PreparedProgram {
    /// How the inner sums of a node come to the owners of its outputs.
    pub(super) fn meeting(&self, node: usize, share: Share) -> Meeting {
        let parts = share.parts();
        let layout = &self.values[self.nodes[node].value].spec.layout;
        let per_block = layout.ciphertexts_per_block();
        // By process, what it has of outputs of others.
        let mut sums = vec![BTreeSet::new(); parts];
        let steps = self.steps.iter();
        for step in steps.filter(|step| self.share_of(step, share).reads_own()) {
            let products = step.values.iter().flat_map(|v| &self.values[*v].products);
            for &(_, product) in products.filter(|(of, _)| *of == node) {
                let map = &self.nodes[node].products[product].map;
                let of_input = map.input().ciphertexts_per_block();
                for task in map.tasks() {
                    let inputs = task.inputs().iter();
                    let from: BTreeSet<usize> = inputs
                        .map(|(index, _)| share.owner(index / of_input))
                        .collect();
                    for &output in task.outputs() {
                        let owner = share.owner(output / per_block);
                        for from in from.iter().filter(|from| **from != owner) {
                            sums[*from].insert((output, task.giant()));
                        }
                    }
                }
            }
        }
        // One block of each process at a time.
        let mut windows: BTreeMap<usize, Window> = BTreeMap::new();
        for (from, sums) in sums.iter().enumerate() {
            for &(output, giant) in sums {
                let block = output / per_block;
                let (first, owner) = (block - block % parts, share.owner(block));
                let window = windows.entry(first).or_insert_with(|| {
                    let block = |to| (first + to) * per_block;
                    let outputs = |to| match first + to < layout.blocks() {
                        true => (block(to)..block(to) + per_block).collect(),
                        false => Vec::new(),
                    };
                    Window {
                        given: vec![Vec::new(); parts],
                        taken: vec![Vec::new(); parts],
                        outputs: (0..parts).map(outputs).collect(),
                    }
                });
                if from == share.part() {
                    window.given[owner].push((output, giant));
                }
                if owner == share.part() {
                    window.taken[from].push((output, giant));
                }
            }
        }
        Meeting(windows.into_values().collect())
    }
}
