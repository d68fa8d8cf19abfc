//! Random networks: every seed is another.

use he_layers::{
    Chw, Conv2d, Dense, Grid, LayerError, Linear, Packing, PlainTensor, Polynomial, Preparation,
    Program, Square, Term, Value, Weights,
};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::lab::{Lab, largest_difference, numbers, on_slots, rng};
use crate::resumed::check_resumed;

const NETWORKS: u64 = 50;
/// One of so many is run encrypted.
const ENCRYPTED: u64 = 3;
const MOST_LEVELS: usize = 16;

fn pick<T: Copy>(r: &mut ChaCha20Rng, of: &[T]) -> T {
    of[r.random_range(0..of.len())]
}

/// A convolution of any kind that fits `input`.
fn any_conv(r: &mut ChaCha20Rng, name: &str, input: Chw) -> Result<Conv2d, LayerError> {
    let c = input.channels;
    let kernel = (r.random_range(1..=5), r.random_range(1..=5));
    let stride = (r.random_range(1..=2), r.random_range(1..=2));
    let padding = (kernel.0 / 2, kernel.1 / 2);
    let taps = kernel.0 * kernel.1;
    let most = |ins: usize| 1.2 / ((ins * taps) as f64).sqrt();
    match r.random_range(0..6) {
        0 => Conv2d::depthwise(
            name,
            c,
            kernel,
            stride,
            padding,
            numbers(r, c * taps, most(1)),
        ),
        1 => Conv2d::average_pool(name, c, (2.min(input.height), 2.min(input.width)), (2, 2)),
        2 => {
            let total = c + r.random_range(0..3);
            Conv2d::place(name, c, total - c, total)
        }
        _ => {
            let outs = r.random_range(1..=6);
            let weight = numbers(r, c * outs * taps, most(c));
            let mut conv = Conv2d::new(name, (c, outs), kernel, stride, padding, weight)?;
            conv.bias = numbers(r, outs, 0.2);
            conv.tap_bias = numbers(r, outs * taps, 0.05);
            Ok(conv)
        }
    }
}

/// What a value is on sample images.
fn sampled(net: &Program, x: Value, images: &PlainTensor) -> PlainTensor {
    let mut net = net.clone();
    net.finish(x).unwrap();
    net.forward_plain(images).unwrap()
}

/// A pointwise stage of a value, or none; its range and moments are those of `images`.
fn any_stage(
    r: &mut ChaCha20Rng,
    net: &mut Program,
    x: Value,
    images: &PlainTensor,
) -> Result<Value, LayerError> {
    let c = net.shape(x).channels;
    let name = format!("stage{}", net.nodes().len());
    let kind = r.random_range(0..4);
    if kind == 0 {
        return Ok(x);
    }
    let seen = sampled(net, x, images);
    if kind == 1 {
        let largest = seen.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        return net.apply(x, Polynomial::relu(name, 3, vec![1.1 * largest; c])?);
    }
    let t = numbers(r, c, 0.5);
    let (mut largest, mut squares) = (vec![0.0f64; c], vec![0.0; c]);
    let pixels = seen.shape.pixels();
    for (map, values) in seen.data.chunks(pixels).enumerate() {
        let channel = map % c;
        for v in values {
            let z = v + t[channel];
            largest[channel] = largest[channel].max(1.1 * z.abs());
            squares[channel] += z * z / (seen.n * pixels) as f64;
        }
    }
    net.apply(x, Square::new(name, t, largest, squares)?)
}

/// A map of the shapes of `like`, so that the two can be added.
fn partner(r: &mut ChaCha20Rng, name: &str, like: &Conv2d) -> Result<Conv2d, LayerError> {
    let weight = numbers(
        r,
        like.weight.len(),
        0.3 / (like.weight.len() as f64).sqrt(),
    );
    let mut conv = like.clone();
    conv.name = name.to_owned();
    conv.weight = weight;
    Ok(conv)
}

