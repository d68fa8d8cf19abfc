//! Polynomials of ciphertexts: Chebyshev basis, Paterson-Stockmeyer, exact scales.
//!
//! A polynomial of degree below 2^k takes k levels, which is optimal. Every sum is formed at exactly one scale: that of
//! the result is given, the scales of all partial results follow from it from the top down, and only constants, which
//! may be encoded at any scale, are adapted (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux: Efficient bootstrapping for
//! approximate homomorphic encryption with non-sparse keys, 2021, section 3, <https://eprint.iacr.org/2020/1203>).

mod chebyshev;
mod minimax;
mod steps;

pub use chebyshev::Chebyshev;
pub use minimax::Composite;
pub(crate) use steps::PolyStep;

use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use chebyshev::{degree, depth, divide, middle_and_half};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// A polynomial that cannot be formed or evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolyError {
    /// An interval whose ends are not finite or not in order.
    #[error("interval from {from} to {to}, expected finite ends in order")]
    Interval {
        /// Left end.
        from: f64,
        /// Right end.
        to: f64,
    },
    /// A coefficient that is not a number or infinite.
    #[error("coefficient {index} is {value}, expected a finite number")]
    NotFinite {
        /// Index of the coefficient.
        index: usize,
        /// Value found.
        value: f64,
    },
    /// The declared values go beyond the interval on which the polynomial is meant.
    #[error("values up to {max} where the polynomial is meant for {from} to {to}")]
    OutOfInterval {
        /// Declared bound of the values.
        max: f64,
        /// Left end of the interval.
        from: f64,
        /// Right end.
        to: f64,
    },
    /// A composition of minimax polynomials that cannot be formed.
    #[error("composite minimax polynomial: {what} is {found}")]
    Minimax {
        /// What is out of range.
        what: &'static str,
        /// Value found.
        found: f64,
    },
    /// From an operation.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl Evaluator {
    /// `p(x)` in every slot, at exactly `scale` and `p.depth()` levels below `x`.
    ///
    /// # Shapes and ranges
    /// `x`: two polynomials, real slot values within the interval. Its scale times half the interval's length, which is
    /// the scale of values brought to `[-1, 1]`, should be within a bit or so of the primes that the evaluation divides
    /// by: scales are squared and divided by a prime from level to level. A ciphertext at another scale takes one level
    /// more, for a [`Self::mul_const`] by 1 at the missing factor.
    /// # Effect on metadata
    /// The declared values become the polynomial's bound on its interval.
    /// # Cost
    /// About `sqrt(2 d) + log2 d` products for degree `d`, half of them for odd and even polynomials.
    /// # Errors
    /// [`PolyError::OutOfInterval`] when the declared values are larger than both ends of the interval;
    /// [`PolyError::Eval`] for too few levels, missing relinearisation keys, or an exhausted pool.
    pub fn polynomial(
        &self,
        x: &Ciphertext,
        p: &Chebyshev,
        scale: Scale,
    ) -> Result<Ciphertext, PolyError> {
        let (from, to) = p.interval();
        let max = x.tracked().max;
        if max > from.abs().max(to.abs()) * (1.0 + 1e-9) {
            return Err(PolyError::OutOfInterval { max, from, to });
        }
        let top = x.level().limbs();
        let take = p.depth();
        if top <= take {
            return Err(PolyError::Eval(EvalError::LevelTooLow {
                op: "polynomial",
                need: Level::new(take + 1),
                have: x.level(),
            }));
        }
        // To [-1, 1]: a division by reinterpretation, and a shift.
        let (middle, half) = middle_and_half((from, to));
        let mut t = self.copy(x)?;
        t.reinterpret(1.0 / half);
        if middle != 0.0 {
            self.add_const_assign(&mut t, (-middle / half).into())?;
        }
        t.declare_values(1.0, 1.0);

        let mut powers = Powers {
            eval: self,
            top,
            baby: best_baby(p.coeffs(), take - 1),
            known: BTreeMap::from([(1, t)]),
        };
        let level = top - take + 1;
        let prime = self.params().prime(Level::new(level)) as f64;
        let sum = powers.sum(None, p.coeffs(), level, scale.value() * prime)?;
        let mut out = powers.finish(sum)?;
        out.scale = scale;
        let bound = p.bound();
        out.declare_values(bound, bound);
        Ok(out)
    }
}

impl Evaluator {
    /// A composition of polynomials in every slot, at exactly `scale` and `p.depth()` levels below `x`; conditions and
    /// cost as for [`Self::polynomial`], component by component. Scales between components are chosen.
    ///
    /// # Errors
    /// As [`Self::polynomial`].
    pub fn composite(
        &self,
        x: &Ciphertext,
        p: &Composite,
        scale: Scale,
    ) -> Result<Ciphertext, PolyError> {
        let mut value: Option<Ciphertext> = None;
        let mut components = p.components().iter().zip(p.bounds()).peekable();
        while let Some((component, &bound)) = components.next() {
            let input = value.as_ref().unwrap_or(x);
            let target = match components.peek() {
                None => scale,
                Some((next, _)) => {
                    let need = component.depth() + 1;
                    let level = input.level().below(component.depth());
                    let level = level.ok_or(EvalError::LevelTooLow {
                        op: "composite polynomial",
                        need: Level::new(need),
                        have: input.level(),
                    })?;
                    // So that values brought to [-1, 1] stand at the prime that their squares are divided by.
                    let (_, half) = middle_and_half(next.interval());
                    Scale::new(self.params().prime(level) as f64 / half)
                }
            };
            let mut out = self.polynomial(input, component, target)?;
            out.declare_values(bound, bound);
            value = Some(out);
        }
        Ok(value.expect("a composition has a component"))
    }
}

