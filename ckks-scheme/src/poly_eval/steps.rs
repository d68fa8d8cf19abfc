//! The operations of an evaluation, one after the other, without ciphertexts.

use super::chebyshev::{degree, depth, middle_and_half};
use super::powers::{best_baby, is_leaf, powers_and_splits, split};
use super::{Basis, Chebyshev};
use crate::ciphertext::Level;
use num_complex::Complex64;
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
    /// Products of ciphertexts that an evaluation takes.
    pub fn products(&self) -> usize {
        let mut products = 0;
        let level = Level::new(self.depth() + 1);
        visit_steps(Basis::Chebyshev, &self.complex_coeffs(), level, |step| {
            products += usize::from(matches!(step, PolyStep::Product { .. }));
        });
        products
    }

    /// Ciphertexts of the argument's level that an evaluation holds at most, the argument's copy included: the `T_k`, and a
    /// product of three polynomials and half of another at every split on the way down.
    pub fn working_ciphertexts(&self) -> usize {
        let (powers, splits) = powers_and_splits(Basis::Chebyshev, &self.complex_coeffs());
        2 + powers + 2 * splits
    }

    pub(crate) fn complex_coeffs(&self) -> Vec<Complex64> {
        self.coeffs().iter().map(|&c| c.into()).collect()
    }

    /// Whether values are shifted to come to `[-1, 1]`.
    pub(crate) fn is_shifted(&self) -> bool {
        middle_and_half(self.interval()).0 != 0.0
    }
}

/// Calls `f` with every operation of [`crate::Evaluator::combination`] for a ciphertext at `level`; returns the level of the
/// result.
pub(crate) fn visit_steps(
    basis: Basis,
    coeffs: &[Complex64],
    level: Level,
    f: impl FnMut(PolyStep),
) -> Level {
    let (top, take) = (level.limbs(), depth(degree(coeffs)));
    let mut visitor = Visitor {
        basis,
        top,
        baby: best_baby(basis, coeffs, take - 1),
        known: BTreeSet::from([0, 1]),
        f,
    };
    let last = top - take + 1;
    let parts = visitor.sum(None, coeffs, last);
    visitor.finish(parts, last);
    Level::new(last - 1)
}

/// Goes the way of [`super::powers`]. Sums are known by their number of polynomials.
struct Visitor<F> {
    basis: Basis,
    top: usize,
    baby: usize,
    known: BTreeSet<usize>,
    f: F,
}

impl<F: FnMut(PolyStep)> Visitor<F> {
    fn sum(&mut self, acc: Option<usize>, coeffs: &[Complex64], level: usize) -> usize {
        let at = Level::new(level);
        let d = degree(coeffs);
        if is_leaf(d, self.top - level, self.baby) {
            let parts = self.begin(acc, at);
            let present = |(_, c): &(usize, &Complex64)| **c != Complex64::ZERO;
            for (k, _) in coeffs.iter().enumerate().skip(1).filter(present) {
                self.make(k);
                (self.f)(PolyStep::AddScaled(at, 2));
            }
            if coeffs[0] != Complex64::ZERO {
                (self.f)(PolyStep::AddConst(at));
            }
            return parts;
        }
        let g = 1 << d.ilog2();
        let (quotient, remainder) = self.basis.divide(coeffs, g);
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
        for part in self.basis.parts(k) {
            self.make(part);
        }
        let (a, b) = split(k);
        let at = Level::new(self.top + 1 - depth(k - 1));
        let (same, doubled) = (a == b, self.basis == Basis::Chebyshev);
        (self.f)(PolyStep::Product { at, same, doubled });
        if doubled {
            (self.f)(if same {
                PolyStep::AddConst(at)
            } else {
                PolyStep::AddScaled(at, 2)
            });
        }
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
