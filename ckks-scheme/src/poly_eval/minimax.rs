//! The sign function by composed minimax polynomials.
//!
//! Every component is the odd polynomial that is closest to the sign where the components before it leave their values:
//! Lee, Lee, No, Kim: Minimax approximation of sign function by composite polynomial for homomorphic comparison, 2020,
//! <https://eprint.iacr.org/2020/834>. Components are found by Remez' exchange algorithm in double precision.

use super::chebyshev::odd_chebyshev_values;
use super::{Chebyshev, PolyError};

/// Errors of a component below this are beyond what double precision can level out; the component is then the flattest
/// polynomial, which the minimax polynomials of shrinking intervals tend to.
const LEVELLED: f64 = 1e-11;
/// Most exchanges; three to eight are enough.
const EXCHANGES: usize = 60;

/// Polynomials to be applied one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    components: Vec<Chebyshev>,
    /// Largest absolute value that each component takes on its interval.
    bounds: Vec<f64>,
    error: f64,
}

impl Composite {
    /// The sign of x for `gap <= |x| <= 1`, by odd polynomials of the given degrees, the first one applied first. Between
    /// `-gap` and `gap` values go from minus one to one without leaving the range. `margin` is what the value of a
    /// component may be off when it reaches the next one.
    ///
    /// x (1 + sign x) / 2 is the ReLU, up to `error() |x| / 2` outside the gap and `gap` within.
    ///
    /// # Errors
    /// [`PolyError::Minimax`] for no degrees at all, an even one or one above 63, a gap outside (0, 1) or a margin outside
    /// [0, 1/4), or components so weak that values leave (0, 2) with the margin.
    pub fn sign(degrees: &[usize], gap: f64, margin: f64) -> Result<Self, PolyError> {
        let refused = |what, found: f64| Err(PolyError::Minimax { what, found });
        if degrees.is_empty() {
            return refused("number of components", 0.0);
        }
        if !(gap > 0.0 && gap < 1.0) {
            return refused("gap", gap);
        }
        if !(0.0..0.25).contains(&margin) {
            return refused("margin", margin);
        }
        let mut this = Self {
            components: Vec::with_capacity(degrees.len()),
            bounds: Vec::with_capacity(degrees.len()),
            error: 1.0,
        };
        let (mut from, mut to) = (gap, 1.0);
        for &degree in degrees {
            if degree % 2 == 0 || degree > 63 {
                return refused("degree", degree as f64);
            }
            let (coeffs, error) = closest_to_one(degree, from, to);
            this.components.push(Chebyshev::new(coeffs, (-to, to))?);
            this.bounds.push(1.0 + error);
            this.error = error;
            (from, to) = (1.0 - error - margin, 1.0 + error + margin);
            if from <= 0.0 {
                return refused("least value after a component", from);
            }
        }
        Ok(this)
    }

    /// The polynomials, in order of application.
    pub fn components(&self) -> &[Chebyshev] {
        &self.components
    }

    /// Largest distance from the sign outside the gap.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Levels that an evaluation takes.
    pub fn depth(&self) -> usize {
        self.components.iter().map(Chebyshev::depth).sum()
    }

    /// The value at `x`.
    pub fn evaluate(&self, x: f64) -> f64 {
        self.components.iter().fold(x, |x, p| p.evaluate(x))
    }

    /// Largest absolute value of each component's result.
    pub(super) fn bounds(&self) -> &[f64] {
        &self.bounds
    }
}

/// Chebyshev coefficients on [-to, to] of the odd polynomial of the degree that is closest to 1 on [from, to], and its
/// largest distance from 1 there.
fn closest_to_one(degree: usize, from: f64, to: f64) -> (Vec<f64>, f64) {
    let unknowns = degree.div_ceil(2);
    let flat = flattest(degree, to);
    let flat_error = largest_error(&flat, from, to);
    if flat_error < LEVELLED {
        return (flat, flat_error);
    }
    // Extrema of the Chebyshev polynomial of the interval.
    let mut points: Vec<f64> = (0..=unknowns)
        .map(|k| {
            let angle = std::f64::consts::PI * k as f64 / unknowns as f64;
            from + (to - from) * 0.5 * (1.0 - angle.cos())
        })
        .collect();
    let mut best = (flat, flat_error);
    for _ in 0..EXCHANGES {
        let Some((coeffs, level)) = levelled(&points, to) else {
            break;
        };
        points = extrema(&coeffs, &points, from, to);
        let error = largest_at(&coeffs, &points, to);
        if error < best.1 {
            best = (coeffs, error);
        }
        if error - level.abs() <= 1e-10 * error {
            break;
        }
    }
    best
}

