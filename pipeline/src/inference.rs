//! A whole encrypted inference in one process, client and server by the same calls that separate ones make, and its
//! comparison with the plaintext references.

mod dealt;
mod error;
mod here;

use crate::answers::{Answer, Answers};
use crate::checkpoint::Checkpoint;
use crate::client::{Client, ClientSpec, Randomness};
use crate::decisions::Instance;
use crate::exchange::ExchangeError;
use crate::exchange::sealed::hex;
use crate::planner::Planned;
use crate::progress::{Progress, Unit};
use crate::references::{self, Reference};
use crate::report::{self, InferReport, LogitsRecord, OperationReport, StageReport};
use crate::screening::{self, Inputs, OutOfRange, Screened};
use crate::system;
use crate::timeline::Recording;
use ckks_scheme::EvaluationKeys;
use datasets::{DataError, Dataset, Images};
pub use dealt::{Finished, Numbers, Servers, ServersError, infer_dealt};
pub use error::InferenceError;
use he_layers::PreparedProgram;
use he_models::Model;
use here::run_encrypted;
use std::ops::Range;
use std::time::Instant;

/// What is hashed to tell images apart.
const IMAGES_CONTEXT: &str = "polyphase pipeline 1 images of a run";

/// Options of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Reproducible keys and encryptions: for experiments, not secure.
    pub seed: Option<u64>,
    /// Report what every operation took.
    pub profile: bool,
    /// Report all logits.
    pub logits: bool,
    /// What to do with images that leave a declared range.
    pub out_of_range: OutOfRange,
}

/// The images of a run. They are read group by group, for the run and for each of the references.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// Where they come from.
    pub data: &'a dyn Dataset,
    /// Number of the first one there.
    pub first: usize,
    /// Number of images, at least 1.
    pub images: usize,
}

impl Batch<'_> {
    /// Groups of at most `size` images, as ranges in the batch.
    pub(crate) fn groups(&self, size: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let images = self.images;
        (0..images)
            .step_by(size)
            .map(move |first| first..images.min(first + size))
    }

    pub(crate) fn read(&self, group: Range<usize>) -> Result<Images, DataError> {
        self.data.read(self.first + group.start, group.len())
    }
}

/// What the encrypted run itself gave, before any comparison.
struct Run {
    stages: Vec<StageReport>,
    keygen: f64,
    warmup: f64,
    encrypt: f64,
    infer: f64,
    /// Time on processors.
    processor: Option<f64>,
    decrypt: f64,
    pool_high_water_bytes: u64,
    profile: Option<Vec<OperationReport>>,
}

/// Runs a plan on a batch, in the current rayon pool, and compares the result with the plaintext network.
///
/// # Errors
/// [`InferenceError`].
pub fn infer(
    model: &Model,
    planned: Planned,
    batch: Batch<'_>,
    options: Options,
    progress: &dyn Progress,
) -> Result<InferReport, InferenceError> {
    let watch = Watch::default();
    infer_watched(model, planned, batch, options, watch, progress)
}

/// What looks on while a batch is run.
#[derive(Debug, Default)]
pub struct Watch<'a> {
    /// Keeps what the run has got so far. A run that an earlier process has begun goes on where that was, with the plan of
    /// [`Checkpoint::decisions`]; a run of something else is refused.
    pub checkpoint: Option<&'a mut Checkpoint>,
    /// Writes down what ran when.
    pub recording: Option<&'a mut Recording>,
}

impl Watch<'_> {
    /// Something other than a step of the run ends.
    fn phase(&mut self, name: &'static str) {
        if let Some(recording) = &mut self.recording {
            recording.phase(name);
        }
    }
}

/// As [`infer`], and somebody looks on.
///
/// # Errors
/// [`InferenceError`].
pub fn infer_watched(
    model: &Model,
    planned: Planned,
    batch: Batch<'_>,
    options: Options,
    watch: Watch<'_>,
    progress: &dyn Progress,
) -> Result<InferReport, InferenceError> {
    let run = |planned: &Planned, inputs: &Inputs<'_>, logits: &mut Vec<f64>, watch: &mut Watch| {
        run_encrypted(model, planned, inputs, logits, (options, watch), progress)
    };
    compared(model, planned, batch, options, watch, progress, run)
}

