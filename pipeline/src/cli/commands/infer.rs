//! `polyphase infer`: encrypted inference on a batch, compared with the plaintext network.

use he_layers::PlainTensor;
use he_models::Model;
use pipeline::inference::{self, Batch, Options};
use pipeline::progress::Progress;
use pipeline::report::{self, InferReport};

use super::plan;
use crate::cli::args::InferArgs;
use crate::cli::data;
use crate::cli::output::Output;
use crate::error::CliError;

/// Runs the command: report to standard output, to a JSON file, or both.
pub fn command(args: &InferArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.planning.threads())
        .build()?;
    let report = pool.install(|| run(args, ui))?;
    if report.images_out_of_range > 0 {
        ui.note(&report::out_of_range_warning(report.images_out_of_range));
    }
    output.write(&report)
}

/// Plans and runs the batch that the arguments name.
pub fn run(args: &InferArgs, ui: &dyn Progress) -> Result<InferReport, CliError> {
    let planning = &args.planning;
    let model = Model::open(&planning.model.model)?;
    let data = data::open(args.data.data.as_deref(), &model)?;
    let count = planning.batch.get();
    data.check_range(args.data.offset, count)?;
    let planned = plan::prepare(&model.fold()?, planning)?;
    ui.note(&planned.plan.to_string());
    if args.seed.is_some() {
        ui.note("keys and encryptions from a seed: reproducible, not secure");
    }

    let read = data.read(args.data.offset, count)?;
    let images = PlainTensor::new(count, model.input_shape(), read.view().to_f64())
        .map_err(inference::InferenceError::from)?;
    let batch = Batch {
        images: &images,
        labels: read.labels(),
        first_index: args.data.offset,
    };
    let options = Options {
        seed: args.seed,
        profile: args.profile,
        logits: args.logits,
    };
    Ok(inference::infer(&model, planned, batch, options, ui)?)
}
