//! The series of a ReLU.

use super::approximate::{check_harmonics, check_range};
use super::{FourierSeries, invalid};
use crate::bootstrap::BootstrapError;
use crate::poly_eval::solve;
use num_complex::Complex64;
use std::f64::consts::TAU;

/// How fast the weight of an error falls with the value, over the range. The inputs of ReLUs in trained networks are small
/// beside the largest of them: nine tenths are below 0.14 of the range. So many are in a density of `exp(-|v| / 0.06)`.
const WIDTH: f64 = 0.06;
/// Weight that errors have everywhere in the range, beside 1 at the kink.
const FLOOR: f64 = 0.01;
/// Weight of the energy of the series and its derivative. It settles what the series does between the ends of the range,
/// where nothing else does: without it, the series is large and steep there.
const SMOOTHING: f64 = 1e-8;
/// Terms of the power series of an exponential at arguments below 1.
const TERMS: usize = 20;

impl FourierSeries {
    /// The series near `max(v, 0)` on `[-range, range]`, `range` at most half the period, by weighted least squares: small
    /// values count more, as a network has more of them. With t = v / range it minimises
    ///
    /// `1/2 integral over [-1, 1] of (exp(-|t| / 0.06) + 0.01) (f(t) - max(t, 0))^2 dt + 1e-8 sum_k (1 + k^2) (a_k^2 + b_k^2)`,
    ///
    /// a and b being the coefficients of cosines and sines over the range. The largest error within the range is that at 0,
    /// about `0.05 period / harmonics`, where the period is 2.2 ranges or more. Beyond the range the series goes back to the
    /// other end, without larger values.
    ///
    /// # Errors
    /// As [`Self::identity`].
    pub fn relu(harmonics: usize, range: f64, period: f64) -> Result<Self, BootstrapError> {
        check_harmonics(harmonics)?;
        check_range(range, period)?;
        // max(t, 0) = |t| / 2 + t / 2. The weight is even, so cosines and sines are found apart, from the integrals over
        // [0, 1] alone: products of two cosines or sines are halves of sums and differences of cosines.
        let unit = TAU * range / period;
        let moments: Vec<_> = (0..=2 * harmonics)
            .map(|k| weighted_moments(unit * k as f64))
            .collect();
        let even = |k: usize| moments[k].0.re;
        let half = |parity: f64, first: usize, side: fn(Complex64) -> f64| {
            let rows = (first..=harmonics).map(|j| {
                let product = |k: usize| (even(j.abs_diff(k)) + parity * even(j + k)) / 2.0;
                let mut row: Vec<f64> = (first..=harmonics).map(product).collect();
                row[j - first] += SMOOTHING * (1.0 + (j * j) as f64);
                row.push(side(moments[j].1) / 2.0);
                row
            });
            let found = solve(rows.collect()).ok_or_else(|| {
                let expected = "one that least squares are found for".into();
                invalid("period of a Fourier series", period.to_string(), expected)
            })?;
            Ok::<_, BootstrapError>(found.into_iter().map(|c| c * range))
        };
        let cosines = half(1.0, 0, |m| m.re)?.collect();
        let sines = half(-1.0, 1, |m| m.im)?;
        let sines = std::iter::once(0.0).chain(sines).collect();
        Self::new(cosines, sines, period)
    }
}

/// The integrals of `w(t) exp(i angle t)` and `t w(t) exp(i angle t)` over [0, 1], w being the weight.
fn weighted_moments(angle: f64) -> (Complex64, Complex64) {
    let near = moments(Complex64::new(-1.0 / WIDTH, angle));
    let all = moments(Complex64::new(0.0, angle));
    (near.0 + all.0 * FLOOR, near.1 + all.1 * FLOOR)
}

