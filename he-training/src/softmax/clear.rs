//! The same steps in the clear.

use super::circuit::{Arithmetic, excess};
use super::{Derived, Softmax};
use crate::clear::{Examples, Weights};
use crate::error::TrainingError;
use std::convert::Infallible;

/// Numbers `[image][class]` in double precision.
struct Numbers<'a> {
    classes: usize,
    labels: &'a [usize],
}

impl Numbers<'_> {
    fn map(x: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
        x.iter().map(|v| f(*v)).collect()
    }
}

impl Arithmetic for Numbers<'_> {
    type Value = Vec<f64>;
    type Error = Infallible;

    fn start(&self, x: Vec<f64>, gain: f64) -> Result<Vec<f64>, Infallible> {
        Ok(Self::map(&x, |v| gain * ((v + 1.0) * (v + 1.0) + 1.0)))
    }

    fn class_sum(&self, x: &Vec<f64>) -> Result<Vec<f64>, Infallible> {
        let rows = x.chunks_exact(self.classes);
        let sums = rows.flat_map(|row| std::iter::repeat_n(row.iter().sum(), self.classes));
        Ok(sums.collect())
    }

    fn subtracted_from(&self, a: f64, x: &Vec<f64>) -> Result<Vec<f64>, Infallible> {
        Ok(Self::map(x, |v| a - v))
    }

    fn quadratic(&self, x: &Vec<f64>, centre: f64, offset: f64) -> Result<Vec<f64>, Infallible> {
        Ok(Self::map(x, |v| (v - centre) * (v - centre) + offset))
    }

    fn product(&self, a: &Vec<f64>, b: &Vec<f64>, gain: f64) -> Result<Vec<f64>, Infallible> {
        Ok(a.iter().zip(b).map(|(a, b)| gain * a * b).collect())
    }

    fn product_less_labels(
        &self,
        a: &Vec<f64>,
        b: &Vec<f64>,
        gain: f64,
    ) -> Result<Vec<f64>, Infallible> {
        let mut out = self.product(a, b, gain)?;
        for (row, label) in out.chunks_exact_mut(self.classes).zip(self.labels) {
            row[*label] -= 1.0;
        }
        Ok(out)
    }

    fn with_levels(&self, x: Vec<f64>, _: usize) -> Result<Vec<f64>, Infallible> {
        Ok(x)
    }
}

/// `softmax - labels` of scores `[image][class]`, by the polynomials.
fn excess_of(derived: &Derived, scores: &[f64], examples: &Examples) -> Vec<f64> {
    let numbers = Numbers {
        classes: examples.classes(),
        labels: examples.labels(),
    };
    let x = scores.iter().map(|s| s / derived.score_unit).collect();
    match excess(&numbers, &derived.schedule, x, 0) {
        Ok(p) => p,
        Err(never) => match never {},
    }
}

