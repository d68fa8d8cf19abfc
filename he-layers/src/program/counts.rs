//! What a run does, step by step.

use super::prepared::{Entry, PreparedProgram, PreparedStage, PreparedValue};
use crate::cost::{Op, OpCounts};
use crate::spec::Form;

impl PreparedProgram {
    /// What step `step` does when it takes `group_blocks` channel blocks of its tensor at a time.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn op_counts(&self, step: usize, group_blocks: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        let step = &self.steps[step];
        for &index in &step.values {
            let value = &self.values[index];
            if let Some(stage) = &value.stage {
                self.count_stage(stage, &mut counts);
            }
            self.count_additions(value, &mut counts);
            for steps in &value.steps {
                let moved = steps.iter().filter(|s| **s != 0).count();
                counts.add(Op::Hoist, value.spec.level, usize::from(moved > 0));
                counts.add(Op::HoistedRotation, value.spec.level, moved);
            }
            for &(node, product) in &value.products {
                let node = &self.nodes[node];
                let sums = &self.values[node.value].spec;
                node.products[product].count_ops(sums, &mut counts, group_blocks);
            }
        }
        for &node in &step.finishes {
            let node = &self.nodes[node];
            node.finish
                .count_ops(&self.values[node.value].spec, &mut counts);
        }
        counts
    }

    /// A stage without the rescale that another reader of its parent has done already.
    fn count_stage(&self, stage: &PreparedStage, counts: &mut OpCounts) {
        let mut own = OpCounts::default();
        stage.stage.count_ops(&mut own);
        counts.extend(&own);
        let parent = &self.values[stage.of];
        let dropped_sums = stage.entry != Entry::Direct && parent.spec.form == Form::Sums;
        if dropped_sums && !self.needs_rescaled(parent) {
            counts.add(
                Op::Rescale,
                parent.spec.level,
                parent.spec.layout.ciphertexts(),
            );
        }
    }

    fn count_additions(&self, value: &PreparedValue, counts: &mut OpCounts) {
        let n = value.spec.layout.ciphertexts();
        for &node in &value.adds {
            let sums = &self.values[self.nodes[node].value].spec;
            counts.add(Op::Lift, sums.level, n);
        }
        // A child that could share the rescaled sums counts a rescale of its own.
        let shared = value.children.iter().any(|c| self.shares_rescaled(*c));
        if self.needs_rescaled(value) && !shared {
            counts.add(Op::Rescale, value.spec.level, n);
        }
    }

    /// Whether the rescaled form of sums is made for additions or dropped stages.
    pub(super) fn needs_rescaled(&self, value: &PreparedValue) -> bool {
        if value.spec.form != Form::Sums {
            return false;
        }
        let added = value.adds.iter().any(|node| {
            let sums = &self.values[self.nodes[*node].value].spec;
            sums.level < value.spec.level
        });
        added
            || value
                .children
                .iter()
                .any(|c| self.entry(*c) != Entry::Direct)
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

    /// What the whole run does, with `group_blocks` channel blocks at a time in every step.
    pub fn total_op_counts(&self, group_blocks: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        for step in 0..self.steps() {
            counts.extend(&self.op_counts(step, group_blocks));
        }
        counts
    }
}
