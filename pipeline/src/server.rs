//! The server: evaluation keys, plan, network and encrypted images in, encrypted logits out. Nothing that it can reach holds a
//! secret key.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ckks_scheme::serial::{ServerKeys, refuse_secrets};
use ckks_scheme::{EvalError, EvaluationKeys, Evaluator, KeyId, KeySource, Parameters};
use he_layers::{EncryptedTensor, LayerError};

use crate::exchange::{ClientSpec, Content, ExchangeError, GroupReader, GroupWriter, Holds};
use crate::executor::Executor;
use crate::planner::Planned;
use crate::progress::{Progress, Unit};
use crate::report::{OperationReport, StageReport};

/// Memory that is touched at a time, in bytes.
const WARM_UP_BYTES: u64 = 256 << 20;

/// Runs one network on images of one client.
#[derive(Debug)]
pub struct Server<'a> {
    planned: &'a Planned,
    spec: &'a ClientSpec,
    evaluator: Evaluator,
    key: KeyId,
}

/// What a server did with a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Images classified.
    pub images: usize,
    /// Wall time of the encrypted inference, without reading and writing.
    pub seconds_infer: f64,
    /// The parts of the network, over all groups.
    pub stages: Vec<StageReport>,
    /// The limb pool's high-water mark in bytes.
    pub pool_high_water_bytes: u64,
}

/// Reads the keys from the folder that a client gave.
///
/// # Errors
/// [`ExchangeError::Serial`]: for a folder with a secret key, before anything else is read; for keys of other parameters, of
/// two clients, or damaged ones.
pub fn load_keys(dir: &Path, params: &Parameters) -> Result<EvaluationKeys, ExchangeError> {
    refuse_secrets(dir)?;
    Ok(ServerKeys::open_dir_for(params, dir)?.evaluation)
}

impl<'a> Server<'a> {
    /// A server for a network that is ready, and the client whose keys these are. `spec` is the network's.
    ///
    /// # Errors
    /// [`ExchangeError::EvaluationKeys`] if the plan needs a key that is not there.
    pub fn new(
        planned: &'a Planned,
        spec: &'a ClientSpec,
        keys: EvaluationKeys,
    ) -> Result<Self, ExchangeError> {
        for (kind, level) in &spec.keys {
            let found = keys.switching_key(*kind, *level);
            found.map_err(|source| ExchangeError::EvaluationKeys { source })?;
        }
        let key = keys.id();
        let evaluator = Evaluator::new(&planned.instance.params, Arc::new(keys));
        Ok(Self {
            planned,
            spec,
            evaluator,
            key,
        })
    }

    /// Runs one group of images: encrypted pixels in, encrypted logits out. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`LayerError`], for instance when the pool's budget is exhausted.
    pub fn run(
        &self,
        images: EncryptedTensor,
        progress: &dyn Progress,
    ) -> Result<(EncryptedTensor, Vec<StageReport>), LayerError> {
        let steps = &self.planned.plan.forecast.steps;
        let executor = Executor::new(&self.evaluator, &self.planned.instance.prepared, steps)?;
        executor.run(images, progress)
    }

    /// Runs a file of images, group by group. The file of logits appears under its name when it is whole.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn run_file(
        &self,
        input: &Path,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Served, ExchangeError> {
        let (spec, params) = (self.spec, &self.planned.instance.params);
        let tensor = &spec.input.tensor;
        let groups = GroupReader::open(input, params, self.key, Holds::Images, spec, tensor)?;
        let images = groups.content.images;
        let content = Content::new(Holds::Logits, images, spec);
        let mut file = GroupWriter::create(output, params, self.key, &content, &spec.output)?;
        let (mut seconds_infer, mut stages) = (0.0, Vec::new());
        let mut pool_high_water_bytes = 0;
        for group in groups {
            let (group, _) = group?;
            pool_high_water_bytes = params.pool().high_water_bytes().max(pool_high_water_bytes);
            let start = Instant::now();
            let (logits, reports) = self.run(group, progress)?;
            seconds_infer += start.elapsed().as_secs_f64();
            add_stages(&mut stages, reports);
            file.push(logits.ciphertexts())?;
        }
        file.commit()?;
        let of_stages = stages.iter().map(|stage| stage.bytes);
        let pool_high_water_bytes = of_stages
            .fold(pool_high_water_bytes, u64::max)
            .max(params.pool().high_water_bytes());
        Ok(Served {
            images,
            seconds_infer,
            stages,
            pool_high_water_bytes,
        })
    }

    /// What every operation took so far.
    pub fn operations(&self) -> Vec<OperationReport> {
        let entries = self.evaluator.profile().entries();
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
}

/// Touches the limb pool's pages, with progress; gives the seconds that took.
///
/// # Errors
/// When the pool's budget is exhausted.
pub fn warm_up(
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
pub(crate) fn add_stages(total: &mut Vec<StageReport>, group: Vec<StageReport>) {
    if total.is_empty() {
        *total = group;
        return;
    }
    for (sum, stage) in total.iter_mut().zip(group) {
        sum.seconds += stage.seconds;
        sum.bytes = sum.bytes.max(stage.bytes);
    }
}
