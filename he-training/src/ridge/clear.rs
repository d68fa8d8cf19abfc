//! The same iterations in the clear.

use super::Ridge;
use crate::clear::{Examples, Weights};
use crate::error::TrainingError;

impl Ridge {
    /// The weights that the encrypted training approximates: the same iterations in double precision.
    ///
    /// # Errors
    /// As [`Self::iterations`]; [`TrainingError::Norm`] for features beyond the declared norm.
    pub fn train_clear(&self, examples: &Examples) -> Result<Weights, TrainingError> {
        examples.check_norm(self.norm_bound)?;
        let (gram, cross) = examples.moments();
        let (d, classes) = (examples.features(), examples.classes());
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
        Ok(Weights::new(d, classes, now))
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
                tolerance,
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
    }
}