/// The odd polynomial (coefficients of T_1, T_3, ... in all coefficients) with `p(x_k) + (-1)^k e = 1` in all points, and
/// e; `None` for points too close to each other.
fn levelled(points: &[f64], to: f64) -> Option<(Vec<f64>, f64)> {
    let n = points.len();
    let row = |(k, x): (usize, &f64)| {
        let mut row = odd_chebyshev_values(x / to, n - 1);
        row.push(if k % 2 == 0 { 1.0 } else { -1.0 });
        row.push(1.0);
        row
    };
    let mut solution = solve(points.iter().enumerate().map(row).collect())?;
    let level = solution.pop()?;
    let mut coeffs = vec![0.0; 2 * (n - 1)];
    for (k, c) in solution.into_iter().enumerate() {
        coeffs[2 * k + 1] = c;
    }
    Some((coeffs, level))
}

/// Solves linear equations, each row its coefficients followed by the right-hand side, with partial pivots; `None` where
/// there is no pivot.
pub(crate) fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let n = rows.len();
    for column in 0..n {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b)))?;
        rows.swap(column, pivot);
        if rows[column][column].abs() < f64::MIN_POSITIVE {
            return None;
        }
        let (above, below) = rows.split_at_mut(column + 1);
        let top = &above[column];
        for row in below {
            let factor = row[column] / top[column];
            for (x, t) in row[column..].iter_mut().zip(&top[column..]) {
                *x -= factor * t;
            }
        }
    }
    let mut solution = vec![0.0; n];
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| rows[k][j] * solution[j]).sum();
        solution[k] = (rows[k][n] - known) / rows[k][k];
    }
    Some(solution)
}

/// p(x) - 1.
fn distance(coeffs: &[f64], x: f64, to: f64) -> f64 {
    let odd = odd_chebyshev_values(x / to, coeffs.len() / 2);
    let terms = odd.iter().zip(coeffs.iter().skip(1).step_by(2));
    terms.map(|(t, c)| t * c).sum::<f64>() - 1.0
}

/// Where the distance is largest between its zeros; it changes its sign from point to point.
fn extrema(coeffs: &[f64], points: &[f64], from: f64, to: f64) -> Vec<f64> {
    let f = |x: f64| distance(coeffs, x, to);
    let mut bounds = vec![from];
    for pair in points.windows(2) {
        let (mut low, mut high) = (pair[0], pair[1]);
        let positive = f(low) > 0.0;
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if (f(middle) > 0.0) == positive {
                low = middle;
            } else {
                high = middle;
            }
        }
        bounds.push(0.5 * (low + high));
    }
    bounds.push(to);
    bounds
        .windows(2)
        .map(|pair| {
            let (mut low, mut high) = (pair[0], pair[1]);
            // One maximum between two zeros: golden section.
            let ratio = 0.5 * (5f64.sqrt() - 1.0);
            let size = |x: f64| f(x).abs();
            let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
            let (mut fa, mut fb) = (size(a), size(b));
            for _ in 0..60 {
                if fa > fb {
                    (high, b, fb) = (b, a, fa);
                    a = high - ratio * (high - low);
                    fa = size(a);
                } else {
                    (low, a, fa) = (a, b, fb);
                    b = low + ratio * (high - low);
                    fb = size(b);
                }
            }
            // The ends of the whole interval are extrema without being flat.
            let inside = 0.5 * (low + high);
            let ends = [pair[0], pair[1]];
            let best = |x: f64, y: &f64| if size(*y) > size(x) { *y } else { x };
            ends.iter().fold(inside, best)
        })
        .collect()
}

fn largest_at(coeffs: &[f64], points: &[f64], to: f64) -> f64 {
    let sizes = points.iter().map(|x| distance(coeffs, *x, to).abs());
    sizes.fold(0.0, f64::max)
}

/// On a fine grid.
fn largest_error(coeffs: &[f64], from: f64, to: f64) -> f64 {
    let steps = 64 * coeffs.len();
    let points: Vec<f64> = (0..=steps)
        .map(|k| from + (to - from) * k as f64 / steps as f64)
        .collect();
    largest_at(coeffs, &points, to)
}

