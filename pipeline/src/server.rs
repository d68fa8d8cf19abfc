//! The server: evaluation keys, plan, network and encrypted images in, encrypted logits out. Nothing that it can reach holds a
//! secret key.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ckks_scheme::serial::{SerialError, ServerKeys, open_regular, refuse_secrets};
use ckks_scheme::{EvalError, EvaluationKeys, Evaluator, KeyId, KeySource, Parameters};
use he_layers::{EncryptedTensor, Exchange, LayerError, Share};

use crate::checkpoint::{Begun, Checkpoint, Group, GroupRun};
use crate::exchange::sealed::{hex, of};
use crate::exchange::{
    ClientSpec, Content, ExchangeError, GroupReader, GroupWriter, Holds, read_group,
};
use crate::executor::Executor;
use crate::grouping::GroupImages;
use crate::planner::Planned;
use crate::progress::{Progress, Unit};
use crate::report::{OperationReport, StageReport};
use crate::timeline::Recording;

/// Memory that is touched at a time, in bytes.
const WARM_UP_BYTES: u64 = 256 << 20;

/// What is hashed to tell files of images apart.
const IMAGES_CONTEXT: &str = "polyphase pipeline 1 file of images";

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
        self.executors()?.groups.run(images, progress)
    }

    /// As [`Self::run`], a group with its images: a last one that has a layout of its own is run in that.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_group(
        &self,
        images: EncryptedTensor,
        group: &GroupImages,
        progress: &dyn Progress,
    ) -> Result<(EncryptedTensor, Vec<StageReport>), LayerError> {
        self.executors()?.of_group(group).run(images, progress)
    }

    /// Runs one process's share of a group that several processes run together, as
    /// [`Executor::run_shared`](crate::executor::Executor::run_shared) does.
    ///
    /// # Errors
    /// As [`Self::run`]; [`LayerError::Exchange`].
    pub fn run_shared(
        &self,
        images: EncryptedTensor,
        group: &GroupImages,
        share: Share,
        exchange: &mut dyn Exchange,
    ) -> Result<(EncryptedTensor, Vec<StageReport>), LayerError> {
        let executors = self.executors()?;
        executors
            .of_group(group)
            .run_shared(images, share, exchange)
    }

    /// Reads a group that a client of `infer_dealt` sent: encrypted images, and how many there are. `sender` is what errors
    /// call it.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] and [`ExchangeError::Content`] for what are no images for this server.
    pub fn read_images(
        &self,
        input: impl Read,
        sender: &str,
    ) -> Result<(EncryptedTensor, GroupImages), ExchangeError> {
        let of = (&self.planned.instance.params, self.key);
        read_group(input, sender, of, Holds::Images, self.spec)
    }

    /// Logits of a group as that client reads them.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] for a tensor of something else.
    pub fn logits_to_bytes(
        &self,
        logits: &EncryptedTensor,
        group: &GroupImages,
    ) -> Result<Vec<u8>, ExchangeError> {
        let params = &self.planned.instance.params;
        let content = Content::new(Holds::Logits, group.range.len(), self.spec);
        let mut stream = GroupWriter::new(Vec::new(), params, self.key, &content, self.spec)?;
        stream.push(logits.ciphertexts())?;
        stream.finish()
    }

    pub(crate) fn executors(&self) -> Result<Executors<'_>, LayerError> {
        let (instance, forecast) = (&self.planned.instance, &self.planned.plan.forecast);
        let executor = |prepared, is_last| {
            Executor::new(&self.evaluator, prepared, forecast.steps_of(is_last))
        };
        let last = instance.last.as_ref().map(|last| executor(last, true));
        Ok(Executors {
            groups: executor(&instance.prepared, false)?,
            last: last.transpose()?,
        })
    }

    pub(crate) fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// The identity of the secret key that the images are encrypted under.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The files of a group in a checkpoint.
    pub(crate) fn group<'c>(
        &'c self,
        checkpoint: &'c mut Checkpoint,
        number: usize,
        images: &GroupImages,
    ) -> Group<'c> {
        let instance = &self.planned.instance;
        let program = instance.of_group(images);
        checkpoint.group(&instance.params, self.key, program, number)
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
        self.run_file_kept(input, output, None, progress)
    }

    /// As [`Self::run_file`], with checkpoints. A run that an earlier process has begun goes on where that was; images of
    /// another file are refused.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn run_file_kept(
        &self,
        input: &Path,
        output: &Path,
        mut checkpoint: Option<&mut Checkpoint>,
        progress: &dyn Progress,
    ) -> Result<Served, ExchangeError> {
        let (spec, params) = (self.spec, &self.planned.instance.params);
        let mut groups = GroupReader::open(input, params, self.key, Holds::Images, spec)?;
        let images = groups.content.images;
        if let Some(checkpoint) = &mut checkpoint {
            checkpoint.check("file of images", digest(input)?)?;
            checkpoint.begin(&self.planned.plan.decisions, self.key)?;
        }
        let content = Content::new(Holds::Logits, images, spec);
        let mut file = GroupWriter::create(output, params, self.key, &content, spec)?;
        let executors = self.executors()?;
        let (mut seconds_infer, mut stages) = (0.0, Vec::new());
        let mut pool_high_water_bytes = 0;
        for (number, group) in spec.grouping().groups(images).enumerate() {
            let executor = executors.of_group(&group);
            let mut kept = checkpoint.as_mut().map(|c| self.group(c, number, &group));
            let found = kept.as_mut().map(|kept| kept.find(executor, progress));
            let found = found.transpose()?.flatten();
            let is_found = found.is_some();
            let begun = match found {
                Some(begun) => begun,
                None => Begun::at(executor.begin(next_group(&mut groups)?)?),
            };
            pool_high_water_bytes = params.pool().high_water_bytes().max(pool_high_water_bytes);
            let done = run_group(begun, kept, None, progress)?;
            if is_found {
                // Not needed, but they must be what they were.
                drop(next_group(&mut groups)?);
            }
            seconds_infer += done.seconds;
            add_stages(&mut stages, done.stages);
            file.push(done.logits.ciphertexts())?;
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

/// What runs the groups of a batch.
pub(crate) struct Executors<'a> {
    groups: Executor<'a>,
    last: Option<Executor<'a>>,
}

impl<'a> Executors<'a> {
    pub fn of_group(&self, group: &GroupImages) -> &Executor<'a> {
        match &self.last {
            Some(last) if group.is_last => last,
            _ => &self.groups,
        }
    }
}

