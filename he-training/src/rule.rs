//! Settings that follow from declared numbers and the number of steps, before an image of the new task is seen.
//!
//! What is declared is measured on the images that the network was trained on. The derivation is in `docs/notes/training.md`.

use serde::{Deserialize, Serialize};

use crate::clear::Examples;
use crate::error::{TrainingError, check};
use crate::ridge::Ridge;
use crate::softmax::Softmax;

/// Room between the lengths of the own images' features and the declared ones. Second moments have its square.
pub const MARGIN: f64 = 1.25;
/// Squarings of the matrix whose largest eigenvalue is bounded: for 1000 features the bound is too large by 0.7 % at most.
const SQUARINGS: u32 = 10;

/// What is declared of the features of any image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// Number of features.
    pub features: usize,
    /// Bound of the Euclidean norm of an image's features.
    pub norm: f64,
    /// Bound of that norm's root mean square over images.
    pub rms: f64,
    /// Bound of the largest eigenvalue of `X^T X / m`, the second moments of the features of `m` images. Settings follow from it. No range does:
    /// features that exceed it may be learned badly, and do no other harm.
    pub eigenvalue: f64,
}

/// Settings that are given, whatever the rule says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given {
    /// Learning rate of a softmax.
    pub rate: Option<f64>,
    /// Momentum of a softmax.
    pub momentum: Option<f64>,
    /// Weight decay of a softmax, or regularisation of a ridge.
    pub decay: Option<f64>,
    /// Groups of images of a mini-batch of a softmax.
    pub step_groups: Option<usize>,
}

impl Declared {
    /// From features `[image][feature]` of the network's own images: their largest norm and its root mean square times [`MARGIN`], the largest
    /// eigenvalue of their second moments times its square.
    ///
    /// # Errors
    /// [`TrainingError::Count`] without an image, and for rows of another number of features; [`TrainingError::Setting`] for features that
    /// are not finite, or all zero.
    pub fn of(features: usize, rows: &[f64]) -> Result<Self, TrainingError> {
        let images = rows.len() / features.max(1);
        if images == 0 {
            return Err(TrainingError::Count {
                what: "images of the network's own data",
                found: 0,
                expected: 1,
            });
        }
        let own = Examples::new(features, 1, rows.to_vec(), vec![0; images])?;
        let norm = MARGIN * own.largest_norm();
        check(
            norm > 0.0,
            "norm of all features of the network's own data",
            norm,
            "above 0",
        )?;
        let (moments, _) = own.moments();
        Ok(Self {
            features,
            norm,
            rms: MARGIN * own.rms_norm(),
            eigenvalue: MARGIN * MARGIN * largest_eigenvalue(moments, features),
        })
    }
}

impl Softmax {
    /// The same with the rule's rate, momentum, decay, constant and norm, for `groups` groups of images. What is given stays; of a given
    /// rate a decay takes account.
    ///
    /// The loss has nowhere a curvature above `c = (eigenvalue + constant^2) / 2`, without a bias `eigenvalue / 2`. The constant is
    /// the root of the eigenvalue, the rate is `1 / c`. With `T` steps, momentum and decay are those of a strongly convex function with
    /// `q = decay rate`: `(1 - sqrt(q)) / (1 + sqrt(q))`, where `sqrt(q) = 3 / (2 T + 1)` makes the momentum that which `T` steps on a
    /// convex function end with.
    ///
    /// The bound of the scores grows with the number of steps. If it is beyond what a softmax may have, mini-batches become larger,
    /// unless their size is given: of as many pairs of groups as it takes.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] without a step, or where a setting does not fit.
    pub fn by_rule(
        &self,
        declared: &Declared,
        given: &Given,
        groups: usize,
    ) -> Result<Self, TrainingError> {
        let mut step_groups = given.step_groups.unwrap_or(self.step_groups);
        loop {
            let softmax = Self {
                step_groups,
                ..*self
            };
            let softmax = softmax.in_steps(declared, given, softmax.steps(groups))?;
            let may_grow = given.step_groups.is_none() && step_groups < groups;
            if !may_grow || softmax.has_range(softmax.steps(groups)) {
                return Ok(softmax);
            }
            step_groups = (step_groups / 2 + 1) * 2;
        }
    }

