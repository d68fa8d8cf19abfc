//! The evaluation of [`super::powers`] in double precision, with an error at every rescale.

use super::chebyshev::degree;
use super::powers::{best_baby, is_leaf, split};
use super::{Basis, depth};
use num_complex::Complex64;
use std::collections::BTreeMap;

/// The combination of the members of a basis at `x`, where every rescale but the last adds `noise()`.
pub(crate) fn noisy_combination(
    basis: Basis,
    x: Complex64,
    coeffs: &[Complex64],
    noise: impl FnMut() -> Complex64,
) -> Complex64 {
    let headroom = depth(degree(coeffs)) - 1;
    let mut circuit = Circuit {
        basis,
        baby: best_baby(basis, coeffs, headroom),
        known: BTreeMap::from([(0, Complex64::ONE), (1, x)]),
        noise,
    };
    circuit.sum(coeffs, headroom)
}

struct Circuit<F> {
    basis: Basis,
    baby: usize,
    known: BTreeMap<usize, Complex64>,
    noise: F,
}

impl<F: FnMut() -> Complex64> Circuit<F> {
    fn sum(&mut self, coeffs: &[Complex64], headroom: usize) -> Complex64 {
        let d = degree(coeffs);
        if is_leaf(d, headroom, self.baby) {
            let terms = coeffs.iter().enumerate();
            let present = terms.filter(|(_, c)| **c != Complex64::ZERO);
            return present.map(|(k, c)| self.make(k) * c).sum();
        }
        let g = 1 << d.ilog2();
        let (quotient, remainder) = self.basis.divide(coeffs, g);
        let giant = self.make(g);
        let inner = if d == g {
            quotient[0]
        } else {
            self.sum(&quotient, headroom - 1) + (self.noise)()
        };
        inner * giant + self.sum(&remainder, headroom)
    }

    fn make(&mut self, k: usize) -> Complex64 {
        if let Some(known) = self.known.get(&k) {
            return *known;
        }
        let (a, b) = split(k);
        let product = self.make(a) * self.make(b);
        let value = match self.basis {
            Basis::Monomial => product,
            Basis::Chebyshev => product * 2.0 - self.make(a - b),
        };
        let value = value + (self.noise)();
        self.known.insert(k, value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poly_eval::Chebyshev;

    #[test]
    fn without_noise_it_is_the_polynomial_and_noise_comes_with_every_rescale() {
        for d in 1..40 {
            let coeffs: Vec<f64> = (0..=d).map(|k| 1.0 / f64::from(k + 1)).collect();
            let complex: Vec<Complex64> = coeffs.iter().map(|&c| c.into()).collect();
            let plain = Chebyshev::new(coeffs.clone(), (-1.0, 1.0)).expect("finite");
            let mut rescales = 0;
            let found = noisy_combination(Basis::Chebyshev, 0.3.into(), &complex, || {
                rescales += 1;
                Complex64::ZERO
            });
            assert!((found - plain.evaluate(0.3)).norm() < 1e-13, "{d}");
            let mut counted = 0;
            let level = crate::Level::new(12);
            super::super::visit_steps(Basis::Chebyshev, &complex, level, |step| {
                use super::super::PolyStep::{RelinearizeRescale, Rescale};
                counted += i32::from(matches!(step, RelinearizeRescale(_) | Rescale(_)));
            });
            assert_eq!(rescales + 1, counted, "{d}");
            let z = Complex64::cis(0.7);
            let horner = coeffs
                .iter()
                .rev()
                .fold(Complex64::ZERO, |acc, c| acc * z + c);
            let found = noisy_combination(Basis::Monomial, z, &complex, || Complex64::ZERO);
            assert!((found - horner).norm() < 1e-13, "{d}");
        }
    }
}
