//! Training beyond the head: the twin against finite differences, the encrypted step against the twin.

use std::sync::Arc;

use ckks_scheme::{
    BootstrapParams, Bootstrapper, Ciphertext, CosineBootstrapper, Decryptor, Encoder, Evaluator,
    KeyGenerator, Operation, Parameters, SecretKey,
};
use he_layers::{Chw, Conv2d, Padding, PlainTensor};
use he_training::block::turned;
use he_training::{
    Block, BlockClient, BlockPlan, BlockSettings, BlockTrainer, BlockWeights, EncryptedWeights,
    Ranges, Rates,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::lab::{kernel, refreshes};

const CLASSES: usize = 3;
/// Three channels in four cells, maps that are not square.
const SHAPE: Chw = Chw::new(3, 3, 2);
const RATES: Rates = Rates {
    offsets: 0.3,
    scales: 0.2,
    head: 0.1,
    bias: 0.4,
};

fn numbers(rng: &mut impl Rng, count: usize, around: f64, spread: f64) -> Vec<f64> {
    (0..count)
        .map(|_| around + rng.random_range(-spread..spread))
        .collect()
}

/// A convolution without any symmetry, with a bias that differs at the border.
fn convolution(name: &str, rng: &mut impl Rng) -> Conv2d {
    let c = SHAPE.channels;
    let weight = numbers(rng, c * c * 9, 0.0, 0.4);
    let mut conv = Conv2d::new(name, (c, c), (3, 3), (1, 1), (1, 1), weight).unwrap();
    conv.bias = numbers(rng, c, 0.0, 0.3);
    conv.tap_bias = numbers(rng, c * 9, 0.0, 0.1);
    conv
}

struct Lab {
    block: Block,
    weights: BlockWeights,
    inputs: PlainTensor,
    labels: Vec<usize>,
}

fn lab(images: usize) -> Lab {
    let rng = &mut ChaCha20Rng::seed_from_u64(11);
    let c = SHAPE.channels;
    let convolutions = [convolution("first", rng), convolution("second", rng)];
    let block = Block::new(SHAPE, convolutions).unwrap();
    let weights = BlockWeights {
        offsets: std::array::from_fn(|_| numbers(rng, c, 0.2, 0.5)),
        scales: std::array::from_fn(|_| numbers(rng, c, 0.8, 0.4)),
        head: numbers(rng, CLASSES * c, 0.0, 0.7),
        bias: numbers(rng, CLASSES, 0.0, 0.3),
    };
    let inputs = numbers(rng, images * SHAPE.volume(), 0.0, 1.0);
    Lab {
        block,
        weights,
        inputs: PlainTensor::new(images, SHAPE, inputs).unwrap(),
        labels: (0..images).map(|n| (n * n + n / 3) % CLASSES).collect(),
    }
}

impl Lab {
    fn loss(&self, weights: &BlockWeights, inputs: &PlainTensor) -> f64 {
        let trace = self.block.clear_step(weights, inputs, &self.labels);
        trace.unwrap().loss
    }

    fn settings(&self, input_gradient: bool, steps: usize) -> BlockSettings {
        let mut weights = self.weights.clone();
        let mut ranges: Option<Ranges> = None;
        for _ in 0..=steps {
            let trace = self.block.clear_step(&weights, &self.inputs, &self.labels);
            let trace = trace.unwrap();
            let found = Ranges::of(&weights, &trace, 1.5);
            ranges = Some(ranges.map_or(found, |r| r.union(&found)));
            weights = weights.stepped(&trace.gradient, RATES);
        }
        BlockSettings {
            rates: RATES,
            ranges: ranges.unwrap(),
            input_gradient,
        }
    }
}

/// The derivative of `f` by `x`, by differences.
fn derivative(x: f64, f: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-4;
    (f(x + h) - f(x - h)) / (2.0 * h)
}

#[test]
fn twin_gradient_is_that_of_finite_differences() {
    let lab = lab(4);
    let trace = lab
        .block
        .clear_step(&lab.weights, &lab.inputs, &lab.labels)
        .unwrap();
    let close = |found: f64, expected: f64, what: &str| {
        let error = (found - expected).abs();
        assert!(
            error < 1e-6 * (1.0 + expected.abs()),
            "{what}: {found} {expected}"
        );
        assert!(expected.abs() > 1e-9, "{what}: {expected} says nothing");
    };
    for k in 0..3 {
        for c in 0..SHAPE.channels {
            let by_offset = derivative(lab.weights.offsets[k][c], |x| {
                let mut weights = lab.weights.clone();
                weights.offsets[k][c] = x;
                lab.loss(&weights, &lab.inputs)
            });
            close(trace.gradient.offsets[k][c], by_offset, "offset");
            let by_scale = derivative(lab.weights.scales[k][c], |x| {
                let mut weights = lab.weights.clone();
                weights.scales[k][c] = x;
                lab.loss(&weights, &lab.inputs)
            });
            close(trace.gradient.scales[k][c], by_scale, "scale");
        }
    }
    for at in 0..lab.weights.head.len() {
        let by_weight = derivative(lab.weights.head[at], |x| {
            let mut weights = lab.weights.clone();
            weights.head[at] = x;
            lab.loss(&weights, &lab.inputs)
        });
        close(trace.gradient.head[at], by_weight, "weight of the head");
    }
    for at in 0..CLASSES {
        let by_bias = derivative(lab.weights.bias[at], |x| {
            let mut weights = lab.weights.clone();
            weights.bias[at] = x;
            lab.loss(&weights, &lab.inputs)
        });
        close(trace.gradient.bias[at], by_bias, "bias");
    }
    for at in 0..lab.inputs.data.len() {
        let by_input = derivative(lab.inputs.data[at], |x| {
            let mut inputs = lab.inputs.clone();
            inputs.data[at] = x;
            lab.loss(&lab.weights, &inputs)
        });
        close(trace.input_gradient.data[at], by_input, "input");
    }
}

#[test]
fn turned_convolutions_are_transposes() {
    let rng = &mut ChaCha20Rng::seed_from_u64(5);
    let shape = Chw::new(4, 5, 3);
    for (outputs, groups, kernel, padding) in [
        (4, 1, (3, 3), Padding::from((1, 1))),
        (6, 2, (3, 1), Padding::from((0, 0))),
        (
            4,
            4,
            (2, 3),
            Padding {
                top: 1,
                left: 2,
                bottom: 0,
                right: 0,
            },
        ),
    ] {
        let weights = outputs * shape.channels / groups * kernel.0 * kernel.1;
        let conv = Conv2d {
            name: "conv".to_owned(),
            in_channels: shape.channels,
            out_channels: outputs,
            groups,
            kernel,
            stride: (1, 1),
            padding,
            weight: numbers(rng, weights, 0.0, 1.0),
            bias: vec![0.0; outputs],
            tap_bias: vec![0.0; outputs * kernel.0 * kernel.1],
        };
        let x = numbers(rng, 2 * shape.volume(), 0.0, 1.0);
        let x = PlainTensor::new(2, shape, x).unwrap();
        let y = conv.forward_plain(&x).unwrap();
        let back = numbers(rng, y.data.len(), 0.0, 1.0);
        let back = PlainTensor::new(2, y.shape, back).unwrap();
        let returned = turned(&conv).unwrap().forward_plain(&back).unwrap();
        assert_eq!(returned.shape, shape);
        let product = |a: &PlainTensor, b: &PlainTensor| -> f64 {
            a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum()
        };
        let (there, here) = (product(&y, &back), product(&x, &returned));
        assert!((there - here).abs() < 1e-9, "{there} {here}");
    }
}

/// The two sides over a small ring.
struct Sides {
    secret: SecretKey,
    evaluator: Evaluator,
}

fn sides(plan: &BlockPlan, refresher: Option<&CosineBootstrapper>) -> Sides {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let keygen = KeyGenerator::new(plan.params());
    let secret = keygen.secret_key(&mut rng).unwrap();
    let mut request = plan.keys().unwrap();
    if let Some(refresher) = refresher {
        request.extend(&refresher.request());
    }
    let keys = keygen.evaluation_keys(&secret, &request, &mut rng).unwrap();
    let evaluator = Evaluator::new(plan.params(), Arc::new(keys));
    Sides { secret, evaluator }
}

fn chain(levels: usize) -> Parameters {
    let bits = std::iter::once(50).chain(std::iter::repeat_n(45, levels - 1));
    Parameters::builder()
        .log_n(9)
        .q_bits(bits)
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap()
}

/// Compares the slots of all images with what is expected in each channel, within the predicted error. That is small beside
/// the largest number, so that nothing wrong goes unnoticed.
fn check_channels(
    secret: &SecretKey,
    ct: &Ciphertext,
    (plan, expected): (&BlockPlan, &[f64]),
    what: &str,
) {
    let slots = Decryptor::new(secret)
        .decrypt(ct, &Encoder::new(plan.params()))
        .unwrap();
    let bound = ct.tracked().error_bound();
    let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(
        bound < 1e-4 * largest,
        "{what}: error up to {bound} of {largest}"
    );
    let mut worst: f64 = 0.0;
    for (slot, found) in slots.iter().enumerate() {
        if let Some(expected) = expected.get(slot % plan.layout().cells()) {
            worst = worst.max((found.re - expected).abs());
        }
    }
    println!("{what}: {worst:.2e} of {largest:.2e}, predicted {bound:.2e}");
    assert!(worst <= bound, "{what}: {worst} above {bound}");
}

fn check_weights(
    secret: &SecretKey,
    plan: &BlockPlan,
    found: &EncryptedWeights,
    expected: &BlockWeights,
) {
    for k in 0..3 {
        let (t, g) = (&expected.offsets[k], &expected.scales[k]);
        check_channels(
            secret,
            &found.offsets[k],
            (plan, t),
            &format!("offsets {k}"),
        );
        check_channels(secret, &found.scales[k], (plan, g), &format!("scales {k}"));
    }
    let head = expected.head.chunks_exact(SHAPE.channels);
    for (ct, expected) in found.head.iter().zip(head) {
        check_channels(secret, ct, (plan, expected), "head");
    }
    for (ct, expected) in found.bias.iter().zip(&expected.bias) {
        let everywhere = vec![*expected; plan.layout().cells()];
        check_channels(secret, ct, (plan, &everywhere), "bias");
    }
}

#[test]
fn encrypted_step_is_that_of_the_twin_within_the_predicted_error() {
    // Not all slots have an image.
    let lab = lab(50);
    let plan = BlockPlan::new(&chain(20), &lab.block, CLASSES, lab.settings(true, 1)).unwrap();
    assert_eq!(plan.layout().images(), 64);
    let Sides { secret, evaluator } = sides(&plan, None);
    let mut client = BlockClient::new(&secret, &plan, &mut ChaCha20Rng::seed_from_u64(4));
    let batch = client
        .encrypt_batch(&lab.inputs, &lab.labels, plan.top())
        .unwrap();
    let weights = client.encrypt_weights(&lab.weights, plan.top()).unwrap();
    let trainer = BlockTrainer::new(evaluator, &plan, None).unwrap();
    let mut parts = Vec::new();
    let step = trainer
        .step(weights, batch, |part| parts.push(part))
        .unwrap();
    assert_eq!(parts.len(), 8);
    // Key switches are those that were counted, whatever the number of threads.
    let entries = trainer.evaluator().profile().entries();
    let found = entries
        .iter()
        .find(|(op, ..)| *op == Operation::InnerProduct);
    let expected = plan.forecast().unwrap().key_switches();
    assert_eq!(found.map(|(_, count, _)| *count), Some(expected));

    let expected = lab
        .block
        .clear_step(&lab.weights, &lab.inputs, &lab.labels)
        .unwrap();
    check_weights(&secret, &plan, &step.gradient, &expected.gradient);
    let next = lab.weights.stepped(&expected.gradient, RATES);
    check_weights(&secret, &plan, &step.weights, &next);
    // The client reads the same.
    let read = client.decrypt_weights(&step.weights).unwrap();
    for (kind, difference, largest) in next.differences(&read) {
        assert!(
            difference < 1e-5 * largest,
            "{kind}: {difference} {largest}"
        );
    }

    let by_input = step.input_gradient.unwrap();
    let bound = by_input.iter().map(|ct| ct.tracked().error_bound());
    let bound = bound.fold(0.0, f64::max);
    let found = client.decrypt_maps(&by_input, lab.inputs.n).unwrap();
    let pairs = || found.data.iter().zip(&expected.input_gradient.data);
    let largest = pairs().fold(0.0, |m: f64, (_, x)| m.max(x.abs()));
    let worst = pairs().fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
    println!("input: {worst:.2e} of {largest:.2e}, predicted {bound:.2e}");
    assert!(bound < 1e-4 * largest, "{bound} {largest}");
    assert!(worst <= bound, "{worst} {bound}");
    // The levels that were foreseen.
    let levels = plan.levels(plan.top()).unwrap();
    assert_eq!(step.weights.scales[0].level().limbs(), levels.end);
    assert_eq!(by_input[0].level().limbs(), levels.deltas[0]);
}

#[test]
fn a_long_chain_takes_two_steps_and_says_what_is_missing_for_a_third() {
    let lab = lab(64);
    let plan = BlockPlan::new(&chain(39), &lab.block, CLASSES, lab.settings(false, 2)).unwrap();
    let Sides { secret, evaluator } = sides(&plan, None);
    let mut client = BlockClient::new(&secret, &plan, &mut ChaCha20Rng::seed_from_u64(4));
    let trainer = BlockTrainer::new(evaluator, &plan, None).unwrap();
    let mut weights = client.encrypt_weights(&lab.weights, plan.top()).unwrap();
    let mut clear = lab.weights.clone();
    for input in [39, 20] {
        let batch = client
            .encrypt_batch(&lab.inputs, &lab.labels, input)
            .unwrap();
        let step = trainer.step(weights, batch, |_| {}).unwrap();
        assert!(step.input_gradient.is_none());
        weights = step.weights;
        let trace = lab
            .block
            .clear_step(&clear, &lab.inputs, &lab.labels)
            .unwrap();
        clear = clear.stepped(&trace.gradient, RATES);
        check_weights(&secret, &plan, &weights, &clear);
    }
    let batch = client.encrypt_batch(&lab.inputs, &lab.labels, 20).unwrap();
    let error = trainer.step(weights, batch, |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "training: level of offsets is 2, expected 20 at least: 18 levels are missing"
    );
    let error = client
        .encrypt_batch(&lab.inputs, &lab.labels, 19)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "training: level of a block's input is 19, expected 20 at least: 1 levels are missing"
    );
}

