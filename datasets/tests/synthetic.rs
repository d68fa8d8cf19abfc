//! Synthetic images look, to statistics, like CIFAR-10's; and they are the same everywhere.
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;

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
    assert_eq!(some.view().pixels(), all.view().range(5..8).pixels());
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
    let sums: Vec<u64> = pixels
        .view()
        .pixels()
        .chunks_exact(SIDE * SIDE)
        .map(|plane| plane.iter().map(|&p| u64::from(p)).sum())
        .collect();
    assert_eq!(
        pixels.view().pixels()[..8],
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

#[test]
fn synthetic_shapes_are_checked() {
    for (channels, side) in [(1, 4), (2, 8), (3, 16), (3, 64)] {
        let shape = Shape {
            channels,
            height: side,
            width: side,
        };
        let images = Synthetic::with_shape(3, shape).unwrap().read(2, 5).unwrap();
        assert_eq!((images.shape(), images.len()), (shape, 5));
        assert_eq!(images.view().pixels().len(), 5 * shape.values());
    }
    for (channels, height, width) in [
        (0, 32, 32),
        (4, 32, 32),
        (3, 32, 16),
        (3, 2, 2),
        (3, 24, 24),
        (3, 128, 128),
    ] {
        let error = Synthetic::with_shape(
            3,
            Shape {
                channels,
                height,
                width,
            },
        )
        .unwrap_err();
        assert!(matches!(error, DataError::SyntheticShape { .. }));
        assert!(
            error
                .to_string()
                .contains(&format!("found {channels} x {height} x {width}")),
            "{error}"
        );
    }
}
