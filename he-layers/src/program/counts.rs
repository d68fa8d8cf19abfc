//! What a run does, step by step.

use std::ops::Range;

use super::memory::own_ciphertexts;
use super::prepared::{Entry, PreparedProgram, PreparedStage, PreparedValue, Step};
use super::share::Share;
use super::sums::Opened;
use crate::cost::{Op, OpCounts};
use crate::spec::Form;

/// How a value becomes a summand of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    /// As it is, at the sum's level and scale.
    Copied,
    /// At the nominal scale: lifted from the level below the sum's.
    Lifted,
    /// At another scale: times a number.
    Scaled,
}

/// Part of an operation's time in which its limbs are not shared out, or threads wait for the last of them: an estimate.
const ALONE: f64 = 0.1;

/// A part of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// What is done.
    pub counts: OpCounts,
    /// Pieces that can be done at the same time, at least 1.
    pub pieces: usize,
    /// How many threads can share a piece where there are more threads than pieces, at least 1.
    pub splits: usize,
}

impl Phase {
    /// How many of `threads` threads share a piece.
    fn sharing(&self, threads: usize) -> usize {
        (threads / self.pieces).clamp(1, self.splits)
    }

    /// Threads that are at work at the same time, of `threads`.
    pub fn busy(&self, threads: usize) -> usize {
        let rounds = self.pieces.div_ceil(threads.max(1));
        self.pieces.div_ceil(rounds) * self.sharing(threads)
    }

    /// The time that `threads` threads take, as a part of the time of one. More threads never take longer.
    pub fn share(&self, threads: usize) -> f64 {
        let rounds = self.pieces.div_ceil(threads.max(1));
        let of_piece = ALONE + (1.0 - ALONE) / self.sharing(threads) as f64;
        rounds as f64 * of_piece / self.pieces as f64
    }
}

