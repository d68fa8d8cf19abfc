//! Paterson and Stockmeyer's evaluation over the powers, or the Chebyshev polynomials, of one ciphertext.

use super::chebyshev::{degree, depth, divide};
use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use num_complex::Complex64;
use std::collections::{BTreeMap, BTreeSet};

/// What a polynomial's coefficients are the coefficients of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// `T_k(t)`, for real t in [-1, 1].
    Chebyshev,
    /// `z^k`, for complex z of modulus 1.
    Monomial,
}

impl Evaluator {
    /// The sum over k of coefficient k times member k of the basis, in every slot: at exactly `scale`, and the least k
    /// with degree < 2^k levels (at least 1) below `x`. Scales as for [`Self::polynomial`]; declared values are left to
    /// the caller.
    ///
    /// # Errors
    /// [`EvalError::LevelTooLow`] for too few levels, [`EvalError::Key`] without relinearisation keys, or when the
    /// pool's budget is exhausted.
    pub(crate) fn combination(
        &self,
        x: Ciphertext,
        basis: Basis,
        coeffs: &[Complex64],
        scale: Scale,
    ) -> Result<Ciphertext, EvalError> {
        let top = x.level().limbs();
        let take = depth(degree(coeffs));
        if top <= take {
            return Err(EvalError::LevelTooLow {
                op: "polynomial",
                need: Level::new(take + 1),
                have: x.level(),
            });
        }
        let mut powers = Powers {
            eval: self,
            basis,
            top,
            baby: best_baby(basis, coeffs, take - 1),
            known: BTreeMap::from([(1, x)]),
        };
        let level = top - take + 1;
        let prime = self.params().prime(Level::new(level)) as f64;
        let sum = powers.sum(None, coeffs, level, scale.value() * prime)?;
        let mut out = powers.finish(sum)?;
        out.scale = scale;
        Ok(out)
    }
}

/// The first member of the basis (`T_1`, say), and those of its successors that were needed so far.
struct Powers<'a> {
    eval: &'a Evaluator,
    basis: Basis,
    /// Level of `T_1`; `T_k` is `ceil(log2 k)` below.
    top: usize,
    /// Degrees below this are summed term by term.
    baby: usize,
    known: BTreeMap<usize, Ciphertext>,
}

impl Powers<'_> {
    /// Adds `p` at the given level and scale, not rescaled yet, to `acc` or returns it alone.
    /// Needs degree < 2^(top - level + 1).
    fn sum(
        &mut self,
        acc: Option<Ciphertext>,
        coeffs: &[Complex64],
        level: usize,
        scale: f64,
    ) -> Result<Ciphertext, EvalError> {
        let d = degree(coeffs);
        if is_leaf(d, self.top - level, self.baby) {
            let mut acc = match acc {
                Some(acc) => acc,
                None => self.eval.zero(Level::new(level), Scale::new(scale))?,
            };
            for (k, &c) in coeffs.iter().enumerate().skip(1) {
                if c != Complex64::ZERO {
                    self.make(k)?;
                    self.eval.add_scaled_assign(&mut acc, &self.known[&k], c)?;
                }
            }
            if coeffs[0] != Complex64::ZERO {
                self.eval.add_const_assign(&mut acc, coeffs[0])?;
            }
            return Ok(acc);
        }
        let g = 1 << d.ilog2();
        let (quotient, remainder) = self.basis.divide(coeffs, g);
        self.make(g)?;
        if d == g {
            let mut acc = match acc {
                Some(acc) => acc,
                None => self.eval.zero(Level::new(level), Scale::new(scale))?,
            };
            self.eval
                .add_scaled_assign(&mut acc, &self.known[&g], quotient[0])?;
            return self.sum(Some(acc), &remainder, level, scale);
        }
        let giant_scale = self.known[&g].scale().value();
        let prime = self.eval.params().prime(Level::new(level + 1)) as f64;
        let inner = self.sum(None, &quotient, level + 1, scale / giant_scale * prime)?;
        let inner = self.finish(inner)?;
        let giant = &self.known[&g];
        let mut product = self.eval.product_at(&inner, giant, Level::new(level), 1)?;
        drop(inner);
        if let Some(acc) = acc {
            // The scales agree by construction; `acc` may have two polynomials only.
            debug_assert!(acc.scale().matches(product.scale()));
            self.eval.add_scaled_assign(&mut product, &acc, 1.0)?;
        }
        self.sum(Some(product), &remainder, level, scale)
    }

    /// Computes member k of the basis unless it is known: `T_(a+b) = 2 T_a T_b - T_(a-b)` or `z^(a+b) = z^a z^b`, with
    /// `a` a power of two.
    fn make(&mut self, k: usize) -> Result<(), EvalError> {
        if self.known.contains_key(&k) {
            return Ok(());
        }
        let (a, b) = split(k);
        for &part in self.basis.parts(k).iter().filter(|k| **k > 0) {
            self.make(part)?;
        }
        let level = Level::new(self.top + 1 - depth(k - 1));
        let (x, y) = (&self.known[&a], &self.known[&b]);
        let product = match self.basis {
            Basis::Monomial => self.eval.product_at(x, y, level, 1)?,
            Basis::Chebyshev => {
                let mut product = self.eval.product_at(x, y, level, 2)?;
                if a == b {
                    self.eval.add_const_assign(&mut product, (-1.0).into())?;
                } else {
                    self.eval
                        .add_scaled_assign(&mut product, &self.known[&(a - b)], -1.0)?;
                }
                product
            }
        };
        let mut power = self.eval.relinearize_rescale(product)?;
        power.declare_values(1.0, 1.0);
        self.known.insert(k, power);
        Ok(())
    }

    fn finish(&self, sum: Ciphertext) -> Result<Ciphertext, EvalError> {
        if sum.parts() == 3 {
            self.eval.relinearize_rescale(sum)
        } else {
            self.eval.rescale(&sum)
        }
    }
}

