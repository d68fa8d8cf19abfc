//! Makes `tiny`, the residual network of the tests: random weights, activations set one after the other.
//!
//! ```text
//! cargo run --release -p he-models --example make_tiny -- FOLDER
//! ```
//! writes `tiny.ron` and `tiny.safetensors` there. Every activation starts as the identity square (x + t)^2; its mean and
//! variance on synthetic images then place a quadratic `c2 z^2 + c1 z` of the normalised value z, as training does.

use std::{collections::BTreeMap, env, error::Error, fs, path::Path};

use datasets::{Dataset, Shape, Synthetic};
use he_models::{
    Model, ModelSpec, Provenance,
    graph::{FORMAT, InputSpec, LayerSpec, Shortcut, WeightsSpec},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};

const SEED: u64 = 20;
const CHANNELS: [usize; 2] = [4, 8];
const CLASSES: usize = 10;
const SHAPE: Shape = Shape {
    channels: 3,
    height: 8,
    width: 8,
};
const IMAGES: usize = 4000;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).ok_or("usage: make_tiny FOLDER")?;
    let folder = Path::new(&folder);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let images = Synthetic::with_shape(SEED, SHAPE)?
        .read(0, IMAGES)?
        .view()
        .to_f64();

    let mut spec = specification();
    let mut tensors = Tensors::new();
    let mut channels = SHAPE.channels;
    for layer in &spec.layers {
        match layer {
            LayerSpec::Stem {
                name,
                channels: out,
                ..
            } => {
                random(
                    &mut tensors,
                    &mut rng,
                    format!("{name}.weight"),
                    &[*out, channels, 3, 3],
                );
                channels = *out;
            }
            LayerSpec::PreActBlock {
                name,
                channels: out,
                shortcut,
                ..
            } => {
                let c = *out;
                random(
                    &mut tensors,
                    &mut rng,
                    format!("{name}.conv1.weight"),
                    &[c, channels, 3, 3],
                );
                random(
                    &mut tensors,
                    &mut rng,
                    format!("{name}.conv2.weight"),
                    &[c, c, 3, 3],
                );
                if *shortcut == Shortcut::Projection {
                    let tensor = format!("{name}.shortcut.weight");
                    random(&mut tensors, &mut rng, tensor, &[c, channels, 1, 1]);
                }
                channels = c;
            }
            LayerSpec::Head { dense, .. } => {
                random(
                    &mut tensors,
                    &mut rng,
                    format!("{dense}.weight"),
                    &[CLASSES, channels],
                );
                set(&mut tensors, dense, "bias", vec![0.0; CLASSES]);
            }
        }
    }
    let activations = spec.activation_channels();
    for (name, channels) in &activations {
        set(&mut tensors, name, "g", vec![1.0; *channels]);
        set(&mut tensors, name, "t", vec![0.0; *channels]);
        set(&mut tensors, name, "d", vec![0.0; *channels]);
    }
    for (i, (name, channels)) in activations.iter().enumerate() {
        // Mean of x^2, then of (x + 1)^2.
        let squares = second_moment(&spec, &tensors, &images, i)?;
        set(&mut tensors, name, "t", vec![1.0; *channels]);
        let shifted = second_moment(&spec, &tensors, &images, i)?;
        let (mut g, mut t, mut d) = (Vec::new(), Vec::new(), Vec::new());
        for (square, shifted) in squares.iter().zip(shifted) {
            let mean = (shifted - square - 1.0) / 2.0;
            let deviation = (square - mean * mean).sqrt();
            let (c1, c2) = (rng.random_range(0.4..0.6), rng.random_range(0.08..0.12));
            g.push((c2 / (deviation * deviation)) as f32);
            t.push((deviation * c1 / (2.0 * c2) - mean) as f32);
            d.push((-c1 * c1 / (4.0 * c2)) as f32);
        }
        set(&mut tensors, name, "g", g);
        set(&mut tensors, name, "t", t);
        set(&mut tensors, name, "d", d);
    }

    // Every class gets its share of the images.
    let logits = Model::new(spec.clone(), &serialise(&tensors)?)?.logits(&images)?;
    let mean = |class| logits.iter().skip(class).step_by(CLASSES).sum::<f64>() / IMAGES as f64;
    let bias = (0..CLASSES).map(|class| -mean(class) as f32).collect();
    set(&mut tensors, "fc", "bias", bias);

    let weights = serialise(&tensors)?;
    let model = Model::new(spec.clone(), &weights)?;
    let evaluation = model.evaluate(&images)?;
    println!(
        "standard deviation of the logits {:.3}",
        evaluation.logit_std()
    );
    let mut votes = [0; CLASSES];
    evaluation.predictions().for_each(|class| votes[class] += 1);
    println!("images by class {votes:?}");
    spec.activations = evaluation.statistics();
    fs::write(folder.join("tiny.ron"), spec.to_ron()?)?;
    fs::write(folder.join(&spec.weights.file), weights)?;
    Ok(())
}