    /// [`Self::by_rule`] for a number of steps.
    fn in_steps(
        &self,
        declared: &Declared,
        given: &Given,
        steps: usize,
    ) -> Result<Self, TrainingError> {
        check(steps > 0, "number of steps", steps, "1 or more")?;
        let constant = declared.eigenvalue.sqrt();
        let bias = f64::from(u8::from(self.bias));
        let curvature = (declared.eigenvalue + bias * constant * constant) / 2.0;
        let root = 3.0 / (2.0 * steps as f64 + 1.0);
        let rate = given.rate.unwrap_or(1.0 / curvature);
        let softmax = Self {
            rate,
            momentum: given.momentum.unwrap_or((1.0 - root) / (1.0 + root)),
            decay: given.decay.unwrap_or(root * root / rate),
            constant,
            norm_bound: declared.norm,
            ..*self
        };
        softmax.validate()?;
        Ok(softmax)
    }
}

impl Ridge {
    /// The same with the rule's regularisation and the declared norms, for `images` images: `rms^2 / images`, unless it is given. That is
    /// the best one for labels that are half features and half noise, in variance.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] without an image, or where a setting does not fit.
    pub fn by_rule(
        &self,
        declared: &Declared,
        given: &Given,
        images: usize,
    ) -> Result<Self, TrainingError> {
        check(images > 0, "number of images", images, "1 or more")?;
        let (norm_bound, rms_bound) = (declared.norm, declared.rms);
        let usual = rms_bound.min(norm_bound).powi(2) / images as f64;
        let ridge = Self {
            regularisation: given.decay.unwrap_or(usual),
            norm_bound,
            rms_bound,
            ..*self
        };
        ridge.validate()?;
        Ok(ridge)
    }
}

/// A bound of the largest eigenvalue of a symmetric matrix `[d][d]` without negative ones. It is at most `d^(1/1024)` times as large.
fn largest_eigenvalue(mut matrix: Vec<f64>, d: usize) -> f64 {
    // The trace of the power `p` is the sum of the eigenvalues' powers: at least the largest one, and at most `d` times that.
    let (mut log, mut power) = (0.0, 1.0);
    for squaring in 0..=SQUARINGS {
        if squaring > 0 {
            matrix = squared(&matrix, d);
            power *= 2.0;
        }
        let trace: f64 = matrix.iter().step_by(d + 1).sum();
        if trace <= 0.0 {
            return 0.0;
        }
        log += trace.ln() / power;
        matrix.iter_mut().for_each(|x| *x /= trace);
    }
    log.exp()
}

