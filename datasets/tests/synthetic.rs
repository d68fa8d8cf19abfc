//! Synthetic images look, to statistics, like CIFAR-10's; and they are the same everywhere.
#![allow(clippy::unwrap_used)]

#[path = "support/common.rs"]
mod common;

use std::f64::consts::TAU;

use common::bytes;
use datasets::{DataError, Dataset, Shape, Synthetic};

const SIDE: usize = 32;
const MEAN: [f64; 3] = [0.4914, 0.4822, 0.4465];
const DEVIATION: [f64; 3] = [0.2470, 0.2435, 0.2616];

/// Planes `[channel][image][pixel]` of the first images of a seed.
fn planes(seed: u64, count: usize) -> [Vec<Vec<f64>>; 3] {
    let values = Synthetic::new(seed).read(0, count).unwrap().view().to_f64();
    let mut planes = [const { Vec::new() }; 3];
    for (i, plane) in values.chunks_exact(SIDE * SIDE).enumerate() {
        planes[i % 3].push(plane.to_vec());
    }
    planes
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn covariance(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let (mean_a, mean_b) = (
        mean(a.iter().flatten().copied()),
        mean(b.iter().flatten().copied()),
    );
    mean(
        a.iter()
            .flatten()
            .zip(b.iter().flatten())
            .map(|(x, y)| (x - mean_a) * (y - mean_b)),
    )
}

#[test]
fn synthetic_mean_deviation_and_correlation_are_those_of_cifar() {
    let planes = planes(1, 1000);
    let deviation: Vec<_> = planes
        .iter()
        .map(|plane| covariance(plane, plane).sqrt())
        .collect();
    for c in 0..3 {
        let found = mean(planes[c].iter().flatten().copied());
        assert!(
            (found - MEAN[c]).abs() < 0.02,
            "mean of channel {c}: {found}"
        );
        assert!(
            (deviation[c] / DEVIATION[c] - 1.0).abs() < 0.03,
            "deviation of channel {c}: {}",
            deviation[c]
        );
    }
    for ((a, b), expected) in [((0, 1), 0.912), ((0, 2), 0.784), ((1, 2), 0.907)] {
        let found = covariance(&planes[a], &planes[b]) / (deviation[a] * deviation[b]);
        assert!(
            (found - expected).abs() < 0.02,
            "correlation of channels {a} and {b}: {found}"
        );
    }
}

/// Mean power of the 32-point discrete Fourier transform over images, by radial frequency 0..=15.
fn radial_power(images: &[Vec<f64>]) -> Vec<f64> {
    let centre = mean(images.iter().flatten().copied());
    let circle: Vec<_> = (0..SIDE)
        .map(|k| (TAU * k as f64 / SIDE as f64).sin_cos())
        .collect();
    let mut power = vec![(0.0, 0.0); SIDE / 2];
    for image in images {
        // Rows first: sums[y][u].
        let mut sums = vec![(0.0, 0.0); SIDE * SIDE];
        for (at, sum) in sums.iter_mut().enumerate() {
            let (y, u) = (at / SIDE, at % SIDE);
            for x in 0..SIDE {
                let (sin, cos) = circle[u * x % SIDE];
                let value = image[y * SIDE + x] - centre;
                *sum = (sum.0 + value * cos, sum.1 - value * sin);
            }
        }
        for (u, v) in (0..SIDE).flat_map(|u| (0..SIDE).map(move |v| (u, v))) {
            let signed = |k: usize| {
                if k > SIDE / 2 {
                    k as f64 - SIDE as f64
                } else {
                    k as f64
                }
            };
            let radius = signed(u).hypot(signed(v)).round() as usize;
            let Some(bin) = power.get_mut(radius) else {
                continue;
            };
            let (mut re, mut im) = (0.0, 0.0);
            for y in 0..SIDE {
                let ((sin, cos), (a, b)) = (circle[v * y % SIDE], sums[y * SIDE + u]);
                re += a * cos + b * sin;
                im += b * cos - a * sin;
            }
            *bin = (
                bin.0 + (re * re + im * im) / (SIDE * SIDE) as f64,
                bin.1 + 1.0,
            );
        }
    }
    power.into_iter().map(|(sum, count)| sum / count).collect()
}

#[test]
fn synthetic_spectrum_is_that_of_cifar() {
    let power = radial_power(&planes(2, 200)[1]);
    // Green plane of CIFAR-10's test images, radial frequencies 0..=14.
    let cifar = [
        16.01, 2.593, 0.6445, 0.2629, 0.1116, 0.0674, 0.0391, 0.0268, 0.0180, 0.0115, 0.0087,
        0.0059, 0.0044, 0.0030, 0.0023,
    ];
    for (frequency, (found, expected)) in power.iter().zip(cifar).enumerate() {
        let ratio = found / expected;
        assert!(
            (0.5..2.0).contains(&ratio),
            "power at frequency {frequency}: {found}, CIFAR-10 has {expected}"
        );
    }
}

#[test]
fn synthetic_image_depends_on_seed_and_number_only() {
    let data = Synthetic::new(7);
    let all = data.read(0, 12).unwrap();
    let some = data.read(5, 3).unwrap();
    assert_eq!(bytes(some.view()), bytes(all.view().range(5..8)));
    assert_eq!(some.view().first(), 5);
    assert_ne!(
        all.view().range(0..1).pixels(),
        all.view().range(1..2).pixels()
    );
    assert_ne!(
        Synthetic::new(8).read(0, 1).unwrap().view().pixels(),
        all.view().range(0..1).pixels()
    );
    assert_eq!(
        (data.num_images(), data.num_classes(), all.labels()),
        (None, None, None)
    );
}

/// Only exactly rounded operations are used, so these hold on every machine.
#[test]
fn kat_synthetic_images_seed_0() {
    let pixels = Synthetic::new(0).read(0, 2).unwrap();
    let sums: Vec<u64> = bytes(pixels.view())
        .chunks_exact(SIDE * SIDE)
        .map(|plane| plane.iter().map(|&p| u64::from(p)).sum())
        .collect();
    assert_eq!(
        bytes(pixels.view())[..8],
        [112, 105, 82, 66, 45, 62, 89, 88]
    );
    assert_eq!(sums, [84379, 90576, 84762, 152950, 137770, 140129]);
}

#[test]
fn synthetic_images_beyond_memory_are_an_error() {
    for count in [usize::MAX, usize::MAX / 4000] {
        let error = Synthetic::new(1).read(0, count).unwrap_err();
        assert!(matches!(error, DataError::Memory { .. }), "{error}");
    }
}

/// FNV-1a of images 3 to 6 of seed 5, as they were before other shapes were possible.
#[test]
fn kat_synthetic_images_of_square_shapes() {
    for (channels, side, expected) in [
        (1, 4, 0x5cea_5933_75d1_876d_u64),
        (2, 8, 0xbd38_b45d_1dc2_df4d),
        (3, 16, 0x0f2d_3d79_2612_df2d),
        (3, 32, 0xd3ea_c2b9_eff9_fd25),
        (3, 64, 0x278f_3066_3605_6c82),
    ] {
        let data = Synthetic::with_shape(5, shape(channels, side, side)).unwrap();
        let hash = bytes(data.read(3, 4).unwrap().view())
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        assert_eq!(hash, expected, "{channels} x {side} x {side}");
    }
}

fn shape(channels: usize, height: usize, width: usize) -> Shape {
    Shape {
        channels,
        height,
        width,
    }
}

fn first_image(shape: Shape) -> Vec<u8> {
    bytes(
        Synthetic::with_shape(3, shape)
            .unwrap()
            .read(0, 1)
            .unwrap()
            .view(),
    )
}

#[test]
fn synthetic_images_of_any_shape_are_parts_of_square_ones() {
    let whole = first_image(shape(3, 64, 64));
    let part = first_image(shape(3, 40, 33));
    for (at, &pixel) in part.iter().enumerate() {
        let (c, y, x) = (at / (40 * 33), at / 33 % 40, at % 33);
        assert_eq!(pixel, whole[(c * 64 + y) * 64 + x]);
    }
    // Images beyond 64 pixels go through the same points: 127 = 2 * 63 + 1.
    let large = first_image(shape(2, 100, 127));
    let whole = first_image(shape(2, 64, 64));
    for (c, y, x) in [(0, 0, 0), (0, 7, 63), (1, 49, 31)] {
        let pixel = large[(c * 100 + 2 * y) * 127 + 2 * x];
        assert_eq!(pixel, whole[(c * 64 + y) * 64 + x]);
    }
}

#[test]
fn synthetic_channels_beyond_three_are_other_images() {
    let one = shape(1, 32, 32);
    let images = Synthetic::with_shape(4, shape(7, 32, 32)).unwrap();
    let images = bytes(images.read(0, 40).unwrap().view());
    let planes = |channel: usize| -> Vec<Vec<f64>> {
        images
            .chunks_exact(one.values())
            .skip(channel)
            .step_by(7)
            .map(|plane| plane.iter().map(|&p| f64::from(p) / 255.0).collect())
            .collect()
    };
    let correlation = |a: usize, b: usize| {
        let (a, b) = (planes(a), planes(b));
        covariance(&a, &b) / (covariance(&a, &a) * covariance(&b, &b)).sqrt()
    };
    assert!(correlation(3, 4) > 0.8 && correlation(4, 5) > 0.8);
    for (a, b) in [(0, 3), (2, 3), (3, 6), (0, 6)] {
        assert!(correlation(a, b).abs() < 0.3, "channels {a} and {b}");
    }
}

#[test]
fn synthetic_shapes_are_checked() {
    for (channels, height, width) in [
        (1, 1, 1),
        (3, 28, 28),
        (2, 40, 24),
        (5, 25, 17),
        (3, 224, 224),
        (1, 4096, 1),
        (4096, 1, 2),
        (1, 3, 4096),
    ] {
        let shape = shape(channels, height, width);
        let images = Synthetic::with_shape(3, shape).unwrap().read(2, 2).unwrap();
        assert_eq!((images.shape(), images.len()), (shape, 2));
        let pixels = bytes(images.view());
        assert_eq!(pixels.len(), 2 * shape.values());
        assert!(pixels.iter().any(|&p| p != pixels[0]));
    }
    for (channels, height, width) in [
        (0, 32, 32),
        (3, 0, 16),
        (3, 2, 0),
        (4097, 1, 1),
        (3, 4097, 24),
        (3, 128, usize::MAX),
    ] {
        let error = Synthetic::with_shape(3, shape(channels, height, width)).unwrap_err();
        assert!(matches!(error, DataError::SyntheticShape { .. }));
        assert!(
            error
                .to_string()
                .contains(&format!("found {channels} x {height} x {width}")),
            "{error}"
        );
    }
}
