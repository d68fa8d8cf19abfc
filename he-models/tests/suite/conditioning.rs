//! Conditioning of pictures: the definition that the training shares, model files that declare it, and where it is done.

use he_layers::{Chw, PlainTensor};
use he_models::{Conditioning, Model, ModelSpec, spec::InputSpec};
use proptest::prelude::*;
use serde::Deserialize;

use crate::network::{Kind, Network, file};

/// A picture and what it becomes. Written by `python -m hetrain.conditioning --vectors FILE` in `he-models/training`.
#[derive(Deserialize)]
struct Vector {
    name: String,
    input: InputSpec,
    pixels: Vec<u8>,
    expected: Vec<f64>,
}

#[test]
fn kat_conditioned_pictures() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../vectors/conditioning.json")).unwrap();
    assert!(vectors.len() >= 8);
    for vector in vectors {
        vector.input.validate("vector").unwrap();
        let pixels = vector.pixels.iter();
        let mut picture: Vec<f64> = pixels.map(|&p| f64::from(p) / 255.0).collect();
        vector.input.condition(&mut picture);
        assert_eq!(picture.len(), vector.expected.len());
        for (found, expected) in picture.iter().zip(&vector.expected) {
            let name = &vector.name;
            assert!(
                (found - expected).abs() < 1e-12,
                "{name}: {found}, {expected}"
            );
        }
    }
}

/// Limits for `channels` components and so many bands.
fn limits(channels: usize, bands: usize, size: f64) -> Conditioning {
    Conditioning {
        opponent: channels == 3,
        bands: vec![vec![size; bands]; channels],
        means: vec![(0.5, size); channels],
    }
}

fn deviation(values: &[f64], from: f64) -> f64 {
    let squares = values.iter().map(|x| (x - from).powi(2)).sum::<f64>();
    (squares / values.len() as f64).sqrt()
}

proptest! {
    #[test]
    fn prop_a_picture_within_all_limits_stays_what_it_is(
        (channels, height, width) in (1..5usize, 1..12usize, 1..12usize),
        bands in 1..6usize,
        seed: u64,
    ) {
        let shape = Chw::new(channels, height, width);
        let picture = photograph(shape, seed);
        let mut conditioning = limits(channels, bands, 0.0);
        let found = conditioning.measure(shape, &picture);
        for (c, strength) in found.iter().enumerate() {
            // As tight as they can be.
            conditioning.bands[c].clone_from(&strength.bands);
            conditioning.means[c] = (strength.mean, 0.0);
        }
        let mut after = picture.clone();
        conditioning.apply(shape, &mut after);
        for (a, b) in after.iter().zip(&picture) {
            prop_assert!((a - b).abs() < 1e-12);
        }
        // What is tighter changes it.
        if let Some(rms) = conditioning.bands[0].iter_mut().find(|rms| **rms > 1e-6) {
            *rms *= 0.9;
            let mut tighter = picture.clone();
            conditioning.apply(shape, &mut tighter);
            prop_assert!(tighter.iter().zip(&picture).any(|(a, b)| (a - b).abs() > 1e-8));
        }
    }

    #[test]
    fn prop_no_picture_is_stronger_than_all_limits_together(
        (channels, height, width) in (1..4usize, 1..12usize, 1..12usize),
        bands in 1..5usize,
        size in 0.0..0.5f64,
        strength in 0.1..1e4f64,
        values in prop::collection::vec(-1.0..1.0f64, 3 * 144),
    ) {
        let shape = Chw::new(channels, height, width);
        let conditioning = limits(channels, bands, size);
        let mut picture: Vec<f64> = values[..shape.volume()].iter().map(|v| v * strength).collect();
        conditioning.apply(shape, &mut picture);
        let found = conditioning.measure(shape, &picture);
        prop_assert_eq!(found.len(), channels);
        // A rotation of the components keeps the sum of their squares.
        let most = size * (bands as f64 + 1.0);
        let of_channels = picture.chunks_exact(shape.pixels()).zip([0.5; 3]);
        let sum: f64 = if conditioning.opponent {
            let root = 3f64.sqrt();
            let grey: Vec<f64> = (0..shape.pixels())
                .map(|i| (0..3).map(|c| picture[c * shape.pixels() + i]).sum::<f64>() / root)
                .collect();
            deviation(&grey, 0.5)
        } else {
            of_channels.map(|(map, center)| deviation(map, center)).fold(0.0, f64::max)
        };
        prop_assert!(sum <= most + 1e-9, "{sum} beyond {most}");
    }
}

/// A picture as photographs are: coarse waves stronger than fine ones.
fn photograph(shape: Chw, seed: u64) -> Vec<f64> {
    use datasets::{Dataset, Shape, Synthetic};
    let Chw {
        channels,
        height,
        width,
    } = shape;
    let shape = Shape {
        channels,
        height,
        width,
    };
    let images = Synthetic::with_shape(seed, shape).unwrap().read(0, 1);
    images.unwrap().view().to_f64()
}

/// A random network, its input conditioned, and pictures for it: photographs and noise of twice the contrast.
fn conditioned(seed: u64) -> (Model, ModelSpec, Vec<f64>) {
    let mut net = Network::random(Kind::Quadratic, seed);
    let channels = net.spec.input.channels;
    net.spec.input.conditioning = Some(limits(channels, 3, 0.1));
    let model = Model::new(net.spec.clone(), &file(&net.tensors)).unwrap();
    let shape = model.input_shape();
    let noise = |i: usize| 2.0 * ((i * i * 31 % 97) as f64 / 96.0) - 0.5;
    let mut pictures = photograph(shape, seed);
    pictures.extend((0..shape.volume()).map(noise));
    (model, net.spec, pictures)
}