fn any_network(r: &mut ChaCha20Rng, shape: Chw) -> Result<Program, LayerError> {
    let images = PlainTensor::from_fn(64, shape, |_, _, _, _| r.random_range(-0.8..0.8));
    let mut net = Program::new("random", shape, Vec::new());
    let first = any_conv(r, "first", shape)?;
    let mut x = net.node("net", "first", vec![Term::linear(net.input(), first)])?;
    for index in 0..r.random_range(1..=3) {
        let name = format!("node{index}");
        let conv = any_conv(r, &name, net.shape(x))?;
        let stage = any_stage(r, &mut net, x, &images)?;
        let mut terms = vec![Term::linear(stage, conv.clone())];
        if r.random_bool(0.5) {
            // A second reader of the same tensor, through a stage of its own or the same.
            let other = match r.random_bool(0.5) {
                true => stage,
                false => any_stage(r, &mut net, x, &images)?,
            };
            terms.push(Term::linear(
                other,
                partner(r, &format!("{name}.other"), &conv)?,
            ));
        }
        let output = Linear::from(conv.clone()).output_shape(net.shape(x))?;
        if output == net.shape(x) && conv.stride == (1, 1) {
            terms.push(Term::Add(x));
        }
        x = net.node("net", &name, terms)?;
    }
    match r.random_range(0..3) {
        0 => {
            let input = net.shape(x);
            let stage = any_stage(r, &mut net, x, &images)?;
            let outputs = r.random_range(1..=5);
            let most = 1.0 / (input.volume() as f64).sqrt();
            let weight = numbers(r, outputs * input.volume(), most);
            let dense = Dense::new("dense", input, outputs, weight, numbers(r, outputs, 0.2))?;
            x = net.node("head", "dense", vec![Term::linear(stage, dense)])?;
        }
        1 => x = any_stage(r, &mut net, x, &images)?,
        _ => {}
    }
    net.finish(x)?;
    Ok(net)
}

#[test]
fn fifty_random_networks_match_their_references() {
    // Levels are counted on a ring that has as many as there may be.
    let counting = Lab::new(9, MOST_LEVELS, 0);
    for seed in 0..NETWORKS {
        let r = &mut rng(1000 + seed);
        let mut side = || r.random_range(3..=11);
        let shape = Chw::new(pick(&mut rng(seed), &[1, 2, 3, 5]), side(), side());
        let net = any_network(r, shape).unwrap();
        let grid = pick(
            r,
            &[
                Grid::new(4, 4),
                Grid::new(8, 4),
                Grid::new(1, 8),
                Grid::new(5, 3),
            ],
        );
        let packing = pick(r, &[Packing::Real, Packing::Complex]);
        let words = format!("seed {seed}, grid {grid}, {packing}: {net}");

        let to = counting.preparation(counting.layout(shape, grid, packing));
        let levels = net.prepare(&to).unwrap_or_else(|e| panic!("{e}: {words}"));
        let levels = levels.input().level.limbs();
        let mut lab = Lab::new(pick(r, &[9, 10]), levels, seed);
        let to: Preparation = lab.preparation(lab.layout(shape, grid, packing));
        let prepared = net.prepare(&to).unwrap();
        let mut x = lab.images(&prepared);
        x.data.iter_mut().for_each(|v| *v *= 0.8);
        if seed % ENCRYPTED == 0 {
            println!("{words}");
            lab.check(
                &net,
                &prepared,
                &x,
                (1 + seed as usize % 2, 1 + seed as usize % 2),
            );
            check_resumed(&mut lab, &prepared, &x);
        } else {
            let plain = net.forward_plain(&x).unwrap();
            let largest = plain.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            let slots = on_slots(&net, &prepared, &x, Weights::Exact);
            let off = largest_difference(&slots, &plain);
            assert!(
                off <= 1e-9 * largest,
                "{words}: plain slots are off by {off:e}"
            );
        }
    }
}
