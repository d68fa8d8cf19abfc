//! Fourier series of real functions.

mod approximate;
mod relu;

use super::BootstrapError;
use num_complex::Complex64;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Points for each harmonic at which a series is looked at for its bounds.
const POINTS: usize = 16;

/// `f(v) = sum_k cosines[k] cos(2 pi k v / period) + sines[k] sin(2 pi k v / period)`, k from 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct FourierSeries {
    cosines: Vec<f64>,
    sines: Vec<f64>,
    period: f64,
}

/// What a file says of a series.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename = "FourierSeries", deny_unknown_fields)]
struct Unchecked {
    cosines: Vec<f64>,
    sines: Vec<f64>,
    period: f64,
}

impl TryFrom<Unchecked> for FourierSeries {
    type Error = BootstrapError;

    fn try_from(found: Unchecked) -> Result<Self, Self::Error> {
        Self::new(found.cosines, found.sines, found.period)
    }
}

impl From<FourierSeries> for Unchecked {
    fn from(series: FourierSeries) -> Self {
        let FourierSeries {
            cosines,
            sines,
            period,
        } = series;
        Self {
            cosines,
            sines,
            period,
        }
    }
}

impl FourierSeries {
    /// Most harmonics of a series.
    pub const MAX_HARMONICS: usize = 255;

    /// A series of given coefficients, those of harmonic 0 first; `sines[0]` has no effect.
    ///
    /// # Errors
    /// [`BootstrapError::Invalid`] unless there are as many sines as cosines, 2 to 256 of each, all finite, and the
    /// period is finite and positive.
    pub fn new(cosines: Vec<f64>, sines: Vec<f64>, period: f64) -> Result<Self, BootstrapError> {
        let count = cosines.len();
        if sines.len() != count || !(2..=Self::MAX_HARMONICS + 1).contains(&count) {
            return Err(invalid(
                "number of cosines and sines of a Fourier series",
                format!("{count} and {}", sines.len()),
                format!("as many of either, 2 to {}", Self::MAX_HARMONICS + 1),
            ));
        }
        if let Some(c) = cosines.iter().chain(&sines).find(|c| !c.is_finite()) {
            return Err(invalid(
                "coefficient of a Fourier series",
                c.to_string(),
                "a finite number".into(),
            ));
        }
        if !(period.is_finite() && period > 0.0) {
            return Err(invalid(
                "period of a Fourier series",
                period.to_string(),
                "a finite number above 0".into(),
            ));
        }
        Ok(Self {
            cosines,
            sines,
            period,
        })
    }

    /// Coefficients of the cosines.
    pub fn cosines(&self) -> &[f64] {
        &self.cosines
    }

    /// Coefficients of the sines.
    pub fn sines(&self) -> &[f64] {
        &self.sines
    }

    /// The period.
    pub fn period(&self) -> f64 {
        self.period
    }

    /// Number of harmonics, trailing zeros not counted, at least 1.
    pub fn harmonics(&self) -> usize {
        let mut pairs = self.cosines.iter().zip(&self.sines);
        let last = pairs.rposition(|(a, b)| *a != 0.0 || *b != 0.0);
        last.unwrap_or(0).max(1)
    }

    /// The value at `v`.
    pub fn evaluate(&self, v: f64) -> f64 {
        self.of_unit(Complex64::cis(TAU * (v / self.period).fract()))
    }

    /// The real part of `sum_k c_k z^k`, which is the value where z = exp(2 pi i v / period).
    pub(super) fn of_unit(&self, z: Complex64) -> f64 {
        let coeffs = self.coefficients();
        coeffs
            .iter()
            .rev()
            .fold(Complex64::ZERO, |acc, c| acc * z + c)
            .re
    }

    /// The `c_k = cosines[k] - i sines[k]`.
    pub(super) fn coefficients(&self) -> Vec<Complex64> {
        let pairs = self.cosines.iter().zip(&self.sines);
        pairs.map(|(a, b)| Complex64::new(*a, -b)).collect()
    }

    /// Largest absolute value, wherever the argument is: the largest at points so close that what lies between two of them
    /// is less than 2 % larger (Ehlich, Zeller: Schwankung von Polynomen zwischen Gitterpunkten, 1964).
    pub fn bound(&self) -> f64 {
        self.largest(1.0, |series, v| series.evaluate(v))
    }

    /// Largest absolute value of the derivative, likewise.
    pub fn lipschitz(&self) -> f64 {
        let w = TAU / self.period;
        let derivative = Self {
            cosines: scaled_by_index(&self.sines, w),
            sines: scaled_by_index(&self.cosines, -w),
            period: self.period,
        };
        derivative.bound()
    }

    /// Largest distance from `f` on `[-range, range]`, at 16 points for each harmonic.
    pub fn distance(&self, f: impl Fn(f64) -> f64, range: f64) -> f64 {
        let part = 2.0 * range / self.period;
        self.largest(part, |series, v| series.evaluate(v) - f(v)) * NODES_SHARE
    }

    fn largest(&self, part: f64, value: impl Fn(&Self, f64) -> f64) -> f64 {
        let steps = (POINTS * self.cosines.len()) as i64;
        let largest = (-steps..=steps).map(|j| {
            let v = part * self.period / 2.0 * j as f64 / steps as f64;
            value(self, v).abs()
        });
        largest.fold(0.0, f64::max) / NODES_SHARE
    }
}

/// cos(pi / POINTS): what the values at the points are of the largest at least.
const NODES_SHARE: f64 = 0.980_785_280_403_230_4;

fn scaled_by_index(coeffs: &[f64], factor: f64) -> Vec<f64> {
    let terms = coeffs.iter().enumerate();
    terms.map(|(k, c)| factor * k as f64 * c).collect()
}

fn invalid(what: &'static str, found: String, expected: String) -> BootstrapError {
    BootstrapError::Invalid {
        what,
        found,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_series_is_refused() {
        let refused = |series: Result<FourierSeries, BootstrapError>| {
            assert!(
                matches!(series, Err(BootstrapError::Invalid { .. })),
                "{series:?}"
            );
        };
        refused(FourierSeries::new(vec![0.0], vec![0.0], 1.0));
        refused(FourierSeries::new(vec![0.0; 3], vec![0.0; 2], 1.0));
        refused(FourierSeries::new(vec![0.0, f64::NAN], vec![0.0; 2], 1.0));
        refused(FourierSeries::new(vec![0.0; 2], vec![0.0; 2], 0.0));
        refused(FourierSeries::identity(0, 1.0, 4.0));
        refused(FourierSeries::identity(300, 1.0, 4.0));
        refused(FourierSeries::identity(3, 3.0, 4.0));
        refused(FourierSeries::relu(0, 1.0, 4.0));
        refused(FourierSeries::relu(256, 1.0, 4.0));
        for (range, period) in [
            (2.1, 4.0),
            (0.0, 4.0),
            (f64::NAN, 4.0),
            (1.0, f64::INFINITY),
        ] {
            refused(FourierSeries::relu(3, range, period));
        }
        refused(FourierSeries::fit(f64::sin, 3, 1.0, 4.0, 0.0));
        refused(FourierSeries::fit(|_| f64::NAN, 3, 1.0, 4.0, 1e-9));
    }
}
