//! Which cells the outputs of a dense layer gather. Output `j` of a block stands at cell `j`.
//!
//! *Fold*: a ciphertext holds `per_ct` outputs, a power of two. Cell `j` of every aligned group of `per_ct` cells gathers what
//! the cells of the group hold, by giant steps; summing the groups is left to a fold, which leaves mixtures of images in the
//! cells behind the first group.
//!
//! *Clean*: the whole ciphertext may hold outputs. Cell `j` gathers from all cells, by baby and giant steps, and all other
//! cells are zero.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::costs::{RotationCosts, Rotations};
use super::term::{Link, Term};
use crate::layout::Layout;

/// The links of a dense layer.
#[derive(Debug)]
pub(super) struct DenseLinks {
    /// For each input phase and cell the sub-position and the pixel that it holds.
    inputs: Vec<Vec<Option<(u32, u32)>>>,
    /// Outputs of a block, at most.
    used: usize,
    /// Cells of a group that is folded; none: clean.
    group: Option<usize>,
}

impl DenseLinks {
    /// The links and the terms, for `group` cells a folded group or none.
    pub(super) fn new(
        input: &Layout,
        output: &Layout,
        group: Option<usize>,
        costs: &RotationCosts,
    ) -> (Self, Vec<Vec<Term>>) {
        let links = Self {
            inputs: inputs(input),
            used: output.channels_per_ct().min(output.shape().channels),
            group,
        };
        let terms = match group {
            Some(group) => links.fold_terms(group),
            None => {
                let rotations = rotations(&links.inputs, links.used);
                let blocks = (input.blocks(), output.blocks());
                let (step, _) = best_step(&rotations, blocks, costs);
                matrix_terms(&rotations, step)
            }
        };
        (links, vec![terms])
    }

    fn fold_terms(&self, group: usize) -> Vec<Term> {
        let mut keys = BTreeSet::new();
        for (phase, cells) in self.inputs.iter().enumerate() {
            let held = cells.iter().enumerate().filter(|(_, cell)| cell.is_some());
            let residues: BTreeSet<i64> = held.map(|(cell, _)| (cell % group) as i64).collect();
            let giants = |cell: i64| (0..self.used as i64).map(move |output| cell - output);
            let giants = residues.into_iter().flat_map(giants);
            keys.extend(giants.map(|giant| (giant, phase)));
        }
        let term = |(giant, phase)| Term::new(giant, phase, 0, 0..0);
        keys.into_iter().map(term).collect()
    }

    /// Whether patterns of terms may repeat within the cells.
    pub(super) fn repeats(&self, uniform: bool) -> bool {
        self.inputs[0].len() == 1 || (uniform && self.group.is_some())
    }

