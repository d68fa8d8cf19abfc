//! Encrypted runs of linear maps on maps of odd sizes, at small rings without security.

use std::sync::Arc;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{Evaluator, Parameters, Scale};
use he_layers::{
    Chw, Client, Conv2d, Dense, Grid, Layer, Layout, Packing, Preparation, Program, Square,
};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::{largest_difference, random_conv, random_numbers, random_tensor, rng};

/// The kernel named by POLYPHASE_KERNEL, so that the suite can run on any.
fn kernel() -> KernelChoice {
    std::env::var("POLYPHASE_KERNEL").map_or(KernelChoice::Auto, |name| name.parse().unwrap())
}

/// Runs a program on random images: the largest difference to the same with rounded weights, its bound, and the largest
/// difference to the exact one as a share of the largest output.
fn errors(
    rng: &mut ChaCha20Rng,
    program: &Program,
    layout: Layout,
    levels: usize,
) -> (f64, f64, f64) {
    let params = Parameters::builder()
        .log_n(layout.slots().ilog2() + 1)
        .q_bits([50].into_iter().chain(vec![48; levels - 1]))
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap();
    let shape = layout.shape();
    let to = Preparation::new(&params, Scale::new(2f64.powi(30)), layout);
    let prepared = program.prepare(&to).unwrap();
    let (mut client, keys) = Client::new(&params, &prepared, rng).unwrap();
    let x = random_tensor(rng, prepared.images(), shape);
    let server = Evaluator::new(&params, Arc::new(keys));
    let images = client.encrypt(&x).unwrap();
    let sums = prepared.forward(&server, images, 1).unwrap();
    let bounds = sums
        .ciphertexts()
        .iter()
        .map(|ct| ct.tracked().error_bound());
    let bound = bounds.fold(0.0, f64::max);
    let y = client.decrypt(&sums, x.n).unwrap();
    let rounded = prepared.forward_rounded(program, &x).unwrap();
    let exact = program.forward_plain(&x).unwrap();
    let largest = exact.data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    (
        largest_difference(&y, &rounded),
        bound,
        largest_difference(&y, &exact) / largest,
    )
}

fn square(rng: &mut ChaCha20Rng, channels: usize) -> Square {
    let t = (0..channels).map(|_| rng.random_range(-0.5..0.5)).collect();
    Square::new("square", t, vec![8.0; channels], vec![9.0; channels]).unwrap()
}

#[test]
fn single_maps_of_any_kind_run_encrypted() {
    let rng = &mut rng(1);
    let cases = [
        ((7, 5), Grid::new(4, 6), Packing::Complex, 2, (2, 2)),
        ((9, 3), Grid::new(1, 8), Packing::Real, 1, (1, 3)),
        ((12, 10), Grid::new(12, 10), Packing::Complex, 3, (2, 1)),
        ((5, 1), Grid::new(8, 1), Packing::Real, 1, (1, 1)),
    ];
    for ((height, width), grid, packing, groups, stride) in cases {
        let shape = Chw::new(6, height, width);
        let mut conv = random_conv(rng, (6, 6), (3, 3), stride, (1, 1));
        conv.groups = groups;
        conv.weight.truncate(conv.weight.len() / groups);
        let layout = Layout::new(shape, grid, packing, 512).unwrap();
        let program = Program::of_layers("conv", shape, &[&conv as &dyn Layer]).unwrap();
        let (noise, bound, error) = errors(rng, &program, layout.clone(), 3);
        assert!(
            noise < bound && bound < 30.0 * noise,
            "{shape} on {grid}: {noise} {bound}"
        );
        assert!(error < 0.02, "{shape} on {grid}: {error}");
        let weight = random_numbers(rng, 7 * shape.volume());
        let dense = Dense::new("dense", shape, 7, weight, random_numbers(rng, 7)).unwrap();
        let program = Program::of_layers("dense", shape, &[&dense as &dyn Layer]).unwrap();
        let (noise, bound, error) = errors(rng, &program, layout, 3);
        assert!(
            noise < bound && bound < 30.0 * noise,
            "{shape} on {grid}: {noise} {bound}"
        );
        assert!(error < 0.02, "{shape} on {grid}: {error}");
    }
}

/// Convolution, square, pooling, convolution, square, dense, square, dense on 14x14 maps: the second to last dense layer must
/// be clean.
#[test]
fn a_small_lenet_runs_encrypted() {
    let rng = &mut rng(2);
    let small = |mut conv: Conv2d| {
        conv.weight.iter_mut().for_each(|w| *w *= 0.2);
        conv
    };
    let shape = Chw::new(1, 14, 14);
    let first = small(random_conv(rng, (1, 4), (3, 3), (1, 1), (1, 1)));
    let pool = Conv2d::average_pool("pool", 4, (2, 2), (2, 2)).unwrap();
    let second = small(random_conv(rng, (4, 6), (3, 3), (2, 2), (0, 0)));
    let flat = Chw::new(6, 3, 3);
    let weight = random_numbers(rng, 12 * 54)
        .iter()
        .map(|w| 0.3 * w)
        .collect();
    let dense = Dense::new("dense", flat, 12, weight, random_numbers(rng, 12)).unwrap();
    let weight = random_numbers(rng, 120);
    let last = Dense::new("last", Chw::new(12, 1, 1), 10, weight, vec![0.1; 10]).unwrap();
    let squares = [4, 6, 12].map(|channels| square(rng, channels));
    let layers: [&dyn Layer; 8] = [
        &first,
        &squares[0],
        &pool,
        &second,
        &squares[1],
        &dense,
        &squares[2],
        &last,
    ];
    let program = Program::of_layers("lenet", shape, &layers).unwrap();
    for (grid, packing) in [
        (Grid::new(14, 14), Packing::Complex),
        (Grid::new(16, 16), Packing::Real),
        (Grid::new(4, 8), Packing::Complex),
    ] {
        let layout = Layout::new(shape, grid, packing, 512).unwrap();
        let (noise, bound, error) = errors(rng, &program, layout, 9);
        assert!(noise < bound, "{grid}: {noise} {bound}");
        assert!(error < 0.01, "{grid}: {error}");
    }
}
