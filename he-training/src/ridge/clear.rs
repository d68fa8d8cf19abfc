//! The same iterations in the clear.

use super::Ridge;
use crate::clear::{Examples, Weights};
use crate::error::TrainingError;

impl Ridge {
    /// The weights that the encrypted training approximates: the same iterations in double precision.
    ///
    /// # Errors
    /// As [`Self::iterations`]; [`TrainingError::Norm`], [`TrainingError::MeanSquare`] for features beyond the declared norms.
    pub fn train_clear(&self, examples: &Examples) -> Result<Weights, TrainingError> {
        examples.check_norm(self.norm_bound)?;
        examples.check_rms(self.rms_bound)?;
        let (mut gram, mut cross) = examples.moments();
        let (d, classes) = (examples.features(), examples.classes());
        let (mean, shares) = match self.bias {
            true => examples.means(),
            false => (vec![0.0; d], vec![0.0; classes]),
        };
        for (f, mu) in mean.iter().enumerate() {
            let row = gram[f * d..(f + 1) * d].iter_mut();
            row.zip(&mean).for_each(|(g, other)| *g -= mu * other);
            let row = cross[f * classes..(f + 1) * classes].iter_mut();
            row.zip(&shares).for_each(|(m, share)| *m -= mu * share);
        }
        let mut before = vec![0.0; d * classes];
        let mut now = before.clone();
        for step in self.iterations()? {
            let mut next = vec![0.0; d * classes];
            for f in 0..d {
                for c in 0..classes {
                    let at = f * classes + c;
                    let product: f64 = (0..d).map(|g| gram[f * d + g] * now[g * classes + c]).sum();
                    let residual = cross[at] - product - self.regularisation * now[at];
                    next[at] = now[at] + step.beta * (now[at] - before[at]) + step.alpha * residual;
                }
            }
            (before, now) = (now, next);
        }
        let product = |c: usize| -> f64 { (0..d).map(|f| mean[f] * now[f * classes + c]).sum() };
        let bias = (0..classes).map(|c| shares[c] - product(c)).collect();
        Ok(Weights::new(d, classes, now).with_bias(bias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::tests::blobs;

    /// Gaussian elimination on `(G + lambda) W = M`.
    fn direct(ridge: &Ridge, examples: &Examples) -> Vec<f64> {
        let (mut a, mut b) = examples.moments();
        let (d, classes) = (examples.features(), examples.classes());
        for f in 0..d {
            a[f * d + f] += ridge.regularisation;
        }
        for pivot in 0..d {
            for row in pivot + 1..d {
                let factor = a[row * d + pivot] / a[pivot * d + pivot];
                for col in pivot..d {
                    a[row * d + col] -= factor * a[pivot * d + col];
                }
                for c in 0..classes {
                    b[row * classes + c] -= factor * b[pivot * classes + c];
                }
            }
        }
        for row in (0..d).rev() {
            for c in 0..classes {
                let known: f64 = (row + 1..d)
                    .map(|g| a[row * d + g] * b[g * classes + c])
                    .sum();
                b[row * classes + c] = (b[row * classes + c] - known) / a[row * d + row];
            }
        }
        b
    }

    #[test]
    fn iterations_lead_to_the_direct_solution() {
        let examples = blobs(300, 7, 3, 5);
        for (tolerance, allowed) in [(0.05, 0.05), (1e-3, 1e-3), (1e-9, 1e-9)] {
            let ridge = Ridge {
                regularisation: 0.01,
                norm_bound: examples.largest_norm(),
                rms_bound: examples.rms_norm(),
                tolerance,
                bias: false,
            };
            let exact = direct(&ridge, &examples);
            let found = ridge.train_clear(&examples).expect("training");
            let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
            let off: Vec<f64> = found
                .values()
                .iter()
                .zip(&exact)
                .map(|(a, b)| a - b)
                .collect();
            assert!(
                norm(&off) <= allowed * norm(&exact),
                "{tolerance}: {}",
                norm(&off)
            );
            let bound = ridge.weight_bound();
            assert!(found.values().iter().all(|w| w.abs() <= bound));
        }
    }

    #[test]
    fn a_bias_makes_all_derivatives_of_the_mean_square_zero() {
        // Classes of different sizes, and features with means.
        let examples = blobs(100, 5, 3, 9);
        let rows = examples.rows().iter().map(|x| x + 0.2).collect();
        let labels = (0..100).map(|i| usize::from(i % 7 == 0)).collect();
        let examples = Examples::new(5, 3, rows, labels).expect("examples");
        let ridge = Ridge {
            regularisation: 0.05,
            norm_bound: examples.largest_norm(),
            rms_bound: examples.rms_norm(),
            tolerance: 1e-12,
            bias: true,
        };
        let found = ridge.train_clear(&examples).expect("training");
        let mut excess = found.scores(examples.rows());
        for (row, label) in excess.chunks_exact_mut(3).zip(examples.labels()) {
            row[*label] -= 1.0;
        }
        for c in 0..3 {
            let sum: f64 = excess.iter().skip(c).step_by(3).sum();
            assert!((sum / 100.0).abs() < 1e-9, "{c}: {sum}");
            for f in 0..5 {
                let column = examples.rows().iter().skip(f).step_by(5);
                let product = column.zip(excess.iter().skip(c).step_by(3));
                let product: f64 = product.map(|(x, e)| x * e).sum();
                let derivative = product / 100.0 + 0.05 * found.values()[f * 3 + c];
                assert!(derivative.abs() < 1e-9, "{f} {c}: {derivative}");
            }
        }
    }

    #[test]
    fn features_beyond_the_declared_norm_are_refused() {
        let examples = blobs(20, 4, 2, 1);
        let ridge = Ridge {
            norm_bound: examples.largest_norm() * 0.99,
            ..Ridge::default()
        };
        assert!(matches!(
            ridge.train_clear(&examples),
            Err(TrainingError::Norm { .. })
        ));
        let ridge = Ridge {
            norm_bound: examples.largest_norm(),
            rms_bound: examples.rms_norm() * 0.99,
            ..Ridge::default()
        };
        assert!(matches!(
            ridge.train_clear(&examples),
            Err(TrainingError::MeanSquare { .. })
        ));
    }
}
