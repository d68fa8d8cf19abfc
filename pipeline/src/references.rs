//! The network in the clear: what an encrypted run is compared with.

use crate::grouping::Grouping;
use crate::inference::{Batch, InferenceError};
use crate::progress::{Progress, Unit};
use crate::screening::Inputs;
use he_layers::{PreparedProgram, Program};
use he_models::{Evaluation, Model};

/// Images in memory as f64 at once where nothing groups them: 3 MB of CIFAR, and a step of the progress bar.
const CHUNK: usize = 128;

/// A batch in the clear, with exact weights.
pub struct Reference {
    /// Logits, and what the activations saw.
    pub evaluation: Evaluation,
    /// One an image, where the data has labels.
    pub labels: Option<Vec<usize>>,
}

impl Reference {
    /// Share of the images whose largest logit is their label's, where the data has labels.
    pub fn accuracy(&self, evaluation: &Evaluation) -> Option<f64> {
        self.labels.as_deref().map(|l| evaluation.accuracy(l))
    }

    /// The logits and labels of some of the images; what the activations saw stays that of all.
    pub fn of_images(&self, positions: &[usize]) -> Self {
        let (logits, classes) = (&self.evaluation.logits, self.evaluation.classes);
        let label = |labels: &Vec<usize>| positions.iter().map(|p| labels[*p]).collect();
        Self {
            evaluation: self.with_logits(rows(logits, classes, positions)),
            labels: self.labels.as_ref().map(label),
        }
    }

    /// The same images with other logits: `[image][class]`.
    pub fn with_logits(&self, logits: Vec<f64>) -> Evaluation {
        Evaluation {
            logits,
            ..self.evaluation.clone()
        }
    }
}

/// Some rows of logits `[image][class]`.
pub fn rows(logits: &[f64], classes: usize, positions: &[usize]) -> Vec<f64> {
    let row = |p: &usize| &logits[p * classes..(p + 1) * classes];
    positions.iter().flat_map(row).copied().collect()
}

/// Evaluates the network exactly, in the current rayon pool.
///
/// # Errors
/// [`InferenceError::Data`], [`InferenceError::Model`].
pub fn exact(
    model: &Model,
    batch: Batch<'_>,
    progress: &dyn Progress,
) -> Result<Reference, InferenceError> {
    let task = format!("plaintext {} on {}", model.name(), batch.data.name());
    progress.begin(&task, Some(batch.images as u64), Unit::Things("images"));
    let mut evaluation = model.evaluate(&[])?;
    let mut labels: Option<Vec<usize>> = None;
    for group in batch.groups(CHUNK) {
        let images = batch.read(group)?;
        evaluation.append(model.evaluate(&images.view().to_f64())?);
        if let Some(of_group) = images.labels() {
            labels.get_or_insert_default().extend(of_group);
        }
        progress.advance(images.len() as u64);
    }
    progress.finish();
    Ok(Reference { evaluation, labels })
}

/// Logits `[image][class]` with the weights as an encrypted run rounds them, `last` those of a last group. Its groups are that run's, since
/// rounding lets neighbours in a ciphertext leak into one another.
///
/// # Errors
/// [`InferenceError::Data`], [`InferenceError::Layer`].
pub fn rounded(
    program: &Program,
    (prepared, last): (&PreparedProgram, Option<&PreparedProgram>),
    inputs: &Inputs<'_>,
    progress: &dyn Progress,
) -> Result<Vec<f64>, InferenceError> {
    let batch = inputs.batch();
    let total = Some(batch.images as u64);
    progress.begin(
        "the same with rounded weights",
        total,
        Unit::Things("images"),
    );
    let mut logits = Vec::new();
    for group in Grouping::of_programs(prepared, last).groups(batch.images) {
        let prepared = last.filter(|_| group.is_last).unwrap_or(prepared);
        let images = inputs.read(group.range)?;
        logits.extend(prepared.forward_rounded(program, &images)?.data);
        progress.advance(images.n as u64);
    }
    progress.finish();
    Ok(logits)
}
