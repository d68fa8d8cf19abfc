//! Which cell of which ciphertext a convolution reads for which: the geometry, before any weight.
//!
//! Along one axis, output cell `c` of phase `a` reads, through tap `k`, input cell `c + r` of phase `a'`; rotating the
//! input ciphertext by `r` (slot `j` gets what slot `j + r` held) brings it there. `r = baby + giant`: the baby part is
//! rotated before the product, on inputs, the giant part after it, on inner sums, whose weights therefore stand at cell
//! `c + giant`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::connect::SubPairs;
use super::conv::ConvAxis;
use super::costs::{RotationCosts, Rotations};
use super::term::{Link, Term};
use crate::layout::{Axis, Grid, Layout};

/// How rotations along one axis are split into a baby and a giant part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    /// All of it before the product.
    Baby,
    /// All of it after the product.
    Giant,
    /// Baby steps are multiples of the number, giant steps lie below it.
    Floor(i64),
    /// Baby steps move pixels, giant steps move between the gap cells of one pixel, both ways.
    Symmetric,
}

/// One axis of a convolution between two layouts.
struct AxisGeometry {
    input: Axis,
    output: Axis,
    conv: ConvAxis,
    /// Pairs of output and input sub-positions between which there is a weight.
    subs: BTreeSet<(usize, usize)>,
}

/// An output cell of an axis that reads an input cell through a tap.
#[derive(Clone, Copy, Debug)]
struct AxisLink {
    out_phase: usize,
    out_cell: i64,
    out_sub: usize,
    in_phase: usize,
    in_sub: usize,
    rotation: i64,
    tap: usize,
}

/// Links of an axis with the same phases and steps; steps are in cells of that axis.
#[derive(Debug)]
struct AxisGroup {
    out_phase: usize,
    giant: i64,
    in_phase: usize,
    baby: i64,
    /// Output cell + giant step: where the weight stands.
    links: Vec<(i64, AxisLink)>,
    /// The pairs of sub-positions that occur.
    subs: Vec<(usize, usize)>,
}

impl AxisLink {
    fn giant(&self, split: Split) -> i64 {
        match split {
            Split::Baby => 0,
            Split::Giant => self.rotation,
            Split::Floor(s) => self.rotation.rem_euclid(s),
            Split::Symmetric => self.in_sub as i64 - self.out_sub as i64,
        }
    }
}

impl AxisGeometry {
    /// The splits worth comparing, the simplest first.
    fn splits(&self) -> Vec<Split> {
        let (a, b) = (self.input.gaps as i64, self.output.gaps as i64);
        let most = a.max(b);
        let mut splits = vec![Split::Baby, Split::Giant];
        let floors = |s: &i64| s.count_ones() == 1 || a % s == 0 || b % s == 0;
        splits.extend((2..=most).filter(floors).map(Split::Floor));
        if most > 1 {
            splits.push(Split::Symmetric);
        }
        splits
    }

    fn links(&self) -> Vec<AxisLink> {
        let mut links = Vec::new();
        for y in 0..self.output.map {
            for tap in self.conv.inside(y) {
                let Some(source) = self.conv.source(y, tap) else {
                    continue;
                };
                for &(out_sub, in_sub) in &self.subs {
                    let (out_phase, out_cell) = self.output.place(y, out_sub);
                    let (in_phase, in_cell) = self.input.place(source, in_sub);
                    links.push(AxisLink {
                        out_phase,
                        out_cell: out_cell as i64,
                        out_sub,
                        in_phase,
                        in_sub,
                        rotation: in_cell as i64 - out_cell as i64,
                        tap,
                    });
                }
            }
        }
        links
    }
}

/// Links by phases and steps, sorted.
fn groups(links: &[AxisLink], split: Split) -> Vec<AxisGroup> {
    let key = |l: &AxisLink| {
        let giant = l.giant(split);
        (l.out_phase, giant, l.in_phase, l.rotation - giant)
    };
    let mut links = links.to_vec();
    links.sort_by_key(key);
    let group = |links: &[AxisLink]| {
        let (out_phase, giant, in_phase, baby) = key(&links[0]);
        let subs: BTreeSet<_> = links.iter().map(|l| (l.out_sub, l.in_sub)).collect();
        AxisGroup {
            out_phase,
            giant,
            in_phase,
            baby,
            links: links.iter().map(|l| (l.out_cell + giant, *l)).collect(),
            subs: subs.into_iter().collect(),
        }
    };
    links.chunk_by(|a, b| key(a) == key(b)).map(group).collect()
}

/// Rotations along one axis that each phase needs, sorted, zero among them where it occurs.
struct Steps {
    baby: Vec<Vec<i64>>,
    giant: Vec<Vec<i64>>,
}

impl Steps {
    fn new(axis: &AxisGeometry, links: &[AxisLink], split: Split) -> Self {
        let mut steps = Steps {
            baby: vec![Vec::new(); axis.input.ciphertexts()],
            giant: vec![Vec::new(); axis.output.ciphertexts()],
        };
        let mut add = |giant: i64, link: &AxisLink| {
            steps.baby[link.in_phase].push(link.rotation - giant);
            steps.giant[link.out_phase].push(giant);
        };
        links.iter().for_each(|link| add(link.giant(split), link));
        for steps in steps.baby.iter_mut().chain(&mut steps.giant) {
            steps.sort_unstable();
            steps.dedup();
        }
        steps
    }
}

