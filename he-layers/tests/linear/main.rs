//! Tests of layouts and linear maps.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod compose;
mod layout;
mod map;
mod plain;

use he_layers::{Chw, Conv2d, PlainTensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn random_numbers(rng: &mut ChaCha20Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn random_tensor(rng: &mut ChaCha20Rng, n: usize, shape: Chw) -> PlainTensor {
    PlainTensor::new(n, shape, random_numbers(rng, n * shape.volume())).unwrap()
}

/// A convolution with random weights and biases, tap biases included.
fn random_conv(
    rng: &mut ChaCha20Rng,
    (ins, outs): (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
) -> Conv2d {
    let taps = kernel.0 * kernel.1;
    let weight = random_numbers(rng, ins * outs * taps);
    let mut conv = Conv2d::new("conv", (ins, outs), kernel, stride, padding, weight).unwrap();
    conv.bias = random_numbers(rng, outs);
    conv.tap_bias = random_numbers(rng, outs * taps);
    conv
}

fn largest_difference(a: &PlainTensor, b: &PlainTensor) -> f64 {
    assert_eq!((a.n, a.shape), (b.n, b.shape));
    a.data
        .iter()
        .zip(&b.data)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}