impl Basis {
    /// Quotient and remainder by member g, a power of two, for a degree below 2g.
    pub(super) fn divide(self, coeffs: &[Complex64], g: usize) -> (Vec<Complex64>, Vec<Complex64>) {
        match self {
            Self::Chebyshev => divide(coeffs, g),
            Self::Monomial => (coeffs[g..=degree(coeffs)].to_vec(), coeffs[..g].to_vec()),
        }
    }

    /// The members that member k > 1 is made from; 0 needs no making.
    pub(super) fn parts(self, k: usize) -> [usize; 3] {
        let (a, b) = split(k);
        match self {
            Self::Chebyshev => [a, b, a - b],
            Self::Monomial => [a, b, 0],
        }
    }
}

/// `k = a + b`, `a` the largest power of two below `k`.
pub(super) fn split(k: usize) -> (usize, usize) {
    let a = 1 << (k - 1).ilog2();
    (a, k - a)
}

/// Whether a polynomial of degree `d` is summed term by term, `headroom` levels below the input.
pub(super) fn is_leaf(d: usize, headroom: usize, baby: usize) -> bool {
    d <= 1 || (d < baby && d <= 1 << headroom)
}

/// Number of the members, beside the first, that an evaluation computes, and how many products it has under way at most.
pub(crate) fn powers_and_splits(basis: Basis, coeffs: &[Complex64]) -> (usize, usize) {
    let levels = depth(degree(coeffs));
    let mut powers = BTreeSet::new();
    let baby = best_baby(basis, coeffs, levels - 1);
    count_products(basis, coeffs, levels - 1, baby, &mut powers);
    (powers.len(), levels.saturating_sub(baby.ilog2() as usize))
}

/// The power of two from which on degrees are split that leads to the fewest products.
pub(super) fn best_baby(basis: Basis, coeffs: &[Complex64], headroom: usize) -> usize {
    (1..=headroom + 1)
        .map(|log| 1 << log)
        .min_by_key(|&baby| {
            let mut powers = BTreeSet::new();
            let products = count_products(basis, coeffs, headroom, baby, &mut powers);
            products + powers.len()
        })
        .unwrap_or(2)
}

/// Products of quotients and giants; collects the members of the basis that have to be computed.
fn count_products(
    basis: Basis,
    coeffs: &[Complex64],
    headroom: usize,
    baby: usize,
    powers: &mut BTreeSet<usize>,
) -> usize {
    let d = degree(coeffs);
    if is_leaf(d, headroom, baby) {
        let present = |(_, c): &(usize, &Complex64)| **c != Complex64::ZERO;
        for (k, _) in coeffs.iter().enumerate().filter(present) {
            need(basis, k, powers);
        }
        return 0;
    }
    let g = 1 << d.ilog2();
    need(basis, g, powers);
    let (quotient, remainder) = basis.divide(coeffs, g);
    if d == g {
        return count_products(basis, &remainder, headroom, baby, powers);
    }
    1 + count_products(basis, &quotient, headroom - 1, baby, powers)
        + count_products(basis, &remainder, headroom, baby, powers)
}

fn need(basis: Basis, k: usize, powers: &mut BTreeSet<usize>) {
    if k > 1 && powers.insert(k) {
        for part in basis.parts(k) {
            need(basis, part, powers);
        }
    }
}