impl Softmax {
    /// The weights that the encrypted training approximates: the same steps with the same polynomials in double precision.
    /// `batches`: the mini-batches of an epoch, in the order of the steps. `after` is called after every step, with the number of steps so far
    /// and the weights.
    ///
    /// # Errors
    /// [`TrainingError::Setting`]; [`TrainingError::Norm`] for features beyond the declared norm; [`TrainingError::Count`]
    /// without a batch, or for batches of different features or classes.
    pub fn train_clear(
        &self,
        batches: &[Examples],
        mut after: impl FnMut(usize, &Weights),
    ) -> Result<Weights, TrainingError> {
        let Some(first) = batches.first() else {
            return Err(TrainingError::Count {
                what: "batches",
                found: 0,
                expected: 1,
            });
        };
        let (features, classes) = (first.features(), first.classes());
        let mut inputs = Vec::new();
        for batch in batches {
            if (batch.features(), batch.classes()) != (features, classes) {
                return Err(TrainingError::Count {
                    what: "features of a batch",
                    found: batch.features(),
                    expected: features,
                });
            }
            batch.check_norm(self.norm_bound)?;
            inputs.push(match self.bias {
                true => batch.with_constant(self.constant),
                false => batch.clone(),
            });
        }
        let steps = self.epochs.saturating_mul(batches.len());
        let derived = self.derived(classes, steps)?;
        let d = inputs[0].features();
        let outside = |weights: &Weights| match self.bias {
            true => {
                let values = weights.values().to_vec();
                Weights::of_constant(values, (features, classes), self.constant)
            }
            false => weights.clone(),
        };
        let mut w = Weights::new(d, classes, vec![0.0; d * classes]);
        let mut v = w.clone();
        for step in 0..steps {
            let batch = &inputs[step % inputs.len()];
            let excess = excess_of(&derived, &v.scores(batch.rows()), batch);
            let gradient = gradient(batch, &excess);
            let next: Vec<f64> = gradient
                .iter()
                .zip(v.values())
                .map(|(g, v)| v - self.rate * (g + self.decay * v))
                .collect();
            let ahead = next.iter().zip(w.values());
            let ahead = ahead.map(|(n, w)| n + self.momentum * (n - w)).collect();
            v = Weights::new(d, classes, ahead);
            w = Weights::new(d, classes, next);
            after(step + 1, &outside(&w));
        }
        Ok(outside(&w))
    }
}

/// `X^T E / m`, `[feature][class]`.
fn gradient(batch: &Examples, excess: &[f64]) -> Vec<f64> {
    let (d, classes) = (batch.features(), batch.classes());
    let mut out = vec![0.0; d * classes];
    let rows = batch
        .rows()
        .chunks_exact(d)
        .zip(excess.chunks_exact(classes));
    for (row, e) in rows {
        for (x, sums) in row.iter().zip(out.chunks_exact_mut(classes)) {
            for (sum, e) in sums.iter_mut().zip(e) {
                *sum += x * e / batch.images() as f64;
            }
        }
    }
    out
}

/// Plain multinomial logistic regression, for comparison: cross-entropy plus `decay / 2 |W|^2`, biases included, minimised by
/// gradient steps of all examples until the gradient is at most `precision` long, or for `most` steps.
pub fn logistic_regression(
    examples: &Examples,
    decay: f64,
    precision: f64,
    most: usize,
) -> Weights {
    let (features, examples) = (examples.features(), &examples.with_constant(1.0));
    let (d, classes) = (examples.features(), examples.classes());
    let lipschitz = examples.largest_norm().powi(2) / 2.0 + decay;
    let contraction = (decay / lipschitz).sqrt();
    let momentum = (1.0 - contraction) / (1.0 + contraction);
    let mut w = vec![0.0; d * classes];
    let mut v = Weights::new(d, classes, w.clone());
    for _ in 0..most {
        let mut p = v.scores(examples.rows());
        for (row, label) in p.chunks_exact_mut(classes).zip(examples.labels()) {
            exact_softmax(row);
            row[*label] -= 1.0;
        }
        let mut g = gradient(examples, &p);
        g.iter_mut()
            .zip(v.values())
            .for_each(|(g, v)| *g += decay * v);
        let length = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let next: Vec<f64> = g
            .iter()
            .zip(v.values())
            .map(|(g, v)| v - g / lipschitz)
            .collect();
        let ahead = next
            .iter()
            .zip(&w)
            .map(|(n, w)| n + momentum * (n - w))
            .collect();
        v = Weights::new(d, classes, ahead);
        w = next;
        if length <= precision {
            break;
        }
    }
    Weights::of_constant(w, (features, classes), 1.0)
}

/// Mean over the examples of the cross-entropy of a head's scores, in nats.
pub fn cross_entropy(weights: &Weights, examples: &Examples) -> f64 {
    let mut p = weights.scores(examples.rows());
    let rows = p.chunks_exact_mut(examples.classes());
    let losses = rows.zip(examples.labels()).map(|(row, label)| {
        exact_softmax(row);
        -row[*label].ln()
    });
    losses.sum::<f64>() / examples.images() as f64
}

