//! Polynomials in the Chebyshev basis of an interval.

use super::PolyError;
use std::f64::consts::PI;
use std::ops::{Mul, SubAssign};

/// Coefficients below this fraction of the largest are rounding of the interpolation and become zero, so that odd and
/// even functions keep their parity.
const NEGLIGIBLE: f64 = 1.0 / (1u64 << 49) as f64;

/// `p(x) = sum_k c_k T_k(t)` on `[a, b]`, with `t = (2x - a - b) / (b - a)` in `[-1, 1]` and `T_k(cos u) = cos(k u)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Chebyshev {
    coeffs: Vec<f64>,
    interval: (f64, f64),
}

impl Chebyshev {
    /// A polynomial of given Chebyshev coefficients, `c_0` first; zeros at the end are dropped.
    ///
    /// # Errors
    /// [`PolyError::Interval`] unless both ends are finite and in order; [`PolyError::NotFinite`].
    pub fn new(mut coeffs: Vec<f64>, interval: (f64, f64)) -> Result<Self, PolyError> {
        let (from, to) = interval;
        if !(from.is_finite() && to.is_finite() && from < to) {
            return Err(PolyError::Interval { from, to });
        }
        if let Some((index, &value)) = coeffs.iter().enumerate().find(|(_, c)| !c.is_finite()) {
            return Err(PolyError::NotFinite { index, value });
        }
        let len = degree(&coeffs) + 1;
        coeffs.resize(len, 0.0);
        Ok(Self { coeffs, interval })
    }

    /// The polynomial of degree at most `degree` that agrees with `f` in the `degree + 1` Chebyshev nodes of the
    /// interval (at most twice as far from `f` as the truncated Chebyshev series; Trefethen: Approximation theory and
    /// approximation practice, chapter 4).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn interpolate(
        f: impl Fn(f64) -> f64,
        degree: usize,
        interval: (f64, f64),
    ) -> Result<Self, PolyError> {
        let nodes = degree + 1;
        let (middle, half) = middle_and_half(interval);
        // cos(pi m / (2 nodes)) for all m, from angles within an eighth of a turn.
        let cosine = |m: usize| quarter_cosine(m, 2 * nodes);
        let values: Vec<f64> = (0..nodes)
            .map(|j| f(middle + half * cosine(2 * j + 1)))
            .collect();
        let mut coeffs: Vec<f64> = (0..nodes)
            .map(|k| {
                let terms = values.iter().enumerate();
                let sum: f64 = terms.map(|(j, v)| v * cosine(k * (2 * j + 1))).sum();
                sum * if k == 0 { 1.0 } else { 2.0 } / nodes as f64
            })
            .collect();
        let largest = coeffs.iter().fold(0f64, |m, c| m.max(c.abs()));
        for c in &mut coeffs {
            if c.abs() < NEGLIGIBLE * largest {
                *c = 0.0;
            }
        }
        Self::new(coeffs, interval)
    }

    /// The same polynomial as `sum_k powers[k] x^k`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_powers(powers: &[f64], interval: (f64, f64)) -> Result<Self, PolyError> {
        let horner = |x: f64| powers.iter().rev().fold(0.0, |acc, c| acc * x + c);
        Self::interpolate(horner, powers.len().saturating_sub(1), interval)
    }

    /// Chebyshev coefficients, `c_0` first.
    pub fn coeffs(&self) -> &[f64] {
        &self.coeffs
    }

    /// The interval's ends.
    pub fn interval(&self) -> (f64, f64) {
        self.interval
    }

    /// Degree.
    pub fn degree(&self) -> usize {
        self.coeffs.len() - 1
    }

    /// Levels that an evaluation takes: the least k with degree < 2^k, but 1 for a constant.
    pub fn depth(&self) -> usize {
        depth(self.degree())
    }

    /// The value at `x`, by Clenshaw's recurrence.
    pub fn evaluate(&self, x: f64) -> f64 {
        let (middle, half) = middle_and_half(self.interval);
        let t = (x - middle) / half;
        let (mut b1, mut b2) = (0.0, 0.0);
        for c in self.coeffs[1..].iter().rev() {
            (b1, b2) = (2.0 * t * b1 - b2 + c, b1);
        }
        t * b1 - b2 + self.coeffs[0]
    }

    /// A bound on the absolute value over the interval, at most 2 % above the largest: by the values in 8 times as
    /// many Chebyshev nodes as the degree (Ehlich, Zeller: Schwankung von Polynomen zwischen Gitterpunkten, 1964).
    pub fn bound(&self) -> f64 {
        let nodes = 8 * self.coeffs.len();
        let (middle, half) = middle_and_half(self.interval);
        let largest = (0..nodes)
            .map(|j| self.evaluate(middle + half * quarter_cosine(2 * j + 1, 2 * nodes)))
            .fold(0f64, |m, v| m.max(v.abs()));
        largest / (PI / 16.0).cos()
    }
}

/// `T_1(t), T_3(t), ...`, `count` of them, by `T_(k+2) = 2 T_2 T_k - T_(k-2)`.
pub(super) fn odd_chebyshev_values(t: f64, count: usize) -> Vec<f64> {
    let double = 2.0 * (2.0 * t * t - 1.0);
    let next = |&(before, last): &(f64, f64)| Some((last, double * last - before));
    // T_(-1) = T_1.
    let values = std::iter::successors(Some((t, t)), next);
    values.map(|(_, last)| last).take(count).collect()
}

