//! Precision statistics.

use num_complex::Complex64;
use serde::{Deserialize, Serialize};

/// Precision in bits, -log2 of the absolute error of real components (the real and the imaginary part of a slot count
/// each).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionStats {
    /// Of the largest error.
    pub min_bits: f64,
    /// Of the median error.
    pub median_bits: f64,
    /// Of the mean error.
    pub mean_bits: f64,
    /// Of the smallest error (infinite for none).
    pub max_bits: f64,
    /// The largest error itself.
    pub worst: f64,
    /// Components compared.
    pub components: usize,
}

impl PrecisionStats {
    /// Compares slot by slot, over all pairs of vectors; `None` for no slots at all or an error that is no number.
    ///
    /// # Panics
    /// If the vectors of a pair differ in length.
    pub fn new<'a>(
        pairs: impl IntoIterator<Item = (&'a [Complex64], &'a [Complex64])>,
    ) -> Option<Self> {
        let mut errors = Vec::new();
        for (found, expected) in pairs {
            assert_eq!(found.len(), expected.len(), "slots to compare");
            for (x, y) in found.iter().zip(expected) {
                errors.extend([(x.re - y.re).abs(), (x.im - y.im).abs()]);
            }
        }
        Self::of_errors(errors)
    }

    /// Of absolute errors; `None` for none at all or an error that is no number.
    pub fn of_errors(mut errors: Vec<f64>) -> Option<Self> {
        if errors.is_empty() || errors.iter().any(|e| e.is_nan()) {
            return None;
        }
        errors.sort_unstable_by(f64::total_cmp);
        let bits = |error: f64| -error.log2();
        let count = errors.len();
        let worst = errors[count - 1];
        Some(Self {
            min_bits: bits(worst),
            median_bits: bits(errors[count / 2]),
            mean_bits: bits(errors.iter().sum::<f64>() / count as f64),
            max_bits: bits(errors[0]),
            worst,
            components: count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_count_components() {
        let zero = [Complex64::ZERO; 2];
        let found = [Complex64::new(0.5, -0.25), Complex64::new(0.125, 0.125)];
        let stats = PrecisionStats::new([(&found[..], &zero[..])]).expect("four components");
        assert_eq!(stats.components, 4);
        assert_eq!(
            (stats.min_bits, stats.median_bits, stats.mean_bits),
            (1.0, 2.0, 2.0)
        );
        assert_eq!((stats.max_bits, stats.worst), (3.0, 0.5));
        assert_eq!(PrecisionStats::new([]), None);
        let nan = [Complex64::new(f64::NAN, 0.0)];
        assert_eq!(PrecisionStats::new([(&nan[..], &zero[..1])]), None);
    }
}
