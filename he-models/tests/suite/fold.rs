//! Folded layers against the network that they were folded from.

use he_layers::PlainTensor;
use he_models::{Model, ModelError};
use proptest::prelude::*;

use crate::network::{Extents, Network};

/// Largest difference of folded and exported logits, relative to the largest logit.
fn difference(model: &Model, images: &[f64]) -> f64 {
    let folded = model.fold().unwrap();
    let count = images.len() / model.image_len();
    let tensor = PlainTensor::new(count, folded.input, images.to_vec()).unwrap();
    let found = folded.forward_plain(&tensor).unwrap().data;
    let expected = model.logits(images).unwrap();
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let size = largest(&mut expected.iter().map(|l| l.abs()));
    largest(&mut found.iter().zip(&expected).map(|(a, b)| (a - b).abs())) / size
}

fn measured(network: &mut Network, images: usize) -> (Model, Vec<f64>) {
    let images = network.images(images);
    let model = network.model().unwrap();
    let statistics = model.evaluate(&images).unwrap().statistics();
    (model.with_statistics(statistics).unwrap(), images)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn prop_folded_network_is_the_exported_network(extents in Extents::any(), seed: u64) {
        let (model, images) = measured(&mut Network::random(&extents, seed), 4);
        prop_assert!(difference(&model, &images) < 1e-9);
    }
}

#[test]
fn folded_bundled_networks_are_the_exported_networks() {
    for name in he_models::bundled_names() {
        let model = Model::bundled(name).unwrap();
        let images = images_like_cifar(&model, 4);
        let difference = difference(&model, &images);
        assert!(difference < 1e-9, "{name}: {difference:e}");
    }
}

pub fn images_like_cifar(model: &Model, count: usize) -> Vec<f64> {
    use datasets::{Dataset, Shape, Synthetic};
    let he_layers::Chw {
        channels,
        height,
        width,
    } = model.input_shape();
    let shape = Shape {
        channels,
        height,
        width,
    };
    Synthetic::with_shape(7, shape)
        .unwrap()
        .read(0, count)
        .unwrap()
        .view()
        .to_f64()
}

#[test]
fn squares_have_mean_one_inside_blocks_and_near_one_on_the_stream() {
    let (model, images) = measured(&mut Network::random(&Extents::small(), 5), 40);
    let folded = model.fold().unwrap();
    let tensor = PlainTensor::new(40, folded.input, images).unwrap();
    let mut stream = folded.stem.forward_plain(&tensor).unwrap();
    let mut stream_logs = Vec::new();
    for block in &folded.blocks {
        let squares = block.act1.forward_plain(&stream).unwrap();
        stream_logs.extend(means(&squares).map(f64::ln));
        let inner = block
            .act2
            .forward_plain(&block.conv1.forward_plain(&squares).unwrap())
            .unwrap();
        for mean in means(&inner) {
            assert!((mean - 1.0).abs() < 1e-3, "{mean}");
        }
        stream = block.forward_plain(&stream).unwrap();
    }
    // The first two readers share a stream: the geometric mean over both is 1.
    let mean = stream_logs.iter().sum::<f64>() / stream_logs.len() as f64;
    assert!(mean.abs() < 1e-3, "{mean}");
    assert_eq!(folded.stream_factors[0], folded.stream_factors[1]);
    assert_ne!(folded.stream_factors[1], folded.stream_factors[2]);
}

/// Mean of each channel.
fn means(x: &PlainTensor) -> impl Iterator<Item = f64> + '_ {
    let per_channel = (x.n * x.shape.pixels()) as f64;
    (0..x.shape.channels).map(move |c| {
        let maps = (0..x.n).map(move |n| x.image(n).chunks(x.shape.pixels()).nth(c).unwrap());
        maps.flatten().sum::<f64>() / per_channel
    })
}

#[test]
fn folded_statistics_are_those_of_the_folded_activations() {
    let (model, images) = measured(&mut Network::random(&Extents::small(), 6), 20);
    let folded = model.fold().unwrap();
    let tensor = PlainTensor::new(20, folded.input, images).unwrap();
    let stream = folded.stem.forward_plain(&tensor).unwrap();
    let act = &folded.blocks[0].act1;
    for (largest, declared) in act
        .largest_inputs(&stream)
        .unwrap()
        .iter()
        .zip(&act.declared)
    {
        assert!((2.0..2.002).contains(&(declared / largest)));
    }
    let squares = act.forward_plain(&stream).unwrap();
    for (found, stated) in means(&squares).zip(&act.second_moment) {
        assert!((found / stated - 1.0).abs() < 1e-3);
    }
    assert_eq!(folded.stem.input_mean, model.spec().input.mean);
}

#[test]
fn folding_needs_statistics() {
    let model = Network::random(&Extents::small(), 1).model().unwrap();
    let error = model.fold().unwrap_err();
    assert!(
        matches!(error, ModelError::NoStatistics { expected: 5, .. }),
        "{error}"
    );
}

#[test]
fn folded_network_rejects_images_of_another_shape() {
    let model = Model::bundled("tiny").unwrap().fold().unwrap();
    let images = PlainTensor::zeros(1, he_layers::Chw::new(1, 8, 8));
    assert!(matches!(
        model.forward_plain(&images),
        Err(ModelError::Layer(_))
    ));
}
