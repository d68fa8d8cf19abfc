//! The products of a linear map, for any pair of channel blocks.

use std::ops::{ControlFlow, Range};

use super::gather::DenseLinks;
use super::links::ConvLinks;

/// One product: the inner sum of step `giant` takes the input phase rotated by `baby` (slot steps).
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub giant: i64,
    pub in_phase: usize,
    pub baby: i64,
    /// Where its links are, for those who know.
    pub parts: Range<usize>,
    /// Cells after which the pattern of the links repeats; the rounding error of a mask grows with it.
    pub period: usize,
}

impl Term {
    pub(super) fn new(giant: i64, in_phase: usize, baby: i64, parts: Range<usize>) -> Self {
        Self {
            giant,
            in_phase,
            baby,
            parts,
            period: 0,
        }
    }

    /// Whether one weight stands in all cells.
    pub(super) fn is_constant(&self) -> bool {
        self.period == 1
    }
}

/// The cell at which a term connects one sub-position with another through one tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub cell: usize,
    pub out_sub: usize,
    pub in_sub: usize,
    pub tap: usize,
}

/// The links of a map.
#[derive(Debug)]
pub(super) enum Links {
    Conv(ConvLinks),
    Dense(DenseLinks),
}

impl Links {
    /// Calls `f` with the links of a term until it breaks.
    pub(super) fn visit(
        &self,
        term: &Term,
        mut f: impl FnMut(Link) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Links::Conv(links) => links.visit(term, &mut f),
            Links::Dense(links) => links.visit(term, &mut f),
        }
    }

    /// Calls `f` with all links of a term.
    pub(super) fn each(&self, term: &Term, mut f: impl FnMut(Link)) {
        // Nothing breaks.
        let _ = self.visit(term, |link| {
            f(link);
            ControlFlow::Continue(())
        });
    }

    /// Finds out after how many of `cells` cells the pattern of each term repeats. With `uniform` weights, which are the same
    /// for all taps, taps do not count.
    pub(super) fn set_periods(&self, terms: &mut [Vec<Term>], cells: usize, uniform: bool) {
        let mut label = vec![usize::MAX; cells];
        for term in terms.iter_mut().flatten() {
            if matches!(self, Links::Dense(links) if !links.repeats(uniform)) {
                term.period = cells;
                continue;
            }
            label.fill(usize::MAX);
            self.each(term, |link| {
                let tap = if uniform { 0 } else { link.tap };
                label[link.cell] = (link.out_sub << 40) | (link.in_sub << 20) | tap;
            });
            let mut period = cells;
            while period > 1 && label[..period / 2] == label[period / 2..period] {
                period /= 2;
            }
            term.period = period;
        }
    }
}
