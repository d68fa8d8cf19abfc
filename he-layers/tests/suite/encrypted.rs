//! Encrypted layers at small, insecure rings, against their references.

use std::sync::Arc;

use ckks_scheme::{Decryptor, Encryptor, Evaluator, KeyGenerator, Level, Parameters, Scale};
use he_layers::{
    AvgPool, Chw, ClientCodec, Conv2d, EncryptedTensor, Grid, Head, Layer, Layout, Packing,
    PlainTensor, PreActBlock, PreparedLayer, ScaleChain, SquareActivation, Stem, TensorSpec,
    Weights,
};
use num_complex::Complex64;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;

use crate::{largest_difference, random_conv, random_numbers, random_tensor, rng};

/// The client and the server of a test in one place.
struct Lab {
    params: Parameters,
    chain: ScaleChain,
    rng: ChaCha20Rng,
}

impl Lab {
    fn new(log_n: u32, levels: usize, seed: u64) -> Self {
        let params = Parameters::builder()
            .log_n(log_n)
            .q_bits([50].into_iter().chain(vec![48; levels - 1]))
            .build_insecure_for_tests()
            .unwrap();
        let chain = ScaleChain::of(&params, Scale::new(2f64.powi(30)));
        Self {
            params,
            chain,
            rng: rng(seed),
        }
    }

    /// Runs a sequence of layers on `x`, encrypted as `input` says; gives what was prepared and the decrypted slots.
    fn run(
        &mut self,
        layers: &[&dyn Layer],
        input: TensorSpec,
        x: &PlainTensor,
        group: usize,
    ) -> (Vec<Box<dyn PreparedLayer>>, Vec<Vec<Complex64>>) {
        let mut prepared: Vec<Box<dyn PreparedLayer>> = Vec::new();
        let mut keys = ckks_scheme::KeyRequest::new();
        for layer in layers {
            let spec = prepared.last().map_or(&input, |p| p.output());
            let next = layer.prepare(spec, &self.chain).unwrap();
            keys.extend(&next.required_keys());
            prepared.push(next);
        }
        let keygen = KeyGenerator::new(&self.params);
        let secret = keygen.secret_key(&mut self.rng).unwrap();
        let public = keygen.public_key(&secret, &mut self.rng).unwrap();
        let keys = keygen
            .evaluation_keys(&secret, &keys, &mut self.rng)
            .unwrap();
        let evaluator = Evaluator::new(&self.params, Arc::new(keys));

        let codec = ClientCodec::new(&self.params, input.clone());
        let encryptor = Encryptor::new(&public);
        let plaintexts = codec.encode(x).unwrap();
        let ciphertexts = plaintexts
            .iter()
            .map(|p| encryptor.encrypt(p, &mut self.rng).unwrap())
            .collect();
        let mut tensor = EncryptedTensor::new(input, ciphertexts).unwrap();
        for layer in &prepared {
            tensor = layer.forward(&evaluator, tensor, group).unwrap();
        }
        let decryptor = Decryptor::new(&secret);
        let slots = tensor
            .ciphertexts()
            .iter()
            .map(|ct| decryptor.decrypt(ct, codec.encoder()).unwrap())
            .collect();
        (prepared, slots)
    }
}

fn rounded_reference(
    layers: &[Box<dyn PreparedLayer>],
    x: &PlainTensor,
    weights: Weights,
) -> PlainTensor {
    let mut slots = layers[0].input().layout.pack(x).unwrap();
    for layer in layers {
        slots = layer.forward_slots(&slots, weights).unwrap();
    }
    layers[layers.len() - 1]
        .output()
        .layout
        .unpack(&slots, x.n)
        .unwrap()
}

fn decoded(layers: &[Box<dyn PreparedLayer>], slots: &[Vec<Complex64>], n: usize) -> PlainTensor {
    layers[layers.len() - 1]
        .output()
        .layout
        .unpack(slots, n)
        .unwrap()
}

fn plain(layers: &[&dyn Layer], x: &PlainTensor) -> PlainTensor {
    layers
        .iter()
        .fold(x.clone(), |x, layer| layer.forward_plain(&x).unwrap())
}

fn rms_difference(a: &PlainTensor, b: &PlainTensor) -> f64 {
    let square: f64 = a
        .data
        .iter()
        .zip(&b.data)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    (square / a.data.len() as f64).sqrt()
}

