//! Series near given functions.

use super::{FourierSeries, invalid};
use crate::bootstrap::BootstrapError;
use crate::poly_eval::{Chebyshev, solve};
use std::f64::consts::TAU;

impl FourierSeries {
    /// The series with `harmonics` harmonics that is near the identity on `[-range, range]`, `range` at most half the
    /// period: `sin u q(cos u)` with u = 2 pi v / period and q interpolated, the error falling geometrically with the
    /// number of harmonics, the faster the smaller the range. Beyond the range the series goes on near the identity for a
    /// while and then returns to its other end.
    ///
    /// # Errors
    /// As [`Self::new`]; [`BootstrapError::Invalid`] for a range that is not positive or above half the period.
    pub fn identity(harmonics: usize, range: f64, period: f64) -> Result<Self, BootstrapError> {
        check_harmonics(harmonics)?;
        check_range(range, period)?;
        let edge = TAU * range / period;
        let quotient = |c: f64| {
            let u = c.clamp(-1.0, 1.0).acos();
            if u < 1e-4 {
                1.0 + u * u / 6.0
            } else {
                u / u.sin()
            }
        };
        let q = Chebyshev::interpolate(quotient, harmonics - 1, (edge.cos(), 1.0))
            .map_err(BootstrapError::from)?;
        // A trigonometric polynomial is the sum over its values at more points than twice its degree.
        let points = 2 * harmonics + 2;
        let angle = |j: usize| TAU * j as f64 / points as f64;
        let values: Vec<f64> = (0..points)
            .map(|j| angle(j).sin() * q.evaluate(angle(j).cos()))
            .collect();
        let sine = |k: usize| {
            let terms = values.iter().enumerate();
            let sum: f64 = terms.map(|(j, v)| v * angle(k * j % points).sin()).sum();
            sum * 2.0 / points as f64 * period / TAU
        };
        let sines = (0..=harmonics).map(sine).collect();
        Self::new(vec![0.0; harmonics + 1], sines, period)
    }

    /// The series nearest to `f` on `[-range, range]` by least squares, `smoothing` times the energy of the derivative
    /// added: the function is extended over the rest of the period as smoothly as can be. 1e-10 suits smooth functions.
    ///
    /// # Errors
    /// As [`Self::new`]; [`BootstrapError::Invalid`] for a range or smoothing that is not positive, or values of `f` that
    /// are not finite.
    pub fn fit(
        f: impl Fn(f64) -> f64,
        harmonics: usize,
        range: f64,
        period: f64,
        smoothing: f64,
    ) -> Result<Self, BootstrapError> {
        check_harmonics(harmonics)?;
        check_range(range, period)?;
        if !(smoothing > 0.0 && smoothing.is_finite()) {
            return Err(invalid(
                "smoothing of a Fourier series",
                smoothing.to_string(),
                "a finite number above 0".into(),
            ));
        }
        let unknowns = 2 * harmonics + 1;
        let points = 8 * unknowns;
        let mut rows = vec![vec![0.0; unknowns + 1]; unknowns];
        for j in 0..points {
            // Chebyshev points: as much weight on the ends as an approximation needs.
            let v = -range * ((j as f64 + 0.5) / points as f64 * TAU / 2.0).cos();
            let u = TAU * v / period;
            let mut members = vec![1.0];
            members.extend((1..=harmonics).map(|k| (k as f64 * u).cos()));
            members.extend((1..=harmonics).map(|k| (k as f64 * u).sin()));
            let value = f(v);
            for (row, a) in rows.iter_mut().zip(&members) {
                for (x, b) in row.iter_mut().zip(members.iter().chain([&value])) {
                    *x += a * b / points as f64;
                }
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            let k = if i > harmonics { i - harmonics } else { i } as f64;
            row[i] += smoothing * (1.0 + k * k);
        }
        let found = solve(rows).unwrap_or_else(|| vec![f64::NAN; unknowns]);
        let (cosines, sines) = found.split_at(harmonics + 1);
        let sines = std::iter::once(0.0).chain(sines.iter().copied()).collect();
        Self::new(cosines.to_vec(), sines, period)
    }
}

pub(super) fn check_harmonics(harmonics: usize) -> Result<(), BootstrapError> {
    let most = FourierSeries::MAX_HARMONICS;
    if (1..=most).contains(&harmonics) {
        return Ok(());
    }
    Err(invalid(
        "number of harmonics",
        harmonics.to_string(),
        format!("1 to {most}"),
    ))
}

pub(super) fn check_range(range: f64, period: f64) -> Result<(), BootstrapError> {
    if range > 0.0 && 2.0 * range <= period && period.is_finite() {
        return Ok(());
    }
    Err(invalid(
        "range of a Fourier series",
        range.to_string(),
        format!("above 0, at most half the period {period}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_falls_geometrically_and_stays_bounded() {
        // u / sin u as a function of cos u has its nearest singularity at -1: with the range a quarter of the period,
        // cos u in [0, 1], the error falls by 3 + sqrt(8) for each harmonic.
        let errors: Vec<f64> = [4, 8, 12]
            .map(|d| {
                let series = FourierSeries::identity(d, 1.0, 4.0).unwrap();
                assert!(series.bound() < 2.0, "{}", series.bound());
                series.distance(|v| v, 1.0)
            })
            .into();
        for pair in errors.windows(2) {
            let rate = (pair[0] / pair[1]).powf(0.25);
            assert!((rate - 5.83).abs() < 0.6, "{errors:?}");
        }
        // Nearly the whole period, and a small part of it.
        let wide = FourierSeries::identity(31, 1.0, 2.5).unwrap();
        assert!(wide.distance(|v| v, 1.0) < 1e-7);
        let narrow = FourierSeries::identity(3, 1.0, 32.0).unwrap();
        assert!(narrow.distance(|v| v, 1.0) < 2f64.powi(-25));
    }

    #[test]
    fn smooth_functions_are_extended() {
        for f in [f64::exp as fn(f64) -> f64, f64::tanh, |v: f64| {
            1.0 / (1.0 + (-4.0 * v).exp())
        }] {
            let series = FourierSeries::fit(f, 20, 1.0, 3.0, 1e-12).unwrap();
            let error = series.distance(f, 1.0);
            assert!(error < 1e-4, "{error}");
            assert!(series.bound() < 10.0);
        }
    }
}
