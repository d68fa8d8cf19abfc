//! Compiling is quick: planners compile every map for every grid.

use std::sync::Arc;
use std::time::Instant;

use he_layers::{Chw, Dense, Grid, Layout, Linear, LinearMap, Packing, RotationCosts};

use crate::{random_conv, random_numbers, rng};

#[test]
#[ignore = "prints times"]
fn times_of_compiling() {
    let rng = &mut rng(1);
    let cases = [
        ((16, 16), 32, 3, 1, Grid::new(8, 16)),
        ((16, 16), 32, 3, 1, Grid::new(32, 32)),
        ((128, 128), 4, 3, 1, Grid::new(8, 16)),
        ((128, 128), 4, 3, 1, Grid::new(32, 32)),
        ((64, 128), 8, 3, 2, Grid::new(32, 32)),
        ((128, 128), 4, 3, 1, Grid::new(64, 64)),
        ((3, 64), 224, 7, 2, Grid::new(32, 32)),
        ((64, 64), 224, 3, 1, Grid::new(32, 32)),
        ((64, 64), 224, 3, 1, Grid::new(224, 224)),
        ((64, 64), 224, 3, 1, Grid::new(8, 8)),
        ((512, 512), 7, 3, 1, Grid::new(28, 28)),
    ];
    for (channels, size, kernel, stride, grid) in cases {
        let conv = random_conv(
            rng,
            channels,
            (kernel, kernel),
            (stride, stride),
            (kernel / 2, kernel / 2),
        );
        let linear = Arc::new(Linear::from(conv));
        let shape = Chw::new(channels.0, size, size);
        let input = Layout::new(shape, grid, Packing::Complex, 1 << 16).unwrap();
        let output = linear.output_layout(&input).unwrap();
        let start = Instant::now();
        let map = LinearMap::compile(&linear, &input, &output, &RotationCosts::default()).unwrap();
        println!(
            "conv {channels:?} {size}x{size} k{kernel} s{stride} on {grid}: {:?}, {} tasks",
            start.elapsed(),
            map.tasks().len()
        );
    }
    for (shape, outputs, grid) in [
        (Chw::new(128, 4, 4), 100, Grid::new(8, 16)),
        (Chw::new(512, 7, 7), 1000, Grid::new(28, 28)),
        (Chw::new(16, 32, 32), 120, Grid::new(128, 128)),
    ] {
        let dense = Dense::new(
            "dense",
            shape,
            outputs,
            random_numbers(rng, outputs * shape.volume()),
            vec![0.0; outputs],
        );
        let linear = Arc::new(Linear::from(dense.unwrap()));
        let input = Layout::new(shape, grid, Packing::Complex, 1 << 16).unwrap();
        for clean in [false, true] {
            let start = Instant::now();
            let output = LinearMap::dense_layout(outputs, &input, clean).unwrap();
            let map =
                LinearMap::compile(&linear, &input, &output, &RotationCosts::default()).unwrap();
            println!(
                "dense {shape} to {outputs} on {grid}, clean {clean}: {:?}, {} tasks",
                start.elapsed(),
                map.tasks().len()
            );
        }
    }
}

#[test]
#[ignore = "prints times"]
fn times_of_the_reference() {
    use he_layers::PlainTensor;
    let rng = &mut rng(2);
    for (channels, size, stride) in [
        ((3, 16), 32, 1),
        ((16, 16), 32, 1),
        ((32, 32), 16, 1),
        ((64, 64), 8, 1),
        ((16, 32), 32, 2),
    ] {
        let conv = random_conv(rng, channels, (3, 3), (stride, stride), (1, 1));
        let x = PlainTensor::zeros(500, Chw::new(channels.0, size, size));
        let start = Instant::now();
        let y = conv.forward_plain(&x).unwrap();
        let products = 500 * y.shape.pixels() * channels.0 * channels.1 * 9;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{channels:?} {size}x{size}: {seconds:.3} s, {:.1} GFlop/s",
            2e-9 * products as f64 / seconds
        );
    }
}
