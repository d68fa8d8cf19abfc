//! `polyphase eval`: the plaintext network on a data set.

use std::path::Path;

use ckks_scheme::exec::KernelChoice;
use he_models::Model;
use pipeline::decisions::Instance;
use pipeline::inference::Batch;
use pipeline::plan::Plan;
use pipeline::progress::Progress;
use pipeline::references;
use pipeline::report::{EvalReport, LayerInput, RoundedReport};
use pipeline::robustness;
use pipeline::screening::Inputs;

use crate::cli::args::EvalArgs;
use crate::cli::data;
use crate::cli::output::Output;
use crate::error::CliError;

/// Synthetic images, where the user names no number.
const SYNTHETIC: usize = 32;
/// Seed of the families of pictures: everybody's are the same.
const FAMILIES_SEED: u64 = 0;

/// Runs the command: report to standard output, to a JSON file, or both.
pub fn command(args: &EvalArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let pool = args.threads.pool(ui)?;
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
    let rounding = args.plan.as_deref().map(|path| prepare(path, &model));
    let rounding = rounding.transpose()?;
    let batch = Batch {
        data: data.as_ref(),
        first,
        images: count,
    };
    let reference = references::exact(&model, batch, ui)?;
    let whole = &reference.evaluation;
    let rounded = match &rounding {
        Some(network) => {
            let inputs = Inputs::all(batch, &model.spec().input);
            let programs = (&network.prepared, network.last.as_ref());
            let logits = references::rounded(&network.program, programs, &inputs, ui)?;
            let rounded = reference.with_logits(logits);
            Some(RoundedReport {
                accuracy_rounded: reference.accuracy(&rounded),
                agreement_rounded: rounded.agreement(whole),
                max_logit_error_rounded: rounded.max_logit_error(whole),
                logit_std: whole.logit_std(),
            })
        }
        None => None,
    };
    let robustness = match args.robustness {
        Some(random) => {
            let mut found = vec![robustness::of_family("the images themselves", whole)];
            let seed = FAMILIES_SEED;
            found.extend(robustness::evaluate(&model, batch, random.get(), seed, ui)?);
            Some(found)
        }
        None => None,
    };
    Ok(EvalReport {
        images: whole.images(),
        accuracy: reference.accuracy(whole),
        images_out_of_range: whole.out_of_range.len(),
        rounded,
        max_input_by_layer: whole.activations.iter().map(layer_input).collect(),
        robustness,
    })
}

/// The network as a run of the plan in a file prepares it.
fn prepare(path: &Path, model: &Model) -> Result<Instance, CliError> {
    let plan = Plan::read(path)?;
    plan.decisions
        .check_model(model.name(), &model.checksum_hex())?;
    let program = model.lower()?.program;
    Ok(plan.decisions.instantiate(&program, &KernelChoice::Auto)?)
}

fn layer_input(record: &he_models::ActivationRecord) -> LayerInput {
    let channel = record.tightest_channel();
    LayerInput {
        name: record.name.clone(),
        max_abs: record.max_abs[channel],
        declared: record.declared.get(channel).copied(),
    }
}