pub(super) fn degree<T: Default + PartialEq>(coeffs: &[T]) -> usize {
    coeffs.iter().rposition(|c| *c != T::default()).unwrap_or(0)
}

/// Levels that a polynomial of a degree takes.
pub(crate) fn depth(degree: usize) -> usize {
    (usize::BITS - degree.max(1).leading_zeros()) as usize
}

pub(super) fn middle_and_half((from, to): (f64, f64)) -> (f64, f64) {
    (from / 2.0 + to / 2.0, to / 2.0 - from / 2.0)
}

/// Quotient and remainder by `T_g`, for a degree below `2g`: `p = quotient * T_g + remainder`, all in the Chebyshev
/// basis, by `2 T_g T_j = T_(g+j) + T_(g-j)`.
pub(super) fn divide<T>(coeffs: &[T], g: usize) -> (Vec<T>, Vec<T>)
where
    T: Copy + Default + PartialEq + Mul<f64, Output = T> + SubAssign,
{
    let mut quotient = vec![T::default(); degree(coeffs) - g + 1];
    let mut remainder = coeffs[..g].to_vec();
    quotient[0] = coeffs[g];
    for j in 1..quotient.len() {
        quotient[j] = coeffs[g + j] * 2.0;
        remainder[g - j] -= coeffs[g + j];
    }
    (quotient, remainder)
}

/// `cos(pi m / n)`, exactly antisymmetric about a quarter turn.
fn quarter_cosine(m: usize, n: usize) -> f64 {
    let m = m % (2 * n);
    let m = m.min(2 * n - m);
    // Now within half a turn: cos(pi m / n) = sin(pi (n - 2m) / (2n)).
    if 4 * m < n {
        (PI * m as f64 / n as f64).cos()
    } else if 4 * m > 3 * n {
        -(PI * (n - m) as f64 / n as f64).cos()
    } else {
        (PI * (n as f64 - 2.0 * m as f64) / (2 * n) as f64).sin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 (-1)^k J_2k(2 pi) (half of that for k = 0), from Bessel's series with 60 decimal digits: the even Chebyshev
    /// coefficients of cos(2 pi x) on [-1, 1].
    const COSINE: [f64; 10] = [
        2.202_769_085_399_344_5e-1,
        5.757_607_350_319_38e-1,
        6.313_609_338_788_35e-1,
        -5.553_768_105_657_096e-1,
        1.465_906_514_009_402_4e-1,
        -2.027_691_302_274_853e-2,
        1.766_732_659_058_306_9e-3,
        -1.068_473_751_010_637_8e-4,
        4.769_036_567_693_617e-6,
        -1.639_684_663_160_854_3e-7,
    ];

    #[test]
    fn kat_cosine_coefficients() {
        let p = Chebyshev::interpolate(|x| (2.0 * PI * x).cos(), 40, (-1.0, 1.0))
            .expect("interpolation");
        for (k, expected) in COSINE.iter().enumerate() {
            let found = p.coeffs()[2 * k];
            assert!((found - expected).abs() < 1e-15, "{k}: {found} {expected}");
            assert_eq!(p.coeffs()[2 * k + 1], 0.0);
        }
    }

    #[test]
    fn interpolation_reproduces_polynomials_and_functions() {
        let p = Chebyshev::from_powers(&[1.0, -2.0, 0.5, 3.0], (-2.0, 5.0)).expect("cubic");
        assert_eq!((p.degree(), p.depth()), (3, 2));
        for x in [-2.0, -0.3, 1.0, 4.9, 5.0] {
            let expected = 1.0 + x * (-2.0 + x * (0.5 + x * 3.0));
            assert!((p.evaluate(x) - expected).abs() < 1e-12);
        }
        let odd = Chebyshev::interpolate(f64::sinh, 15, (-1.0, 1.0)).expect("odd");
        assert!(odd.coeffs().iter().step_by(2).all(|c| *c == 0.0));
        assert!((odd.evaluate(0.77) - 0.77f64.sinh()).abs() < 1e-14);
        assert!(odd.bound() >= 1f64.sinh() && odd.bound() < 1.03 * 1f64.sinh());
    }

    #[test]
    fn division_by_a_chebyshev_polynomial_is_exact() {
        let coeffs = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let (q, r) = divide(&coeffs, 4);
        let at = |c: &[f64], x| {
            Chebyshev::new(c.to_vec(), (-1.0, 1.0))
                .expect("finite")
                .evaluate(x)
        };
        for x in [-0.9, 0.1, 0.8] {
            let t4 = at(&[0.0, 0.0, 0.0, 0.0, 1.0], x);
            assert!((at(&coeffs, x) - at(&q, x) * t4 - at(&r, x)).abs() < 1e-13);
        }
    }

    #[test]
    fn impossible_polynomials_name_the_thing() {
        assert!(matches!(
            Chebyshev::new(vec![1.0], (1.0, 1.0)),
            Err(PolyError::Interval { .. })
        ));
        assert!(matches!(
            Chebyshev::new(vec![1.0, f64::NAN], (0.0, 1.0)),
            Err(PolyError::NotFinite { index: 1, .. })
        ));
    }
}