/// The integrals of `exp(s t)` and `t exp(s t)` over [0, 1].
fn moments(s: Complex64) -> (Complex64, Complex64) {
    if s.norm() < 1.0 {
        // s^n / n! over n + 1 and n + 2.
        let mut term = Complex64::ONE;
        let mut sums = (Complex64::ZERO, Complex64::ZERO);
        for n in 0..TERMS {
            let n = n as f64;
            sums.0 += term / (n + 1.0);
            sums.1 += term / (n + 2.0);
            term *= s / (n + 1.0);
        }
        return sums;
    }
    let end = s.exp();
    let whole = (end - 1.0) / s;
    (whole, (end - whole) / s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(t: f64) -> f64 {
        (-t.abs() / 0.06).exp() + 0.01
    }

    /// Points between -1 and 1, none at 0.
    fn points(count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |j| (2 * j + 1) as f64 / count as f64 - 1.0)
    }

    /// By the singular values of the weighted members at 200000 points, in numpy (`numpy.linalg.lstsq`).
    #[test]
    fn kat_relu_of_seven_harmonics() {
        let cosines = [
            0.347212132,
            -0.3207530678,
            0.0609917841,
            -0.0790758989,
            0.0402416139,
            -0.037973596,
            0.0162897465,
            -0.0171044465,
        ];
        let sines = [
            0.0,
            0.3823872728,
            -0.1693089361,
            0.0915960605,
            -0.050320793,
            0.0259494111,
            -0.0119232114,
            0.0035714206,
        ];
        for range in [1.0, 3.0] {
            let series = FourierSeries::relu(7, range, 2.5 * range).unwrap();
            let found = series.cosines().iter().chain(series.sines());
            for (found, expected) in found.zip(cosines.iter().chain(&sines)) {
                assert!(
                    (found / range - expected).abs() < 1e-9,
                    "{found} {expected}"
                );
            }
        }
    }

    /// What a minimum is: to every member, the weighted error and what smoothing adds are perpendicular.
    #[test]
    fn relu_is_the_least_of_the_weighted_squares() {
        for (harmonics, period) in [(1, 2.0), (15, 2.2), (31, 2.5), (63, 2.5), (31, 8.0)] {
            let series = FourierSeries::relu(harmonics, 1.0, period).unwrap();
            let count = 40_000;
            let errors: Vec<(f64, f64)> = points(count)
                .map(|t| (t, weight(t) * (series.evaluate(t) - t.max(0.0))))
                .collect();
            for k in 0..=harmonics {
                let angle = TAU * k as f64 / period;
                let slope = |member: fn(f64) -> f64, coefficient: f64| {
                    let sum: f64 = errors.iter().map(|(t, e)| e * member(angle * t)).sum();
                    sum / count as f64 + 1e-8 * (1 + k * k) as f64 * coefficient
                };
                let of_cosine = slope(f64::cos, series.cosines()[k]);
                let of_sine = slope(f64::sin, series.sines()[k]);
                let off = of_cosine.abs().max(of_sine.abs());
                assert!(off < 1e-9, "{harmonics} {period}, harmonic {k}: {off:e}");
            }
        }
    }

    #[test]
    fn moments_are_the_same_on_both_sides_of_one() {
        for s in [Complex64::new(0.0, 1.0), Complex64::new(-0.6, 0.8)] {
            let (inside, outside) = (moments(s * (1.0 - 1e-12)), moments(s * (1.0 + 1e-12)));
            assert!((inside.0 - outside.0).norm() < 1e-11);
            assert!((inside.1 - outside.1).norm() < 1e-11);
        }
        let (whole, first) = moments(Complex64::ZERO);
        assert_eq!((whole.re, first.re), (1.0, 0.5));
    }

    #[test]
    fn relu_is_near_where_values_are_and_bounded_everywhere() {
        // Largest error, at 0; root mean square of the weighted error; largest slope.
        for (harmonics, period, largest, weighted, slope) in [
            (15, 2.5, 0.0058, 0.0023, 5.7),
            (15, 3.0, 0.0066, 0.0027, 3.9),
            (31, 2.5, 0.0033, 0.00096, 4.0),
            (63, 2.5, 0.0023, 0.00039, 3.2),
            (127, 2.5, 0.0019, 0.00015, 3.4),
        ] {
            let series = FourierSeries::relu(harmonics, 1.0, period).unwrap();
            let what = format!("{harmonics} harmonics, period {period}");
            let relu = |t: f64| t.max(0.0);
            let found = series.distance(relu, 1.0);
            assert!(found < largest, "{what}: {found}");
            let kink = series.evaluate(0.0) * harmonics as f64 / period;
            assert!((0.03..0.051).contains(&kink), "{what}: {kink}");
            let density = |t: f64| (-t.abs() / 0.06).exp();
            let sums = points(20_000).fold((0.0, 0.0), |(errors, all), t| {
                let error = series.evaluate(t) - relu(t);
                (errors + density(t) * error * error, all + density(t))
            });
            let found = (sums.0 / sums.1).sqrt();
            assert!(found < weighted, "{what}: {found}");
            let found = series.lipschitz();
            assert!(1.0 < found && found < slope, "{what}: {found}");
            assert!(series.bound() < 1.05, "{what}: {}", series.bound());
            for j in -1000..1000 {
                let v = f64::from(j) * 0.1;
                assert!(series.evaluate(v).abs() <= series.bound());
                assert!((series.evaluate(v) - series.evaluate(v + period)).abs() < 1e-9);
            }
        }
    }
}
