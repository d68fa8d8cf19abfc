//! The plaintext network against loops that follow its definition.

use std::collections::BTreeMap;

use he_models::{Model, ModelError, graph::LayerSpec};
use proptest::prelude::*;

use crate::network::{Extents, Network};

/// `[channel][row][column]`.
type Map = Vec<Vec<Vec<f64>>>;

/// The network as its definition says, one image at a time.
struct Definition<'a> {
    network: &'a Network,
    /// Largest |x + t| by activation and channel.
    largest: BTreeMap<String, Vec<f64>>,
}

impl Definition<'_> {
    fn tensor(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let tensor = &self.network.tensors[name];
        (tensor.shape.clone(), tensor.values())
    }

    fn conv(&self, name: &str, stride: usize, x: &Map) -> Map {
        let (shape, weight) = self.tensor(&format!("{name}.weight"));
        let (height, width, side) = (x[0].len(), x[0][0].len(), shape[2]);
        let at = |i: usize, y: i64, z: i64| {
            let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&z);
            if inside {
                x[i][y as usize][z as usize]
            } else {
                0.0
            }
        };
        let pixel = |o: usize, y: usize, z: usize| {
            let mut sum = 0.0;
            for i in 0..shape[1] {
                for ky in 0..side {
                    for kx in 0..side {
                        let w = weight[((o * shape[1] + i) * side + ky) * side + kx];
                        let (y, z) = ((y * stride + ky) as i64, (z * stride + kx) as i64);
                        sum += w * at(i, y - side as i64 / 2, z - side as i64 / 2);
                    }
                }
            }
            sum
        };
        let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
        let row = |o, y| (0..columns).map(|z| pixel(o, y, z)).collect();
        (0..shape[0])
            .map(|o| (0..rows).map(|y| row(o, y)).collect())
            .collect()
    }

    fn activate(&mut self, name: &str, x: &Map) -> Map {
        let [(_, g), (_, t), (_, d)] = ["g", "t", "d"].map(|p| self.tensor(&format!("{name}.{p}")));
        let largest = self
            .largest
            .entry(name.into())
            .or_insert_with(|| vec![0.0; x.len()]);
        let mut y = x.clone();
        for (c, channel) in y.iter_mut().enumerate() {
            for value in channel.iter_mut().flatten() {
                largest[c] = f64::max(largest[c], (*value + t[c]).abs());
                *value = g[c] * (*value + t[c]).powi(2) + d[c];
            }
        }
        y
    }

    fn logits(&mut self, image: &[f64]) -> Vec<f64> {
        let input = &self.network.spec.input;
        let mut x: Map = image
            .chunks(input.height * input.width)
            .zip(input.mean.iter().zip(&input.std))
            .map(|(channel, (mean, std))| {
                let normalised: Vec<f64> = channel.iter().map(|p| (p - mean) / std).collect();
                normalised
                    .chunks(input.width)
                    .map(<[f64]>::to_vec)
                    .collect()
            })
            .collect();
        for layer in &self.network.spec.layers {
            match layer {
                LayerSpec::Stem { name, stride, .. } => x = self.conv(name, *stride, &x),
                LayerSpec::PreActBlock { name, stride, .. } => {
                    let h = self.activate(&format!("{name}.act1"), &x);
                    let inner = self.conv(&format!("{name}.conv1"), *stride, &h);
                    let inner = self.activate(&format!("{name}.act2"), &inner);
                    let branch = self.conv(&format!("{name}.conv2"), 1, &inner);
                    let shortcut = format!("{name}.shortcut");
                    if self
                        .network
                        .tensors
                        .contains_key(&format!("{shortcut}.weight"))
                    {
                        x = self.conv(&shortcut, *stride, &h);
                    }
                    let sums = x.iter_mut().flatten().flatten();
                    sums.zip(branch.iter().flatten().flatten())
                        .for_each(|(a, b)| *a += b);
                }
                LayerSpec::Head { activation, .. } => x = self.activate(activation, &x),
            }
        }
        let mean =
            |c: &Vec<Vec<f64>>| c.iter().flatten().sum::<f64>() / c.iter().flatten().count() as f64;
        let means: Vec<f64> = x.iter().map(mean).collect();
        let (_, weight) = self.tensor("fc.weight");
        let (_, bias) = self.tensor("fc.bias");
        let rows = weight.chunks(means.len()).zip(&bias);
        let dot = |row: &[f64]| row.iter().zip(&means).map(|(w, m)| w * m).sum::<f64>();
        rows.map(|(row, bias)| bias + dot(row)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn prop_evaluation_follows_the_definition(extents in Extents::any(), seed: u64) {
        let mut network = Network::random(&extents, seed);
        let images = network.images(3);
        let model = network.model().unwrap();
        let evaluation = model.evaluate(&images).unwrap();
        let mut definition = Definition { network: &network, largest: BTreeMap::new() };
        let expected: Vec<f64> =
            images.chunks(model.image_len()).flat_map(|image| definition.logits(image)).collect();
        let size = expected.iter().fold(1.0, |m: f64, l| m.max(l.abs()));
        for (found, expected) in evaluation.logits.iter().zip(&expected) {
            prop_assert!((found - expected).abs() < 1e-11 * size, "{found} against {expected}");
        }
        prop_assert_eq!(evaluation.images(), 3);
        for record in &evaluation.activations {
            for (found, expected) in record.max_abs.iter().zip(&definition.largest[&record.name]) {
                prop_assert!((found - expected).abs() <= 1e-11 * expected.max(1.0));
            }
        }
    }
}

fn small() -> (Network, Model, Vec<f64>) {
    let mut network = Network::random(&Extents::small(), 1);
    let images = network.images(50);
    let model = network.model().unwrap();
    (network, model, images)
}

#[test]
fn evaluation_in_parts_is_the_evaluation_of_all() {
    let (_, model, images) = small();
    let whole = model.evaluate(&images).unwrap();
    let (first, second) = images.split_at(32 * model.image_len());
    let mut parts = model.evaluate(first).unwrap();
    parts.append(model.evaluate(second).unwrap());
    for (a, b) in parts.activations.iter_mut().zip(&whole.activations) {
        for (a, b) in a.sum_squares.iter_mut().zip(&b.sum_squares) {
            assert!((*a / b - 1.0).abs() < 1e-14);
            *a = *b;
        }
    }
    assert_eq!(parts, whole);
    let nothing = model.evaluate(&[]).unwrap();
    assert_eq!((nothing.images(), nothing.out_of_range.len()), (0, 0));
}

#[test]
fn evaluation_does_not_depend_on_threads() {
    let (_, model, images) = small();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| model.evaluate(&images).unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn evaluation_rejects_a_part_of_an_image() {
    let (_, model, images) = small();
    let error = model.evaluate(&images[1..]).unwrap_err();
    assert!(
        matches!(
            error,
            ModelError::ImageShape {
                found: 3199,
                expected: 64,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn images_out_of_range_are_found_by_channel() {
    let (_, model, images) = small();
    let statistics = model.evaluate(&images).unwrap().statistics();
    let model = model.with_statistics(statistics.clone()).unwrap();
    assert_eq!(
        model.evaluate(&images).unwrap().out_of_range,
        Vec::<usize>::new()
    );

    // The range of one channel shrinks below what one image reaches: that image is out, and perhaps others.
    let mut shrunk = statistics;
    let channel = &mut shrunk[2];
    channel.declared[1] *= 0.499;
    channel.second_moment[1] = channel.second_moment[1].min(channel.declared[1].powi(2));
    let model = model.with_statistics(shrunk).unwrap();
    let evaluation = model.evaluate(&images).unwrap();
    assert!(!evaluation.out_of_range.is_empty());
    assert_eq!(evaluation.activations[2].tightest_channel(), 1);
    for (i, image) in images.chunks(model.image_len()).enumerate() {
        let alone = model.evaluate(image).unwrap();
        assert_eq!(
            alone.out_of_range.len(),
            usize::from(evaluation.out_of_range.contains(&i))
        );
    }
}

#[test]
fn a_pixel_that_is_not_a_number_is_out_of_range() {
    let (_, model, mut images) = small();
    let model = {
        let statistics = model.evaluate(&images).unwrap().statistics();
        model.with_statistics(statistics).unwrap()
    };
    images[7 * model.image_len()] = f64::NAN;
    let evaluation = model.evaluate(&images).unwrap();
    assert_eq!(evaluation.out_of_range, [7]);
    assert!(evaluation.activations[0].max_abs[0].is_nan());
    assert_eq!(evaluation.predictions().count(), 50);
}

#[test]
fn statistics_are_twice_the_maximum_and_the_mean_square() {
    let (_, model, images) = small();
    let evaluation = model.evaluate(&images).unwrap();
    let pixels = [64, 64, 64, 16, 16];
    for ((record, entry), pixels) in evaluation
        .activations
        .iter()
        .zip(evaluation.statistics())
        .zip(pixels)
    {
        assert_eq!(record.values, 50 * pixels);
        for (c, declared) in entry.declared.iter().enumerate() {
            let ratio = declared / record.max_abs[c];
            assert!((2.0..2.002).contains(&ratio), "{ratio}");
            let moment = record.sum_squares[c] / record.values as f64;
            assert!((entry.second_moment[c] / moment - 1.0).abs() < 5e-4);
        }
    }
}

#[test]
fn predictions_take_the_first_of_equal_logits() {
    let (_, model, _) = small();
    let mut evaluation = model.evaluate(&[]).unwrap();
    evaluation.logits = vec![0.0, 3.0, 3.0, 1.0, -1.0, -2.0, -3.0, -0.5];
    assert_eq!(evaluation.predictions().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(evaluation.accuracy(&[1, 0]), 0.5);
}