fn specification() -> ModelSpec {
    let block = |name: &str, channels, stride, shortcut| LayerSpec::PreActBlock {
        name: name.into(),
        channels,
        kernel: 3,
        stride,
        shortcut,
    };
    ModelSpec {
        format: FORMAT,
        name: "tiny".into(),
        dataset: "synthetic".into(),
        weights: WeightsSpec {
            file: "tiny.safetensors".into(),
            sha256: None,
        },
        input: InputSpec {
            channels: SHAPE.channels,
            height: SHAPE.height,
            width: SHAPE.width,
            mean: vec![0.4914, 0.4822, 0.4465],
            std: vec![0.2470, 0.2435, 0.2616],
        },
        classes: (0..CLASSES).map(|k| format!("class {k}")).collect(),
        layers: vec![
            LayerSpec::Stem {
                name: "stem".into(),
                channels: CHANNELS[0],
                kernel: 3,
                stride: 1,
            },
            block("stage1.block1", CHANNELS[0], 1, Shortcut::Identity),
            block("stage2.block1", CHANNELS[1], 2, Shortcut::Projection),
            LayerSpec::Head {
                activation: "final".into(),
                dense: "fc".into(),
            },
        ],
        activations: Vec::new(),
        provenance: Provenance {
            origin: Some("random weights, untrained".into()),
            command: Some("cargo run --release -p he-models --example make_tiny".into()),
            seed: Some(SEED),
            statistics: Some(format!("{IMAGES} synthetic images")),
            licence: Some("MIT OR Apache-2.0".into()),
            ..Provenance::default()
        },
    }
}

/// Second moments of the inputs of activation `index`.
fn second_moment(
    spec: &ModelSpec,
    tensors: &Tensors,
    images: &[f64],
    index: usize,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let model = Model::new(spec.clone(), &serialise(tensors)?)?;
    Ok(model.evaluate(images)?.activations[index].second_moment())
}

/// Uniform weights of variance 1 / (number of inputs).
fn random(tensors: &mut Tensors, rng: &mut ChaCha8Rng, name: String, shape: &[usize]) {
    let inputs: usize = shape[1..].iter().product();
    let bound = (3.0 / inputs as f32).sqrt();
    let count = shape.iter().product();
    let values = (0..count)
        .map(|_| rng.random_range(-bound..bound))
        .collect();
    tensors.insert(name, (shape.to_vec(), values));
}

fn set(tensors: &mut Tensors, activation: &str, parameter: &str, values: Vec<f32>) {
    tensors.insert(
        format!("{activation}.{parameter}"),
        (vec![values.len()], values),
    );
}

fn serialise(tensors: &Tensors) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::new();
    for ((name, (shape, _)), bytes) in tensors.iter().zip(&bytes) {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    Ok(safetensors::serialize(views, None)?)
}
