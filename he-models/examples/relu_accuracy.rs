//! What polynomials in the place of ReLUs do to the accuracy of a ReLU network that was trained elsewhere, in the clear.
//!
//! ```text
//! cargo run --release -p he-models --example relu_accuracy -- WEIGHTS.safetensors DATA [IMAGES [MARGIN]]
//! ```
//! `DATA` is a folder with official CIFAR binaries, training and test set, or its parent. Ranges are measured on the first
//! 2000 training images, times MARGIN (1.5); accuracy is that of the first IMAGES (1000) test images. The input is normalised
//! as these data usually are.

use std::{env, error::Error, fs};

use datasets::{Cifar, CifarVariant, Dataset, Split};
use he_layers::{Composite, PlainTensor, PolyActivation};
use he_models::{ReluNetwork, ReluRange, graph::InputSpec};

const TRAINING_IMAGES: usize = 2000;
/// Images that are in memory at a time.
const PART: usize = 250;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut args = env::args().skip(1);
    let usage = "usage: relu_accuracy WEIGHTS.safetensors DATA [IMAGES [MARGIN]]";
    let (weights, folder) = (args.next().ok_or(usage)?, args.next().ok_or(usage)?);
    let count = args.next().map_or(Ok(1000), |n| n.parse())?;
    let margin = args.next().map_or(Ok(1.5), |m| m.parse())?;
    let input = InputSpec {
        channels: 3,
        height: 32,
        width: 32,
        mean: vec![0.4914, 0.4822, 0.4465],
        std: vec![0.2023, 0.1994, 0.2010],
    };
    let network = ReluNetwork::from_safetensors(&weights, input, &fs::read(&weights)?)?;
    let variant = CifarVariant::with_classes(network.classes());
    let training = Cifar::open(&folder, Split::Train, variant)?;
    let ranges = ranges(&network, &training)?;
    let test = Cifar::open(&folder, Split::Test, variant)?;

    let exact = accuracy(&network, &test, count, |x| {
        Ok((network.forward_plain(x)?, None))
    })?;
    println!("exact ReLU: {exact}");
    for degree in [31, 63, 127] {
        let relu = |name: &str, declared| PolyActivation::relu(name, degree, declared);
        report(
            &network,
            &test,
            count,
            &ranges,
            margin,
            &format!("degree {degree}"),
            &relu,
        )?;
    }
    for (degrees, gap) in [(&[7, 7, 7][..], 0.02), (&[15, 15, 15], 0.004)] {
        let sign = Composite::sign(degrees, gap, 1e-3)?;
        let relu =
            |name: &str, declared| PolyActivation::relu_by_sign(name, sign.components(), declared);
        report(
            &network,
            &test,
            count,
            &ranges,
            margin,
            &format!("sign by degrees {degrees:?}"),
            &relu,
        )?;
    }
    Ok(())
}

type Relu<'a> = &'a dyn Fn(&str, Vec<f64>) -> Result<PolyActivation, he_layers::LayerError>;

/// Prints what one kind of polynomial does.
fn report(
    network: &ReluNetwork,
    test: &Cifar,
    count: usize,
    ranges: &[ReluRange],
    margin: f64,
    what: &str,
    relu: Relu,
) -> Outcome<()> {
    let polynomials = network.with_polynomials(ranges, margin, relu)?;
    let tally = accuracy(network, test, count, |x| {
        let (logits, outside) = polynomials.forward_plain(x)?;
        Ok((logits, Some(outside.iter().filter(|out| **out).count())))
    })?;
    let act = &polynomials.act;
    println!(
        "{what}, {} levels, off by {:.5} of the range: {tally}",
        act.depth(),
        act.relu_error()
    );
    Ok(())
}

/// The largest ranges over some training images.
fn ranges(network: &ReluNetwork, data: &Cifar) -> Outcome<Vec<ReluRange>> {
    let mut all: Vec<ReluRange> = Vec::new();
    for start in (0..TRAINING_IMAGES).step_by(PART) {
        let part = network.measure_ranges(&read(network, data, start, PART)?)?;
        if all.is_empty() {
            all = part;
            continue;
        }
        for (all, part) in all.iter_mut().zip(&part) {
            let pairs = all.max_abs.iter_mut().zip(&part.max_abs);
            pairs.for_each(|(a, b)| *a = a.max(*b));
        }
    }
    Ok(all)
}

/// Images classified rightly and, where that is known, those that leave a range, as a sentence.
fn accuracy(
    network: &ReluNetwork,
    data: &Cifar,
    count: usize,
    logits: impl Fn(&PlainTensor) -> Outcome<(PlainTensor, Option<usize>)>,
) -> Outcome<String> {
    let (mut right, mut outside) = (0, None);
    for start in (0..count).step_by(PART) {
        let part = PART.min(count - start);
        let (y, out) = logits(&read(network, data, start, part)?)?;
        outside = out.map(|out| outside.unwrap_or(0) + out);
        let images = data.read(start, part)?;
        let labels = images.labels().ok_or("images without labels")?;
        for (n, label) in labels.iter().enumerate() {
            let best = (0..network.classes())
                .max_by(|a, b| y.at(n, *a, 0, 0).total_cmp(&y.at(n, *b, 0, 0)));
            right += usize::from(best == Some(*label));
        }
    }
    let outside = outside.map_or(String::new(), |out| format!(", {out} out of range"));
    Ok(format!("{right} of {count} right{outside}"))
}

fn read(network: &ReluNetwork, data: &Cifar, start: usize, count: usize) -> Outcome<PlainTensor> {
    let pixels = data.read(start, count)?.view().to_f64();
    Ok(PlainTensor::new(count, network.input_shape(), pixels)?)
}
