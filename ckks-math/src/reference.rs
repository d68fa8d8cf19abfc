//! Definitions, written out: no tables, no lazy words, no speed. What the kernels are tested against.

use num_complex::Complex64;

use crate::modulus::Modulus;

fn times(q: u64, a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(q)) as u64
}

/// The product of two polynomials modulo `X^n + 1` and `q`, from the definition.
pub fn negacyclic_product(q: u64, a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let p = times(q, x, y);
            let p = if i + j >= n { (q - p) % q } else { p };
            let sum = &mut out[(i + j) % n];
            *sum = ((u128::from(*sum) + u128::from(p)) % u128::from(q)) as u64;
        }
    }
    out
}

/// The transform in evaluation order: word `j` is `a(psi^(2 brv(j) + 1))`, by Horner's rule.
pub fn ntt(q: Modulus, psi: u64, a: &[u64]) -> Vec<u64> {
    let bits = a.len().trailing_zeros();
    let reverse = |j: usize| {
        if bits == 0 {
            0
        } else {
            j.reverse_bits() >> (usize::BITS - bits)
        }
    };
    let point = |j: usize| q.pow(psi, 2 * reverse(j) as u64 + 1);
    let horner = |x: u64| {
        a.iter().rev().fold(0, |sum, &c| {
            ((u128::from(times(q.value(), sum, x)) + u128::from(c)) % u128::from(q.value())) as u64
        })
    };
    (0..a.len()).map(|j| horner(point(j))).collect()
}

/// `a(X^g)` modulo `X^n + 1` and `q`, on coefficients.
pub fn automorphism(q: u64, g: u64, a: &[u64]) -> Vec<u64> {
    let n = a.len() as u64;
    let mut out = vec![0; a.len()];
    for (k, &c) in a.iter().enumerate() {
        let exponent = k as u64 * (g % (2 * n)) % (2 * n);
        out[(exponent % n) as usize] = if exponent >= n { (q - c) % q } else { c };
    }
    out
}

/// The slots of a real polynomial of `n` coefficients: `z_j = a(zeta^(5^j))`, `zeta = exp(i pi / n)`,
/// `j < n/2`, from the definition.
pub fn coeffs_to_slots(a: &[f64]) -> Vec<Complex64> {
    let n = a.len();
    let mut exponent = 1;
    let mut slots = Vec::with_capacity(n / 2);
    for _ in 0..n / 2 {
        let power = |k: usize| {
            Complex64::cis(std::f64::consts::PI * ((k * exponent) % (2 * n)) as f64 / n as f64)
        };
        slots.push(a.iter().enumerate().map(|(k, &c)| power(k) * c).sum());
        exponent = exponent * 5 % (2 * n);
    }
    slots
}
