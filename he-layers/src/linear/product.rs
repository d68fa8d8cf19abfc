//! The products of a linear map: dense blocks of (output ciphertext, rotated input) pairs.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use super::connect::{BlockLink, Connections, Weights};
use super::term::{Links, Term};
use crate::layout::Layout;

/// Groups of equal rows above which it is worth a look whether one product for all wastes little.
const MANY_GROUPS: usize = 4;

/// A dense product: every inner sum of `outputs`, all of one giant step, takes every rotated input.
///
/// Most (output, rotated input) pairs of a polyphase convolution are structurally empty; grouped by output phase they
/// form dense products. Pairs of blocks between which all weights are zero are in no product.
#[derive(Clone, Debug)]
pub struct ProductTask {
    pub(super) outputs: Vec<usize>,
    pub(super) giant: i64,
    pub(super) inputs: Vec<(usize, i64)>,
    pub(super) rows: Vec<usize>,
    pub(super) cols: Vec<Column>,
    pub(super) out_phase: usize,
}

/// An input of a product: channel block, and index of the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Column {
    pub block: usize,
    pub term: usize,
}

impl ProductTask {
    /// Output ciphertexts: the rows of the product.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// The rotation, in slots, of the inner sums that this product adds to.
    pub fn giant(&self) -> i64 {
        self.giant
    }

    /// Input ciphertext and rotation, in slots, of each column; sorted by channel block.
    pub fn inputs(&self) -> &[(usize, i64)] {
        &self.inputs
    }

    /// The columns that read channel blocks `blocks` of the input, for each range of blocks a range.
    pub fn columns_of(&self, blocks: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
        let at = |block| self.cols.partition_point(|c| c.block < block);
        blocks.iter().map(move |part| at(part.start)..at(part.end))
    }
}

/// What products are formed from.
pub(super) struct Products<'a> {
    pub weights: Weights<'a>,
    pub links: &'a Links,
    pub terms: &'a [Vec<Term>],
    pub connections: &'a Connections,
    pub input: &'a Layout,
    pub output: &'a Layout,
}

impl Products<'_> {
    /// Output blocks that read the same inputs with the same giant step become the rows of one product.
    pub(super) fn tasks(&self) -> Vec<ProductTask> {
        let classes = self.connections.classes();
        let mut tasks = Vec::new();
        for (out_phase, terms) in self.terms.iter().enumerate() {
            let mut by_giant: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
            for (index, term) in terms.iter().enumerate() {
                by_giant.entry(term.giant).or_default().push(index);
            }
            for (giant, indices) in by_giant {
                let mut groups: BTreeMap<Vec<Column>, Vec<usize>> = BTreeMap::new();
                for (links, rows) in &classes {
                    let columns = self.columns(links, rows[0], terms, &indices);
                    if !columns.is_empty() {
                        groups.entry(columns).or_default().extend(rows);
                    }
                }
                for (cols, mut rows) in merged(groups) {
                    rows.sort_unstable();
                    tasks.push(self.task(out_phase, giant, rows, cols));
                }
            }
        }
        tasks
    }

    /// The columns of an output block that reads the blocks `links`, for terms of one giant step.
    fn columns(
        &self,
        links: &[BlockLink],
        row: usize,
        terms: &[Term],
        indices: &[usize],
    ) -> Vec<Column> {
        let mut columns = Vec::new();
        for link in links {
            let block = link.block;
            let connected = indices
                .iter()
                .filter(|term| link.full || self.is_connected(row, block, &terms[**term]));
            columns.extend(connected.map(|term| Column { block, term: *term }));
        }
        columns
    }

    /// Whether any weight of the term between the blocks is not zero.
    fn is_connected(&self, row: usize, block: usize, term: &Term) -> bool {
        let found = self.links.visit(term, |link| {
            let o = self.output.channel_of(row, link.out_sub);
            let i = self.input.channel_of(block, link.in_sub);
            match (o, i) {
                (Some(o), Some(i)) if self.weights.at(o, i, link.tap) != 0.0 => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        });
        found.is_break()
    }

    fn task(
        &self,
        out_phase: usize,
        giant: i64,
        rows: Vec<usize>,
        cols: Vec<Column>,
    ) -> ProductTask {
        let (ins, outs) = (
            self.input.ciphertexts_per_block(),
            self.output.ciphertexts_per_block(),
        );
        let input = |c: &Column| {
            let term = &self.terms[out_phase][c.term];
            (c.block * ins + term.in_phase, term.baby)
        };
        ProductTask {
            outputs: rows.iter().map(|r| r * outs + out_phase).collect(),
            giant,
            inputs: cols.iter().map(input).collect(),
            rows,
            cols,
            out_phase,
        }
    }
}

/// One product in the place of many with few rows each, if it has at most a quarter more pairs: scattered zeros do not pay.
fn merged(groups: BTreeMap<Vec<Column>, Vec<usize>>) -> BTreeMap<Vec<Column>, Vec<usize>> {
    if groups.len() <= MANY_GROUPS {
        return groups;
    }
    let pairs: usize = groups.iter().map(|(c, r)| c.len() * r.len()).sum();
    let mut cols: Vec<Column> = groups.keys().flatten().copied().collect();
    cols.sort_unstable();
    cols.dedup();
    let rows: Vec<usize> = groups.values().flatten().copied().collect();
    if 4 * cols.len() * rows.len() > 5 * pairs {
        return groups;
    }
    BTreeMap::from([(cols, rows)])
}