/// `T_1`, and those of its successors that were needed so far.
struct Powers<'a> {
    eval: &'a Evaluator,
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
        coeffs: &[f64],
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
                if c != 0.0 {
                    self.make(k)?;
                    self.eval.add_scaled_assign(&mut acc, &self.known[&k], c)?;
                }
            }
            if coeffs[0] != 0.0 {
                self.eval.add_const_assign(&mut acc, coeffs[0].into())?;
            }
            return Ok(acc);
        }
        let g = 1 << d.ilog2();
        let (quotient, remainder) = divide(coeffs, g);
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

    /// Computes `T_k` unless it is known: `T_(a+b) = 2 T_a T_b - T_(a-b)` with `a` a power of two.
    fn make(&mut self, k: usize) -> Result<(), EvalError> {
        if self.known.contains_key(&k) {
            return Ok(());
        }
        let (a, b) = split(k);
        self.make(a)?;
        self.make(b)?;
        if a != b {
            self.make(a - b)?;
        }
        let level = Level::new(self.top + 1 - depth(k - 1));
        let (x, y) = (&self.known[&a], &self.known[&b]);
        let mut product = self.eval.product_at(x, y, level, 2)?;
        if a == b {
            self.eval.add_const_assign(&mut product, (-1.0).into())?;
        } else {
            self.eval
                .add_scaled_assign(&mut product, &self.known[&(a - b)], -1.0)?;
        }
        let mut t = self.eval.relinearize_rescale(product)?;
        t.declare_values(1.0, 1.0);
        self.known.insert(k, t);
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

/// `k = a + b`, `a` the largest power of two below `k`.
fn split(k: usize) -> (usize, usize) {
    let a = 1 << (k - 1).ilog2();
    (a, k - a)
}

/// Whether a polynomial of degree `d` is summed term by term, `headroom` levels below the input.
fn is_leaf(d: usize, headroom: usize, baby: usize) -> bool {
    d <= 1 || (d < baby && d <= 1 << headroom)
}

impl Chebyshev {
    /// Products of ciphertexts that an evaluation takes.
    pub fn products(&self) -> usize {
        let headroom = self.depth() - 1;
        let mut powers = BTreeSet::new();
        let baby = best_baby(self.coeffs(), headroom);
        let products = count_products(self.coeffs(), headroom, baby, &mut powers);
        products + powers.len()
    }

    /// Ciphertexts of the argument's level that an evaluation holds at most, the argument's copy included: the `T_k`, and a
    /// product of three polynomials and half of another at every split on the way down.
    pub fn working_ciphertexts(&self) -> usize {
        let (powers, splits) = self.powers_and_splits();
        2 + powers + 2 * splits
    }

    /// Number of the T_k, beside T_1, that an evaluation computes, and how many products it has under way at most.
    pub(crate) fn powers_and_splits(&self) -> (usize, usize) {
        let headroom = self.depth() - 1;
        let mut powers = BTreeSet::new();
        let baby = best_baby(self.coeffs(), headroom);
        count_products(self.coeffs(), headroom, baby, &mut powers);
        (powers.len(), self.depth() - baby.ilog2() as usize)
    }
}

/// The power of two from which on degrees are split that leads to the fewest products.
fn best_baby(coeffs: &[f64], headroom: usize) -> usize {
    (1..=headroom + 1)
        .map(|log| 1 << log)
        .min_by_key(|&baby| {
            let mut powers = BTreeSet::new();
            let products = count_products(coeffs, headroom, baby, &mut powers);
            products + powers.len()
        })
        .unwrap_or(2)
}

/// Products of quotients and giants; collects the `T_k` that have to be computed.
fn count_products(
    coeffs: &[f64],
    headroom: usize,
    baby: usize,
    powers: &mut BTreeSet<usize>,
) -> usize {
    let d = degree(coeffs);
    if is_leaf(d, headroom, baby) {
        for (k, _) in coeffs.iter().enumerate().filter(|(_, c)| **c != 0.0) {
            need(k, powers);
        }
        return 0;
    }
    let g = 1 << d.ilog2();
    need(g, powers);
    let (quotient, remainder) = divide(coeffs, g);
    if d == g {
        return count_products(&remainder, headroom, baby, powers);
    }
    1 + count_products(&quotient, headroom - 1, baby, powers)
        + count_products(&remainder, headroom, baby, powers)
}

fn need(k: usize, powers: &mut BTreeSet<usize>) {
    if k > 1 && powers.insert(k) {
        let (a, b) = split(k);
        need(a, powers);
        need(b, powers);
        need(a - b, powers);
    }
}