/// Runs a batch with `run`, and compares the logits that this gives with the plaintext network.
fn compared(
    model: &Model,
    planned: Planned,
    batch: Batch<'_>,
    options: Options,
    mut watch: Watch<'_>,
    progress: &dyn Progress,
    run: impl FnOnce(
        &Planned,
        &Inputs<'_>,
        &mut Vec<f64>,
        &mut Watch<'_>,
    ) -> Result<Run, InferenceError>,
) -> Result<InferReport, InferenceError> {
    let mut decrypted = room_for_logits(&planned.instance.prepared, batch.images)?;
    let reference = references::exact(model, batch, progress)?;
    let grouping = planned.instance.grouping();
    let Screened { inputs, leaving } = screening::screen(
        model,
        &reference,
        batch,
        grouping,
        options.out_of_range,
        progress,
    )?;
    watch.phase("plaintext network");
    let run = run(&planned, &inputs, &mut decrypted, &mut watch)?;
    let Planned { plan, instance } = planned;
    let Instance {
        params,
        program,
        mut prepared,
        mut last,
        ..
    } = instance;
    let (log_n, log_qp, security_bits, kernel) = (
        params.log_n(),
        params.log_qp(),
        params.security_bits(),
        params.kernel_name(),
    );
    // Give the pool's memory back before the reference needs its own.
    prepared.release_refreshers();
    if let Some(last) = &mut last {
        last.release_refreshers();
    }
    drop(params);
    let programs = (&prepared, last.as_ref());
    let rounded = references::rounded(&program, programs, &inputs, progress)?;
    let bounds = model.logit_bounds()?;
    let blanked = inputs.blanked();
    let answers = Answers::judge(&decrypted, &bounds, grouping, batch.first, blanked);
    if !answers.spoiled.is_empty() {
        progress.note(&report::spoiled_warning(&answers.spoiled));
    }

    let decisions = plan.decisions;
    let classes = bounds.least.len();
    let logits = options
        .logits
        .then(|| records(&reference, &decrypted, &answers, batch.first));
    // From here on images without an answer are left out.
    let given = answers.given();
    let images_out_of_range = reference.evaluation.out_of_range.len();
    let reference = reference.of_images(&given);
    let of_given =
        |logits: &[f64]| reference.with_logits(references::rows(logits, classes, &given));
    let (encrypted, rounded) = (of_given(&decrypted), of_given(&rounded));
    let exact = &reference.evaluation;
    Ok(InferReport {
        model: decisions.model.clone(),
        model_checksum: decisions.model_checksum.clone(),
        data: batch.data.name().to_owned(),
        offset: batch.first,
        packing: decisions.packing.to_string(),
        grid: decisions.grid.to_string(),
        groups: plan.forecast.groups,
        plan: decisions,
        processor: system::processor(),
        revision: system::revision().to_owned(),
        seed: options.seed,
        images: batch.images,
        accuracy_encrypted: reference.accuracy(&encrypted),
        accuracy_plain: reference.accuracy(exact),
        agreement: encrypted.agreement(exact),
        max_logit_error: encrypted.max_logit_error(exact),
        logit_std: exact.logit_std(),
        agreement_rounded: encrypted.agreement(&rounded),
        max_logit_error_rounded: encrypted.max_logit_error(&rounded),
        predicted_max_logit_error: plan.forecast.errors.map(|e| e.total),
        predicted_max_logit_error_rounded: plan.forecast.errors.map(|e| e.noise),
        images_out_of_range,
        out_of_range: leaving,
        images_blanked: blanked.iter().map(|at| batch.first + at).collect(),
        images_spoiled: answers.images_spoiled(),
        spoiled: answers.spoiled,
        seconds_keygen: run.keygen,
        seconds_warmup: run.warmup,
        seconds_encrypt: run.encrypt,
        seconds_infer: run.infer,
        seconds_processor_infer: run.processor,
        seconds_decrypt: run.decrypt,
        seconds_per_image: run.infer / batch.images as f64,
        peak_rss_bytes: system::peak_rss_bytes(),
        pool_high_water_bytes: run.pool_high_water_bytes,
        key_bytes: plan.forecast.key_bytes,
        log_n,
        log_qp,
        security_bits,
        threads: rayon::current_num_threads(),
        kernel: kernel.to_owned(),
        seeded: options.seed.is_some(),
        bootstraps: plan.forecast.bootstraps,
        stages: run.stages,
        predicted_seconds_infer: plan.forecast.predicted_seconds_infer,
        predicted_peak_bytes: plan.forecast.predicted_peak_bytes,
        logits,
        profile: run.profile,
        checkpoint: watch.checkpoint.map(|checkpoint| checkpoint.report()),
    })
}