#[test]
fn evaluations_condition_their_pictures_and_programs_read_conditioned_ones() {
    for seed in 0..10 {
        let (model, spec, pictures) = conditioned(seed);
        let evaluation = model.evaluate(&pictures).unwrap();
        let model = model.with_statistics(evaluation.statistics()).unwrap();

        let mut inputs = pictures.clone();
        spec.input.condition(&mut inputs);
        assert!(
            inputs
                .iter()
                .zip(&pictures)
                .any(|(a, b)| (a - b).abs() > 0.01)
        );
        assert_eq!(
            model.graph().evaluate(&inputs).unwrap().logits,
            evaluation.logits
        );
        assert_ne!(
            model.graph().evaluate(&pictures).unwrap().logits,
            evaluation.logits
        );
        let parts = [Ok(pictures.clone()), Ok(pictures.clone())];
        let measured = model
            .measure::<he_models::ModelError>(parts, |_| ())
            .unwrap();
        assert_eq!(measured.statistics(), evaluation.statistics());

        let lowered = model.lower().unwrap();
        let inputs = PlainTensor::new(2, lowered.input, inputs).unwrap();
        let found = lowered.program.forward_plain(&inputs).unwrap().data;
        let size = evaluation
            .logits
            .iter()
            .fold(0.0, |m: f64, l| m.max(l.abs()));
        for (a, b) in found.iter().zip(&evaluation.logits) {
            assert!((a - b).abs() <= 1e-9 * size, "{a} against {b}");
        }
    }
}

#[test]
fn the_mean_picture_is_zeros_to_the_network() {
    let input = Model::bundled("tiny").unwrap().spec().input.clone();
    let pixels = input.height * input.width;
    for (i, x) in input.mean_picture().iter().enumerate() {
        assert_eq!(*x, input.mean[i / pixels]);
    }
}

#[test]
fn conditioning_is_part_of_the_model_file_and_its_checksum() {
    let text = include_str!("../../checkpoints/tiny/tiny.ron");
    let plain = ModelSpec::parse(text, "tiny.ron").unwrap();
    assert!(plain.input.conditioning.is_none());
    // Nothing is written of what is not there.
    assert!(!plain.to_ron().unwrap().contains("conditioning"));

    let bands = "bands: [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.01, 0.02, 0.03]]";
    let means = "means: [(0.8, 0.4), (0.0, 0.2), (-0.01, 0.1)]";
    for declared in [
        format!("(opponent: true, {bands}, {means})"),
        format!("Some((opponent: true, {bands}, {means}))"),
    ] {
        let text = text.replacen("std: [", &format!("conditioning: {declared}, std: ["), 1);
        let spec = ModelSpec::parse(&text, "tiny.ron").unwrap();
        let conditioning = spec.input.conditioning.as_ref().unwrap();
        assert!(conditioning.opponent);
        assert_eq!(conditioning.bands[2], [0.01, 0.02, 0.03]);
        assert_eq!(conditioning.means[2], (-0.01, 0.1));
        let again = ModelSpec::parse(&spec.to_ron().unwrap(), "again").unwrap();
        assert_eq!(again, spec);

        let weights = include_bytes!("../../checkpoints/tiny/tiny.safetensors");
        let checksum = |spec| Model::new(spec, weights).unwrap().checksum();
        assert_ne!(checksum(spec), checksum(plain.clone()));
    }
}

#[test]
fn limits_that_cannot_be_are_refused_by_their_field() {
    let refused = |channels: usize, edit: &dyn Fn(&mut Conditioning), says: &[&str]| {
        let mut input = InputSpec {
            channels,
            height: 4,
            width: 4,
            mean: vec![0.5; channels],
            std: vec![0.5; channels],
            conditioning: Some(limits(channels, 3, 0.1)),
        };
        input.validate("mine").unwrap();
        edit(input.conditioning.as_mut().unwrap());
        let error = input.validate("mine").unwrap_err().to_string();
        assert!(
            error.starts_with("model `mine`: input.conditioning."),
            "{error}"
        );
        for part in says {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    };
    refused(
        1,
        &|c| c.opponent = true,
        &["opponent is true", "false for 1 channels"],
    );
    refused(
        3,
        &|c| c.bands.truncate(2),
        &["bands is 2 entries", "3, one a channel"],
    );
    refused(3, &|c| c.means.clear(), &["means is 0 entries"]);
    refused(
        2,
        &|c| c.bands[1].clear(),
        &["bands[1] is 0 numbers", "1 to 17"],
    );
    refused(
        2,
        &|c| c.bands[0] = vec![0.1; 18],
        &["bands[0] is 18 numbers"],
    );
    refused(
        2,
        &|c| c.bands[1] = vec![0.1; 2],
        &["bands[1] is 2 numbers", "3, as bands[0]"],
    );
    refused(
        2,
        &|c| c.bands[1][0] = -0.1,
        &["bands[1] is -0.1", "finite numbers from 0 on"],
    );
    refused(2, &|c| c.bands[1][2] = f64::NAN, &["bands[1] is NaN"]);
    refused(2, &|c| c.bands[0][0] = f64::INFINITY, &["bands[0] is inf"]);
    refused(2, &|c| c.means[1].0 = f64::NAN, &["means[1] is (NaN, 0.1)"]);
    refused(
        2,
        &|c| c.means[0].1 = -1.0,
        &["means[0] is (0.5, -1)", "reach from 0 on"],
    );
}