/// Brings a group to its end, keeps what there is on the way, and writes down when it ran.
pub(crate) fn run_group(
    begun: Begun<'_>,
    mut kept: Option<Group<'_>>,
    mut recording: Option<&mut Recording>,
    progress: &dyn Progress,
) -> Result<GroupRun, ExchangeError> {
    let (mut execution, before) = match begun {
        Begun::Done(done) => return Ok(done),
        Begun::UnderWay(execution, before) => (execution, before),
    };
    let start = Instant::now();
    let seconds = || before + start.elapsed().as_secs_f64();
    execution.run(progress, |execution| {
        if let Some(recording) = &mut recording {
            recording.step(execution);
        }
        let is_written = match &mut kept {
            Some(kept) => kept.after_step(execution, seconds())?,
            None => false,
        };
        if let (true, Some(recording)) = (is_written, &mut recording) {
            recording.phase("checkpoint");
        }
        Ok::<_, ExchangeError>(())
    })?;
    let (logits, stages) = execution.finish()?;
    let done = GroupRun {
        logits,
        stages,
        seconds: seconds(),
    };
    if let Some(kept) = &mut kept {
        kept.finish(&done)?;
    }
    Ok(done)
}

fn next_group(groups: &mut GroupReader<'_>) -> Result<EncryptedTensor, ExchangeError> {
    let group = groups.next().expect("as many groups as were counted");
    Ok(group?.0)
}

/// What the content of a file is compared by, in hexadecimal digits.
fn digest(path: &Path) -> Result<String, ExchangeError> {
    let mut hasher = blake3::Hasher::new_derive_key(IMAGES_CONTEXT);
    let hashed = hasher.update_reader(open_regular(path)?);
    let what = "reading";
    hashed.map_err(|source| of(path, SerialError::Io { what, source }))?;
    Ok(hex(hasher.finalize().as_bytes()))
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