#[test]
fn refreshes_allow_any_number_of_steps() {
    let lab = lab(64);
    let params: BootstrapParams = refreshes(9, 14);
    let settings = lab.settings(true, 3);
    let plan = BlockPlan::with_refreshes(&params, &lab.block, CLASSES, settings).unwrap();
    let refresher = CosineBootstrapper::new(&params).unwrap();
    let Sides { secret, evaluator } = sides(&plan, Some(&refresher));
    let mut client = BlockClient::new(&secret, &plan, &mut ChaCha20Rng::seed_from_u64(4));
    assert!(BlockTrainer::new(evaluator.clone(), &plan, None).is_err());
    let trainer = BlockTrainer::new(evaluator, &plan, Some(Arc::new(refresher))).unwrap();
    let mut weights = client.encrypt_weights(&lab.weights, plan.top()).unwrap();
    let mut clear = lab.weights.clone();
    let first = lab.loss(&clear, &lab.inputs);
    for refreshed in [1, 2 + 12, 3 + 24] {
        let batch = client
            .encrypt_batch(&lab.inputs, &lab.labels, plan.top())
            .unwrap();
        let step = trainer.step(weights, batch, |_| {}).unwrap();
        weights = step.weights;
        assert_eq!(trainer.refreshes(), refreshed);
        let trace = lab
            .block
            .clear_step(&clear, &lab.inputs, &lab.labels)
            .unwrap();
        clear = clear.stepped(&trace.gradient, RATES);
        let found = client.decrypt_weights(&weights).unwrap();
        for (kind, difference, largest) in clear.differences(&found) {
            println!("{kind}: {difference:.2e} of {largest:.2e}");
            assert!(
                difference < 1e-4 * largest,
                "{kind}: {difference} {largest}"
            );
        }
    }
    // It learns.
    let last = lab.loss(&clear, &lab.inputs);
    assert!(last < 0.9 * first, "{first} {last}");
}

