//! One step of gradient descent on the last block of the bundled ResNet-34 and a head, under encryption: 128-bit security, N = 2^16.
//!
//! ```text
//! cargo run --release -p he-training --example block_step -- [DATA] [images] [--plan-only]
//! ```
//! `DATA`: a folder with images and labels, CIFAR-10 for instance; synthetic images with made-up labels by default, or for `synthetic`.
//! Default: as many images as a mini-batch holds. The block's inputs are computed in the clear and encrypted, as are labels and first
//! parameters. The first head is a ridge regression in the clear on other images. What the step gives is compared with the same
//! step in the clear. With `--plan-only` nothing is encrypted.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ckks_scheme::counts::PrimitiveCosts;
use ckks_scheme::{Evaluator, KeyGenerator, Parameters};
use datasets::{Dataset, OpenOptions, Split, Synthetic};
use he_layers::PlainTensor;
use he_models::{LastBlock, Model};
use he_training::{
    Block, BlockClient, BlockPlan, BlockSettings, BlockTrainer, BlockWeights, Examples, Ranges,
    Rates, Ridge, accuracy,
};

/// Ciphertext primes: one of 50 bits and a level of 45 bits for each but one of the levels that a step takes.
const LEVELS: usize = 20;
const SCALE_BITS: u32 = 45;
/// Images on which the first head is trained and the ranges are measured.
const OTHERS: usize = 2048;
/// Classes of made-up labels.
const MADE_UP: usize = 10;
/// Room above what the other images have.
const ROOM: f64 = 2.0;
const RATES: Rates = Rates {
    offsets: 0.05,
    scales: 0.05,
    head: 0.002,
    bias: 0.05,
};

/// Inputs of the block with labels.
struct Data {
    inputs: PlainTensor,
    labels: Vec<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (options, arguments): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|text| text.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| *option != "--plan-only") {
        return Err(format!("{unknown}: expected --plan-only").into());
    }
    let mut arguments = arguments.into_iter();
    let source = arguments.next().unwrap_or_else(|| "synthetic".to_owned());
    let params = Parameters::builder()
        .log_n(16)
        .q_bits(std::iter::once(50).chain(std::iter::repeat_n(SCALE_BITS, LEVELS - 1)))
        .build()?;

    let model = Model::bundled("resnet34")?;
    let tail = model.graph().last_block()?;
    let block = Block::new(tail.shape, tail.convolutions.clone())?;
    let capacity = params.slots() / tail.shape.channels.next_power_of_two();
    let images = match arguments.next() {
        None => capacity,
        Some(text) => text
            .parse::<usize>()
            .map_err(|error| format!("{text}: {error}, expected a number of images"))?,
    };
    let (data, classes) = open(&source)?;
    let batch = inputs(&model, &tail, data.as_ref(), classes, 0..images)?;
    let others = images..images + OTHERS;
    let others = inputs(&model, &tail, data.as_ref(), classes, others)?;
    let first = first_weights(&tail, &block, &others, classes)?;

    // What is declared comes of other images. The client looks whether its own are within.
    let trace = block.clear_step(&first, &others.inputs, &others.labels)?;
    let next = first.stepped(&trace.gradient, RATES);
    let of = |weights| Ranges::of(weights, &trace, ROOM);
    let ranges = of(&first).union(&of(&next));
    let start = Instant::now();
    let clear = block.clear_step(&first, &batch.inputs, &batch.labels)?;
    let in_the_clear = start.elapsed().as_secs_f64();
    if !ranges.cover(&Ranges::of(&first, &clear, 1.0)) {
        return Err("an image of the mini-batch leaves the declared ranges".into());
    }
    let settings = BlockSettings {
        rates: RATES,
        ranges,
        input_gradient: false,
    };
    let plan = BlockPlan::new(&params, &block, classes, settings)?;
    let forecast = plan.forecast()?;
    let threads = rayon::current_num_threads();
    let costs = PrimitiveCosts::built_in(params.kernel_name(), params.log_n());
    println!(
        "{}: {images} images of {} at most, {classes} classes, {threads} threads, kernel {}",
        data.name(),
        plan.layout().images(),
        params.kernel_name()
    );
    println!(
        "N = 2^{}, log QP {:.0}, {} bits of security; {:?}",
        params.log_n(),
        params.log_qp(),
        params.security_bits(),
        forecast.levels
    );
    println!(
        "ciphertexts: {} of inputs, {} of labels, {} of parameters; refreshes: {}",
        forecast.input_ciphertexts,
        forecast.label_ciphertexts,
        forecast.weight_ciphertexts,
        forecast.refreshes
    );
    println!(
        "key switches: {}, of which {} rotations of maps, {} of sums, {} relinearisations",
        forecast.key_switches(),
        forecast.map_rotations,
        forecast.sum_rotations,
        forecast.relinearizations
    );
    println!(
        "{} keys of {:.2} GB, largest map {:.2} GB, all {:.2} GB; about {:.0} s with {threads} threads, as counted",
        forecast.keys,
        gb(forecast.key_bytes),
        gb(forecast.map_bytes),
        gb(plan.peak_bytes(None)?),
        costs.seconds(&forecast.work) / threads as f64
    );

    let after = first.stepped(&clear.gradient, RATES);
    let stepped = block.clear_step(&after, &batch.inputs, &batch.labels)?;
    println!(
        "in the clear: loss {:.6} before the step, {:.6} after",
        clear.loss, stepped.loss
    );
    if !options.is_empty() {
        return Ok(());
    }

    let mut clock = Clock(Instant::now());
    let mut rng = rand::rng();
    let keygen = KeyGenerator::new(&params);
    let secret = keygen.secret_key(&mut rng)?;
    let keys = keygen.evaluation_keys(&secret, &plan.keys()?, &mut rng)?;
    clock.tell("keys");
    let mut client = BlockClient::new(&secret, &plan, &mut rng);
    let weights = client.encrypt_weights(&first, plan.top())?;
    let encrypted = client.encrypt_batch(&batch.inputs, &batch.labels, plan.top())?;
    clock.tell("encryption");

    let trainer = BlockTrainer::new(Evaluator::new(&params, Arc::new(keys)), &plan, None)?;
    let start = Instant::now();
    let step = trainer.step(weights, encrypted, |part| clock.tell(part))?;
    let seconds = start.elapsed().as_secs_f64();
    println!("the step: {seconds:.1} s; in the clear {in_the_clear:.2} s");
    let entries = trainer.evaluator().profile().entries();
    for (operation, count, seconds) in entries {
        println!(
            "  {:<20} {count:>8} times, {seconds:>8.1} s of all threads",
            operation.name()
        );
    }
    println!(
        "largest size of all limbs {:.2} GB; {} refreshes",
        gb(params.pool().high_water_bytes()),
        trainer.refreshes()
    );

    for (what, found, expected) in [
        (
            "gradient",
            client.decrypt_weights(&step.gradient)?,
            &clear.gradient,
        ),
        ("parameters", client.decrypt_weights(&step.weights)?, &after),
    ] {
        for (kind, difference, largest) in expected.differences(&found) {
            let relative = difference / largest;
            println!("{what}, {kind}: off by {relative:.1e} of the largest, {largest:.2e}");
        }
        if what == "parameters" {
            let moved = block.clear_step(&found, &batch.inputs, &batch.labels)?;
            println!("loss after the encrypted step: {:.6}", moved.loss);
        }
    }
    Ok(())
}

