//! Networks that end at their features.

use datasets::{Dataset, Shape, Synthetic};
use he_layers::PlainTensor;
use he_models::{FeatureUnits, Model, features, model_files};

fn images(count: usize) -> Vec<f64> {
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let images = Synthetic::with_shape(3, shape).unwrap().read(0, count);
    images.unwrap().view().to_f64()
}

fn features_of(activation: Option<&str>, units: Option<&FeatureUnits>) -> Model {
    let (spec, weights) = model_files("tiny").unwrap();
    features(&spec, &weights, activation, units).unwrap()
}

/// Largest difference, relative to the largest of the expected numbers.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let size = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
    off.fold(0.0, f64::max) / size
}

#[test]
fn logits_are_an_affine_map_of_the_last_features() {
    let raw = features_of(None, None);
    assert_eq!(raw.classes().len(), 8);
    // Weights that add up to 1 and cancel the features of 9 images cancel their logits, for any affine map.
    let (count, images) = (10, images(10));
    let values = raw.logits(&images).unwrap();
    let logits = Model::bundled("tiny").unwrap().logits(&images).unwrap();
    // x_9 = sum_i a_i x_i over the first 9 images, with sum_i a_i = 1.
    let n = count - 1;
    let mut system: Vec<Vec<f64>> = (0..n)
        .map(|row| {
            let entry = |image: usize| match row {
                8 => 1.0,
                _ => values[image * 8 + row],
            };
            (0..count).map(entry).collect()
        })
        .collect();
    for pivot in 0..n {
        let best = (pivot..n).max_by(|a, b| {
            let size = |row: &usize| system[*row][pivot].abs();
            size(a).total_cmp(&size(b))
        });
        system.swap(pivot, best.unwrap());
        for row in 0..n {
            let factor = system[row][pivot] / system[pivot][pivot];
            if row != pivot {
                let pivots = system[pivot].clone();
                let cells = system[row].iter_mut().zip(&pivots).skip(pivot);
                cells.for_each(|(cell, pivot)| *cell -= factor * pivot);
            }
        }
    }
    let share: Vec<f64> = (0..n).map(|i| system[i][n] / system[i][i]).collect();
    let combined: Vec<f64> = (0..10)
        .map(|class| (0..n).map(|i| share[i] * logits[i * 10 + class]).sum())
        .collect();
    assert!(difference(&combined, &logits[n * 10..]) < 1e-6);
}

#[test]
fn features_come_in_the_units_that_are_asked_for_and_their_networks_can_be_lowered() {
    for (activation, count) in [(None, 8), (Some("stage1.block1.act2"), 4)] {
        let images = images(24);
        let values = features_of(activation, None).logits(&images).unwrap();
        let units = FeatureUnits::of(&values, count);
        let model = features_of(activation, Some(&units));
        let root = (count as f64).sqrt();
        let in_units = |(at, x): (usize, &f64)| {
            (x - units.mean[at % count]) / units.deviation[at % count] / root
        };
        let expected: Vec<f64> = values.iter().enumerate().map(in_units).collect();
        assert!(difference(&model.logits(&images).unwrap(), &expected) < 1e-9);
        // In their units, squares of features have the mean 1 / count.
        let square: f64 = expected.iter().map(|x| x * x).sum();
        assert!((square / 24.0 - 1.0).abs() < 1e-9);

        let lowered = model.lower().unwrap();
        let images = PlainTensor::new(24, lowered.input, images).unwrap();
        let found = lowered.program.forward_plain(&images).unwrap().data;
        assert!(difference(&found, &expected) < 1e-9);
    }
}

#[test]
fn units_of_constant_features_are_finite() {
    let units = FeatureUnits::of(&[1.0, 2.0, 1.0, 4.0], 2);
    assert_eq!(units.mean, [1.0, 3.0]);
    assert_eq!(units.deviation[1], 1.0);
    assert!(units.deviation[0] > 0.0);
}

#[test]
fn features_that_there_are_not_are_refused() {
    let (spec, weights) = model_files("tiny").unwrap();
    let error = features(&spec, &weights, Some("final.pool"), None).unwrap_err();
    assert!(error.to_string().contains("final.pool"), "{error}");
    let units = FeatureUnits {
        mean: vec![0.0; 3],
        deviation: vec![1.0; 3],
    };
    let error = features(&spec, &weights, None, Some(&units)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected 8, one for each feature"),
        "{error}"
    );
}
