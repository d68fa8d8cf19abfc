//! A whole encrypted inference in one process, client and server by the same calls that separate ones make, and its
//! comparison with the plaintext references.

use crate::decisions::Instance;
use crate::executor::Executor;
use crate::planner::Planned;
use crate::progress::{Progress, Unit};
use crate::references;
use crate::report::{InferReport, LogitsRecord, OperationReport, StageReport};
use crate::system;
use ckks_scheme::{EvalError, Evaluator, KeyError, Parameters};
use datasets::{DataError, Dataset, Images};
use he_layers::{Chw, Client, LayerError, PlainTensor};
use he_models::{Evaluation, Model, ModelError};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;

/// Memory that is touched at a time, in bytes.
const WARM_UP_BYTES: u64 = 256 << 20;

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
}

impl InferenceError {
    /// Whether model or data are at fault.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Model(_))
    }

    /// Whether the memory bound was reached.
    pub fn out_of_memory(&self) -> bool {
        match self {
            Self::Layer(LayerError::Eval { source, .. }) | Self::Eval(source) => {
                source.out_of_memory()
            }
            Self::Layer(LayerError::Encode(error)) => error.out_of_memory(),
            Self::Key(error) => error.out_of_memory(),
            Self::Layer(_) | Self::Model(_) | Self::Data(_) => false,
        }
    }
}

/// Options of a run that do not change what is computed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Reproducible keys and encryptions: for experiments, not secure.
    pub seed: Option<u64>,
    /// Report what every operation took.
    pub profile: bool,
    /// Report all logits.
    pub logits: bool,
}

/// The images of a run. They are read group by group, once for the run and once for the references.
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

    /// As a network of input shape `shape` takes them.
    pub(crate) fn read_as(
        &self,
        shape: Chw,
        group: Range<usize>,
    ) -> Result<PlainTensor, InferenceError> {
        let images = self.read(group)?;
        Ok(PlainTensor::new(
            images.len(),
            shape,
            images.view().to_f64(),
        )?)
    }
}

/// What the encrypted run itself gave, before any comparison.
struct Run {
    /// `[image][class]`
    logits: Vec<f64>,
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
    let run = run_encrypted(&planned, batch, options, progress)?;
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
    // Gives the pool's memory back before the references need theirs.
    drop(params);
    let reference = references::exact(model, batch, progress)?;
    let rounded = reference.with_logits(references::rounded(&program, &prepared, batch, progress)?);
    let encrypted = reference.with_logits(run.logits);
    let exact = &reference.evaluation;

    let decisions = plan.decisions;
    let (images, classes) = (batch.images, prepared.output().layout.shape().volume());
    let logits = options.logits.then(|| {
        let row = |e: &Evaluation, i: usize| e.logits[i * classes..(i + 1) * classes].to_vec();
        (0..images)
            .map(|i| LogitsRecord {
                index: batch.first + i,
                label: reference.labels.as_ref().map(|l| l[i]),
                encrypted: row(&encrypted, i),
                plain: row(exact, i),
            })
            .collect()
    });
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
        images,
        accuracy_encrypted: reference.accuracy(&encrypted),
        accuracy_plain: reference.accuracy(exact),
        agreement: encrypted.agreement(exact),
        max_logit_error: encrypted.max_logit_error(exact),
        logit_std: exact.logit_std(),
        agreement_rounded: encrypted.agreement(&rounded),
        max_logit_error_rounded: encrypted.max_logit_error(&rounded),
        predicted_max_logit_error: plan.forecast.errors.map(|e| e.total),
        predicted_max_logit_error_rounded: plan.forecast.errors.map(|e| e.noise),
        images_out_of_range: exact.out_of_range.len(),
        seconds_keygen: run.keygen,
        seconds_warmup: run.warmup,
        seconds_encrypt: run.encrypt,
        seconds_infer: run.infer,
        seconds_decrypt: run.decrypt,
        seconds_per_image: run.infer / images as f64,
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

fn run_encrypted(
    planned: &Planned,
    batch: Batch<'_>,
    options: Options,
    progress: &dyn Progress,
) -> Result<Run, InferenceError> {
    let Planned { plan, instance } = planned;
    let (params, prepared) = (&instance.params, &instance.prepared);
    let mut rng = match options.seed {
        Some(seed) => ChaCha20Rng::seed_from_u64(seed),
        None => rand::make_rng(),
    };
    let warmup = warm_up(params, plan.forecast.pool_bytes, progress)?;

    progress.begin("keys", None, Unit::Parts);
    let start = Instant::now();
    let levels = &plan.decisions.key_steps.0;
    let (mut client, keys) = Client::with_key_levels(params, prepared, levels, &mut rng)?;
    let keygen = start.elapsed().as_secs_f64();
    progress.finish();

    let evaluator = Evaluator::new(params, Arc::new(keys));
    let executor = Executor::new(&evaluator, prepared, &plan.forecast.steps)?;
    let (mut encrypt, mut infer, mut decrypt) = (0.0, 0.0, 0.0);
    let mut logits = Vec::with_capacity(batch.images * prepared.output().layout.shape().volume());
    let mut stages: Vec<StageReport> = Vec::new();
    let mut pool_high_water_bytes = 0;
    for group in batch.groups(prepared.images()) {
        let images = batch.read_as(prepared.input().layout.shape(), group)?;
        let start = Instant::now();
        let encrypted = client.encrypt(&images)?;
        encrypt += start.elapsed().as_secs_f64();

        // The executor starts the measurement anew for each of its stages.
        pool_high_water_bytes = params.pool().high_water_bytes().max(pool_high_water_bytes);
        let start = Instant::now();
        let (result, reports) = executor.run(encrypted, progress)?;
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
        logits,
        pool_high_water_bytes,
        stages,
        keygen,
        warmup,
        encrypt,
        infer,
        decrypt,
        profile: options.profile.then(|| operations(&evaluator)),
    })
}

/// Touches the limb pool's pages, with progress; gives the seconds that took.
fn warm_up(
    params: &Parameters,
    pool_bytes: u64,
    progress: &dyn Progress,
) -> Result<f64, EvalError> {
    let start = Instant::now();
    let limb = params.limb_bytes();
    let missing = pool_bytes.saturating_sub(params.pool().in_use_bytes());
    let limbs = missing.div_ceil(limb) as usize;
    progress.begin("memory", Some(limbs as u64 * limb), Unit::Bytes);
    let part = (WARM_UP_BYTES / limb).max(1) as usize;
    for done in (0..limbs).step_by(part) {
        let upto = limbs.min(done + part);
        params.pool().reserve(upto)?;
        progress.advance((upto - done) as u64 * limb);
    }
    progress.finish();
    Ok(start.elapsed().as_secs_f64())
}

/// Sums seconds over the groups and keeps the largest memory.
fn add_stages(total: &mut Vec<StageReport>, group: Vec<StageReport>) {
    if total.is_empty() {
        *total = group;
        return;
    }
    for (sum, stage) in total.iter_mut().zip(group) {
        sum.seconds += stage.seconds;
        sum.bytes = sum.bytes.max(stage.bytes);
    }
}

fn operations(evaluator: &Evaluator) -> Vec<OperationReport> {
    let entries = evaluator.profile().entries();
    let total: f64 = entries.iter().map(|(_, _, seconds)| seconds).sum();
    entries
        .into_iter()
        .map(|(op, count, seconds)| OperationReport {
            operation: op.name().to_owned(),
            count,
            seconds,
            share: seconds / total,
        })
        .collect()
}
