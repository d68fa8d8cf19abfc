//! Features, labels and weights in the clear: what encrypted training is compared with.

use crate::error::TrainingError;

/// Labelled features.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    features: usize,
    classes: usize,
    rows: Vec<f64>,
    labels: Vec<usize>,
}

/// Weights of a linear head, and a bias for each class.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    features: usize,
    classes: usize,
    values: Vec<f64>,
    bias: Vec<f64>,
}

impl Examples {
    /// Examples from rows `[image][feature]` and as many labels, each below `classes`.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for another number of features, or none; [`TrainingError::Setting`] for a label that is no class and
    /// for a feature that is not finite.
    pub fn new(
        features: usize,
        classes: usize,
        rows: Vec<f64>,
        labels: Vec<usize>,
    ) -> Result<Self, TrainingError> {
        if rows.len() != features * labels.len() || rows.is_empty() {
            return Err(TrainingError::Count {
                what: "features in all",
                found: rows.len(),
                expected: features * labels.len().max(1),
            });
        }
        if let Some(label) = labels.iter().find(|label| **label >= classes) {
            let expected = format!("below {classes}");
            return Err(TrainingError::setting("label", label, expected));
        }
        if let Some(x) = rows.iter().find(|x| !x.is_finite()) {
            return Err(TrainingError::setting("feature", x, "a finite number"));
        }
        Ok(Self {
            features,
            classes,
            rows,
            labels,
        })
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.labels.len()
    }

    /// All features, `[image][feature]`.
    pub fn rows(&self) -> &[f64] {
        &self.rows
    }

    /// All labels.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The examples in groups of at most `size` images, in order.
    pub fn groups(&self, size: usize) -> impl Iterator<Item = Self> + '_ {
        let rows = self.rows.chunks(size * self.features);
        rows.zip(self.labels.chunks(size))
            .map(|(rows, labels)| Self {
                features: self.features,
                classes: self.classes,
                rows: rows.to_vec(),
                labels: labels.to_vec(),
            })
    }

    /// Largest Euclidean norm of an image's features.
    pub fn largest_norm(&self) -> f64 {
        self.norms().fold(0.0, f64::max)
    }

    /// Root mean square over the images of the Euclidean norm of their features.
    pub fn rms_norm(&self) -> f64 {
        let squares: f64 = self.norms().map(|norm| norm * norm).sum();
        (squares / self.images() as f64).sqrt()
    }

    fn norms(&self) -> impl Iterator<Item = f64> + '_ {
        let rows = self.rows.chunks_exact(self.features);
        rows.map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt())
    }

    pub(crate) fn check_norm(&self, bound: f64) -> Result<(), TrainingError> {
        match self
            .norms()
            .enumerate()
            .find(|(_, norm)| *norm > bound * (1.0 + 1e-12))
        {
            Some((image, norm)) => Err(TrainingError::Norm { image, norm, bound }),
            None => Ok(()),
        }
    }

    pub(crate) fn check_rms(&self, bound: f64) -> Result<(), TrainingError> {
        let found = self.rms_norm();
        if found <= bound * (1.0 + 1e-12) {
            return Ok(());
        }
        Err(TrainingError::MeanSquare { found, bound })
    }

    /// The same with one feature more, a constant.
    pub(crate) fn with_constant(&self, constant: f64) -> Self {
        let rows = self.rows.chunks_exact(self.features);
        let constant = std::iter::once(&constant);
        Self {
            features: self.features + 1,
            classes: self.classes,
            rows: rows
                .flat_map(|row| row.iter().chain(constant.clone()))
                .copied()
                .collect(),
            labels: self.labels.clone(),
        }
    }

    /// Means of the features, and share of each class.
    pub(crate) fn means(&self) -> (Vec<f64>, Vec<f64>) {
        let images = self.images() as f64;
        let (mut mean, mut shares) = (vec![0.0; self.features], vec![0.0; self.classes]);
        for (row, label) in self.rows.chunks_exact(self.features).zip(&self.labels) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(mean, x)| *mean += x / images);
            shares[*label] += 1.0 / images;
        }
        (mean, shares)
    }

    /// `X^T X / m` and `X^T Y / m`.
    pub(crate) fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let (d, classes, images) = (self.features, self.classes, self.images() as f64);
        let (mut gram, mut cross) = (vec![0.0; d * d], vec![0.0; d * classes]);
        for (row, label) in self.rows.chunks_exact(d).zip(&self.labels) {
            for (f, x) in row.iter().enumerate() {
                let sums = gram[f * d..(f + 1) * d].iter_mut();
                sums.zip(row).for_each(|(sum, y)| *sum += x * y / images);
                cross[f * classes + label] += x / images;
            }
        }
        (gram, cross)
    }
}

