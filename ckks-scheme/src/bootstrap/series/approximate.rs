//! Series near given functions.

use super::{FourierSeries, MAX_HARMONICS, invalid};
use crate::bootstrap::BootstrapError;
use crate::poly_eval::{Chebyshev, PolyError, solve};
use std::f64::consts::{FRAC_PI_2, TAU};

/// Most exchanges of the minimax approximation; about six are enough.
const EXCHANGES: usize = 40;

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
        let edge = TAU * range / period;
        if !(range > 0.0 && edge <= TAU / 2.0) {
            return Err(invalid(
                "range of a Fourier series",
                range.to_string(),
                format!("above 0, at most half the period {period}"),
            ));
        }
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

    /// The series near `|v|` on the whole period: the best one with `harmonics` harmonics, of which only odd ones are
    /// needed. It is off by about 0.28 / harmonics times period / (2 pi), as much at 0 as elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`]; [`BootstrapError::Poly`] if Remez' exchange does not get anywhere.
    pub fn absolute(harmonics: usize, period: f64) -> Result<Self, BootstrapError> {
        check_harmonics(harmonics)?;
        let odd = closest_to_triangle(harmonics.div_ceil(2)).ok_or(PolyError::Minimax {
            what: "number of harmonics",
            found: harmonics as f64,
        })?;
        let unit = period / TAU;
        let mut cosines = vec![0.0; harmonics + 1];
        cosines[0] = unit * FRAC_PI_2;
        for (c, a) in cosines.iter_mut().skip(1).step_by(2).zip(odd) {
            *c = -unit * a;
        }
        Self::new(cosines, vec![0.0; harmonics + 1], period)
    }

    /// The series near `max(v, 0)` on `[-range, range]`: half of [`Self::identity`] and half of [`Self::absolute`].
    ///
    /// # Errors
    /// As there.
    pub fn relu(harmonics: usize, range: f64, period: f64) -> Result<Self, BootstrapError> {
        let half = |v: Vec<f64>| v.into_iter().map(|c| c / 2.0).collect();
        let sines = half(Self::identity(harmonics, range, period)?.sines);
        let cosines = half(Self::absolute(harmonics, period)?.cosines);
        Self::new(cosines, sines, period)
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
        if !(range > 0.0 && 2.0 * range <= period && smoothing > 0.0) {
            return Err(invalid(
                "range and smoothing of a Fourier series",
                format!("{range} and {smoothing}"),
                format!("above 0, the range at most half the period {period}"),
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

fn check_harmonics(harmonics: usize) -> Result<(), BootstrapError> {
    if (1..=MAX_HARMONICS).contains(&harmonics) {
        return Ok(());
    }
    Err(invalid(
        "number of harmonics",
        harmonics.to_string(),
        format!("1 to {MAX_HARMONICS}"),
    ))
}

/// Coefficients of cos u, cos 3u, ..., `count` of them, of the best approximation to pi/2 - u for u from 0 to pi/2 (and so
/// to pi/2 - |u| everywhere, as both change their sign with u -> pi - u), by Remez' exchange.
fn closest_to_triangle(count: usize) -> Option<Vec<f64>> {
    let members = |u: f64| (0..count).map(move |j| ((2 * j + 1) as f64 * u).cos());
    let grid_points = 64 * (count + 1);
    let grid = |j: usize| FRAC_PI_2 * j as f64 / grid_points as f64;
    let mut points: Vec<f64> = (0..=count)
        .map(|k| TAU / 2.0 * k as f64 / (2 * count + 1) as f64)
        .collect();
    let mut best: Option<(f64, Vec<f64>)> = None;
    for _ in 0..EXCHANGES {
        let row = |(k, u): (usize, &f64)| {
            let mut row: Vec<f64> = members(*u).collect();
            row.push(if k % 2 == 0 { 1.0 } else { -1.0 });
            row.push(FRAC_PI_2 - u);
            row
        };
        let mut solution = solve(points.iter().enumerate().map(row).collect())?;
        let level = solution.pop()?.abs();
        let error = |u: f64| {
            let sum: f64 = members(u).zip(&solution).map(|(m, c)| m * c).sum();
            sum - (FRAC_PI_2 - u)
        };
        // The largest error of every run of one sign.
        let mut extrema: Vec<(f64, f64)> = Vec::new();
        for u in (0..grid_points).map(grid) {
            let e = error(u);
            match extrema.last_mut() {
                Some((_, last)) if (*last > 0.0) == (e > 0.0) => {
                    if e.abs() > last.abs() {
                        *extrema.last_mut()? = (u, e);
                    }
                }
                _ => extrema.push((u, e)),
            }
        }
        let largest = extrema.iter().fold(0f64, |m, (_, e)| m.max(e.abs()));
        if best.as_ref().is_none_or(|(least, _)| largest < *least) {
            best = Some((largest, solution.clone()));
        }
        if extrema.len() != count + 1 || largest - level <= 1e-6 * largest {
            break;
        }
        points = extrema.into_iter().map(|(u, _)| u).collect();
    }
    best.map(|(_, coeffs)| coeffs)
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
    fn absolute_value_equioscillates_at_bernsteins_constant() {
        for d in [7, 15, 31, 63] {
            let series = FourierSeries::absolute(d, TAU).unwrap();
            let error = series.distance(f64::abs, TAU / 2.0);
            let constant = error * d as f64;
            assert!((0.25..0.31).contains(&constant), "{d}: {constant}");
            // As large at 0, at pi, and alternating as often as a best approximation has to.
            let at = |u: f64| series.evaluate(u) - u.abs();
            assert!((at(0.0) / error - 1.0).abs() < 1e-3);
            let mut signs = 0;
            let mut last = 0.0;
            for j in 0..=40_000 {
                let e = at(TAU / 2.0 * f64::from(j) / 40_000.0);
                if e.abs() > 0.99 * error && e * last <= 0.0 {
                    signs += 1;
                    last = e;
                }
            }
            assert!(signs > d, "{d}: {signs}");
        }
    }

    #[test]
    fn relu_is_near_within_its_range_and_bounded_everywhere() {
        for (d, period, error) in [(15, 3.0, 0.006), (31, 2.5, 0.0021), (31, 4.0, 0.0031)] {
            let series = FourierSeries::relu(d, 1.0, period).unwrap();
            let found = series.distance(|v| v.max(0.0), 1.0);
            assert!(found < error, "{d} {period}: {found}");
            assert!(series.bound() < period / 2.0, "{}", series.bound());
            assert!(series.lipschitz() > 1.0 && series.lipschitz() < 16.0);
            for j in -1000..1000 {
                let v = f64::from(j) * 0.1;
                assert!(series.evaluate(v).abs() <= series.bound());
                assert!((series.evaluate(v) - series.evaluate(v + period)).abs() < 1e-9);
            }
        }
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
