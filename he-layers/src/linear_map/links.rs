//! Which cell of which ciphertext a linear map reads for which: the geometry, before any weight.
//!
//! Along one axis, output cell `c` of phase `a` reads, through tap `k`, input cell `c + r` of phase `a'`; rotating the
//! input ciphertext by `r` (slot `j` gets what slot `j + r` held) brings it there. `r = baby + giant`: the baby part is
//! rotated before the product, on inputs, the giant part after it, on inner sums, whose weights therefore stand at cell
//! `c + giant`.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::{Axis, Grid};
use crate::linear::conv::ConvAxis;

/// How rotations along one axis are split into a baby and a giant part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
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
#[derive(Clone, Debug)]
pub(crate) struct AxisGeometry {
    pub input: Axis,
    pub output: Axis,
    pub conv: ConvAxis,
    /// Pairs of output and input sub-positions between which there is a weight.
    pub subs: BTreeSet<(usize, usize)>,
}

/// What identifies a link along one axis; steps are in cells of that axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AxisKey {
    out_phase: usize,
    giant: i64,
    in_phase: usize,
    baby: i64,
    out_sub: usize,
    in_sub: usize,
    tap: usize,
}

/// Links along one axis: for each key the cells (output cell + giant step) at which it holds.
type AxisLinks = BTreeMap<AxisKey, Vec<i64>>;

impl AxisGeometry {
    /// The splits worth comparing, the simplest first.
    fn splits(&self) -> Vec<Split> {
        let gaps = self.input.gaps.max(self.output.gaps) as i64;
        let mut splits = vec![Split::Baby, Split::Giant];
        let mut s = 2;
        while s <= gaps {
            splits.push(Split::Floor(s));
            s *= 2;
        }
        if gaps > 1 {
            splits.push(Split::Symmetric);
        }
        splits
    }

    fn links(&self, split: Split) -> AxisLinks {
        let mut links = AxisLinks::new();
        for y in 0..self.output.map {
            for tap in 0..self.conv.kernel {
                let Some(sy) = self.conv.source(y, tap) else {
                    continue;
                };
                for &(out_sub, in_sub) in &self.subs {
                    let (out_phase, out_cell) = self.output.place(y, out_sub);
                    let (in_phase, in_cell) = self.input.place(sy, in_sub);
                    let rotation = in_cell as i64 - out_cell as i64;
                    let giant = match split {
                        Split::Baby => 0,
                        Split::Giant => rotation,
                        Split::Floor(s) => rotation.rem_euclid(s),
                        Split::Symmetric => in_sub as i64 - out_sub as i64,
                    };
                    let key = AxisKey {
                        out_phase,
                        giant,
                        in_phase,
                        baby: rotation - giant,
                        out_sub,
                        in_sub,
                        tap,
                    };
                    links.entry(key).or_default().push(out_cell as i64 + giant);
                }
            }
        }
        links
    }
}

/// Rotations along one axis that each phase needs, zero among them where it occurs.
struct Steps {
    baby: Vec<BTreeSet<i64>>,
    giant: Vec<BTreeSet<i64>>,
}

impl Steps {
    fn of(axis: &AxisGeometry, links: &AxisLinks) -> Self {
        let mut steps = Steps {
            baby: vec![BTreeSet::new(); axis.input.ciphertexts()],
            giant: vec![BTreeSet::new(); axis.output.ciphertexts()],
        };
        for key in links.keys() {
            steps.baby[key.in_phase].insert(key.baby);
            steps.giant[key.out_phase].insert(key.giant);
        }
        steps
    }
}

/// Rotations of one channel block.
#[derive(Clone, Copy, Default)]
struct Rotations {
    /// Those that move something.
    moved: usize,
    /// Ciphertexts of which any is moved.
    ciphertexts: usize,
    /// All that is distinguished: what is moved, and what stays.
    all: usize,
}

impl Rotations {
    /// If rows need the steps `rows` and columns `cols`.
    fn of(rows: &[BTreeSet<i64>], cols: &[BTreeSet<i64>]) -> Self {
        let mut sum = Self::default();
        for r in rows {
            for c in cols {
                let all = r.len() * c.len();
                let moved = all - usize::from(r.contains(&0) && c.contains(&0));
                sum.all += all;
                sum.moved += moved;
                sum.ciphertexts += usize::from(moved > 0);
            }
        }
        sum
    }
}

/// What the rotations of a convolution cost, to compare splits: times of the parts of a key switch, and so much more for
/// every doubling of the inner sums, which take memory and are read and written with every group of inputs.
fn cost(babies: Rotations, giants: Rotations, blocks: (usize, usize), out_phases: usize) -> f64 {
    // Proportions at 21 levels and two digits (bench `limits`); they differ little below.
    const MOD_UP: f64 = 13.0;
    const INNER_PRODUCT: f64 = 5.0;
    const MOD_DOWN: f64 = 14.0;
    const INNER_SUM: f64 = 0.15;
    // Babies of one ciphertext share the ModUp, giants of one output the ModDown.
    let inputs =
        babies.ciphertexts as f64 * MOD_UP + babies.moved as f64 * (INNER_PRODUCT + MOD_DOWN);
    let outputs =
        giants.moved as f64 * (MOD_UP + INNER_PRODUCT) + giants.ciphertexts as f64 * MOD_DOWN;
    let sums = giants.all as f64 / out_phases as f64;
    (blocks.0 as f64 * inputs + blocks.1 as f64 * outputs) * (1.0 + INNER_SUM * sums.log2())
}

