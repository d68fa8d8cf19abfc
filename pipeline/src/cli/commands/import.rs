//! `polyphase import`: a network of others becomes a model file with weights and ranges.

use he_models::{ImportOptions, import};
use pipeline::progress::Progress;

use super::ranges;
use crate::cli::args::ImportArgs;
use crate::cli::output::{self, Output};
use crate::error::CliError;

/// Runs the command: writes the model file and its weights, then reports the ranges.
pub fn command(args: &ImportArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.measure.json.json.as_deref())?;
    output::check_writable(&args.out)?;
    let options = ImportOptions {
        name: args.name.clone(),
        shape: args.shape,
        mean: args.mean.clone(),
        std: args.std.clone(),
        classes: args.classes.clone(),
        relu: args.relu.clone(),
        dataset: args.dataset.clone(),
    };
    let imported = import(&args.file, &options)?;
    for note in imported.notes() {
        ui.note(note);
    }
    let (evaluation, accuracy, data) = ranges::measured(imported.model(), &args.measure, ui)?;
    let provenance = ranges::provenance(imported.model(), &evaluation, &data);
    let imported = imported.with_statistics(evaluation.statistics())?;
    let model = imported.with_provenance(provenance)?.write(&args.out)?;
    output.write(&ranges::report(
        &model, &args.out, data, evaluation, accuracy,
    ))
}
