//! What a run does, step by step.

use super::prepared::{Entry, PreparedProgram, PreparedStage, PreparedValue};
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

impl PreparedProgram {
    /// What step `step` does when it takes `blocks_at_a_time` channel blocks of its tensor at a time.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn op_counts(&self, step: usize, blocks_at_a_time: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        let mut opened = Opened::before(self, step);
        let step = &self.steps[step];
        for &index in &step.values {
            let value = &self.values[index];
            if let Some(stage) = &value.stage {
                self.count_stage(stage, &mut counts);
            }
            self.count_reads(value, &mut counts);
            for steps in &value.steps {
                let moved = steps.iter().filter(|s| **s != 0).count();
                counts.add(Op::Hoist, value.spec.level, usize::from(moved > 0));
                counts.add(Op::HoistedRotation, value.spec.level, moved);
            }
        }
        let (blocks, part) = (
            self.values[step.tensor].spec.layout.blocks(),
            blocks_at_a_time.max(1),
        );
        for from in (0..blocks).step_by(part) {
            let part = from..blocks.min(from + part);
            opened.absorb(self, step, part, &|_| true, &mut counts);
        }
        for &node in &step.finishes {
            let node = &self.nodes[node];
            let sums = &self.values[node.value].spec;
            node.finish
                .count_ops(sums, node.products.len(), &mut counts);
        }
        counts
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
