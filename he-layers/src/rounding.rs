//! Weights as integers: what the encrypted products really multiply with.

use std::f64::consts::PI;

/// A constant weight as the integer nearest to `value * scale`, back in units of the weight.
pub(crate) fn round_constant(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

/// A masked weight, one number a cell, through the `2 * cells` rounded coefficients of the polynomial that stands for it.
pub(crate) fn round_masked(cells: &[f64], scale: f64) -> Vec<f64> {
    let n = 2 * cells.len();
    let powers: Vec<usize> = std::iter::successors(Some(1), |p| Some(p * 5 % (2 * n)))
        .take(cells.len())
        .collect();
    let cos: Vec<f64> = (0..2 * n)
        .map(|k| (PI * k as f64 / n as f64).cos())
        .collect();
    let coefficient = |k: usize| {
        let sum: f64 = cells
            .iter()
            .zip(&powers)
            .map(|(v, p)| v * cos[p * k % (2 * n)])
            .sum();
        (sum * scale / cells.len() as f64).round()
    };
    let coefficients: Vec<f64> = (0..=n / 2).map(coefficient).collect();
    let value = |p: &usize| {
        let pairs: f64 = (1..n / 2)
            .map(|k| 2.0 * coefficients[k] * cos[p * k % (2 * n)])
            .sum();
        (coefficients[0] + pairs) / scale
    };
    powers.iter().map(value).collect()
}
