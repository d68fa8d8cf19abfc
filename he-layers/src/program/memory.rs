//! Upper bounds of the limbs that a run's ciphertexts hold.

use std::collections::BTreeSet;
use std::ops::Range;

use super::prepared::{PreparedProgram, Step};
use super::sums::Opened;
use crate::cost::OpCounts;

impl PreparedProgram {
    /// Most limbs (of `8 N` bytes) that ciphertexts hold at any moment of step `step`, everything that waits included, when
    /// it takes `blocks_at_a_time` channel blocks at a time. On top come, for each thread, temporaries of single operations
    /// ([`temporary_limbs`](crate::cost::temporary_limbs)) and what a stage holds ([`Self::working_limbs`]).
    ///
    /// # Panics
    /// If there is no such step.
    pub fn peak_limbs(&self, step: usize, blocks_at_a_time: usize) -> usize {
        let waiting = self.waiting_limbs(step);
        let mut opened = Opened::before(self, step);
        let step = &self.steps[step];
        let input = &self.values[step.tensor].spec;
        let (blocks, per_block) = (input.layout.blocks(), input.layout.ciphertexts_per_block());
        let n = input.layout.ciphertexts();
        let blocks_at_a_time = blocks_at_a_time.max(1);
        let mut peak = 0;
        for from in (0..blocks).step_by(blocks_at_a_time) {
            let to = blocks.min(from + blocks_at_a_time);
            let part = from * per_block..to * per_block;
            let left = input.limbs(n - part.end);
            // What is taken, as it is; then what is read of it; then what its products add up to.
            let start = left + input.limbs(part.len()) + opened.limbs(self);
            let rotated = left + self.rotated_limbs(step, part.clone());
            let read = rotated + self.joining_limbs(step, part.len()) + opened.limbs(self);
            opened.absorb(self, step, from..to, &|_| true, &mut OpCounts::default());
            let absorbed = rotated + opened.limbs(self);
            peak = peak.max(start).max(read).max(absorbed);
        }
        // Nodes are finished one after another. The inner sums of an output are freed when it is there; those of one
        // output that are rotated in several parts leave as many results.
        let mut alive = opened.limbs(self);
        peak = peak.max(alive);
        for &node in &step.finishes {
            let prepared = &self.nodes[node];
            let output = &self.values[prepared.value].spec;
            peak = peak.max(alive + output.limbs(prepared.finish.waiting_parts()));
            let outputs = output.limbs(output.layout.ciphertexts());
            alive = alive - opened.limbs_of(self, node) + outputs;
            peak = peak.max(alive);
        }
        waiting + peak
    }

    /// Bytes that the program takes beside the limb pool: its weights three times (as they were read, as they were brought into
    /// normal form, and as they are run), and what was compiled of them, rotations twice.
    pub fn heap_bytes(&self) -> usize {
        let maps = self.nodes.iter().flat_map(|node| &node.products);
        maps.map(|product| 3 * product.map.weight_bytes() + 2 * product.map.compiled_bytes())
            .sum()
    }

    /// Tensors that are finished before a step and read after it, and the output if it is finished.
    fn waiting_limbs(&self, number: usize) -> usize {
        let later = self.steps[number + 1..].iter().map(|s| s.tensor);
        let finished: BTreeSet<usize> = self.steps[..number]
            .iter()
            .flat_map(|s| &s.finishes)
            .map(|node| self.nodes[*node].value)
            .collect();
        later
            .chain([self.output])
            .filter(|tensor| finished.contains(tensor))
            .map(|tensor| {
                let spec = &self.values[tensor].spec;
                spec.limbs(spec.layout.ciphertexts())
            })
            .sum()
    }

    /// Limbs of the rotations that the products of some ciphertexts read.
    fn rotated_limbs(&self, step: &Step, part: Range<usize>) -> usize {
        let rotations = |value: &usize| {
            let value = &self.values[*value];
            let rotations = value.steps[part.clone()].iter().map(Vec::len).sum();
            value.spec.limbs(rotations)
        };
        step.values.iter().map(rotations).sum()
    }

    /// Limbs of what so many ciphertexts add to nodes as it is, before it is added.
    fn joining_limbs(&self, step: &Step, part: usize) -> usize {
        let adds = step.values.iter().flat_map(|v| &self.values[*v].adds);
        adds.map(|node| self.values[self.nodes[*node].value].spec.limbs(part))
            .sum()
    }

    /// Most limbs that the stages of one ciphertext of step `step` hold in one thread, beside what [`Self::peak_limbs`]
    /// counts.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn working_limbs(&self, step: usize) -> usize {
        self.steps[step]
            .values
            .first()
            .map_or(0, |tensor| self.chain_limbs(*tensor))
    }

    /// Limbs that a ciphertext of a value, its rescaled form, and the stages that read it hold until all have read it.
    fn chain_limbs(&self, value: usize) -> usize {
        let prepared = &self.values[value];
        let rescaled = match self.needs_rescaled(prepared) {
            true => prepared.spec.limbs(1) - 2,
            false => 0,
        };
        let child = |child: &usize| {
            let stage = self.values[*child].stage.as_ref();
            let working = stage.map_or(0, |s| s.stage.working_limbs() + s.stage.input().limbs(1));
            working.max(self.chain_limbs(*child))
        };
        let children = prepared.children.iter().map(child).max().unwrap_or(0);
        prepared.spec.limbs(1) + rescaled + children
    }
}
