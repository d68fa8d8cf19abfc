//! Softmax regression by Nesterov's accelerated gradient on mini-batches, with a softmax of polynomials.
//!
//! One step on a batch: `g = X^T (P - Y) / m` at the look-ahead weights `v`, then `w' = v - rate (g + decay v)` and
//! `v' = w' + momentum (w' - w)`.
//!
//! Ranges hold for any data. A bias is the weight of one more feature, a constant: then the norm below is `sqrt(norm_bound^2 + constant^2)`. A
//! class's column of `g` is at most `norm (1 + error)` long, as the probabilities are between 0
//! and `1 + error`. The step is linear in `w`, `v` and `g`. So the length of a class's weights is at most that times the sum of
//! the absolute impulse response, over the steps there are: [`Softmax::weight_bound`]. Scores are at most the norm times
//! that, which gives the number of squarings of the softmax. The range follows from the declared norm and the number of
//! steps, and so may rate, momentum, decay and constant ([`Softmax::by_rule`]): nothing is chosen by looking at data.

mod circuit;
mod clear;
pub(crate) mod encrypted;
mod inverse;
pub(crate) mod levels;
mod probabilities;
mod schedule;

use std::ops::Range;

use crate::error::{TrainingError, check};
use crate::layout::FeatureLayout;
pub use clear::{cross_entropy, logistic_regression};
pub(crate) use schedule::MOST_SQUARINGS;
use schedule::Schedule;
use serde::{Deserialize, Serialize};

/// Most steps of a training.
const MOST_STEPS: usize = 1_000_000;
/// Largest factor of the lead `v - w`: it is taken from the scale that masks have.
const MOST_LEAD_GAIN: f64 = 256.0;

/// Settings of a softmax regression.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// Learning rate, above 0.
    pub rate: f64,
    /// Momentum, 0 up to but not including 1.
    pub momentum: f64,
    /// Weight decay, 0 or more.
    pub decay: f64,
    /// Declared bound of the Euclidean norm of an image's features.
    pub norm_bound: f64,
    /// Passes over all images.
    pub epochs: usize,
    /// Groups of images of a mini-batch, 1 or more. Two share every refresh of probabilities; more are computed in parallel.
    pub step_groups: usize,
    /// Largest distance of the sum of an image's probabilities from 1.
    pub tolerance: f64,
    /// Whether each class has a bias: the weight of a feature that is [`Self::constant`], which decays as the others do.
    pub bias: bool,
    /// Value of that feature, above 0. A larger one learns biases faster, by its square, and makes longer steps unstable.
    pub constant: f64,
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            rate: 1.0,
            momentum: 0.9,
            decay: 1.0 / 256.0,
            norm_bound: 1.5,
            epochs: 10,
            step_groups: 1,
            tolerance: 0.01,
            bias: true,
            constant: 1.0,
        }
    }
}

/// What follows from settings, classes and number of steps.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    /// Bound of the absolute value of a weight, `w` or `v`, in all steps: the unit in which weights are kept.
    pub unit: f64,
    /// The lead `v - w` is kept this many times as large: a power of two, the largest that keeps it within [`Self::unit`].
    pub lead_gain: f64,
    /// Scores are divided by this, a power of two: at most 1 in absolute value afterwards.
    pub score_unit: f64,
    pub schedule: Schedule,
}

impl Softmax {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn validate(&self) -> Result<(), TrainingError> {
        let within = |what, x: f64, from: f64, to: f64, words| {
            check((from..=to).contains(&x), what, x, words)
        };
        within("learning rate", self.rate, 1e-9, 1e3, "1e-9 to 1000")?;
        check(
            (0.0..1.0).contains(&self.momentum),
            "momentum",
            self.momentum,
            "0 up to but not including 1",
        )?;
        within(
            "weight decay",
            self.decay,
            0.0,
            1.0 / self.rate,
            "0 to 1 over the rate",
        )?;
        within(
            "norm of features",
            self.norm_bound,
            1e-6,
            1e3,
            "1e-6 to 1000",
        )?;
        within(
            "constant of a bias",
            self.constant,
            1e-6,
            1e3,
            "1e-6 to 1000",
        )?;
        within("tolerance", self.tolerance, 1e-9, 0.5, "1e-9 to 0.5")?;
        check(
            self.epochs > 0,
            "number of epochs",
            self.epochs,
            "1 or more",
        )?;
        let groups = self.step_groups;
        check(groups > 0, "groups of a mini-batch", groups, "1 or more")
    }

    /// Bound of the norm of an image's features, with the constant one of a bias.
    fn length_bound(&self) -> f64 {
        match self.bias {
            true => self.norm_bound.hypot(self.constant),
            false => self.norm_bound,
        }
    }

    /// Blocks of weights: those of the features, and the bias.
    pub(crate) fn blocks(&self, layout: &FeatureLayout) -> usize {
        layout.blocks() + usize::from(self.bias)
    }

    /// Ciphertexts of packed weights between the steps.
    pub fn packs(&self, layout: &FeatureLayout) -> usize {
        self.blocks(layout).div_ceil(layout.places())
    }

    /// Bound of the absolute value of a weight in the first `steps` steps, see the module.
    pub fn weight_bound(&self, steps: usize) -> f64 {
        self.bounds(steps).0
    }