/// The logits of all images that have an answer, and what the plaintext network says of each.
fn records(
    reference: &Reference,
    encrypted: &[f64],
    answers: &Answers,
    first: usize,
) -> Vec<LogitsRecord> {
    let exact = &reference.evaluation;
    let classes = exact.classes;
    let row = |logits: &[f64], i: usize| logits[i * classes..(i + 1) * classes].to_vec();
    let found = reference.with_logits(encrypted.to_vec());
    let found = found.predictions().zip(&answers.images).enumerate();
    found
        .map(|(i, (class, answer))| {
            let given = *answer == Answer::Given;
            LogitsRecord {
                index: first + i,
                label: reference.labels.as_ref().map(|l| l[i]),
                answer: *answer,
                class: given.then_some(class),
                encrypted: given.then(|| row(encrypted, i)),
                plain: row(&exact.logits, i),
            }
        })
        .collect()
}

/// Memory for all logits, before any work.
fn room_for_logits(prepared: &PreparedProgram, images: usize) -> Result<Vec<f64>, ExchangeError> {
    let count = images.checked_mul(prepared.output().layout.shape().volume());
    let mut logits = Vec::new();
    count
        .and_then(|count| logits.try_reserve_exact(count).ok())
        .ok_or(ExchangeError::Images { images })?;
    Ok(logits)
}

/// Compares what is to be encrypted with what an earlier process began to run.
fn check_run(
    checkpoint: &mut Checkpoint,
    inputs: &Inputs<'_>,
    prepared: &PreparedProgram,
    options: Options,
) -> Result<(), InferenceError> {
    let seed = options.seed.map_or("none".to_owned(), |s| s.to_string());
    checkpoint.check("seed", seed)?;
    checkpoint.check("images", digest(inputs, prepared.images())?)?;
    Ok(())
}

/// A client and what its server needs.
struct Made {
    spec: ClientSpec,
    client: Client,
    keys: EvaluationKeys,
    seconds: f64,
}

fn make_keys(
    model: &Model,
    planned: &Planned,
    seed: Option<u64>,
    checkpoint: Option<&Checkpoint>,
    progress: &dyn Progress,
) -> Result<Made, InferenceError> {
    let (decisions, instance) = (&planned.plan.decisions, &planned.instance);
    let params = &instance.params;
    progress.begin("keys", None, Unit::Parts);
    let start = Instant::now();
    let mut randomness = Randomness::new(seed);
    let spec = ClientSpec::new(
        decisions,
        instance,
        model.classes(),
        model.conditioning(),
        None,
    );
    let (client, keys) = match checkpoint {
        // With a seed all keys are made again.
        Some(checkpoint) if seed.is_none() => {
            Client::kept(&spec, params, &mut randomness, checkpoint)?
        }
        _ => Client::generate(&spec, params, &mut randomness)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    progress.finish();
    Ok(Made {
        spec,
        client,
        keys,
        seconds,
    })
}

/// What a batch is compared by, in hexadecimal digits: everything that is encrypted.
fn digest(inputs: &Inputs<'_>, group: usize) -> Result<String, ExchangeError> {
    let mut hasher = blake3::Hasher::new_derive_key(IMAGES_CONTEXT);
    for group in inputs.batch().groups(group) {
        for value in inputs.read(group)?.data {
            hasher.update(&value.to_le_bytes());
        }
    }
    Ok(hex(hasher.finalize().as_bytes()))
}