/// `x sum_i binom(2i, i) ((1 - x^2) / 4)^i`, as flat as can be at 1 (Cheon, Kim, Kim: Efficient homomorphic comparison
/// methods with optimal complexity, 2019, <https://eprint.iacr.org/2019/1234>), in the Chebyshev basis of [-to, to].
fn flattest(degree: usize, to: f64) -> Vec<f64> {
    let value = |x: f64| {
        let quarter = (1.0 - x * x) / 4.0;
        let mut term = x;
        let mut sum = x;
        for i in 1..=degree / 2 {
            let i = i as f64;
            term *= quarter * (2.0 * i) * (2.0 * i - 1.0) / (i * i);
            sum += term;
        }
        sum
    };
    let found = Chebyshev::interpolate(value, degree, (-to, to));
    let mut coeffs = found.map_or_else(|_| Vec::new(), |p| p.coeffs().to_vec());
    coeffs.resize(degree + 1, 0.0);
    coeffs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances at the extrema of a component: alternating and of one size, which no other polynomial has (Chebyshev).
    fn assert_equioscillates(p: &Chebyshev, from: f64, to: f64, error: f64) {
        let steps = 400_000;
        let at = |k: usize| from + (to - from) * k as f64 / steps as f64;
        let mut extrema: Vec<f64> = Vec::new();
        for k in 0..=steps {
            let d = p.evaluate(at(k)) - 1.0;
            match extrema.last_mut() {
                Some(last) if (*last > 0.0) == (d > 0.0) => {
                    if d.abs() > last.abs() {
                        *last = d;
                    }
                }
                _ => extrema.push(d),
            }
        }
        assert!(extrema.len() > p.degree().div_ceil(2), "{extrema:?}");
        for d in &extrema {
            assert!((d.abs() / error - 1.0).abs() < 1e-4, "{d} {error}");
        }
    }

    #[test]
    fn components_equioscillate() {
        for gap in [0.5, 0.1, 2f64.powi(-7)] {
            for degree in [1, 3, 5, 7, 9, 15, 27, 31] {
                let one = Composite::sign(&[degree], gap, 0.0).expect("one component");
                if one.error() > 1e-9 {
                    assert_equioscillates(&one.components()[0], gap, 1.0, one.error());
                }
            }
        }
        let two = Composite::sign(&[7, 7], 0.05, 1e-3).expect("two components");
        let between = two.bounds()[0] - 1.0 + 1e-3;
        assert_equioscillates(
            &two.components()[1],
            1.0 - between,
            1.0 + between,
            two.error(),
        );
    }

    #[test]
    fn kat_degrees_one_and_three() {
        // On [a, 1], c x is closest to 1 with c = 2 / (1 + a).
        let one = Composite::sign(&[1], 0.25, 0.0).expect("degree 1");
        assert!((one.error() - 0.6).abs() < 1e-12 && (one.evaluate(0.5) - 0.8).abs() < 1e-12);
        // Degree 3 on [1/4, 1]: p = c x (3 m - x^2) with its maximum at sqrt(m), p(1/4) = p(1) gives m = 7/16.
        let three = Composite::sign(&[3], 0.25, 0.0).expect("degree 3");
        let (low, high) = (21.0 / 16.0 - 1.0, 2.0 * (7f64 / 16.0).powf(1.5));
        let expected = (high - low) / (high + low);
        assert!(
            (three.error() - expected).abs() < 1e-12,
            "{}",
            three.error()
        );
    }

    #[test]
    fn sign_is_within_its_error_and_bounded_in_the_gap() {
        for (degrees, gap, error) in [
            (&[7, 7, 13][..], 2f64.powi(-6), 2f64.powi(-11)),
            (&[15, 15, 27][..], 2f64.powi(-8), 2f64.powi(-15)),
            (&[7, 15, 15, 7][..], 2f64.powi(-7), 2f64.powi(-35)),
        ] {
            let sign = Composite::sign(degrees, gap, 1e-6).expect("components");
            assert!(sign.error() < error, "{degrees:?}: {}", sign.error());
            for k in 0..=20_000 {
                let x = gap + (1.0 - gap) * f64::from(k) / 20_000.0;
                assert!((sign.evaluate(x) - 1.0).abs() <= sign.error() * 1.0001 + 1e-12);
                assert!((sign.evaluate(-x) + 1.0).abs() <= sign.error() * 1.0001 + 1e-12);
                let inside = gap * f64::from(k) / 20_000.0;
                let value = sign.evaluate(inside);
                assert!((-1e-12..=1.0 + sign.error() * 1.0001 + 1e-12).contains(&value));
            }
            let depth: usize = degrees.iter().map(|d| d.ilog2() as usize + 1).sum();
            assert_eq!(sign.depth(), depth);
        }
    }

    #[test]
    fn kat_published_degrees_reach_their_precision() {
        // Comparison up to 2^-alpha of numbers that differ by at least that: the degrees of least depth, as Lee et al.
        // list them, <https://arxiv.org/abs/2105.10879>.
        let published = [
            (4, &[27][..]),
            (5, &[7, 13]),
            (6, &[15, 15]),
            (7, &[7, 7, 13]),
            (8, &[7, 15, 15]),
            (9, &[7, 7, 7, 13]),
            (10, &[7, 7, 13, 15]),
            (12, &[15, 15, 15, 15]),
            (13, &[15, 15, 15, 31]),
        ];
        for (alpha, degrees) in published {
            let error = |gap: f64| {
                let sign = Composite::sign(degrees, gap, 0.0);
                sign.expect("components").error() / 2.0
            };
            let precision = 2f64.powi(-alpha);
            assert!(error(precision) < precision, "{degrees:?}");
            assert!(error(precision / 2.0) > precision / 2.0, "{degrees:?}");
        }
    }

    #[test]
    fn what_cannot_be_composed_is_refused() {
        let refused = |degrees: &[usize], gap, margin| {
            let error = Composite::sign(degrees, gap, margin).expect_err("refused");
            assert!(matches!(error, PolyError::Minimax { .. }), "{error}");
        };
        refused(&[], 0.1, 0.0);
        refused(&[4], 0.1, 0.0);
        refused(&[65], 0.1, 0.0);
        refused(&[3], 0.0, 0.0);
        refused(&[3], f64::NAN, 0.0);
        refused(&[3], 0.1, 0.5);
        refused(&[1, 3], 1e-3, 0.1);
    }
}