/// The split of either axis whose rotations cost least; `blocks`: channel blocks of input and output.
fn best_splits(
    (rows, row_links): (&AxisGeometry, &[AxisLink]),
    (cols, col_links): (&AxisGeometry, &[AxisLink]),
    blocks: (usize, usize),
    costs: &RotationCosts,
) -> (Split, Split) {
    let steps = |axis: &AxisGeometry, links: &[AxisLink]| -> Vec<(Split, Steps)> {
        let splits = axis.splits().into_iter();
        splits
            .map(|split| (split, Steps::new(axis, links, split)))
            .collect()
    };
    let (row_steps, col_steps) = (steps(rows, row_links), steps(cols, col_links));
    let out_phases = rows.output.ciphertexts() * cols.output.ciphertexts();
    let mut best = (f64::INFINITY, (Split::Baby, Split::Baby));
    for (row_split, r) in &row_steps {
        for (col_split, c) in &col_steps {
            let babies = Rotations::of(&r.baby, &c.baby);
            let giants = Rotations::of(&r.giant, &c.giant);
            let cost = costs.total(babies, giants, blocks, out_phases);
            if cost < best.0 {
                best = (cost, (*row_split, *col_split));
            }
        }
    }
    best.1
}

/// The links of a convolution between two layouts.
#[derive(Debug)]
pub(super) struct ConvLinks {
    rows: Vec<AxisGroup>,
    cols: Vec<AxisGroup>,
    /// Groups of rows and of columns that meet in products; a term names a range of them.
    parts: Vec<(usize, usize)>,
    subs: SubPairs,
    /// Gaps along columns, of output and input.
    gaps: (usize, usize),
    grid: Grid,
    kernel_cols: usize,
}

impl ConvLinks {
    /// The links with the split whose rotations cost least, and the terms of every output phase. `axes`: rows and columns of
    /// the convolution; `subs`: pairs of sub-positions between which there is a weight.
    pub(super) fn new(
        axes: (ConvAxis, ConvAxis),
        input: &Layout,
        output: &Layout,
        subs: SubPairs,
        costs: &RotationCosts,
    ) -> (Self, Vec<Vec<Term>>) {
        let gaps = (output.gaps().1, input.gaps().1);
        let rows = AxisGeometry {
            input: input.axes().0,
            output: output.axes().0,
            conv: axes.0,
            subs: subs.iter().map(|(o, i)| (o / gaps.0, i / gaps.1)).collect(),
        };
        let cols = AxisGeometry {
            input: input.axes().1,
            output: output.axes().1,
            conv: axes.1,
            subs: subs.iter().map(|(o, i)| (o % gaps.0, i % gaps.1)).collect(),
        };
        let (row_links, col_links) = (rows.links(), cols.links());
        let blocks = (input.blocks(), output.blocks());
        let splits = best_splits((&rows, &row_links), (&cols, &col_links), blocks, costs);
        let mut links = Self {
            rows: groups(&row_links, splits.0),
            cols: groups(&col_links, splits.1),
            parts: Vec::new(),
            subs,
            gaps,
            grid: input.grid(),
            kernel_cols: cols.conv.kernel,
        };
        let phases = (cols.output.ciphertexts(), cols.input.ciphertexts());
        let out_phases = output.ciphertexts_per_block();
        let terms = links.meet(phases, out_phases);
        (links, terms)
    }

    /// Finds the groups of rows and columns that meet; `phases`: those along columns, of output and input.
    fn meet(&mut self, phases: (usize, usize), out_phases: usize) -> Vec<Vec<Term>> {
        let width = self.grid.cols as i64;
        let mut products = Vec::new();
        for (r_index, r) in self.rows.iter().enumerate() {
            for (c_index, c) in self.cols.iter().enumerate() {
                let mut pairs = r
                    .subs
                    .iter()
                    .flat_map(|r| c.subs.iter().map(move |c| (r, c)));
                if pairs.any(|(r, c)| self.pair(*r, *c).is_some()) {
                    let key = (
                        r.out_phase * phases.0 + c.out_phase,
                        r.giant * width + c.giant,
                        r.in_phase * phases.1 + c.in_phase,
                        r.baby * width + c.baby,
                    );
                    products.push((key, (r_index, c_index)));
                }
            }
        }
        products.sort_unstable();
        self.parts = products.iter().map(|(_, part)| *part).collect();
        let mut terms = vec![Vec::new(); out_phases];
        let mut start = 0;
        for product in products.chunk_by(|a, b| a.0 == b.0) {
            let (out_phase, giant, in_phase, baby) = product[0].0;
            let parts = start..start + product.len();
            start = parts.end;
            terms[out_phase].push(Term::new(giant, in_phase, baby, parts));
        }
        terms
    }

    /// Output and input sub-position from those along rows and columns, if there is a weight between them.
    fn pair(&self, row: (usize, usize), col: (usize, usize)) -> Option<(usize, usize)> {
        let pair = (row.0 * self.gaps.0 + col.0, row.1 * self.gaps.1 + col.1);
        self.subs.contains(pair.0, pair.1).then_some(pair)
    }

    /// Calls `f` with the links of a term until it breaks.
    pub(super) fn visit(
        &self,
        term: &Term,
        f: &mut impl FnMut(Link) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (width, cells) = (self.grid.cols as i64, self.grid.cells() as i64);
        for (r, c) in &self.parts[term.parts.clone()] {
            for (row, r) in &self.rows[*r].links {
                for (col, c) in &self.cols[*c].links {
                    let pair = self.pair((r.out_sub, r.in_sub), (c.out_sub, c.in_sub));
                    let Some((out_sub, in_sub)) = pair else {
                        continue;
                    };
                    f(Link {
                        cell: (row * width + col).rem_euclid(cells) as usize,
                        out_sub,
                        in_sub,
                        tap: r.tap * self.kernel_cols + c.tap,
                    })?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}