impl PreparedProgram {
    /// What step `step` does when it takes `blocks_at_a_time` channel blocks of its tensor at a time.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn op_counts(&self, step: usize, blocks_at_a_time: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        for phase in self.phases(step, blocks_at_a_time) {
            counts.extend(&phase.counts);
        }
        counts
    }

    /// The same in parts that are done one after another, with what each leaves threads to share: stages and rotations, products,
    /// the ends of nodes.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn phases(&self, step: usize, blocks_at_a_time: usize) -> [Phase; 3] {
        self.phases_of(step, blocks_at_a_time, Share::whole())
    }

    /// As [`Self::phases`], in one process of several that make a run together.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn phases_of(&self, step: usize, blocks_at_a_time: usize, share: Share) -> [Phase; 3] {
        let mut opened = Opened::before(self, step, share);
        let step = &self.steps[step];
        let layout = &self.values[step.tensor].spec.layout;
        let (blocks, part) = (layout.blocks(), blocks_at_a_time.max(1));
        let at_a_time = layout.ciphertexts_per_block() * part.min(share.count(0..blocks));
        [
            self.reading(step, at_a_time.max(1), share),
            self.multiplying(step, &self.readings(step, part, share), &mut opened),
            self.finishing(step, &mut opened, share),
        ]
    }

    /// What is made of each ciphertext, `at_a_time` of them at a time: stages and rotations. Limbs are shared out where there are
    /// fewer ciphertexts than threads.
    fn reading(&self, step: &Step, at_a_time: usize, share: Share) -> Phase {
        let mut counts = OpCounts::default();
        let layout = &self.values[step.tensor].spec.layout;
        let per_block = layout.ciphertexts_per_block();
        let own = own_ciphertexts(&self.values[step.tensor].spec, share);
        let rotating = self.share_of(step, share);
        for &index in &step.values {
            let value = &self.values[index];
            let mut read = OpCounts::default();
            if let Some(stage) = &value.stage {
                self.count_stage(stage, &mut read);
            }
            self.count_reads(value, &mut read);
            counts.extend_part(&read, own, layout.ciphertexts());
            let steps = value.steps.iter().enumerate();
            for (_, steps) in steps.filter(|(index, _)| rotating.reads(index / per_block)) {
                let moved = steps.iter().filter(|s| **s != 0).count();
                counts.add(Op::Hoist, value.spec.level, usize::from(moved > 0));
                counts.add(Op::HoistedRotation, value.spec.level, moved);
            }
        }
        Phase {
            counts,
            pieces: at_a_time,
            splits: self.values[step.tensor].spec.level.limbs(),
        }
    }

    /// Products, limb by limb.
    fn multiplying(&self, step: &Step, parts: &[Vec<Range<usize>>], opened: &mut Opened) -> Phase {
        let mut counts = OpCounts::default();
        for part in parts {
            opened.absorb(self, step, part, &|_| true, &mut counts);
        }
        let is_product = |op: Op| matches!(op, Op::Product { .. });
        let products = counts.iter().filter(|((op, _), _)| is_product(*op));
        let limbs = products.map(|((_, level), count)| level.limbs() as u64 * count);
        let rounds = parts.len().max(1) as u64;
        let limbs = limbs.sum::<u64>().div_ceil(rounds);
        Phase {
            counts,
            pieces: usize::try_from(limbs).unwrap_or(usize::MAX).max(1),
            splits: 1,
        }
    }

    /// The ends of nodes, output by output. The inner sums of one are shared out, and their limbs where there are fewer sums
    /// than threads.
    fn finishing(&self, step: &Step, opened: &mut Opened, share: Share) -> Phase {
        let mut counts = OpCounts::default();
        let (mut pieces, mut splits) = (usize::MAX, 1);
        for &node in &step.finishes {
            opened.meet(self, node, &mut counts);
            let node = &self.nodes[node];
            let sums = &self.values[node.value].spec;
            node.finish
                .count_ops(sums, node.products.len(), share, &mut counts);
            pieces = pieces.min(own_ciphertexts(sums, share));
            splits = splits.max(node.finish.parts() * sums.level.limbs());
        }
        Phase {
            counts,
            pieces: if pieces == usize::MAX {
                1
            } else {
                pieces.max(1)
            },
            splits,
        }
    }

    /// A stage, and the copy that it reads where it is dropped to a level.
    fn count_stage(&self, stage: &PreparedStage, counts: &mut OpCounts) {
        stage.stage.count_ops(counts);
        if let Entry::Dropped(level) = stage.entry {
            let n = self.values[stage.of].spec.layout.ciphertexts();
            counts.add(Op::Copy, level, n);
        }
    }

    /// What is made of each ciphertext of a value beside stages and rotations.
    fn count_reads(&self, value: &PreparedValue, counts: &mut OpCounts) {
        let n = value.spec.layout.ciphertexts();
        for &node in &value.adds {
            let level = self.values[self.nodes[node].value].spec.level;
            match self.joining(value, node) {
                Joining::Copied => {}
                Joining::Lifted => {
                    if let Some(below) = level.below(1) {
                        counts.add(Op::Copy, below, n);
                    }
                    counts.add(Op::Lift, level, n);
                }
                Joining::Scaled => {
                    counts.add(Op::Zero, level, n);
                    counts.add(Op::AddScaled, level, n);
                }
            }
        }
        // A stage that takes the rescaled sums counts a rescale of its own.
        let taken = value.children.iter().any(|c| self.shares_rescaled(*c));
        if self.needs_rescaled(value) && !taken {
            counts.add(Op::Rescale, value.spec.level, n);
        }
    }

    /// How `value` joins the sum of `node`.
    pub(super) fn joining(&self, value: &PreparedValue, node: usize) -> Joining {
        let sums = &self.values[self.nodes[node].value].spec;
        match value.spec.form {
            Form::Sums if value.spec.level == sums.level => Joining::Copied,
            // Rescaled sums are at the nominal scale.
            Form::Sums => Joining::Lifted,
            Form::Squares | Form::Values | Form::Refreshed => {
                match value.spec.scale.matches(self.nominal) {
                    true => Joining::Lifted,
                    false => Joining::Scaled,
                }
            }
        }
    }

    /// Whether the rescaled form of sums is made for additions or dropped stages.
    pub(super) fn needs_rescaled(&self, value: &PreparedValue) -> bool {
        if value.spec.form != Form::Sums {
            return false;
        }
        let lifted = |node: &usize| self.joining(value, *node) == Joining::Lifted;
        let dropped = |child: &usize| self.entry(*child) != Entry::Direct;
        value.adds.iter().any(lifted) || value.children.iter().any(dropped)
    }

    /// Whether a stage of sums takes their rescaled form from whoever made it.
    pub(super) fn shares_rescaled(&self, child: usize) -> bool {
        let stage = self.values[child].stage.as_ref();
        stage.is_some_and(|s| s.entry == Entry::Direct && s.stage.takes_rescaled())
    }

    pub(super) fn entry(&self, value: usize) -> Entry {
        self.values[value]
            .stage
            .as_ref()
            .map_or(Entry::Direct, |s| s.entry)
    }

    /// What the whole run does, with `blocks_at_a_time` channel blocks at a time in every step.
    pub fn total_op_counts(&self, blocks_at_a_time: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        for step in 0..self.steps() {
            counts.extend(&self.op_counts(step, blocks_at_a_time));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_pieces_and_where_there_are_few_their_limbs() {
        let phase = |pieces, splits| Phase {
            counts: OpCounts::default(),
            pieces,
            splits,
        };
        let found = |phase: &Phase| [1, 2, 3, 4, 8, 64].map(|t| (phase.busy(t), phase.share(t)));
        assert_eq!(found(&phase(1, 1)), [(1, 1.0); 6]);
        let third = 1.0 / 3.0;
        let all = (3, third);
        let expected = [(1, 1.0), (2, 2.0 / 3.0), all, all, all, all];
        assert_eq!(found(&phase(3, 1)), expected);
        let shared = |pieces: f64, threads: f64| (ALONE + (1.0 - ALONE) / threads) / pieces;
        let all = (8, shared(2.0, 4.0));
        let halves = [(1, 1.0), (2, 0.5), (2, 0.5)];
        let expected = [&halves[..], &[(4, shared(2.0, 2.0)), all, all]].concat();
        assert_eq!(found(&phase(2, 4))[..], expected);
        // Two rounds of 31 pieces keep 16 threads at work, of 30 too.
        assert_eq!(phase(31, 1).busy(16), 16);
        assert_eq!(phase(31, 1).busy(30), 16);
        // More threads are never slower.
        for (pieces, splits) in [(1, 7), (5, 3), (16, 1), (31, 2)] {
            let phase = phase(pieces, splits);
            let shares: Vec<f64> = (1..200).map(|threads| phase.share(threads)).collect();
            assert!(shares.is_sorted_by(|a, b| a >= b), "{pieces} {splits}");
        }
    }
}