#[test]
fn what_does_not_fit_a_block_is_refused() {
    let lab = lab(5);
    let rng = &mut ChaCha20Rng::seed_from_u64(5);
    let [first, second] = lab.block.convolutions().clone();
    let strided = Conv2d {
        stride: (2, 2),
        ..first.clone()
    };
    let wide = Conv2d {
        padding: Padding::from((1, 2)),
        ..first.clone()
    };
    for wrong in [strided, wide] {
        let error = Block::new(SHAPE, [second.clone(), wrong]).unwrap_err();
        assert!(
            error.to_string().contains("output of a block's map"),
            "{error}"
        );
    }
    let settings = lab.settings(false, 0);
    let short = BlockPlan::new(&chain(17), &lab.block, CLASSES, settings).unwrap_err();
    assert!(
        short.to_string().ends_with("3 levels are missing"),
        "{short}"
    );
    let negative = BlockSettings {
        rates: Rates {
            head: -1.0,
            ..RATES
        },
        ..settings
    };
    assert!(BlockPlan::new(&chain(20), &lab.block, CLASSES, negative).is_err());

    let plan = BlockPlan::new(&chain(20), &lab.block, CLASSES, settings).unwrap();
    let Sides { secret, evaluator } = sides(&plan, None);
    let trainer = BlockTrainer::new(evaluator, &plan, None).unwrap();
    let mut client = BlockClient::new(&secret, &plan, rng);
    let (inputs, labels) = (&lab.inputs, &lab.labels);
    assert!(client.encrypt_batch(inputs, &labels[1..], 20).is_err());
    assert!(client.encrypt_batch(inputs, &[CLASSES; 5], 20).is_err());
    assert!(client.encrypt_batch(inputs, labels, 21).is_err());
    let mut large = lab.weights.clone();
    large.head[0] = 100.0;
    let error = client.encrypt_weights(&large, 20).unwrap_err();
    assert!(error.to_string().contains("as declared"), "{error}");
    let mut batch = client.encrypt_batch(inputs, labels, 20).unwrap();
    batch.labels.pop();
    let weights = client.encrypt_weights(&lab.weights, 20).unwrap();
    let error = trainer.step(weights, batch, |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "training: 2 ciphertexts of labels, expected 3"
    );
}
