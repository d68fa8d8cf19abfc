//! How a network takes pictures that it was not made for: family by family, how many leave its declared ranges.

use datasets::Dataset;
use datasets::families::{Photographs, families};
use he_models::{Evaluation, Model};

use crate::inference::{Batch, InferenceError};
use crate::progress::{Progress, Unit};
use crate::report::{FamilyReport, LeftFirst};

/// A logit beyond which an image has blown up.
pub const BLOWN_UP: f64 = 1000.0;
/// Pictures in memory at a time.
const PART: usize = 256;

/// Evaluates the families of [`datasets::families`] in the clear, made of the images of a batch: `random` pictures of each that is
/// random, five times as many drawings. Deterministic by `seed`. In parallel on the current rayon pool.
///
/// # Errors
/// [`InferenceError::Data`], [`InferenceError::Model`].
pub fn evaluate(
    model: &Model,
    batch: Batch<'_>,
    random: usize,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<FamilyReport>, InferenceError> {
    let photographs = Photographs {
        data: batch.data,
        first: batch.first,
        count: batch.images,
    };
    let families = families(photographs, random, seed);
    let count = |family: &dyn Dataset| family.num_images().unwrap_or(0);
    let total: usize = families.iter().map(|family| count(family)).sum();
    progress.begin("robustness", Some(total as u64), Unit::Things("pictures"));
    let mut reports = Vec::with_capacity(families.len());
    for family in &families {
        progress.stage(family.name());
        let pictures = count(family);
        let parts = (0..pictures).step_by(PART).map(|first| {
            let images = family.read(first, PART.min(pictures - first))?;
            Ok::<_, InferenceError>(images.view().to_f64())
        });
        let mut done = 0;
        let evaluation = model.measure(parts, |images| {
            progress.advance((images - done) as u64);
            done = images;
        })?;
        reports.push(of_family(family.name(), &evaluation));
    }
    progress.finish();
    Ok(reports)
}

/// What the evaluation of a family says.
#[must_use]
pub fn of_family(name: &str, evaluation: &Evaluation) -> FamilyReport {
    let rows = evaluation.logits.chunks_exact(evaluation.classes);
    let blown_up = |row: &&[f64]| row.iter().any(|l| l.is_nan() || l.abs() > BLOWN_UP);
    let mut largest: Option<(f64, &str)> = None;
    for record in &evaluation.activations {
        if let Some(share) = record
            .share()
            .filter(|s| largest.is_none_or(|(most, _)| *s > most))
        {
            largest = Some((share, &record.name));
        }
    }
    let left_first = evaluation.activations.iter().enumerate();
    let left_first = left_first.map(|(position, record)| LeftFirst {
        name: record.name.clone(),
        images: evaluation
            .out_of_range
            .iter()
            .filter(|excess| excess.activation == position)
            .count(),
    });
    FamilyReport {
        family: name.to_owned(),
        images: evaluation.images(),
        images_out_of_range: evaluation.out_of_range.len(),
        images_blown_up: rows.filter(blown_up).count(),
        largest_share: largest
            .map(|(share, _)| share)
            .filter(|share| share.is_finite()),
        activation: largest.map(|(_, name)| name.to_owned()),
        left_first: left_first.filter(|first| first.images > 0).collect(),
    }
}
