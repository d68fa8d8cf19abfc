//! `polyphase ranges`: what a network's activations see on images, written into its model file.

use std::fmt;
use std::path::Path;

use datasets::Dataset;
use he_models::{Evaluation, Model, ModelError, Provenance};
use pipeline::progress::{Progress, Unit};
use pipeline::report::LayerInput;
use serde::Serialize;

use crate::cli::args::{MeasureArgs, RangesArgs};
use crate::cli::data;
use crate::cli::output::{self, Output};
use crate::error::CliError;

/// Images in memory at a time.
const PART: usize = 256;

/// Ranges that were measured and written.
#[derive(Debug, Serialize)]
pub struct RangesReport {
    /// Name of the model.
    pub model: String,
    /// The model file.
    pub file: String,
    /// What the ranges were measured on.
    pub data: String,
    /// Images that they were measured on.
    pub images: usize,
    /// Share of their labels that the network predicts, with exact activations; `null` without labels.
    pub accuracy: Option<f64>,
    /// Each activation's largest input and its declared range, in the channel that comes nearest to it.
    pub max_input_by_layer: Vec<LayerInput>,
}

/// Runs the command: rewrites the model file, then reports.
pub fn command(args: &RangesArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.measure.json.json.as_deref())?;
    let path = args.out.as_ref().unwrap_or(&args.model);
    output::check_writable(path)?;
    let model = Model::load(&args.model)?;
    let (evaluation, accuracy, data) = measured(&model, &args.measure, ui)?;
    let provenance = provenance(&model, &evaluation, &data);
    let model = model.with_statistics(evaluation.statistics())?;
    let model = model.with_provenance(provenance)?;
    // A copy elsewhere needs its weights beside it.
    if path.parent() != args.model.parent() {
        copy_weights(&model, &args.model, path)?;
    }
    model.write_spec(path)?;
    output.write(&report(&model, path, data, evaluation, accuracy))
}

fn copy_weights(model: &Model, from: &Path, to: &Path) -> Result<(), CliError> {
    let file = &model.spec().weights.file;
    let source = from.with_file_name(file);
    let bytes = std::fs::read(&source).map_err(|error| ModelError::Read {
        path: source,
        source: error,
    })?;
    output::write_whole(&to.with_file_name(file), &bytes)
}

/// Evaluates the network on the images that the arguments name: the evaluation, the accuracy, the name of the data.
pub(super) fn measured(
    model: &Model,
    args: &MeasureArgs,
    ui: &dyn Progress,
) -> Result<(Evaluation, Option<f64>, String), CliError> {
    let data = data::open_split(&args.data, args.split.into(), model)?;
    let first = args.offset;
    let all = data.num_images().unwrap_or(0).saturating_sub(first);
    let count = args.batch.map_or(all.max(1), |count| count.get());
    data::check_left(data.as_ref(), first, count)?;
    let pool = args.threads.pool(ui)?;
    let task = format!("ranges of {} on {}", model.name(), data.name());
    ui.begin(&task, Some(count as u64), Unit::Things("images"));
    let (evaluation, labels) = pool.install(|| evaluate(model, data.as_ref(), first, count, ui))?;
    ui.finish();
    let accuracy = labels.map(|labels| evaluation.accuracy(&labels));
    Ok((evaluation, accuracy, data.name().to_owned()))
}

fn evaluate(
    model: &Model,
    data: &dyn Dataset,
    first: usize,
    count: usize,
    ui: &dyn Progress,
) -> Result<(Evaluation, Option<Vec<usize>>), CliError> {
    let mut labels: Option<Vec<usize>> = None;
    let parts = (0..count).step_by(PART).map(|start| {
        let images = data.read(first + start, PART.min(count - start))?;
        if let Some(of_part) = images.labels() {
            labels.get_or_insert_default().extend(of_part);
        }
        Ok::<_, CliError>(images.view().to_f64())
    });
    let mut done = 0;
    let evaluation = model.measure(parts, |images| {
        ui.advance((images - done) as u64);
        done = images;
    })?;
    Ok((evaluation, labels))
}

/// The model's origin, with what its ranges were measured on.
pub(super) fn provenance(model: &Model, evaluation: &Evaluation, data: &str) -> Provenance {
    Provenance {
        statistics: Some(format!("{} images of {data}", evaluation.images())),
        ..model.spec().provenance.clone()
    }
}

/// What the command reports; `model` has the ranges of `evaluation`.
pub(super) fn report(
    model: &Model,
    path: &Path,
    data: String,
    evaluation: Evaluation,
    accuracy: Option<f64>,
) -> RangesReport {
    let statistics = &model.spec().activations;
    let layers = evaluation.activations.iter().zip(statistics);
    let max_input_by_layer = layers.map(|(record, statistics)| {
        let largest = |a: &usize, b: &usize| record.max_abs[*a].total_cmp(&record.max_abs[*b]);
        let channel = (0..record.max_abs.len()).max_by(largest).unwrap_or(0);
        LayerInput {
            name: record.name.clone(),
            max_abs: record.max_abs[channel],
            declared: Some(statistics.declared[channel]),
        }
    });
    RangesReport {
        model: model.name().to_owned(),
        file: path.display().to_string(),
        data,
        images: evaluation.images(),
        accuracy,
        max_input_by_layer: max_input_by_layer.collect(),
    }
}

impl fmt::Display for RangesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accuracy = self.accuracy.map_or("-".to_owned(), |a| format!("{a:.4}"));
        writeln!(f, "{:<24}{:>16}", "images", self.images)?;
        writeln!(f, "{:<24}{:>16}\n", "accuracy", accuracy)?;
        write!(
            f,
            "{:<24}{:>16}{:>12}",
            "activation", "largest input", "declared"
        )?;
        for layer in &self.max_input_by_layer {
            let declared = layer.declared.unwrap_or(f64::NAN);
            write!(
                f,
                "\n{:<24}{:>16.3}{:>12.3}",
                layer.name, layer.max_abs, declared
            )?;
        }
        write!(f, "\n\nwritten to {}", self.file)
    }
}
