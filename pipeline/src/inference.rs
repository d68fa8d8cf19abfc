//! A whole encrypted inference in one process, client and server by the same calls that separate ones make, and its
//! comparison with the plaintext references.

use crate::answers::{Answer, Answers};
use crate::client::{Client, ClientSpec, Randomness};
use crate::decisions::Instance;
use crate::exchange::ExchangeError;
use crate::planner::Planned;
use crate::progress::{Progress, Unit};
use crate::references::{self, Reference};
use crate::report::{self, InferReport, LogitsRecord, OperationReport, StageReport};
use crate::screening::{self, Inputs, OutOfRange, Screened};
use crate::server::{Server, add_stages, warm_up};
use crate::system;
use ckks_scheme::{EvalError, KeyError};
use datasets::{DataError, Dataset, Images};
use he_layers::{LayerError, PreparedProgram};
use he_models::{Model, ModelError};
use std::ops::Range;
use std::time::Instant;
use thiserror::Error;

/// What went wrong in a run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// In a layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// In key generation.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// In memory.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// In the plaintext reference.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// In the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Between the two sides.
    #[error(transparent)]
    Exchange(Box<ExchangeError>),
    /// Images that leave a declared range, and are not to be encrypted.
    #[error(
        "{leaving} of {images} images leave a declared range of {model} and would spoil the others in their ciphertexts: {named} ({way_out})"
    )]
    OutOfRange {
        /// Name of the network.
        model: String,
        /// Images of the batch.
        images: usize,
        /// Those that leave a range.
        leaving: usize,
        /// The first of them, in words.
        named: String,
        /// What else could be done.
        way_out: &'static str,
    },
    /// A picture that stands where there is none leaves a declared range itself.
    #[error(
        "model {model}: {what} leaves the declared range of {activation}, expected one that spoils nothing (`--out-of-range allow` goes on)"
    )]
    Filler {
        /// Name of the network.
        model: String,
        /// The picture.
        what: &'static str,
        /// The first activation whose range it leaves.
        activation: String,
    },
}

impl From<ExchangeError> for InferenceError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(Box::new(error))
    }
}

impl InferenceError {
    /// Whether model or data are at fault.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Data(_) | Self::Model(_) => true,
            Self::Exchange(error) => error.is_bad_input(),
            Self::OutOfRange { .. } | Self::Filler { .. } => true,
            Self::Layer(_) | Self::Key(_) | Self::Eval(_) => false,
        }
    }

    /// Whether the memory bound was reached.
    pub fn out_of_memory(&self) -> bool {
        match self {
            Self::Layer(LayerError::Eval { source, .. }) | Self::Eval(source) => {
                source.out_of_memory()
            }
            Self::Layer(LayerError::Encode(error)) => error.out_of_memory(),
            Self::Key(error) => error.out_of_memory(),
            Self::Exchange(error) => error.is_not_feasible(),
            Self::Layer(_) | Self::Model(_) | Self::Data(_) => false,
            Self::OutOfRange { .. } | Self::Filler { .. } => false,
        }
    }
}

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
    let mut decrypted = room_for_logits(&planned.instance.prepared, batch.images)?;
    let reference = references::exact(model, batch, progress)?;
    let group = planned.instance.prepared.images();
    let Screened { inputs, leaving } = screening::screen(
        model,
        &reference,
        batch,
        group,
        options.out_of_range,
        progress,
    )?;
    let run = run_encrypted(model, &planned, &inputs, &mut decrypted, options, progress)?;
    let Planned { plan, instance } = planned;
    let Instance {
        params,
        program,
        prepared,
        ..
    } = instance;
    let (log_n, log_qp, security_bits, kernel) = (
        params.log_n(),
        params.log_qp(),
        params.security_bits(),
        params.kernel_name(),
    );
    // Gives the pool's memory back before the reference needs its own.
    drop(params);
    let rounded = references::rounded(&program, &prepared, &inputs, progress)?;
    let bounds = model.logit_bounds()?;
    let blanked = inputs.blanked();
    let answers = Answers::judge(&decrypted, &bounds, prepared.images(), batch.first, blanked);
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

fn run_encrypted(
    model: &Model,
    planned: &Planned,
    inputs: &Inputs<'_>,
    logits: &mut Vec<f64>,
    options: Options,
    progress: &dyn Progress,
) -> Result<Run, InferenceError> {
    let Planned { plan, instance } = planned;
    let (params, prepared) = (&instance.params, &instance.prepared);
    let batch = inputs.batch();
    let mut randomness = Randomness::new(options.seed);
    let warmup = warm_up(params, plan.forecast.pool_bytes, progress)?;

    progress.begin("keys", None, Unit::Parts);
    let start = Instant::now();
    let spec = ClientSpec::new(
        &plan.decisions,
        prepared,
        model.classes(),
        model.conditioning(),
        None,
    );
    let (mut client, keys) = Client::generate(&spec, params, &mut randomness)?;
    let keygen = start.elapsed().as_secs_f64();
    progress.finish();

    let server = Server::new(planned, &spec, keys)?;
    let (mut encrypt, mut infer, mut decrypt) = (0.0, 0.0, 0.0);
    let mut stages: Vec<StageReport> = Vec::new();
    let mut pool_high_water_bytes = 0;
    for group in batch.groups(prepared.images()) {
        let images = inputs.read(group)?;
        let start = Instant::now();
        let encrypted = client.encrypt(&images)?;
        encrypt += start.elapsed().as_secs_f64();

        // The server starts the measurement anew for each of its stages.
        pool_high_water_bytes = params.pool().high_water_bytes().max(pool_high_water_bytes);
        let start = Instant::now();
        let (result, reports) = server.run(encrypted, progress)?;
        infer += start.elapsed().as_secs_f64();
        add_stages(&mut stages, reports);

        let start = Instant::now();
        logits.extend(client.decrypt(&result, images.n)?.data);
        decrypt += start.elapsed().as_secs_f64();
    }
    pool_high_water_bytes = stages
        .iter()
        .map(|s| s.bytes)
        .fold(pool_high_water_bytes, u64::max)
        .max(params.pool().high_water_bytes());
    Ok(Run {
        pool_high_water_bytes,
        stages,
        keygen,
        warmup,
        encrypt,
        infer,
        decrypt,
        profile: options.profile.then(|| server.operations()),
    })
}
