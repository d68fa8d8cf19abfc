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
            let blocks = program.values[step.tensor].spec.layout.blocks();
            let under_way = |node: usize| !finished[node];
            opened.absorb(program, step, 0..blocks, &under_way, &mut ignored);
        }
        opened
    }

    /// Takes channel blocks `blocks` of a step's tensor, and counts what the accumulators of the nodes `of` do.
    pub fn absorb(
        &mut self,
        program: &PreparedProgram,
        step: &Step,
        blocks: Range<usize>,
        of: &dyn Fn(usize) -> bool,
        counts: &mut OpCounts,
    ) {
        let per_block = program.values[step.tensor]
            .spec
            .layout
            .ciphertexts_per_block();
        let values = || step.values.iter().map(|v| &program.values[*v]);
        for &node in values().flat_map(|v| &v.adds).filter(|node| of(**node)) {
            let level = program.values[program.nodes[node].value].spec.level;
            let finish = &program.nodes[node].finish;
            let own = blocks.clone().filter(|block| self.share.owns(*block));
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
                let cols = task.columns_of(blocks.clone());
                let outputs = task.outputs().iter().copied();
                let outputs = outputs.filter(|output| self.share.owns(output / per_block));
                let rows = outputs.clone().count();
                if rows == 0 || cols.is_empty() {
                    continue;
                }
                let sums = &mut self.nodes[node];
                let new = outputs.filter(|output| sums.insert(finish, *output, task.giant()));
                counts.add(Op::Zero, level, new.count());
                let masked = rows * map.masked_columns(task, cols.clone());
                let cols = cols.len();
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
