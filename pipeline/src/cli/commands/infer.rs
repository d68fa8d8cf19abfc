//! `polyphase infer`: encrypted inference on a batch, compared with the plaintext network.

use he_models::Model;
use pipeline::inference::{self, Batch, Options};
use pipeline::progress::Progress;
use pipeline::report::{self, InferReport};

use super::plan::{self, Place};
use crate::cli::args::InferArgs;
use crate::cli::data;
use crate::cli::output::Output;
use crate::error::CliError;

/// Runs the command: report to standard output, to a JSON file, or both.
pub fn command(args: &InferArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let pool = args.planning.machine.threads.pool(ui)?;
    let report = pool.install(|| run(args, ui))?;
    if args.logits {
        ui.note(report::EXACT);
    }
    output.write(&report)
}

/// Plans and runs the batch that the arguments name.
pub fn run(args: &InferArgs, ui: &dyn Progress) -> Result<InferReport, CliError> {
    let planning = &args.planning;
    let model = Model::open(&planning.model.model)?;
    let data = data::open(args.data.data.as_deref(), &model)?;
    let batch = Batch {
        data: data.as_ref(),
        first: args.data.offset,
        images: planning.batch.get(),
    };
    data::check_left(batch.data, batch.first, batch.images)?;
    let planned = plan::prepare(&model.lower()?, planning, Place::Here)?;
    ui.note(&planned.plan.to_string());
    if args.seed.is_some() {
        ui.note(report::SEEDED);
    }
    let options = Options {
        seed: args.seed,
        profile: args.profile,
        logits: args.logits,
        out_of_range: args.out_of_range.into(),
    };
    Ok(inference::infer(&model, planned, batch, options, ui)?)
}
