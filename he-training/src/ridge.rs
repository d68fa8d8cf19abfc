//! Ridge regression on one-hot labels: the weights `W` with `(G + lambda) W = M`, where `G = X^T X / m` and `M = X^T Y / m`
//! over `m` images.
//!
//! `G` and `M` are sums over images. The weights follow from them alone by Chebyshev's semi-iteration, whose coefficients
//! depend on bounds of the eigenvalues: `lambda` below, and above `lambda` plus the trace of `G`, which is the mean square of the
//! norm of a feature vector: at most the declared one. Nothing is chosen by looking at data.
//!
//! Ranges: a column of `Y` has root mean square at most 1, so `|w| <= 1 / (2 sqrt(lambda))` for the exact solution, in
//! Euclidean norm per class. Every iterate is `(I - p(A)) A^-1 M` with `|p| <= 1` on the spectrum, so its norm is at most
//! twice that: [`Ridge::weight_bound`]. A bias centres features and labels, which makes neither longer.
//!
//! Saad: Iterative methods for sparse linear systems, section 12.3 (Chebyshev iteration).

mod centre;
mod clear;
mod gram;
mod solve;

pub use gram::Moments;

use crate::error::{TrainingError, check};
use crate::layout::FeatureLayout;
use serde::{Deserialize, Serialize};

/// Most iterations that a setting may lead to.
const MOST_ITERATIONS: usize = 2000;

/// Settings of a ridge regression.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ridge {
    /// `lambda`, above 0, in units of the mean over images of products of features.
    pub regularisation: f64,
    /// Declared bound of the Euclidean norm of an image's features.
    pub norm_bound: f64,
    /// Declared bound of that norm's root mean square over all images; one above `norm_bound` says nothing.
    pub rms_bound: f64,
    /// Distance from the exact solution at the end, relative to that of the beginning: below 1.
    pub tolerance: f64,
    /// Whether each class has a bias, which is not regularised.
    pub bias: bool,
}

impl Default for Ridge {
    fn default() -> Self {
        Self {
            regularisation: 0.001,
            norm_bound: 1.5,
            rms_bound: 1.25,
            tolerance: 0.02,
            bias: true,
        }
    }
}

/// One iteration: `x_next = x + beta (x - x_before) + alpha (M - (G + lambda) x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iteration {
    /// Factor of the residual.
    pub alpha: f64,
    /// Factor of the last change.
    pub beta: f64,
}

impl Ridge {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn validate(&self) -> Result<(), TrainingError> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        check(
            positive(self.regularisation) && self.regularisation <= 1e3,
            "regularisation",
            self.regularisation,
            "above 0, up to 1000",
        )?;
        check(
            positive(self.norm_bound) && self.norm_bound <= 1e3,
            "norm of features",
            self.norm_bound,
            "above 0, up to 1000",
        )?;
        check(
            positive(self.rms_bound) && self.rms_bound <= 1e3,
            "root mean square of the norm of features",
            self.rms_bound,
            "above 0, up to 1000",
        )?;
        check(
            positive(self.tolerance) && self.tolerance < 1.0,
            "tolerance",
            self.tolerance,
            "above 0 and below 1",
        )?;
        let needed = self.needed();
        check(
            needed <= MOST_ITERATIONS as f64,
            "number of iterations",
            needed,
            format_args!("{MOST_ITERATIONS} or fewer"),
        )
    }

    /// Bound of the trace of `G`, and so of its entries.
    fn trace_bound(&self) -> f64 {
        self.rms_bound.min(self.norm_bound).powi(2)
    }

    /// Half the sum and half the difference of the bounds of the spectrum.
    fn middle_and_half(&self) -> (f64, f64) {
        let half = self.trace_bound() / 2.0;
        (self.regularisation + half, half)
    }

    /// Iterations after which the Chebyshev polynomial is below the tolerance.
    fn needed(&self) -> f64 {
        let (middle, half) = self.middle_and_half();
        ((1.0 / self.tolerance).acosh() / (middle / half).acosh()).ceil()
    }

    /// The iterations, from zero weights on. The first one has no product: its `x` is zero.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn iterations(&self) -> Result<Vec<Iteration>, TrainingError> {
        self.validate()?;
        let (middle, half) = self.middle_and_half();
        let ratio = middle / half;
        let mut out = vec![Iteration {
            alpha: 1.0 / middle,
            beta: 0.0,
        }];
        let mut rho = 1.0 / ratio;
        for _ in 1..self.needed() as usize {
            let next = 1.0 / (2.0 * ratio - rho);
            out.push(Iteration {
                alpha: 2.0 * next / half,
                beta: next * rho,
            });
            rho = next;
        }
        Ok(out)
    }

    /// Baby steps of a product with `G`.
    pub(crate) fn baby_steps(&self, layout: &FeatureLayout) -> usize {
        gram::width(layout)
    }

    /// Bound of the absolute value of a weight in every iteration, see the module.
    pub fn weight_bound(&self) -> f64 {
        1.0 / self.regularisation.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_reach_the_tolerance_at_every_eigenvalue_and_never_leave_the_bound() {
        let ridge = Ridge {
            regularisation: 0.01,
            norm_bound: 1.2,
            rms_bound: 1.2,
            tolerance: 0.01,
            ..Ridge::default()
        };
        let steps = ridge.iterations().expect("iterations");
        let top = ridge.norm_bound.powi(2);
        for j in 0..=200 {
            // What is left of the error at this eigenvalue.
            let eigenvalue = ridge.regularisation + top * f64::from(j) / 200.0;
            let (mut before, mut now) = (1.0, 1.0);
            for s in &steps {
                let next = now + s.beta * (now - before) - s.alpha * eigenvalue * now;
                (before, now) = (now, next);
                assert!(now.abs() <= 1.0 + 1e-12);
            }
            assert!(
                now.abs() <= ridge.tolerance * (1.0 + 1e-9),
                "{eigenvalue}: {now}"
            );
        }
        // And not with one iteration fewer.
        let (middle, half) = ridge.middle_and_half();
        let fewer = (steps.len() - 1) as f64;
        assert!((fewer * (middle / half).acosh()).cosh() < 1.0 / ridge.tolerance);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let good = Ridge::default();
        assert!(good.validate().is_ok());
        for bad in [
            Ridge {
                regularisation: 0.0,
                ..good
            },
            Ridge {
                regularisation: 1e-12,
                ..good
            },
            Ridge {
                regularisation: f64::NAN,
                ..good
            },
            Ridge {
                norm_bound: -1.0,
                ..good
            },
            Ridge {
                rms_bound: f64::INFINITY,
                ..good
            },
            Ridge {
                tolerance: 1.0,
                ..good
            },
            Ridge {
                tolerance: 0.0,
                ..good
            },
        ] {
            assert!(bad.iterations().is_err(), "{bad:?}");
        }
    }
}