impl Weights {
    /// Weights `[feature][class]`, without a bias.
    ///
    /// # Panics
    /// If there is another number of them.
    pub fn new(features: usize, classes: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), features * classes, "weights");
        Self {
            features,
            classes,
            values,
            bias: vec![0.0; classes],
        }
    }

    /// The same with a bias for each class.
    ///
    /// # Panics
    /// If there is another number of them.
    pub fn with_bias(self, bias: Vec<f64>) -> Self {
        assert_eq!(bias.len(), self.classes, "biases");
        Self { bias, ..self }
    }

    /// From weights of which the last feature's, a constant, gives the bias.
    pub(crate) fn of_constant(
        mut values: Vec<f64>,
        (features, classes): (usize, usize),
        constant: f64,
    ) -> Self {
        let weights = values.split_off(features * classes);
        let bias = weights.into_iter().map(|w| constant * w).collect();
        Self::new(features, classes, values).with_bias(bias)
    }

    /// `[feature][class]`.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// One for each class.
    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    fn all(&self) -> impl Iterator<Item = &f64> {
        self.values.iter().chain(&self.bias)
    }

    /// Largest absolute weight or bias.
    pub fn largest(&self) -> f64 {
        self.all().fold(0.0, |m, w| m.max(w.abs()))
    }

    /// Largest difference from other weights and biases, relative to the largest of these.
    pub fn difference(&self, other: &Self) -> f64 {
        let differences = self.all().zip(other.all());
        let largest = differences.fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        largest / self.largest()
    }

    /// Root of the sum of the squared differences from other weights and biases, relative to that of the squares of these.
    pub fn distance(&self, other: &Self) -> f64 {
        let differences = self.all().zip(other.all());
        let off: f64 = differences.map(|(a, b)| (a - b).powi(2)).sum();
        let own: f64 = self.all().map(|w| w.powi(2)).sum();
        (off / own).sqrt()
    }

    /// Scores `[image][class]` of feature rows.
    pub fn scores(&self, rows: &[f64]) -> Vec<f64> {
        let classes = self.classes;
        let mut out = Vec::with_capacity(rows.len() / self.features * classes);
        for row in rows.chunks_exact(self.features) {
            let from = out.len();
            out.extend(&self.bias);
            for (x, weights) in row.iter().zip(self.values.chunks_exact(classes)) {
                let sums = out[from..].iter_mut();
                sums.zip(weights).for_each(|(sum, w)| *sum += x * w);
            }
        }
        out
    }

    /// Share of examples whose largest score is that of their label.
    pub fn accuracy(&self, examples: &Examples) -> f64 {
        accuracy(&self.scores(&examples.rows), self.classes, &examples.labels)
    }
}

/// Share of rows of scores `[image][class]` whose largest one, the first if there are several, is that of the label; not a number without
/// labels.
pub fn accuracy(scores: &[f64], classes: usize, labels: &[usize]) -> f64 {
    let best = |row: &[f64]| {
        let better = |best: usize, c: usize| if row[c] > row[best] { c } else { best };
        (1..classes).fold(0, better)
    };
    let rows = scores.chunks_exact(classes).zip(labels);
    let right = rows.filter(|(row, label)| best(row) == **label).count();
    right as f64 / labels.len() as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    /// Images of classes that lie around means of their own.
    pub(crate) fn blobs(images: usize, features: usize, classes: usize, seed: u64) -> Examples {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let means: Vec<f64> = (0..features * classes)
            .map(|_| rng.random_range(-0.6..0.6))
            .collect();
        let labels: Vec<usize> = (0..images).map(|i| i % classes).collect();
        let mut rows = Vec::new();
        for label in &labels {
            for f in 0..features {
                let noise: f64 = (0..3).map(|_| rng.random_range(-0.4..0.4)).sum();
                rows.push((means[label * features + f] + noise) / (features as f64).sqrt());
            }
        }
        Examples::new(features, classes, rows, labels).expect("examples")
    }

    #[test]
    fn accuracy_counts_largest_scores_and_takes_the_first_of_equals() {
        assert_eq!(accuracy(&[0.0, 1.0, 1.0, 0.5, 0.0, 2.0], 3, &[1, 0]), 0.5);
        assert!(accuracy(&[], 3, &[]).is_nan());
    }

    #[test]
    fn examples_that_do_not_fit_are_refused() {
        assert!(Examples::new(2, 2, vec![0.0; 3], vec![0, 1]).is_err());
        assert!(Examples::new(2, 2, vec![0.0; 4], vec![0, 2]).is_err());
        assert!(Examples::new(2, 2, vec![f64::NAN, 0.0], vec![0]).is_err());
        assert!(Examples::new(2, 2, Vec::new(), Vec::new()).is_err());
    }
}
