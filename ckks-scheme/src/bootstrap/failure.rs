//! The chance that a raised coefficient leaves the range that the cosine covers.

/// Base-2 logarithm of a bound on the probability that one of `coefficients` coefficients of `(c0 + c1 s) / q` exceeds
/// `range` in absolute value, where c0 and c1 are uniform modulo q and s has `weight` coefficients of absolute value 1:
/// minus infinity where that is impossible.
///
/// A coefficient is a sum of m = weight + 1 independent variables, uniform on [-1/2, 1/2]. The bound is Chernoff's,
/// `P(sum > t) <= exp(-x t) (sinh(x/2) / (x/2))^m` with the best x, for both signs and all coefficients.
pub fn overflow_log2(weight: u32, range: f64, coefficients: usize) -> f64 {
    let terms = f64::from(weight) + 1.0;
    if range >= terms / 2.0 {
        return f64::NEG_INFINITY;
    }
    // sinh(y)/y = exp(y) (1 - exp(-2y)) / (2y), without overflow; convex in x: ternary search.
    let exponent = |x: f64| {
        let y = x / 2.0;
        let log_mean = if y < 1e-4 {
            y * y / 6.0
        } else {
            y + (-(-2.0 * y).exp()).ln_1p() - (2.0 * y).ln()
        };
        terms * log_mean - x * range
    };
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..300 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if exponent(a) < exponent(b) {
            high = b;
        } else {
            low = a;
        }
    }
    let log2 = exponent(low) / std::f64::consts::LN_2 + 1.0 + (coefficients as f64).log2();
    log2.min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_cannot_leave_their_largest_value() {
        assert_eq!(overflow_log2(32, 16.5, 1 << 16), f64::NEG_INFINITY);
        assert!(overflow_log2(32, 16.4, 1 << 16) < -128.0);
        assert_eq!(overflow_log2(32, 0.5, 1 << 16), 0.0);
    }

    #[test]
    fn bound_is_above_the_exact_tail_and_near_it() {
        // Exactly, near the end of the range: P(sum > m/2 - t) = t^m / m! for t <= 1.
        for (weight, t) in [(3u32, 1.0f64), (15, 1.0), (32, 1.0), (32, 0.5)] {
            let terms = weight + 1;
            let log_factorial: f64 = (1..=terms).map(|k| f64::from(k).log2()).sum();
            let exact = f64::from(terms) * t.log2() - log_factorial + 1.0;
            let bound = overflow_log2(weight, f64::from(terms) / 2.0 - t, 1);
            assert!(bound >= exact && bound < exact + 8.0, "{bound} {exact}");
        }
        // Near a Gaussian of variance m / 12 in the middle: two-sided tail at 4 deviations is 2^-13.9.
        let bound = overflow_log2(191, 16.0, 1);
        assert!((-14.0..-9.0).contains(&bound), "{bound}");
    }
}
