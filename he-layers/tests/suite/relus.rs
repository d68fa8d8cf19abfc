//! A network whose ReLUs are applied by its refreshes, and an image that leaves all ranges.

use std::sync::Arc;

use ckks_scheme::Evaluator;
use he_layers::{
    Client, Conv2d, LayerError, Packing, PlainTensor, Preparation, Program, Refresh, Term,
};
use rand_chacha::ChaCha20Rng;

use crate::lab::{Lab, conv, deviation, head};
use crate::stages::{GRID, SHAPE, check_refreshed};

/// Largest absolute value that the ReLUs are declared for.
const RANGE: f64 = 4.0;
/// The image that leaves the ranges.
const OUTSIDER: usize = 5;

/// Stem, a residual block, a head, and the stem alone.
fn network(r: &mut ChaCha20Rng) -> (Program, Conv2d) {
    let relu = |name: &str, c: usize| Refresh::relu(name, vec![RANGE; c], 15).unwrap();
    let mut net = Program::new("relu", SHAPE, Vec::new());
    let stem = conv(r, "stem", (2, 2), 3, 1);
    let x = net.node(
        "stem",
        "stem",
        vec![Term::linear(net.input(), stem.clone())],
    );
    let x = net.apply(x.unwrap(), relu("relu0", 2)).unwrap();
    let inner = Term::linear(x, conv(r, "conv1", (2, 2), 3, 1));
    let inner = net.node("block", "conv1", vec![inner]).unwrap();
    let inner = net.apply(inner, relu("relu1", 2)).unwrap();
    let conv2 = Term::linear(inner, conv(r, "conv2", (2, 2), 3, 1));
    let sum = net
        .node("block", "conv2", vec![conv2, Term::Add(x)])
        .unwrap();
    let x = net.apply(sum, relu("relu2", 2)).unwrap();
    let head = Term::linear(x, head(r, SHAPE, 3));
    let y = net.node("head", "head", vec![head]).unwrap();
    net.finish(y).unwrap();
    (net, stem)
}

#[test]
fn relu_network_whose_activations_are_refreshes() {
    for packing in [Packing::Real, Packing::Complex] {
        // A convolution lies between two refreshes: one level, and those that the next refresh takes.
        let (mut lab, refresher) = Lab::with_relu(1, 15, 11);
        let (net, _) = network(&mut lab.rng);
        assert_eq!(net.refresh_functions().len(), 1);
        check_refreshed(&mut lab, &refresher, &net, packing);
    }
}

#[test]
fn a_program_without_its_refreshers_holds_nothing_of_the_pool_and_does_not_run() {
    let (mut lab, refresher) = Lab::with_relu(1, 15, 11);
    let (net, _) = network(&mut lab.rng);
    let layout = lab.layout(SHAPE, GRID, Packing::Complex);
    let mut prepared = net
        .prepare(&Preparation {
            refreshers: std::slice::from_ref(&refresher),
            ..lab.preparation(layout)
        })
        .unwrap();
    drop(refresher);
    let x = lab.images(&prepared);
    let rounded = prepared.forward_rounded(&net, &x).unwrap();
    let (mut client, keys) = Client::new(&lab.params, &prepared, &mut lab.rng).unwrap();
    let server = Evaluator::new(&lab.params, Arc::new(keys));
    let encrypted = client.encrypt(&x).unwrap();
    let with_matrices = lab.params.pool().in_use_bytes();
    prepared.release_refreshers();
    assert!(lab.params.pool().in_use_bytes() < with_matrices);
    let refused = prepared.forward(&server, encrypted, 1).unwrap_err();
    assert!(
        matches!(refused, LayerError::NoRefresher { .. }),
        "{refused}"
    );
    drop((client, server));
    assert_eq!(lab.params.pool().in_use_bytes(), 0);
    assert_eq!(prepared.forward_rounded(&net, &x).unwrap(), rounded);
}

/// All images but the outsider.
fn others(x: &PlainTensor) -> PlainTensor {
    let size = x.shape.volume();
    let mut data = x.data.clone();
    data.drain(OUTSIDER * size..(OUTSIDER + 1) * size);
    PlainTensor::new(x.n - 1, x.shape, data).unwrap()
}

/// The first ReLU sees values 10, 1000 and a million times beyond its range; what it makes of them is bounded. The noise of the
/// others stays what it is. What reaches them is the rounding of the weights before the ReLU, in proportion.
#[test]
fn an_image_beyond_all_ranges_leaves_the_others_as_they_are() {
    for packing in [Packing::Real, Packing::Complex] {
        let (mut lab, refresher) = Lab::with_relu(1, 15, 11);
        let (net, stem) = network(&mut lab.rng);
        let first = Program::of_layers("stem", SHAPE, &[&stem]).unwrap();
        let layout = lab.layout(SHAPE, GRID, packing);
        let prepared = net
            .prepare(&Preparation {
                refreshers: std::slice::from_ref(&refresher),
                ..lab.preparation(layout)
            })
            .unwrap();
        let mut x = lab.images(&prepared);
        let size = SHAPE.volume();
        let share = |x: &PlainTensor| {
            let seen = first.forward_plain(x).unwrap();
            let outsider = &seen.data[OUTSIDER * size..(OUTSIDER + 1) * size];
            outsider.iter().fold(0.0, |m: f64, v| m.max(v.abs())) / RANGE
        };
        // How far the others are off, with the outsider as it is, and their noise.
        let mut usual = None;
        for times in [1.0, 10.0, 1e3, 1e6] {
            if times > 1.0 {
                let now = share(&x);
                let outsider = &mut x.data[OUTSIDER * size..(OUTSIDER + 1) * size];
                outsider.iter_mut().for_each(|v| *v *= times / now);
                assert!((0.5..2.0).contains(&(share(&x) / times)));
            }
            let plain = net.forward_plain(&x).unwrap();
            let rounded = prepared.forward_rounded(&net, &x).unwrap();
            let outcome = lab.run(&prepared, &x, 2);
            let error = deviation(&others(&outcome.y), &others(&plain));
            let noise = deviation(&others(&outcome.y), &others(&rounded));
            let (usual, usual_noise) = *usual.get_or_insert((error, noise));
            let words = format!("{packing}, {times} ranges: off by {error:e}, noise {noise:e}");
            assert!(noise < 3.0 * usual_noise, "{words}");
            assert!(error < usual * (2.0 + times), "{words}");
            // Its own values go on periodically, and come out bounded.
            let largest = plain.data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            let found = outcome.y.data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            assert!(found < 1.5 * largest.max(RANGE), "{found}");
        }
    }
}