fn activation(rng: &mut ChaCha20Rng, channels: usize) -> SquareActivation {
    SquareActivation::new(
        "act",
        random_numbers(rng, channels),
        vec![30.0; channels],
        vec![1.3; channels],
    )
    .unwrap()
}

#[derive(Debug, Clone)]
struct Case {
    grid: Grid,
    map: usize,
    packing: Packing,
    log_n: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let packing = prop_oneof![Just(Packing::Real), Just(Packing::Complex)];
    (0u32..=3, 1u32..=4, 2u32..=4, packing, 0u32..=1).prop_map(
        |(rows, cols, map, packing, more)| Case {
            grid: Grid::new(1 << rows, 1 << cols),
            map: 1 << map,
            packing,
            log_n: (rows + cols + 1 + more).max(6),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn prop_encrypted_conv_matches_references(
        case in cases(), ins in 1usize..=5, outs in 1usize..=5, half in 0usize..=2, stride in 1usize..=2,
        group in 1usize..=3, seed: u64,
    ) {
        let mut lab = Lab::new(case.log_n, 3, seed);
        let kernel = (2 * half + 1, 2 * half + 1);
        let conv = random_conv(&mut lab.rng, (ins, outs), kernel, (stride, stride), (half, half));
        let shape = Chw::new(ins, case.map, case.map);
        let layout = Layout::new(shape, case.grid, case.packing, lab.params.slots()).unwrap();
        if layout.with_shape(conv.output_shape(shape).unwrap()).is_err() {
            return Ok(());
        }
        let x = random_tensor(&mut lab.rng, layout.images(), shape);
        let input = lab.chain.square_form(layout, Level::new(3));
        let layers: [&dyn Layer; 1] = [&conv];
        let (prepared, slots) = lab.run(&layers, input, &x, group);
        let y = decoded(&prepared, &slots, x.n);
        prop_assert!(largest_difference(&y, &rounded_reference(&prepared, &x, Weights::Rounded)) < 1e-7);
        prop_assert!(largest_difference(&y, &plain(&layers, &x)) < 0.02);
    }

    #[test]
    fn prop_encrypted_block_matches_references(
        case in cases(), channels in 1usize..=4, inner in 1usize..=4, shortcut: bool, group in 1usize..=3, seed: u64,
    ) {
        let mut lab = Lab::new(case.log_n, 6, seed);
        let outs = if shortcut { channels + 1 } else { channels };
        let stride = if shortcut { 2 } else { 1 };
        let small = |mut conv: Conv2d| {
            conv.weight.iter_mut().for_each(|w| *w *= 0.3);
            conv
        };
        let block = PreActBlock {
            name: "block".to_owned(),
            act1: activation(&mut lab.rng, channels),
            conv1: small(random_conv(&mut lab.rng, (channels, inner), (3, 3), (stride, stride), (1, 1))),
            act2: activation(&mut lab.rng, inner),
            conv2: small(random_conv(&mut lab.rng, (inner, outs), (3, 3), (1, 1), (1, 1))),
            shortcut: shortcut
                .then(|| small(random_conv(&mut lab.rng, (channels, outs), (1, 1), (2, 2), (0, 0)))),
        };
        let shape = Chw::new(channels, case.map, case.map);
        let layout = Layout::new(shape, case.grid, case.packing, lab.params.slots()).unwrap();
        let x = random_tensor(&mut lab.rng, layout.images(), shape);
        let input = lab.chain.sum_form(layout, Level::new(6)).unwrap();
        let layers: [&dyn Layer; 1] = [&block];
        let (prepared, slots) = lab.run(&layers, input, &x, group);
        let y = decoded(&prepared, &slots, x.n);
        prop_assert!(largest_difference(&y, &rounded_reference(&prepared, &x, Weights::Rounded)) < 1e-5);
        prop_assert!(largest_difference(&y, &plain(&layers, &x)) < 0.1);
    }
}

/// A small residual network: stem, identity block, strided block, head.
struct Network {
    stem: Stem,
    blocks: [PreActBlock; 2],
    head: Head,
}

impl Network {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        let conv =
            |rng: &mut ChaCha20Rng, ins: usize, outs: usize, kernel: usize, stride: usize| {
                let mut conv = random_conv(
                    rng,
                    (ins, outs),
                    (kernel, kernel),
                    (stride, stride),
                    (kernel / 2, kernel / 2),
                );
                let norm = (0.5 / (ins * kernel * kernel) as f64).sqrt();
                conv.weight
                    .iter_mut()
                    .chain(&mut conv.bias)
                    .for_each(|w| *w *= norm);
                conv.tap_bias.iter_mut().for_each(|w| *w *= 0.01);
                conv
            };
        let stem = Stem {
            conv: conv(rng, 3, 4, 3, 1),
            input_mean: vec![0.0; 3],
        };
        let same = PreActBlock {
            name: "block1".to_owned(),
            act1: activation(rng, 4),
            conv1: conv(rng, 4, 4, 3, 1),
            act2: activation(rng, 4),
            conv2: conv(rng, 4, 4, 3, 1),
            shortcut: None,
        };
        let down = PreActBlock {
            name: "block2".to_owned(),
            act1: activation(rng, 4),
            conv1: conv(rng, 4, 8, 3, 2),
            act2: activation(rng, 8),
            conv2: conv(rng, 8, 8, 3, 1),
            shortcut: Some(conv(rng, 4, 8, 1, 2)),
        };
        let head = Head {
            act: activation(rng, 8),
            classes: 10,
            weight: random_numbers(rng, 80)
                .into_iter()
                .map(|w| w / 16.0)
                .collect(),
            bias: random_numbers(rng, 10),
        };
        Self {
            stem,
            blocks: [same, down],
            head,
        }
    }

    fn layers(&self) -> [&dyn Layer; 4] {
        [&self.stem, &self.blocks[0], &self.blocks[1], &self.head]
    }
}

#[test]
fn residual_network_runs_encrypted_in_both_packings_and_any_grid() {
    let cases = [
        (Packing::Complex, Grid::new(2, 4), 11),
        (Packing::Complex, Grid::new(4, 8), 10),
        (Packing::Real, Grid::new(2, 4), 10),
        (Packing::Real, Grid::new(8, 8), 12),
        (Packing::Real, Grid::new(16, 32), 10),
    ];
    for (packing, grid, log_n) in cases {
        let mut lab = Lab::new(log_n, 7, 5);
        let network = Network::new(&mut lab.rng);
        let shape = Chw::new(3, 8, 8);
        let layout = Layout::new(shape, grid, packing, lab.params.slots()).unwrap();
        // A partial batch, but where one image fills a ciphertext.
        let x = random_tensor(&mut lab.rng, layout.images().div_ceil(2), shape);
        let input = lab.chain.square_form(layout, lab.params.max_level());
        let (prepared, slots) = lab.run(&network.layers(), input, &x, 2);
        let logits = decoded(&prepared, &slots, x.n);
        let rounded = rounded_reference(&prepared, &x, Weights::Rounded);
        let exact = plain(&network.layers(), &x);
        assert!(
            largest_difference(&exact, &rounded_reference(&prepared, &x, Weights::Exact)) < 1e-9
        );
        let (noise, total) = (
            rms_difference(&logits, &rounded),
            rms_difference(&logits, &exact),
        );
        let predict = |against| {
            let input = vec![0.0; 3];
            let std = prepared
                .iter()
                .fold(input, |std, layer| layer.predicted_error(&std, against));
            (std.iter().map(|s| s * s).sum::<f64>() / std.len() as f64).sqrt()
        };
        let (predicted, predicted_total) = (predict(Weights::Rounded), predict(Weights::Exact));
        println!(
            "{packing} {grid} N = 2^{log_n}: noise {noise:.2e} of {predicted:.2e}, total {total:.2e} of {predicted_total:.2e}"
        );
        assert!(noise < 1e-4 && total < 0.02);
    }
}

#[test]
fn single_layers_run_by_themselves() {
    let mut lab = Lab::new(9, 4, 6);
    let shape = Chw::new(3, 8, 8);
    let layout = Layout::new(shape, Grid::new(4, 8), Packing::Complex, lab.params.slots()).unwrap();
    let x = random_tensor(&mut lab.rng, layout.images(), shape);
    let act = activation(&mut lab.rng, 3);
    let pool = AvgPool {
        name: "pool".to_owned(),
        window: (2, 2),
    };
    let input = lab.chain.sum_form(layout, Level::new(4)).unwrap();
    let layers: [&dyn Layer; 2] = [&act, &pool];
    let (prepared, slots) = lab.run(&layers, input, &x, 1);
    let y = decoded(&prepared, &slots, x.n);
    assert_eq!(y.shape, Chw::new(3, 4, 4));
    assert!(largest_difference(&y, &plain(&layers, &x)) < 1e-3);
}
