//! `polyphase infer`: encrypted inference on a batch, compared with the plaintext network.

use he_models::Model;
use pipeline::checkpoint::Checkpoint;
use pipeline::inference::{self, Batch, Options, Watch};
use pipeline::progress::Progress;
use pipeline::report::{self, InferReport};
use pipeline::timeline::Recording;

use super::plan::{self, Place};
use crate::cli::args::InferArgs;
use crate::cli::checkpoint;
use crate::cli::data;
use crate::cli::output::{Output, check_writable, write_whole};
use crate::error::CliError;

/// Runs the command: report to standard output, to a JSON file, or both.
pub fn command(args: &InferArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    args.timeline
        .iter()
        .try_for_each(|path| check_writable(path))?;
    let pool = args.planning.machine.threads.pool(ui)?;
    let mut checkpoint = checkpoint::open(&args.checkpoint)?;
    let report = pool.install(|| run(args, checkpoint.as_mut(), ui))?;
    if args.logits {
        ui.note(report::EXACT);
    }
    output.write(&report)?;
    checkpoint::remove(checkpoint)
}

/// Plans and runs the batch that the arguments name.
fn run(
    args: &InferArgs,
    mut checkpoint: Option<&mut Checkpoint>,
    ui: &dyn Progress,
) -> Result<InferReport, CliError> {
    let planning = &args.planning;
    let model = Model::open(&planning.model.model)?;
    let data = data::open(args.data.data.as_deref(), &model)?;
    let batch = Batch {
        data: data.as_ref(),
        first: args.data.offset,
        images: planning.batch.get(),
    };
    data::check_left(batch.data, batch.first, batch.images)?;
    let lowered = model.lower()?;
    let mut begun_with = None;
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint::check(checkpoint, "infer", &lowered)?;
        checkpoint.check("number of images", planning.batch)?;
        checkpoint.check("planning", plan::asked_for(planning))?;
        begun_with = checkpoint.decisions()?;
    }
    let recorded = args.timeline.as_ref().map_or(0, |_| Recording::MOST_BYTES);
    let planned = match begun_with {
        Some(decisions) => plan::obey(&lowered, planning, &decisions, Place::Here, recorded)?,
        None => plan::prepare(&lowered, planning, Place::Here, recorded)?,
    };
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
    let forecast = planned.plan.forecast.clone();
    let mut recording = args.timeline.as_ref().map(|_| Recording::start());
    let watch = Watch {
        checkpoint,
        recording: recording.as_mut(),
    };
    let report = inference::infer_watched(&model, planned, batch, options, watch, ui)?;
    if let (Some(path), Some(recording)) = (&args.timeline, recording) {
        let title = format!(
            "{}, {} images, {} threads: {:.2} s, predicted {:.2} s",
            report.model,
            report.images,
            report.threads,
            report.seconds_infer,
            report.predicted_seconds_infer
        );
        let timeline = recording.finish(title, &forecast, report.threads);
        let text = match path.extension() {
            Some(extension) if extension == "json" => timeline.to_json(),
            _ => timeline.to_svg(),
        };
        write_whole(path, text.as_bytes())?;
    }
    Ok(report)
}