/// The exact softmax of a row of scores, in place.
fn exact_softmax(row: &mut [f64]) {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|s| *s = (*s - top).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|s| *s /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::tests::blobs;

    #[test]
    fn polynomial_softmax_is_near_the_softmax_over_the_whole_declared_range() {
        let settings = Softmax {
            epochs: 2,
            ..Softmax::default()
        };
        let derived = settings.derived(3, 8).expect("settings");
        let range = derived.score_unit;
        // Scores of usual size: near the softmax. At the edge: still probabilities.
        let scores = [
            0.3, -1.2, 2.0, 0.0, 0.0, 0.0, -4.0, 3.5, 3.0, range, -range, 0.0, -range, -range,
            range,
        ];
        let examples = Examples::new(1, 3, vec![0.0; 5], vec![0; 5]).expect("examples");
        let found = excess_of(&derived, &scores, &examples);
        for (row, (found, scores)) in found
            .chunks_exact(3)
            .zip(scores.chunks_exact(3))
            .enumerate()
        {
            let mut exact = scores.to_vec();
            exact_softmax(&mut exact);
            let p = [found[0] + 1.0, found[1], found[2]];
            let sum: f64 = p.iter().sum();
            assert!((sum - 1.0).abs() <= settings.tolerance);
            assert!(
                p.iter()
                    .all(|p| (-1e-12..=1.0 + settings.tolerance).contains(p))
            );
            if row < 3 {
                for (p, e) in p.iter().zip(&exact) {
                    assert!((p - e).abs() < 0.02, "{row}: {p} {e}");
                }
            }
        }
    }

    /// Newton's method on the cross-entropy, all weights at once, those of a bias among them.
    fn newton(examples: &Examples, decay: f64, bias: bool) -> Weights {
        let features = examples.features();
        let examples = &match bias {
            true => examples.with_constant(1.0),
            false => examples.clone(),
        };
        let (d, classes) = (examples.features(), examples.classes());
        let (n, m) = (d * classes, examples.images() as f64);
        let mut w = Weights::new(d, classes, vec![0.0; n]);
        for _ in 0..30 {
            let mut p = w.scores(examples.rows());
            p.chunks_exact_mut(classes).for_each(exact_softmax);
            let mut hessian = vec![0.0; n * n];
            let rows = examples.rows().chunks_exact(d).zip(p.chunks_exact(classes));
            for (row, p) in rows {
                for (f, g) in (0..d).flat_map(|f| (0..d).map(move |g| (f, g))) {
                    for (a, b) in (0..classes).flat_map(|a| (0..classes).map(move |b| (a, b))) {
                        let same = f64::from(u8::from(a == b));
                        let at = (f * classes + a) * n + g * classes + b;
                        hessian[at] += row[f] * row[g] * p[a] * (same - p[b]) / m;
                    }
                }
            }
            (0..n).for_each(|i| hessian[i * n + i] += decay);
            for (row, label) in p.chunks_exact_mut(classes).zip(examples.labels()) {
                row[*label] -= 1.0;
            }
            let mut step = gradient(examples, &p);
            step.iter_mut()
                .zip(w.values())
                .for_each(|(g, w)| *g += decay * w);
            solve(&mut hessian, &mut step);
            let next = w.values().iter().zip(&step).map(|(w, s)| w - s).collect();
            w = Weights::new(d, classes, next);
        }
        match bias {
            true => Weights::of_constant(w.values().to_vec(), (features, classes), 1.0),
            false => w,
        }
    }

    /// Gaussian elimination, for positive definite matrices.
    fn solve(a: &mut [f64], b: &mut [f64]) {
        let n = b.len();
        for pivot in 0..n {
            for row in pivot + 1..n {
                let factor = a[row * n + pivot] / a[pivot * n + pivot];
                for col in pivot..n {
                    a[row * n + col] -= factor * a[pivot * n + col];
                }
                b[row] -= factor * b[pivot];
            }
        }
        for row in (0..n).rev() {
            let known: f64 = (row + 1..n).map(|col| a[row * n + col] * b[col]).sum();
            b[row] = (b[row] - known) / a[row * n + row];
        }
    }

    #[test]
    fn plain_logistic_regression_finds_what_newton_finds() {
        let examples = blobs(90, 4, 3, 2);
        let exact = newton(&examples, 0.02, true);
        let found = logistic_regression(&examples, 0.02, 1e-10, 5000);
        assert!(
            exact.difference(&found) < 1e-6,
            "{}",
            exact.difference(&found)
        );
    }

    #[test]
    fn many_steps_on_one_batch_lead_near_what_newton_finds() {
        let examples = blobs(90, 4, 3, 2);
        for bias in [false, true] {
            let settings = Softmax {
                rate: 1.0,
                momentum: 0.8,
                decay: 0.02,
                norm_bound: examples.largest_norm(),
                epochs: 400,
                step_groups: 1,
                tolerance: 1e-4,
                bias,
                constant: 1.0,
            };
            let found = settings
                .train_clear(std::slice::from_ref(&examples), |_, _| {})
                .expect("training");
            let exact = newton(&examples, 0.02, bias);
            assert_eq!(found.bias().iter().any(|b| *b != 0.0), bias);
            // What is left is the polynomial in the place of the exponential.
            let difference = exact.difference(&found);
            assert!(difference < 0.01, "{difference}");
        }
    }

    /// What is minimised: the mean cross-entropy, with weight decay.
    fn loss(weights: &Weights, examples: &Examples, decay: f64) -> f64 {
        let all = weights.values().iter().chain(weights.bias());
        let squares: f64 = all.map(|w| w * w).sum();
        cross_entropy(weights, examples) + decay / 2.0 * squares
    }

    #[test]
    fn cross_entropy_of_equal_scores_is_that_of_guessing() {
        let examples = blobs(20, 4, 3, 1);
        let none = Weights::new(4, 3, vec![0.0; 12]);
        assert!((cross_entropy(&none, &examples) - 3f64.ln()).abs() < 1e-12);
        // A bias of ln 2 for class 0: its images have the probability 1/2, all others 1/4.
        let biased = none.with_bias(vec![2f64.ln(), 0.0, 0.0]);
        let zeros = examples.labels().iter().filter(|l| **l == 0).count() as f64;
        let expected = (zeros * 2f64.ln() + (20.0 - zeros) * 4f64.ln()) / 20.0;
        assert!((cross_entropy(&biased, &examples) - expected).abs() < 1e-12);
    }

    #[test]
    fn mini_batches_lower_the_loss_to_near_the_least_and_steps_are_reported() {
        let examples = blobs(120, 6, 4, 3);
        let batches: Vec<Examples> = examples.groups(30).collect();
        let settings = Softmax {
            norm_bound: examples.largest_norm(),
            epochs: 5,
            ..Softmax::default()
        };
        let (mut steps, mut losses) = (Vec::new(), Vec::new());
        let weights = settings
            .train_clear(&batches, |step, weights| {
                steps.push(step);
                if step % batches.len() == 0 {
                    losses.push(loss(weights, &examples, settings.decay));
                }
            })
            .expect("training");
        assert_eq!(steps, (1..=20).collect::<Vec<_>>());
        let least = logistic_regression(&examples, settings.decay, 1e-9, 5000);
        let of_least = loss(&least, &examples, settings.decay);
        println!(
            "{losses:?} {of_least} {} {}",
            weights.accuracy(&examples),
            least.accuracy(&examples)
        );
        assert!(
            losses.windows(2).all(|pair| pair[1] < pair[0]),
            "{losses:?}"
        );
        assert!(losses[4] < 1.05 * of_least, "{losses:?}, least {of_least}");
        let accuracies = [&weights, &least].map(|w| w.accuracy(&examples));
        assert!(accuracies[0] > accuracies[1] - 0.03, "{accuracies:?}");
        assert!(settings.train_clear(&[], |_, _| {}).is_err());
    }
}
