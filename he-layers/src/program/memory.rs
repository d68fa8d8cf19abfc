//! Upper bounds of the limbs that a run's ciphertexts hold.

use std::collections::BTreeSet;
use std::ops::Range;
use std::slice;

use super::prepared::{PreparedProgram, Step};
use super::share::Share;
use super::sums::Opened;
use crate::cost::OpCounts;
use crate::spec::TensorSpec;

impl PreparedProgram {
    /// Most limbs (of `8 N` bytes) that ciphertexts hold at any moment of step `step`, everything that waits included, when
    /// it takes `blocks_at_a_time` channel blocks at a time. On top come, for each thread, temporaries of single operations
    /// ([`temporary_limbs`](crate::cost::temporary_limbs)) and what a stage holds ([`Self::working_limbs`]).
    ///
    /// # Panics
    /// If there is no such step.
    pub fn peak_limbs(&self, step: usize, blocks_at_a_time: usize) -> usize {
        self.peak_limbs_of(step, blocks_at_a_time, Share::whole())
    }

    /// As [`Self::peak_limbs`], in one process of several that make a run together.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn peak_limbs_of(&self, step: usize, blocks_at_a_time: usize, share: Share) -> usize {
        let (number, waiting) = (step, self.waiting_limbs(step, share));
        let mut opened = Opened::before(self, step, share);
        let step = &self.steps[step];
        let input = &self.values[step.tensor].spec;
        let (blocks, per_block) = (input.layout.blocks(), input.layout.ciphertexts_per_block());
        let own = |blocks: Range<usize>| share.count(blocks) * per_block;
        let at_a_time = blocks_at_a_time.max(1);
        let reads_own = share.is_whole() || self.share_of(step, share).reads_own();
        // What a process reads alone is joined as it is; what several read waits until it has gone to all.
        let windows = match reads_own {
            true => 1,
            false => share.parts(),
        };
        let mut peak = 0;
        for window in self.readings(step, at_a_time, share).chunks(windows) {
            let read = span(window);
            let left = input.limbs(own(read.end..blocks));
            let start = left + input.limbs(own(read.clone())) + opened.limbs(self);
            let staged = match reads_own {
                true => 0,
                false => self.staged_limbs(step, read, share),
            };
            peak = peak.max(start).max(left + staged + opened.limbs(self));
            for part in window {
                // What is taken, as it is; then what is read of it; then what its products add up to.
                let rotated = part.iter().map(|part| {
                    self.rotated_limbs(step, part.start * per_block..part.end * per_block)
                });
                let rotated = left + staged + rotated.sum::<usize>();
                let joining = self.joining_limbs(step, own(span(slice::from_ref(part))));
                let read = rotated + joining + opened.limbs(self);
                opened.absorb(self, step, part, &|_| true, &mut OpCounts::default());
                let absorbed = rotated + opened.limbs(self);
                peak = peak.max(read).max(absorbed);
            }
        }
        // Sums of several processes come together.
        for &node in &step.finishes {
            let others = opened.limbs(self) - opened.limbs_of(self, node);
            let most = opened.meet(self, node, &mut OpCounts::default());
            peak = peak.max(others + most);
        }
        // Nodes are finished one after another. The inner sums of an output are freed when it is there; those of one
        // output that are rotated in several parts leave as many results.
        let mut alive = opened.limbs(self);
        peak = peak.max(alive);
        for &node in &step.finishes {
            let prepared = &self.nodes[node];
            let output = &self.values[prepared.value].spec;
            let finish = &prepared.finish;
            peak = peak.max(alive + output.limbs(finish.waiting_parts(output, share)));
            let outputs = output.limbs(own_ciphertexts(output, share));
            alive = alive - opened.limbs_of(self, node) + outputs;
            peak = peak.max(alive);
        }
        waiting + peak.max(self.gathered_limbs(number, share))
    }

    /// What a process of several holds of all images before the first step, and of all logits after the last one.
    fn gathered_limbs(&self, step: usize, share: Share) -> usize {
        let all = |spec: &TensorSpec| spec.limbs(spec.layout.ciphertexts());
        let images = if step == 0 { all(self.input()) } else { 0 };
        let logits = match step + 1 == self.steps() {
            true => all(self.output()),
            false => 0,
        };
        match share.is_whole() {
            true => 0,
            false => images.max(logits),
        }
    }

    /// Bytes that the program takes beside the limb pool: its weights three times (as they were read, as they were brought into
    /// normal form, and as they are run), and what was compiled of them, rotations twice.
    pub fn heap_bytes(&self) -> usize {
        let maps = self.nodes.iter().flat_map(|node| &node.products);
        maps.map(|product| 3 * product.map.weight_bytes() + 2 * product.map.compiled_bytes())
            .sum()
    }

    /// Tensors that are finished before a step and read after it, and the output if it is finished.
    fn waiting_limbs(&self, number: usize, share: Share) -> usize {
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
                spec.limbs(own_ciphertexts(spec, share))
            })
            .sum()
    }

    /// What a process of several holds of its own channel blocks of a window until all have it.
    fn staged_limbs(&self, step: &Step, window: Range<usize>, share: Share) -> usize {
        let layout = &self.values[step.tensor].spec.layout;
        let per_block = layout.ciphertexts_per_block();
        let of_one = self.multiplied(&step.values);
        let of_one: usize = of_one.map(|value| self.values[value].spec.limbs(1)).sum();
        let own = share.count(window) * per_block;
        own * of_one + self.joining_limbs(step, own)
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

/// From the first to the last channel block of some parts, which are sorted.
fn span(parts: &[Vec<Range<usize>>]) -> Range<usize> {
    let mut all = parts.iter().flatten();
    let first = all.next().cloned().unwrap_or_default();
    first.start..all.next_back().map_or(first.end, |last| last.end)
}

/// Ciphertexts of a tensor that belong to a share.
pub(super) fn own_ciphertexts(spec: &TensorSpec, share: Share) -> usize {
    share.count(0..spec.layout.blocks()) * spec.layout.ciphertexts_per_block()
}