/// One product of a linear map, for any pair of channel blocks: at the places of `links`, the inner sum of step `giant`
/// takes the input phase rotated by `baby` (slot steps).
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub giant: i64,
    pub in_phase: usize,
    pub baby: i64,
    pub links: Vec<Link>,
    /// Cells after which the pattern of the links repeats; the rounding error of a mask grows with it.
    pub period: usize,
}

impl Term {
    fn new(giant: i64, in_phase: usize, baby: i64, links: Vec<Link>, cells: usize) -> Self {
        let mut label = vec![0; cells];
        for (index, link) in links.iter().enumerate() {
            for &cell in &link.cells {
                label[cell as usize] = index + 1;
            }
        }
        let mut period = cells;
        while period > 1 && label[..period / 2] == label[period / 2..period] {
            period /= 2;
        }
        Self {
            giant,
            in_phase,
            baby,
            links,
            period,
        }
    }

    /// Whether one weight stands in all cells.
    pub(crate) fn is_constant(&self) -> bool {
        self.period == 1
    }
}

/// The cells at which a term connects one sub-position with another through one tap.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub out_sub: usize,
    pub in_sub: usize,
    pub tap: usize,
    pub cells: Vec<u32>,
}

/// Collects links under `(output phase, giant, input phase, baby)`, sorted.
#[derive(Default)]
struct TermTable(BTreeMap<(usize, i64, usize, i64), Vec<Link>>);

impl TermTable {
    fn into_phases(self, phases: usize, cells: usize) -> Vec<Vec<Term>> {
        let mut terms = vec![Vec::new(); phases];
        for ((out_phase, giant, in_phase, baby), links) in self.0 {
            terms[out_phase].push(Term::new(giant, in_phase, baby, links, cells));
        }
        terms
    }
}

/// The terms of every output phase of a convolution, with the split whose rotations cost least.
///
/// `blocks`: channel blocks of input and output; `keep` says whether a pair (output sub-position, input sub-position)
/// belongs to channels at all.
pub(crate) fn conv_terms(
    rows: &AxisGeometry,
    cols: &AxisGeometry,
    grid: Grid,
    blocks: (usize, usize),
    keep: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<Term>> {
    let tables = |axis: &AxisGeometry| -> Vec<(Steps, AxisLinks)> {
        let with_steps = |split| {
            let links = axis.links(split);
            (Steps::of(axis, &links), links)
        };
        axis.splits().into_iter().map(with_steps).collect()
    };
    let (row_tables, col_tables) = (tables(rows), tables(cols));
    let out_phases = rows.output.ciphertexts() * cols.output.ciphertexts();
    let mut best = (f64::INFINITY, 0, 0);
    for (i, (r, _)) in row_tables.iter().enumerate() {
        for (j, (c, _)) in col_tables.iter().enumerate() {
            let babies = Rotations::of(&r.baby, &c.baby);
            let giants = Rotations::of(&r.giant, &c.giant);
            let cost = cost(babies, giants, blocks, out_phases);
            if cost < best.0 {
                best = (cost, i, j);
            }
        }
    }
    let (row_links, col_links) = (&row_tables[best.1].1, &col_tables[best.2].1);

    let mut table = TermTable::default();
    let width = grid.cols as i64;
    for (r, row_cells) in row_links {
        for (c, col_cells) in col_links {
            let out_sub = r.out_sub * cols.output.gaps + c.out_sub;
            let in_sub = r.in_sub * cols.input.gaps + c.in_sub;
            if !keep(out_sub, in_sub) {
                continue;
            }
            let cell =
                |row: i64, col: i64| (row * width + col).rem_euclid(grid.cells() as i64) as u32;
            let cells = row_cells
                .iter()
                .flat_map(|&row| col_cells.iter().map(move |&col| cell(row, col)))
                .collect();
            let key = (
                r.out_phase * cols.output.ciphertexts() + c.out_phase,
                r.giant * width + c.giant,
                r.in_phase * cols.input.ciphertexts() + c.in_phase,
                r.baby * width + c.baby,
            );
            table.0.entry(key).or_default().push(Link {
                out_sub,
                in_sub,
                tap: r.tap * cols.conv.kernel + c.tap,
                cells,
            });
        }
    }
    table.into_phases(out_phases, grid.cells())
}

/// The terms of a dense layer whose class `j < used` of a block gathers, at cell `j` modulo `classes_per_ct`, what the
/// cells of one aligned group of `classes_per_ct` cells hold; summing the groups is left to a fold.
pub(crate) fn dense_terms(
    in_phases: usize,
    grid: Grid,
    classes_per_ct: usize,
    used: usize,
    in_sub: impl Fn(usize) -> Option<usize>,
) -> Vec<Vec<Term>> {
    let mut table = TermTable::default();
    for in_phase in 0..in_phases {
        for class in 0..used {
            let mut links: BTreeMap<(i64, usize), Vec<u32>> = BTreeMap::new();
            for cell in 0..grid.cells() {
                if let Some(sub) = in_sub(cell) {
                    let giant = (cell % classes_per_ct) as i64 - class as i64;
                    links.entry((giant, sub)).or_default().push(cell as u32);
                }
            }
            for ((giant, in_sub), cells) in links {
                let link = Link {
                    out_sub: class,
                    in_sub,
                    tap: 0,
                    cells,
                };
                table
                    .0
                    .entry((0, giant, in_phase, 0))
                    .or_default()
                    .push(link);
            }
        }
    }
    table.into_phases(1, grid.cells())
}
