//! Polynomials of ciphertexts: Chebyshev basis, Paterson-Stockmeyer, exact scales.
//!
//! A polynomial of degree below 2^k takes k levels, which is optimal. Every sum is formed at exactly one scale: that of
//! the result is given, the scales of all partial results follow from it from the top down, and only constants, which
//! may be encoded at any scale, are adapted (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux: Efficient bootstrapping for
//! approximate homomorphic encryption with non-sparse keys, 2021, section 3, <https://eprint.iacr.org/2020/1203>).

mod chebyshev;
mod minimax;
mod noisy;
mod powers;
mod steps;

pub use chebyshev::Chebyshev;
pub(crate) use chebyshev::depth;
pub use minimax::Composite;
pub(crate) use minimax::solve;
pub(crate) use noisy::noisy_combination;
pub(crate) use powers::{Basis, powers_and_splits};
pub(crate) use steps::{PolyStep, visit_steps};

use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use chebyshev::middle_and_half;
use num_complex::Complex64;
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
        // To [-1, 1]: a division by reinterpretation, and a shift.
        let (middle, half) = middle_and_half((from, to));
        let mut t = self.copy(x)?;
        t.reinterpret(1.0 / half);
        if middle != 0.0 {
            self.add_const_assign(&mut t, (-middle / half).into())?;
        }
        t.declare_values(1.0, 1.0);

        let coeffs: Vec<Complex64> = p.coeffs().iter().map(|&c| c.into()).collect();
        let mut out = self.combination(t, Basis::Chebyshev, &coeffs, scale)?;
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