    /// Bounds of the absolute value of a weight, and of its lead `v - w`, in the first `steps` steps.
    fn bounds(&self, steps: usize) -> (f64, f64) {
        let keep = 1.0 - self.rate * self.decay;
        // The response to a first gradient of 1.
        let (mut before, mut now) = (0.0, self.rate);
        let (mut weights, mut ahead, mut leads) = (0.0, 0.0, 0.0);
        for _ in 0..steps {
            let lead = self.momentum * (now - before);
            weights += f64::abs(now);
            ahead += f64::abs(now + lead);
            leads += f64::abs(lead);
            (before, now) = (now, keep * (now + lead));
        }
        let gradient = self.length_bound() * (1.0 + self.tolerance);
        (f64::max(weights, ahead) * gradient, leads * gradient)
    }

    /// Whether the scores of a training of `steps` steps are within what a softmax may have.
    pub(crate) fn has_range(&self, steps: usize) -> bool {
        let (weights, lead) = self.bounds(steps);
        weights.max(lead) * self.length_bound() <= f64::from(1u32 << MOST_SQUARINGS)
    }

    /// Number of steps on `groups` groups of images.
    pub fn steps(&self, groups: usize) -> usize {
        self.epochs.saturating_mul(self.batches(groups))
    }

    fn batches(&self, groups: usize) -> usize {
        groups.div_ceil(self.step_groups.max(1))
    }

    /// Numbers of the groups of a step, from 0, of a training on `groups` groups.
    pub(crate) fn groups_of_step(&self, step: usize, groups: usize) -> Range<usize> {
        let first = step % self.batches(groups).max(1) * self.step_groups;
        first.min(groups)..groups.min(first + self.step_groups)
    }

    /// Refreshes of a training on `groups` groups, `within` of them within each softmax, which two groups of a mini-batch share.
    pub(crate) fn refreshes(&self, groups: usize, within: usize, packs: usize) -> usize {
        let together = |step| self.groups_of_step(step, groups).len().div_ceil(2);
        let of_epoch: usize = (0..self.batches(groups)).map(together).sum();
        self.epochs * of_epoch * within + (self.steps(groups) - 1) * packs
    }

    pub(crate) fn derived(&self, classes: usize, steps: usize) -> Result<Derived, TrainingError> {
        self.validate()?;
        check(
            (1..=MOST_STEPS).contains(&steps),
            "number of steps",
            steps,
            format_args!("1 to {MOST_STEPS}"),
        )?;
        let (weights, lead) = self.bounds(steps);
        let unit = weights.max(lead);
        // Beyond this there is nothing to win: a lead as precise as that adds no error to that of the weights.
        let lead_gain = (unit / lead).min(MOST_LEAD_GAIN).log2().floor().exp2();
        let scores = unit * self.length_bound();
        let squarings = scores.log2().ceil().max(1.0);
        check(
            squarings <= MOST_SQUARINGS as f64,
            "bound of the scores",
            scores,
            format_args!("{} or less", 1u64 << MOST_SQUARINGS),
        )?;
        Ok(Derived {
            unit,
            lead_gain,
            score_unit: squarings.exp2(),
            schedule: Schedule::new(classes, squarings as usize, self.tolerance)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_never_leave_the_bound_whatever_the_gradients() {
        for (momentum, decay, rate) in [(0.0, 0.0, 0.7), (0.9, 0.01, 1.0), (0.5, 0.2, 2.0)] {
            let softmax = Softmax {
                rate,
                momentum,
                decay,
                bias: false,
                ..Softmax::default()
            };
            let steps = 60;
            let (bound, lead_bound) = softmax.bounds(steps);
            let gain = softmax.derived(10, steps).expect("settings").lead_gain;
            assert!(gain * lead_bound <= bound);
            assert!(momentum == 0.0 || 2.0 * gain * lead_bound > bound);
            // Gradients of the largest length, all one way, and turning about.
            for turn in [1000, 7, 3] {
                let (mut w, mut v) = (0f64, 0f64);
                for step in 0..steps {
                    let sign = if step / turn % 2 == 0 { 1.0 } else { -1.0 };
                    let g = sign * softmax.norm_bound * (1.0 + softmax.tolerance);
                    let next = v - rate * (g + decay * v);
                    (v, w) = (next + momentum * (next - w), next);
                    assert!(w.abs().max(v.abs()) <= bound * (1.0 + 1e-12));
                    assert!((v - w).abs() <= lead_bound * (1.0 + 1e-12));
                }
            }
        }
        let decayed = Softmax {
            decay: 0.1,
            momentum: 0.0,
            ..Softmax::default()
        };
        let limit = decayed.norm_bound.hypot(1.0) * 1.01 / decayed.decay;
        assert!((decayed.weight_bound(10_000) / limit - 1.0).abs() < 1e-9);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let good = Softmax::default();
        assert!(good.derived(10, 110).is_ok());
        for bad in [
            Softmax { rate: 0.0, ..good },
            Softmax {
                rate: f64::NAN,
                ..good
            },
            Softmax {
                momentum: 1.0,
                ..good
            },
            Softmax {
                decay: -1.0,
                ..good
            },
            Softmax { decay: 2.0, ..good },
            Softmax {
                norm_bound: f64::INFINITY,
                ..good
            },
            Softmax {
                norm_bound: 500.0,
                ..good
            },
            Softmax { epochs: 0, ..good },
            Softmax {
                step_groups: 0,
                ..good
            },
            Softmax {
                tolerance: 0.0,
                ..good
            },
            Softmax {
                constant: 0.0,
                ..good
            },
        ] {
            assert!(bad.derived(10, 110).is_err(), "{bad:?}");
        }
        assert!(good.derived(10, 0).is_err());
        let pairs = Softmax {
            step_groups: 2,
            ..good
        };
        assert_eq!([4, 5].map(|groups| pairs.steps(groups)), [20, 30]);
        assert_eq!(
            [3, 5].map(|step| pairs.groups_of_step(step, 5)),
            [0..2, 4..5]
        );
    }
}
