//! `polyphase eval`: the plaintext network on a data set.

use he_models::{Evaluation, Model};
use pipeline::progress::{Progress, Unit};
use pipeline::report::{EvalReport, LayerInput};

use crate::cli::args::EvalArgs;
use crate::cli::data;
use crate::cli::output::Output;
use crate::error::CliError;

/// Images in memory as f64 at once: 3 MB of CIFAR, and a step of the progress bar.
const CHUNK: usize = 128;
/// Synthetic images, where the user names no number.
const SYNTHETIC: usize = 32;

/// Runs the command: report to standard output, to a JSON file, or both.
pub fn command(args: &EvalArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.threads.map_or(0, Into::into))
        .build()?;
    output.write(&pool.install(|| run(args, ui))?)
}

/// Evaluates the network on the images that the arguments name.
pub fn run(args: &EvalArgs, ui: &dyn Progress) -> Result<EvalReport, CliError> {
    let model = Model::open(&args.model.model)?;
    let data = data::open(args.data.data.as_deref(), &model)?;
    let first = args.data.offset;
    let count = match (args.batch, data.num_images()) {
        (Some(count), _) => count.get(),
        // At least one, so that an offset beyond the end is an error.
        (None, Some(all)) => all.saturating_sub(first).max(1),
        (None, None) => SYNTHETIC,
    };
    data::check_left(data.as_ref(), first, count)?;

    let task = format!("plaintext {} on {}", model.name(), data.name());
    ui.begin(&task, Some(count as u64), Unit::Things("images"));
    let mut whole: Option<Evaluation> = None;
    let mut labels = Vec::new();
    for start in (0..count).step_by(CHUNK) {
        let images = data.read(first + start, CHUNK.min(count - start))?;
        let part = model.evaluate(&images.view().to_f64())?;
        labels.extend(images.labels().unwrap_or_default());
        match &mut whole {
            Some(whole) => whole.append(part),
            None => whole = Some(part),
        }
        ui.advance(images.len() as u64);
    }
    ui.finish();

    let whole = whole.expect("there is at least one image");
    Ok(EvalReport {
        images: whole.images(),
        accuracy: (!labels.is_empty()).then(|| whole.accuracy(&labels)),
        images_out_of_range: whole.out_of_range.len(),
        max_input_by_layer: whole.activations.iter().map(layer_input).collect(),
    })
}

fn layer_input(record: &he_models::ActivationRecord) -> LayerInput {
    let channel = record.tightest_channel();
    LayerInput {
        name: record.name.clone(),
        max_abs: record.max_abs[channel],
        declared: record.declared.get(channel).copied(),
    }
}