    /// Calls `f` with the links of a term until it breaks.
    pub(super) fn visit(
        &self,
        term: &Term,
        f: &mut impl FnMut(Link) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let inputs = &self.inputs[term.in_phase];
        let cells = inputs.len() as i64;
        let mut link = |cell: usize, output: usize, input: usize| match inputs[input] {
            Some((in_sub, pixel)) => f(Link {
                cell,
                out_sub: output,
                in_sub: in_sub as usize,
                tap: pixel as usize,
            }),
            None => ControlFlow::Continue(()),
        };
        match self.group {
            Some(group) => {
                for cell in 0..inputs.len() {
                    let output = (cell % group) as i64 - term.giant;
                    if (0..self.used as i64).contains(&output) {
                        link(cell, output as usize, cell)?;
                    }
                }
            }
            None => {
                let rotation = term.giant + term.baby;
                let first = (-rotation).max(0);
                let last = (cells - rotation).min(self.used as i64);
                for output in first..last {
                    let cell = (output + term.giant).rem_euclid(cells);
                    link(cell as usize, output as usize, (output + rotation) as usize)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Sub-position and pixel of every cell of every phase.
fn inputs(input: &Layout) -> Vec<Vec<Option<(u32, u32)>>> {
    let (rows, cols) = input.axes();
    let phase = |a: usize, d: usize| {
        let cell = |cell: usize| {
            let grid_cols = input.grid().cols;
            let y = rows.pixel(a, cell / grid_cols)?;
            let x = cols.pixel(d, cell % grid_cols)?;
            let sub = input.sub_position(cell)?;
            (sub < input.shape().channels).then_some((sub as u32, (y * cols.map + x) as u32))
        };
        (0..input.grid().cells()).map(cell).collect()
    };
    let phases = |a| (0..cols.ciphertexts()).map(move |d| phase(a, d));
    (0..rows.ciphertexts()).flat_map(phases).collect()
}

/// For each phase the rotations between the first `used` cells and the cells that hold something, sorted.
fn rotations(inputs: &[Vec<Option<(u32, u32)>>], used: usize) -> Vec<Vec<i64>> {
    let of_phase = |cells: &Vec<Option<(u32, u32)>>| {
        let mut rotations = Vec::new();
        let mut next = i64::MIN;
        let held = cells.iter().enumerate().filter(|(_, cell)| cell.is_some());
        for (cell, _) in held {
            let first = cell as i64 - used as i64 + 1;
            rotations.extend(first.max(next)..=cell as i64);
            next = cell as i64 + 1;
        }
        rotations
    };
    inputs.iter().map(of_phase).collect()
}

/// The number below which giant steps lie and whose multiples baby steps are, such that rotations cost least; with the steps
/// of one block.
fn best_step(
    rotations: &[Vec<i64>],
    blocks: (usize, usize),
    costs: &RotationCosts,
) -> (i64, (Rotations, Rotations)) {
    let one = [vec![0]];
    let most = rotations.iter().flatten().map(|r| r.unsigned_abs()).max();
    let most = (2 * most.unwrap_or(0) as i64).max(1);
    let steps = std::iter::successors(Some(1i64), |s| Some(2 * s)).take_while(|s| *s <= most);
    let with_cost = |step: i64| {
        let mut giants = BTreeSet::new();
        let babies: Vec<Vec<i64>> = rotations
            .iter()
            .map(|rotations| {
                giants.extend(rotations.iter().map(|r| r.rem_euclid(step)));
                let mut babies: Vec<i64> = rotations
                    .iter()
                    .map(|r| r.div_euclid(step) * step)
                    .collect();
                babies.dedup();
                babies
            })
            .collect();
        let giants = [giants.into_iter().collect()];
        let (babies, giants) = (Rotations::of(&babies, &one), Rotations::of(&giants, &one));
        (
            costs.total(babies, giants, blocks, 1),
            step,
            (babies, giants),
        )
    };
    let best = steps.map(with_cost).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or((1, Default::default()), |(_, step, rotations)| {
        (step, rotations)
    })
}

fn matrix_terms(rotations: &[Vec<i64>], step: i64) -> Vec<Term> {
    let mut terms: Vec<Term> = rotations
        .iter()
        .enumerate()
        .flat_map(|(phase, rotations)| rotations.iter().map(move |r| (phase, r)))
        .map(|(phase, r)| Term::new(r.rem_euclid(step), phase, r.div_euclid(step) * step, 0..0))
        .collect();
    terms.sort_by_key(|term| (term.giant, term.in_phase, term.baby));
    terms
}

/// Rotations of a clean dense layer of `outputs` outputs.
pub(super) fn clean_rotations(input: &Layout, output: &Layout, costs: &RotationCosts) -> usize {
    let used = output.channels_per_ct().min(output.shape().channels);
    let blocks = (input.blocks(), output.blocks());
    let rotations = rotations(&inputs(input), used);
    let (_, (babies, giants)) = best_step(&rotations, blocks, costs);
    blocks.0 * babies.moved + blocks.1 * giants.moved
}