fn gb(bytes: impl Into<u64>) -> f64 {
    bytes.into() as f64 * 1e-9
}

/// Tells the seconds since it last did.
struct Clock(Instant);

impl Clock {
    fn tell(&mut self, part: &str) {
        println!("{:>8.1} s  {part}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

/// Images with their number of classes.
fn open(source: &str) -> Result<(Box<dyn Dataset>, usize), Box<dyn Error>> {
    if source == "synthetic" {
        return Ok((Box::new(Synthetic::new(1)), MADE_UP));
    }
    let options = OpenOptions {
        split: Split::Train,
        ..OpenOptions::default()
    };
    let data = datasets::open(source, &options)?;
    let classes = data.num_classes().ok_or("images without labels")?;
    Ok((data, classes))
}

/// What the network makes of images in front of the block.
fn inputs(
    model: &Model,
    tail: &LastBlock,
    data: &dyn Dataset,
    classes: usize,
    range: std::ops::Range<usize>,
) -> Result<Data, Box<dyn Error>> {
    let read = data.read(range.start, range.len())?;
    let labels = match read.labels() {
        Some(labels) => labels.to_vec(),
        None => range.clone().map(|image| image % classes).collect(),
    };
    let mut pixels = read.view().to_f64();
    model.spec().input.condition(&mut pixels);
    let evaluation = tail.front.evaluate(&pixels)?;
    Ok(Data {
        inputs: PlainTensor::new(range.len(), tail.shape, evaluation.logits)?,
        labels,
    })
}

/// The exported activations, and a head by ridge regression on what the block makes of images.
fn first_weights(
    tail: &LastBlock,
    block: &Block,
    data: &Data,
    classes: usize,
) -> Result<BlockWeights, Box<dyn Error>> {
    let channels = tail.shape.channels;
    let mut weights = BlockWeights {
        offsets: tail.offsets.clone(),
        scales: std::array::from_fn(|_| vec![1.0; channels]),
        ..BlockWeights::zeros(channels, classes)
    };
    let trace = block.clear_step(&weights, &data.inputs, &data.labels)?;
    let examples = Examples::new(channels, classes, trace.pooled, data.labels.clone())?;
    let ridge = Ridge {
        regularisation: 0.05,
        norm_bound: examples.largest_norm(),
        rms_bound: examples.rms_norm(),
        ..Ridge::default()
    };
    let head = ridge.train_clear(&examples)?;
    let found = accuracy(&head.scores(examples.rows()), classes, examples.labels());
    println!("first head: accuracy {found:.3} on the images that it was trained on");
    // By class here, by feature there.
    for (feature, of_feature) in head.values().chunks_exact(classes).enumerate() {
        for (class, weight) in of_feature.iter().enumerate() {
            weights.head[class * channels + feature] = *weight;
        }
    }
    weights.bias = head.bias().to_vec();
    Ok(weights)
}
