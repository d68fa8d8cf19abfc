//! Measures what a network's activations see on real images, and writes it into the model file.
//!
//! ```text
//! cargo run --release -p he-models --example measure_ranges -- MODEL.ron DATA [--images N] [--check]
//! ```
//! `DATA` is a folder with official CIFAR binaries, or the parent of one. The training images give `declared` (twice the
//! largest `|x + t|`) and `second_moment` (mean of `(x + t)^2`) of every activation and channel; `--images` takes only
//! the first N of them. With `--check` nothing is written: the test images are evaluated, accuracy and ranges printed.

use std::{env, error::Error, fs, process::ExitCode, time::Instant};

use datasets::{Cifar, CifarVariant, Dataset, Split};
use he_models::{Evaluation, Model};

const USAGE: &str = "usage: measure_ranges MODEL.ron DATA [--images N] [--check]";
/// Images that are read at a time.
const PART: usize = 1000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut paths, mut limit, mut split) = (Vec::new(), usize::MAX, Split::Train);
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--images" => limit = args.next().ok_or(USAGE)?.parse()?,
            "--check" => split = Split::Test,
            _ => paths.push(arg),
        }
    }
    let [model_file, folder] = paths.as_slice() else {
        return Err(USAGE.into());
    };
    let model = Model::load(model_file)?;
    let data = Cifar::open(
        folder,
        split,
        CifarVariant::with_classes(model.classes().len()),
    )?;
    let count = data.num_images().unwrap_or(0).min(limit);

    let started = Instant::now();
    let (evaluation, accuracy) = evaluate(&model, &data, count)?;
    eprintln!("{count} images in {:.1} s", started.elapsed().as_secs_f64());
    println!("{}: accuracy {accuracy:.4}", data.name());
    println!(
        "standard deviation of the logits {:.4}",
        evaluation.logit_std()
    );
    for record in &evaluation.activations {
        let c = record.tightest_channel();
        let declared = record.declared.get(c);
        let declared = declared.map_or_else(|| "nothing".to_owned(), f64::to_string);
        let largest = record.max_abs[c];
        println!(
            "{}: channel {c} reaches {largest:.4}, declared {declared}",
            record.name
        );
    }
    let out = &evaluation.out_of_range;
    println!("{} images out of range: {out:?}", out.len());

    if split == Split::Train {
        let mut spec = model
            .with_statistics(evaluation.statistics())?
            .spec()
            .clone();
        let statistics = format!("{count} images of {}, not augmented", data.name());
        spec.provenance.statistics = Some(statistics);
        fs::write(model_file, spec.to_ron()?)?;
        eprintln!("{model_file} rewritten");
    }
    Ok(())
}

/// Evaluates the first `count` images, some of them in memory at a time; also the share that is classified rightly.
fn evaluate(
    model: &Model,
    data: &Cifar,
    count: usize,
) -> Result<(Evaluation, f64), Box<dyn Error>> {
    let mut whole = model.evaluate(&[])?;
    let mut labels = Vec::with_capacity(count);
    for offset in (0..count).step_by(PART) {
        let images = data.read(offset, PART.min(count - offset))?;
        whole.append(model.evaluate(&images.view().to_f64())?);
        labels.extend_from_slice(images.labels().ok_or("images without labels")?);
    }
    let accuracy = whole.accuracy(&labels);
    Ok((whole, accuracy))
}
