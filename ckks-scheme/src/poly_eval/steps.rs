//! The operations of an evaluation, one after the other, without ciphertexts.

use super::chebyshev::{degree, depth, divide, middle_and_half};
use super::{Chebyshev, best_baby, is_leaf, split};
use crate::ciphertext::Level;
use std::collections::BTreeSet;

/// An operation of [`crate::Evaluator::polynomial`], with the level that it works at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolyStep {
    Zero(Level),
    /// Of so many polynomials.
    AddScaled(Level, usize),
    AddConst(Level),
    /// Whether both factors are one, and whether the product is doubled.
    Product {
        at: Level,
        same: bool,
        doubled: bool,
    },
    RelinearizeRescale(Level),
    Rescale(Level),
}

impl Chebyshev {
    /// Whether values are shifted to come to `[-1, 1]`.
    pub(crate) fn is_shifted(&self) -> bool {
        middle_and_half(self.interval()).0 != 0.0
    }

    /// Calls `f` with every operation of an evaluation at `level` after the argument was brought to `[-1, 1]`.
    pub(crate) fn visit_steps(&self, level: Level, f: impl FnMut(PolyStep)) {
        let (top, take) = (level.limbs(), self.depth());
        let mut visitor = Visitor {
            top,
            baby: best_baby(self.coeffs(), take - 1),
            known: BTreeSet::from([1]),
            f,
        };
        let last = top - take + 1;
        let parts = visitor.sum(None, self.coeffs(), last);
        visitor.finish(parts, last);
    }
}

/// Goes the way of [`super::Powers`]. Sums are known by their number of polynomials.
struct Visitor<F> {
    top: usize,
    baby: usize,
    known: BTreeSet<usize>,
    f: F,
}

impl<F: FnMut(PolyStep)> Visitor<F> {
    fn sum(&mut self, acc: Option<usize>, coeffs: &[f64], level: usize) -> usize {
        let at = Level::new(level);
        let d = degree(coeffs);
        if is_leaf(d, self.top - level, self.baby) {
            let parts = self.begin(acc, at);
            for (k, _) in coeffs
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, c)| **c != 0.0)
            {
                self.make(k);
                (self.f)(PolyStep::AddScaled(at, 2));
            }
            if coeffs[0] != 0.0 {
                (self.f)(PolyStep::AddConst(at));
            }
            return parts;
        }
        let g = 1 << d.ilog2();
        let (quotient, remainder) = divide(coeffs, g);
        self.make(g);
        if d == g {
            let parts = self.begin(acc, at);
            (self.f)(PolyStep::AddScaled(at, 2));
            return self.sum(Some(parts), &remainder, level);
        }
        let inner = self.sum(None, &quotient, level + 1);
        self.finish(inner, level + 1);
        (self.f)(PolyStep::Product {
            at,
            same: false,
            doubled: false,
        });
        if let Some(parts) = acc {
            (self.f)(PolyStep::AddScaled(at, parts));
        }
        self.sum(Some(3), &remainder, level)
    }

    fn begin(&mut self, acc: Option<usize>, at: Level) -> usize {
        acc.unwrap_or_else(|| {
            (self.f)(PolyStep::Zero(at));
            2
        })
    }

    fn make(&mut self, k: usize) {
        if !self.known.insert(k) {
            return;
        }
        let (a, b) = split(k);
        self.make(a);
        self.make(b);
        if a != b {
            self.make(a - b);
        }
        let at = Level::new(self.top + 1 - depth(k - 1));
        let same = a == b;
        (self.f)(PolyStep::Product {
            at,
            same,
            doubled: true,
        });
        (self.f)(if same {
            PolyStep::AddConst(at)
        } else {
            PolyStep::AddScaled(at, 2)
        });
        (self.f)(PolyStep::RelinearizeRescale(at));
    }

    fn finish(&mut self, parts: usize, level: usize) {
        let at = Level::new(level);
        (self.f)(if parts == 3 {
            PolyStep::RelinearizeRescale(at)
        } else {
            PolyStep::Rescale(at)
        });
    }
}
