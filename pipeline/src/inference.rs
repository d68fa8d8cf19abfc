//! A whole encrypted inference in one process, client and server by the same calls that separate ones make, and its
//! comparison with the plaintext references.

use crate::client::Client;
use crate::executor::Executor;
use crate::network::Network;
use crate::planner::Planned;
use crate::progress::{Progress, Unit};
use crate::report::{InferReport, LogitsRecord, OperationReport, StageReport};
use crate::system;
use ckks_scheme::{EvalError, Evaluator, KeyError};
use he_layers::{LayerError, PlainTensor};
use he_models::{Evaluation, Model, ModelError};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;
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
}

impl InferenceError {
    /// Whether the memory bound was reached.
    pub fn out_of_memory(&self) -> bool {
        match self {
            Self::Layer(LayerError::Eval { source, .. }) | Self::Eval(source) => {
                source.out_of_memory()
            }
            Self::Layer(LayerError::Encode(error)) => error.out_of_memory(),
            Self::Key(error) => error.out_of_memory(),
            Self::Layer(_) | Self::Model(_) => false,
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

/// The images of a run.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Pixels divided by 255.
    pub images: &'a PlainTensor,
    /// Classes, one an image, where they are known.
    pub labels: Option<&'a [usize]>,
    /// Number of the first image in its data set.
    pub first_index: usize,
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
    let run = run_encrypted(&planned, batch.images, options, progress)?;
    let Planned {
        plan,
        params,
        network,
    } = planned;
    let (log_n, log_qp, security_bits, kernel) = (
        params.log_n(),
        params.log_qp(),
        params.security_bits(),
        params.kernel_name(),
    );
    // Gives the pool's memory back before the references need theirs.
    drop(params);

    progress.begin("plaintext references", None, Unit::Things("images"));
    let exact = model.evaluate(&batch.images.data)?;
    let rounded = rounded_logits(&network, batch.images, progress)?;
    progress.finish();

    let classes = network.classes();
    let images = batch.images.n;
    let encrypted = Evaluation {
        logits: run.logits,
        ..exact.clone()
    };
    let rounded = Evaluation {
        logits: rounded,
        ..exact.clone()
    };
    let logits = options.logits.then(|| {
        let row = |e: &Evaluation, i: usize| e.logits[i * classes..(i + 1) * classes].to_vec();
        (0..images)
            .map(|i| LogitsRecord {
                index: batch.first_index + i,
                label: batch.labels.map(|l| l[i]),
                encrypted: row(&encrypted, i),
                plain: row(&exact, i),
            })
            .collect()
    });
    Ok(InferReport {
        images,
        accuracy_encrypted: batch.labels.map(|l| encrypted.accuracy(l)),
        accuracy_plain: batch.labels.map(|l| exact.accuracy(l)),
        agreement: agreement(&encrypted, &exact),
        max_logit_error: max_error(&encrypted, &exact),
        logit_std: exact.logit_std(),
        agreement_rounded: agreement(&encrypted, &rounded),
        max_logit_error_rounded: max_error(&encrypted, &rounded),
        predicted_max_logit_error: plan.predicted_max_logit_error,
        images_out_of_range: exact.out_of_range.len(),
        seconds_keygen: run.keygen,
        seconds_warmup: run.warmup,
        seconds_encrypt: run.encrypt,
        seconds_infer: run.infer,
        seconds_decrypt: run.decrypt,
        seconds_per_image: run.infer / images as f64,
        peak_rss_bytes: system::peak_rss_bytes(),
        pool_high_water_bytes: run.pool_high_water_bytes,
        key_bytes: plan.key_bytes,
        log_n,
        log_qp,
        security_bits,
        threads: rayon::current_num_threads(),
        kernel: kernel.to_owned(),
        seeded: options.seed.is_some(),
        bootstraps: 0,
        stages: run.stages,
        predicted_seconds_infer: plan.predicted_seconds_infer,
        predicted_peak_bytes: plan.predicted_peak_bytes,
        logits,
        profile: run.profile,
    })
}

fn run_encrypted(
    planned: &Planned,
    images: &PlainTensor,
    options: Options,
    progress: &dyn Progress,
) -> Result<Run, InferenceError> {
    let Planned {
        plan,
        params,
        network,
    } = planned;
    let mut rng = match options.seed {
        Some(seed) => ChaCha20Rng::seed_from_u64(seed),
        None => rand::make_rng(),
    };
    progress.begin("memory", None, Unit::Parts);
    let start = Instant::now();
    let limbs = plan.pool_bytes.div_ceil(params.limb_bytes()) as usize;
    params.pool().reserve(limbs).map_err(EvalError::from)?;
    let warmup = start.elapsed().as_secs_f64();
    progress.finish();

    progress.begin("keys", None, Unit::Parts);
    let start = Instant::now();
    let (mut client, keys) = Client::new(params, network, plan, &mut rng)?;
    let keygen = start.elapsed().as_secs_f64();
    progress.finish();

    let evaluator = Evaluator::new(params, Arc::new(keys));
    let executor = Executor::new(&evaluator, network, plan);
    let (mut encrypt, mut infer, mut decrypt) = (0.0, 0.0, 0.0);
    let mut logits = Vec::with_capacity(images.n * network.classes());
    let mut stages: Vec<StageReport> = Vec::new();
    for first in (0..images.n).step_by(network.images()) {
        let group = images.images(first..(first + network.images()).min(images.n));
        let start = Instant::now();
        let encrypted = client.encrypt(&group)?;
        encrypt += start.elapsed().as_secs_f64();

        let start = Instant::now();
        let (result, reports) = executor.run(encrypted, progress)?;
        infer += start.elapsed().as_secs_f64();
        add_stages(&mut stages, reports);

        let start = Instant::now();
        logits.extend(client.decrypt(&result, group.n)?.data);
        decrypt += start.elapsed().as_secs_f64();
    }
    Ok(Run {
        logits,
        pool_high_water_bytes: stages.iter().map(|s| s.bytes).max().unwrap_or(0),
        stages,
        keygen,
        warmup,
        encrypt,
        infer,
        decrypt,
        profile: options.profile.then(|| operations(&evaluator)),
    })
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

/// The network with rounded weights, group by group as the encrypted run.
fn rounded_logits(
    network: &Network,
    images: &PlainTensor,
    progress: &dyn Progress,
) -> Result<Vec<f64>, LayerError> {
    let mut logits = Vec::new();
    for first in (0..images.n).step_by(network.images()) {
        let group = images.images(first..(first + network.images()).min(images.n));
        logits.extend(network.forward_rounded(&group)?.data);
        progress.advance(group.n as u64);
    }
    Ok(logits)
}

fn agreement(a: &Evaluation, b: &Evaluation) -> f64 {
    let same = a
        .predictions()
        .zip(b.predictions())
        .filter(|(x, y)| x == y)
        .count();
    same as f64 / a.images() as f64
}

fn max_error(a: &Evaluation, b: &Evaluation) -> f64 {
    a.logits
        .iter()
        .zip(&b.logits)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f64::max)
}
