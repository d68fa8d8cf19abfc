//! Polynomials that stand for `1 / S` on an interval, as products of factors.

/// Steps in which an interval is searched for the largest values of factors.
const SAMPLES: u32 = 512;

/// `z(S) = gain (shift - S) prod_j ((S - centre_j)^2 + offset_j)`, which makes `|1 - S z(S)| <= error` on `[least, 1]`: the
/// least possible error of its degree.
///
/// `1 - S z(S) = T_n(X(S)) / T_n(X(0))` with `X` from `[least, 1]` to `[-1, 1]` and `n = degree + 1`, even. The zeros of `z` are
/// those of `T_n(X) = T_n(X(0))`, which are known: `X = cos(2 pi j / n) cosh a - i sin(2 pi j / n) sinh a`, `X(0) = -cosh a`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inverse {
    /// The real zero, above 1.
    pub shift: f64,
    /// Centre and offset of each quadratic factor.
    pub quadratics: Vec<(f64, f64)>,
    /// What the product of the factors is multiplied by.
    pub gain: f64,
    /// Largest `|1 - S z(S)|`.
    pub error: f64,
    /// How the gain is spread.
    pub shares: Shares,
}

/// Parts of the gain. Each brings a product to values up to 1, because what a product loses in precision it loses against its
/// largest value: the whole gain, up to ten thousand at degree 7, would magnify that in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares {
    /// For a number of at most `S`, times `shift - S`.
    pub first: f64,
    /// For that, times the second quadratic factor of three: these two are largest in the middle.
    pub left: f64,
    /// For the product of the other two, which is largest at the ends.
    pub right: f64,
    /// What is left.
    pub rest: f64,
}

impl Inverse {
    /// The polynomial of odd degree `degree` for `[least, 1]`, `0 < least < 1`.
    pub fn new(least: f64, degree: usize) -> Self {
        let n = degree + 1;
        // X(S) = (2 S - 1 - least) / (1 - least).
        let cosh = (1.0 + least) / (1.0 - least);
        let a = cosh.acosh();
        let sinh = a.sinh();
        let s_of = |x: f64| (x * (1.0 - least) + 1.0 + least) / 2.0;
        let shift = s_of(cosh);
        let quadratics: Vec<(f64, f64)> = (1..n / 2)
            .map(|j| {
                let angle = std::f64::consts::TAU * j as f64 / n as f64;
                let imaginary = angle.sin() * sinh * (1.0 - least) / 2.0;
                (s_of(angle.cos() * cosh), imaginary * imaginary)
            })
            .collect();
        let error = 1.0 / (n as f64 * a).cosh();
        let mut out = Self {
            shift,
            quadratics,
            gain: 1.0,
            error,
            shares: Shares {
                first: 1.0,
                left: 1.0,
                right: 1.0,
                rest: 1.0,
            },
        };
        // At S = 1, T_n is 1.
        out.gain = (1.0 - error) / out.value(1.0);
        out.shares = out.shares(least);
        out
    }

    fn shares(&self, least: f64) -> Shares {
        let sums = (0..=SAMPLES).map(|j| least + (1.0 - least) * f64::from(j) / f64::from(SAMPLES));
        let sums: Vec<f64> = sums.collect();
        let to_one = |f: &dyn Fn(f64) -> f64| 1.0 / sums.iter().map(|s| f(*s)).fold(0.0, f64::max);
        let quadratic =
            |j: usize, s: f64| (s - self.quadratics[j].0).powi(2) + self.quadratics[j].1;
        let first = to_one(&|s| s * (self.shift - s));
        let (left, right) = match self.quadratics.len() {
            3 => (
                to_one(&|s| first * s * (self.shift - s) * quadratic(1, s)),
                to_one(&|s| quadratic(0, s) * quadratic(2, s)),
            ),
            _ => (1.0, 1.0),
        };
        Shares {
            first,
            left,
            right,
            rest: self.gain / (first * left * right),
        }
    }

    /// Levels that a product with it takes.
    pub fn levels(&self) -> usize {
        (self.quadratics.len() + 1).next_power_of_two().ilog2() as usize + 1
    }

    /// `z(S)`.
    pub fn value(&self, s: f64) -> f64 {
        let factors = self.quadratics.iter();
        let product: f64 = factors.map(|(c, o)| (s - c) * (s - c) + o).product();
        self.gain * (self.shift - s) * product
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_alternate_and_are_as_small_as_chebyshev_says() {
        for (least, degree) in [(0.1, 3), (0.1, 7), (0.02, 7), (0.5, 3), (0.3, 1)] {
            let z = Inverse::new(least, degree);
            let mut extremes = [0f64; 2];
            for j in 0..=4000 {
                let s = least + (1.0 - least) * f64::from(j) / 4000.0;
                let off = 1.0 - s * z.value(s);
                assert!(
                    off.abs() <= z.error * (1.0 + 1e-9),
                    "{least} {degree} {s}: {off}"
                );
                extremes = [extremes[0].min(off), extremes[1].max(off)];
            }
            let Shares {
                first,
                left,
                right,
                rest,
            } = z.shares;
            assert!((first * left * right * rest / z.gain - 1.0).abs() < 1e-12);
            assert!(rest < 10.0, "{least} {degree}: {rest}");
            assert!((extremes[1] / z.error - 1.0).abs() < 1e-3);
            assert!((extremes[0] / -z.error - 1.0).abs() < 1e-3);
        }
        assert_eq!([1, 3, 7].map(|d| Inverse::new(0.1, d).levels()), [1, 2, 3]);
    }
}