/// The square of a symmetric matrix.
fn squared(matrix: &[f64], d: usize) -> Vec<f64> {
    let mut out = vec![0.0; d * d];
    for (row, sums) in matrix.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        for (x, other) in row.iter().zip(matrix.chunks_exact(d)) {
            sums.iter_mut()
                .zip(other)
                .for_each(|(sum, y)| *sum += x * y);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::tests::blobs;

    const NONE: Given = Given {
        step_groups: None,
        rate: None,
        momentum: None,
        decay: None,
    };

    fn declared(eigenvalue: f64) -> Declared {
        Declared {
            features: 8,
            norm: 1.5,
            rms: 1.25,
            eigenvalue,
        }
    }

    #[test]
    fn the_bound_of_the_largest_eigenvalue_is_one_and_close() {
        // Diagonal matrices, turned: `V D V^T` with a reflection `V = I - 2 u u^T`.
        for (d, values) in [
            (1, vec![0.3]),
            (3, vec![0.5, 0.5, 0.5]),
            (4, vec![1e-9, 2e-9, 0.0, 2e-9]),
            (50, (1..=50).map(f64::from).collect()),
        ] {
            let u: Vec<f64> = (0..d).map(|i| ((i + 1) as f64).sqrt()).collect();
            let length: f64 = u.iter().map(|x| x * x).sum();
            let v = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * u[i] * u[j] / length;
            let entry = |at: usize| -> f64 {
                let (i, j) = (at / d, at % d);
                (0..d).map(|k| v(i, k) * values[k] * v(j, k)).sum()
            };
            let largest = values.iter().copied().fold(0.0, f64::max);
            let found = largest_eigenvalue((0..d * d).map(entry).collect(), d);
            let most = (d as f64).powf(1.0 / 1024.0) * largest;
            assert!(found >= largest * (1.0 - 1e-12), "{found} {largest}");
            assert!(found <= most * (1.0 + 1e-12), "{found} {most}");
        }
        assert_eq!(largest_eigenvalue(vec![0.0; 9], 3), 0.0);
    }

    #[test]
    fn what_is_declared_leaves_a_quarter_and_its_square() {
        // One image along each axis: second moments 2, 4.5 and 0.
        let declared = Declared::of(3, &[2.0, 0.0, 0.0, 0.0, -3.0, 0.0]).expect("images");
        assert_eq!(declared.features, 3);
        for (found, expected) in [
            (declared.norm, 1.25 * 3.0),
            (declared.rms, 1.25 * 6.5f64.sqrt()),
            (declared.eigenvalue, 1.5625 * 4.5),
        ] {
            assert!((found / expected - 1.0).abs() < 2e-3, "{found} {expected}");
        }
    }

    #[test]
    fn nothing_is_declared_without_own_images() {
        let says = |rows: &[f64]| Declared::of(2, rows).expect_err("refused").to_string();
        let none = "training: 0 images of the network's own data, expected 1";
        assert_eq!(says(&[]), none);
        assert!(says(&[0.0; 4]).contains("expected above 0"));
        assert!(says(&[1.0, f64::NAN]).contains("a finite number"));
        assert!(says(&[1.0, 2.0, 3.0]).contains("features in all"));
        assert!(
            Softmax::default()
                .by_rule(&declared(0.1), &NONE, 0)
                .is_err()
        );
        assert!(Ridge::default().by_rule(&declared(0.1), &NONE, 0).is_err());
    }

    #[test]
    fn features_twice_as_long_take_a_quarter_of_the_rate() {
        let own = blobs(60, 8, 3, 1);
        let by_rule = |factor: f64| {
            let rows: Vec<f64> = own.rows().iter().map(|x| factor * x).collect();
            let declared = Declared::of(8, &rows).expect("images");
            let softmax = Softmax::default().by_rule(&declared, &NONE, 4);
            let ridge = Ridge::default().by_rule(&declared, &NONE, 100);
            (softmax.expect("settings"), ridge.expect("settings"))
        };
        let ((one, ridge), (two, other)) = (by_rule(1.0), by_rule(2.0));
        for (found, expected) in [
            (two.rate, one.rate / 4.0),
            (two.decay, one.decay * 4.0),
            (two.constant, one.constant * 2.0),
            (two.norm_bound, one.norm_bound * 2.0),
            (other.regularisation, ridge.regularisation * 4.0),
        ] {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }
        assert_eq!(two.momentum, one.momentum);
        // So the scores are the same, and all bounds of them.
        let bounds = [&one, &two].map(|s| s.weight_bound(40) * s.norm_bound);
        assert!((bounds[0] / bounds[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn mini_batches_grow_until_the_scores_have_a_range() {
        let softmax = |given: Given, groups| {
            let softmax = Softmax::default().by_rule(&declared(0.1), &given, groups);
            softmax.expect("settings")
        };
        let fits = |softmax: &Softmax, groups| softmax.derived(10, softmax.steps(groups)).is_ok();
        assert_eq!(softmax(NONE, 7).step_groups, 1);
        let grown = softmax(NONE, 60);
        assert!(grown.step_groups % 2 == 0 && fits(&grown, 60));
        let given = |step_groups| Given {
            step_groups: Some(step_groups),
            ..NONE
        };
        let smaller = softmax(given(grown.step_groups - 2), 60);
        assert!(!fits(&smaller, 60));
        let last = 1.0 / (1.0 + 3.0 / (grown.steps(60) as f64 - 1.0));
        assert!((grown.momentum - last).abs() < 1e-12);
        // There is no end to the search but this.
        let long = Softmax {
            epochs: 100_000,
            ..Softmax::default()
        };
        let found = long.by_rule(&declared(0.1), &NONE, 5).expect("settings");
        assert!(found.step_groups >= 5 && !fits(&found, 5));
    }

    #[test]
    fn momentum_is_that_which_so_many_steps_on_a_convex_function_end_with() {
        for groups in [1, 7, 40] {
            let softmax = Softmax {
                epochs: 3,
                ..Softmax::default()
            };
            let found = softmax
                .by_rule(&declared(0.1), &NONE, groups)
                .expect("settings");
            let steps = found.steps(groups) as f64;
            let last = (steps - 1.0) / (steps + 2.0);
            assert!((found.momentum - last).abs() < 1e-12);
            let root = (found.rate * found.decay).sqrt();
            assert!(((1.0 - root) / (1.0 + root) - last).abs() < 1e-12);
        }
    }

    #[test]
    fn what_is_given_stays_and_a_decay_takes_account_of_a_given_rate() {
        let rule = |given: Given| {
            let softmax = Softmax::default().by_rule(&declared(0.1), &given, 4);
            softmax.expect("settings")
        };
        let usual = rule(NONE);
        let fast = rule(Given {
            rate: Some(20.0),
            ..NONE
        });
        assert_eq!((fast.rate, fast.momentum), (20.0, usual.momentum));
        assert!((fast.decay * 20.0 / (usual.decay * usual.rate) - 1.0).abs() < 1e-12);
        let given = Given {
            momentum: Some(0.5),
            decay: Some(0.001),
            ..NONE
        };
        let found = rule(given);
        assert_eq!(
            (found.rate, found.momentum, found.decay),
            (usual.rate, 0.5, 0.001)
        );
        let ridge = Ridge::default().by_rule(&declared(0.1), &given, 100);
        assert_eq!(ridge.expect("settings").regularisation, 0.001);
        let refused = Given {
            decay: Some(1e3),
            ..NONE
        };
        assert!(
            Softmax::default()
                .by_rule(&declared(0.1), &refused, 4)
                .is_err()
        );
    }

    /// The error of the steps along a direction of this curvature, from 1, after each step.
    fn errors(softmax: &Softmax, curvature: f64, steps: usize) -> Vec<f64> {
        let (mut w, mut v) = (1.0, 1.0);
        let steps = (0..steps).map(|_| {
            let next = v - softmax.rate * (curvature + softmax.decay) * v;
            (v, w) = (next + softmax.momentum * (next - w), next);
            f64::abs(w)
        });
        steps.collect()
    }

    #[test]
    fn steps_are_stable_up_to_the_largest_curvature_there_is() {
        for (eigenvalue, bias) in [(0.1, true), (0.1, false), (3.0, true)] {
            let softmax = Softmax {
                bias,
                ..Softmax::default()
            };
            let softmax = softmax
                .by_rule(&declared(eigenvalue), &NONE, 6)
                .expect("settings");
            let steps = softmax.steps(6);
            // Images that are all as long as they may be in the worst direction, half sure of either of two classes.
            let constant = if bias { softmax.constant.powi(2) } else { 0.0 };
            let worst = (eigenvalue + constant) / 2.0;
            for share in 0..=100 {
                let curvature = worst * f64::from(share) / 100.0;
                let errors = errors(&softmax, curvature, 10 * steps);
                assert!(errors.iter().all(|e| *e <= 1.0), "{share}");
                assert!(errors[10 * steps - 1] < 1e-5, "{share}");
            }
            // Steps much longer would not be.
            let longer = errors(&softmax, 1.5 * worst, 10 * steps);
            assert!(longer[10 * steps - 1] > 1e3);
        }
    }

    #[test]
    fn no_image_curves_the_loss_more_than_the_rule_says() {
        // The largest eigenvalue of `diag p - p p^T` is at most 1/2, and 1/2 for two equal halves.
        let mut largest = 0f64;
        for i in 0..=20 {
            for j in 0..=20 - i {
                let p = [f64::from(i), f64::from(j), f64::from(20 - i - j)].map(|x| x / 20.0);
                let entry = |at: usize| {
                    let (a, b) = (at / 3, at % 3);
                    f64::from(u8::from(a == b)) * p[a] - p[a] * p[b]
                };
                largest = largest.max(largest_eigenvalue((0..9).map(entry).collect(), 3));
            }
        }
        assert!((largest - 0.5).abs() < 2e-3, "{largest}");
    }

    #[test]
    fn heads_by_the_rule_are_near_the_best() {
        let examples = blobs(240, 6, 4, 3);
        let batches: Vec<Examples> = examples.groups(60).collect();
        let declared = Declared::of(6, examples.rows()).expect("images");
        let softmax = Softmax::default().by_rule(&declared, &NONE, batches.len());
        let softmax = softmax.expect("settings");
        let found = softmax.train_clear(&batches, |_, _| {}).expect("training");
        let ridge = Ridge::default().by_rule(&declared, &NONE, examples.images());
        let ridge = ridge
            .expect("settings")
            .train_clear(&examples)
            .expect("training");
        let best = crate::logistic_regression(&examples, 1.0 / 240.0, 1e-6, 3000);
        let best = best.accuracy(&examples);
        println!(
            "{} {} {best}",
            found.accuracy(&examples),
            ridge.accuracy(&examples)
        );
        assert!(found.accuracy(&examples) > best - 0.03);
        assert!(ridge.accuracy(&examples) > best - 0.05);
    }
}
