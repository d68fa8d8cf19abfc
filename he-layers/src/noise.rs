//! Predicted errors, in value units: standard deviations of one real component.
//!
//! A rescale leaves `r0 + r1 s`, `r0` and `r1` uniform in `[-1/2, 1/2]` in every coefficient and `s` the ternary secret:
//! coefficients of variance `(1 + 2N/3) / 12`. A real slot component is a sum of `N` coefficients times cosines of mean
//! square 1/2, so its variance is `N / 2` times that: `2^13.4` at `N = 2^16`, over the scale.
//!
//! Errors of different channels, taps and operations are taken as independent. Noise of key switches is left out: it stands
//! at the squares' scale and does not count.

use ckks_scheme::{NoiseModel, Scale};

/// Error of a rescale that arrives at `scale`, for ciphertexts of `slots` complex slots.
pub fn rounding_std(slots: usize, scale: Scale) -> f64 {
    NoiseModel::new(slots.ilog2() + 1).rounding() / scale.value()
}

/// Error of `v^2` for values of mean square `second_moment` and error `std`: `2 v e + e^2`.
pub fn square_std(std: f64, second_moment: f64) -> f64 {
    let variance = std * std;
    (4.0 * second_moment * variance + 3.0 * variance * variance).sqrt()
}

/// Variance of the rounding error, in each cell, of a weight that repeats after `period` cells: that of one rounded integer
/// if it is the same in all cells, of `2 * period` coefficients otherwise.
pub fn weight_rounding_variance(period: usize, scale: Scale) -> f64 {
    let coefficients = if period == 1 { 1 } else { 2 * period };
    coefficients as f64 / (12.0 * scale.value().powi(2))
}
