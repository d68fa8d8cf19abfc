//! Which inner sums a run holds, part by part: what is opened, added to and multiplied.

use std::ops::Range;

use super::prepared::{PreparedProgram, Step};
use super::product::Finish;
use super::share::Share;
use crate::cost::{Op, OpCounts};

/// The inner sums of all nodes under way: as the accumulators of a run, or of a share of one, have them.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    share: Share,
    nodes: Vec<OpenSums>,
}

/// The inner sums of a node.
#[derive(Clone, Debug, Default)]
struct OpenSums {
    /// For each output ciphertext and giant step whether the sum is open; nothing before the first is.
    open: Vec<bool>,
    count: usize,
}

impl OpenSums {
    /// Opens the sum of an output and a giant step; whether it was closed.
    fn insert(&mut self, finish: &Finish, output: usize, giant: i64) -> bool {
        if self.open.is_empty() {
            self.open = vec![false; finish.sums()];
        }
        let open = &mut self.open[finish.sum_index(output, giant)];
        let new = !std::mem::replace(open, true);
        self.count += usize::from(new);
        new
    }

    /// Closes a sum that is open.
    fn remove(&mut self, finish: &Finish, output: usize, giant: i64) {
        let open = &mut self.open[finish.sum_index(output, giant)];
        self.count -= usize::from(std::mem::take(open));
    }
}

impl Opened {
    /// Before step `number`. Nodes that are finished have none.
    pub fn before(program: &PreparedProgram, number: usize, share: Share) -> Self {
        let mut finished = vec![false; program.nodes.len()];
        for step in &program.steps[..number] {
            step.finishes.iter().for_each(|node| finished[*node] = true);
        }
        let nodes = vec![OpenSums::default(); program.nodes.len()];
        let mut opened = Self { share, nodes };
        let mut ignored = OpCounts::default();
        for step in &program.steps[..number] {
            let under_way = |node: usize| !finished[node];
            for blocks in program.readings(step, usize::MAX, share) {
                opened.absorb(program, step, &blocks, &under_way, &mut ignored);
            }
        }
        opened
    }

    /// Brings a node's sums together: what is of outputs of others leaves, what others have of own ones is added, and counted.
    /// Gives the most limbs that sums of the node hold meanwhile.
    pub fn meet(&mut self, program: &PreparedProgram, node: usize, counts: &mut OpCounts) -> usize {
        let meeting = program.meeting(node, self.share);
        let prepared = &program.nodes[node];
        let spec = &program.values[prepared.value].spec;
        let mut most = self.nodes[node].count;
        for window in meeting.windows() {
            let taken: usize = window.taken.iter().map(Vec::len).sum();
            most = most.max(self.nodes[node].count + taken);
            for (output, giant) in window.given.iter().flatten() {
                self.nodes[node].remove(&prepared.finish, *output, *giant);
            }
            for (output, giant) in window.taken.iter().flatten() {
                if !self.nodes[node].insert(&prepared.finish, *output, *giant) {
                    counts.add(Op::Add, spec.level, 1);
                }
            }
        }
        spec.limbs(most)
    }

    /// Takes channel blocks `blocks` of a step's tensor, in ranges, and counts what the accumulators of the nodes `of` do.
    pub fn absorb(
        &mut self,
        program: &PreparedProgram,
        step: &Step,
        blocks: &[Range<usize>],
        of: &dyn Fn(usize) -> bool,
        counts: &mut OpCounts,
    ) {
        let share = program.share_of(step, self.share);
        let per_block = program.values[step.tensor]
            .spec
            .layout
            .ciphertexts_per_block();
        let values = || step.values.iter().map(|v| &program.values[*v]);
        for &node in values().flat_map(|v| &v.adds).filter(|node| of(**node)) {
            let level = program.values[program.nodes[node].value].spec.level;
            let finish = &program.nodes[node].finish;
            let all = blocks.iter().cloned().flatten();
            let own = all.filter(|block| share.owns(*block));
            for index in own.flat_map(|block| block * per_block..(block + 1) * per_block) {
                if !self.nodes[node].insert(finish, index, 0) {
                    counts.add(Op::Add, level, 1);
                }
            }
        }
        for &(node, product) in values().flat_map(|v| &v.products).filter(|p| of(p.0)) {
            let level = program.values[program.nodes[node].value].spec.level;
            let map = &program.nodes[node].products[product].map;
            let finish = &program.nodes[node].finish;
            let spec = &program.values[program.nodes[node].value].spec;
            let per_block = spec.layout.ciphertexts_per_block();
            for task in map.tasks() {
                let cols = task.columns_of(blocks).map(|part| part.len()).sum();
                let outputs = task.outputs().iter().copied();
                let outputs = outputs.filter(|output| share.sums(output / per_block));
                let rows = outputs.clone().count();
                if rows == 0 || cols == 0 {
                    continue;
                }
                let sums = &mut self.nodes[node];
                let new = outputs.filter(|output| sums.insert(finish, *output, task.giant()));
                counts.add(Op::Zero, level, new.count());
                let masked = rows * map.masked_columns(task, task.columns_of(blocks));
                counts.add(Op::Product { rows, cols, masked }, level, 1);
            }
        }
    }

    /// Limbs of the inner sums of a node.
    pub fn limbs_of(&self, program: &PreparedProgram, node: usize) -> usize {
        let sums = &program.values[program.nodes[node].value].spec;
        sums.limbs(self.nodes[node].count)
    }

    /// Limbs of all inner sums.
    pub fn limbs(&self, program: &PreparedProgram) -> usize {
        (0..self.nodes.len())
            .map(|node| self.limbs_of(program, node))
            .sum()
    }
}
