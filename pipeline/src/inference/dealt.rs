//! A run whose groups are computed by servers elsewhere: the client's side, and the comparison as for a run in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::time::Instant;

use ckks_scheme::{EvaluationKeys, Parameters};
use he_models::Model;

use super::{Batch, InferenceError, Options, Run, Watch, check_run, compared, make_keys};
use crate::checkpoint::{Checkpoint, GroupRun};
use crate::grouping::GroupImages;
use crate::planner::Planned;
use crate::progress::{Progress, Unit};
use crate::report::{InferReport, OperationReport, StageReport};
use crate::screening::Inputs;
use crate::server::add_stages;

/// What goes wrong on the way to servers and back.
pub type ServersError = Box<dyn Error + Send + Sync>;

/// Servers elsewhere, each of which has the network and the plan. Groups have numbers from 0.
pub trait Servers {
    /// Gives all servers the client's keys, and waits until they can compute. `left`: groups that are not finished yet.
    ///
    /// # Errors
    /// When a server does not get them, or does not take them.
    fn begin(
        &mut self,
        params: &Parameters,
        keys: EvaluationKeys,
        left: &[usize],
    ) -> Result<(), ServersError>;

    /// Whether a server waits for a group.
    fn is_free(&self) -> bool;

    /// Gives a group of encrypted images to a server that waits. It reads them with
    /// [`Server::read_images`](crate::server::Server::read_images).
    ///
    /// # Errors
    /// When they cannot be sent.
    fn deal(&mut self, group: usize, images: Vec<u8>) -> Result<(), ServersError>;

    /// Waits for the next group that a server has finished.
    ///
    /// # Errors
    /// When none comes any more.
    fn collect(&mut self) -> Result<Finished, ServersError>;

    /// There are no more groups. Gives what every operation took on the servers.
    ///
    /// # Errors
    /// When a server does not answer.
    fn end(&mut self) -> Result<Vec<OperationReport>, ServersError>;
}

/// A group that a server has finished.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its number.
    pub group: usize,
    /// What errors call the server.
    pub server: String,
    /// The logits, from [`Server::logits_to_bytes`](crate::server::Server::logits_to_bytes).
    pub logits: Vec<u8>,
    /// What the stages took.
    pub stages: Vec<StageReport>,
    /// Wall time of the group in seconds, from ciphertexts to ciphertexts.
    pub seconds: f64,
    /// Time on processors of all servers that had a part in it, in seconds; `None` where a system does not tell.
    pub seconds_processor: Option<f64>,
}

/// As [`super::infer_watched`], where `servers` compute the groups, several at a time. The same seed gives the same logits, to the
/// last bit. [`InferReport::seconds_infer`] is the wall time from the first group that goes out to the last that comes back, in
/// this process; [`InferReport::seconds_processor_infer`] is the servers', images read and logits written included; seconds of stages
/// are those of all groups together.
///
/// # Errors
/// [`InferenceError`].
pub fn infer_dealt(
    model: &Model,
    planned: Planned,
    batch: Batch<'_>,
    options: Options,
    checkpoint: Option<&mut Checkpoint>,
    servers: &mut dyn Servers,
    progress: &dyn Progress,
) -> Result<InferReport, InferenceError> {
    let watch = Watch {
        checkpoint,
        recording: None,
    };
    let run = |planned: &Planned, inputs: &Inputs<'_>, logits: &mut Vec<f64>, watch: &mut Watch| {
        let checkpoint = watch.checkpoint.as_deref_mut();
        dealt(
            model,
            (planned, inputs),
            logits,
            (options, checkpoint),
            servers,
            progress,
        )
    };
    compared(model, planned, batch, options, watch, progress, run)
}

fn dealt(
    model: &Model,
    (planned, inputs): (&Planned, &Inputs<'_>),
    logits: &mut Vec<f64>,
    (options, mut checkpoint): (Options, Option<&mut Checkpoint>),
    servers: &mut dyn Servers,
    progress: &dyn Progress,
) -> Result<Run, InferenceError> {
    let instance = &planned.instance;
    let params = &instance.params;
    let groups: Vec<GroupImages> = instance.grouping().groups(inputs.batch().images).collect();
    if let Some(checkpoint) = &mut checkpoint {
        check_run(checkpoint, inputs, &instance.prepared, options)?;
    }
    let kept = checkpoint.as_deref();
    let made = make_keys(model, planned, options.seed, kept, progress)?;
    let (mut client, keys, keygen) = (made.client, made.keys, made.seconds);
    let key = client.key();
    let mut finished: BTreeMap<usize, GroupRun> = BTreeMap::new();
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint.begin(&planned.plan.decisions, key)?;
        for (number, group) in groups.iter().enumerate() {
            let mut kept = checkpoint.group(params, key, instance.of_group(group), number);
            if let Some(run) = kept.find_done()? {
                finished.insert(number, run);
            }
        }
    }
    let left: Vec<usize> = (0..groups.len())
        .filter(|number| !finished.contains_key(number))
        .collect();
    if !finished.is_empty() {
        let (done, all) = (finished.len(), groups.len());
        progress.note(&format!(
            "checkpoint: {done} of {all} groups are finished, left: {}",
            Numbers(&left)
        ));
    }
    let servers_error = |source| InferenceError::Servers { source };
    servers.begin(params, keys, &left).map_err(servers_error)?;

    let (mut encrypt, mut decrypt) = (0.0, 0.0);
    let mut processor = Some(0.0);
    let images = left.iter().map(|number| groups[*number].range.len() as u64);
    let images = images.sum();
    progress.begin("encrypted inference", Some(images), Unit::Things("images"));
    let start = Instant::now();
    let (mut numbers, mut next) = (0..groups.len(), None);
    let mut under_way: BTreeSet<usize> = BTreeSet::new();
    loop {
        // One group is encrypted ahead.
        while next.is_none() {
            let Some(number) = numbers.next() else {
                break;
            };
            if finished.contains_key(&number) {
                client.skip_group();
                continue;
            }
            let group = &groups[number];
            let images = inputs.read(group.range.clone())?;
            let start = Instant::now();
            next = Some((number, client.encrypt_to_bytes(&images, group)?));
            encrypt += start.elapsed().as_secs_f64();
        }
        if servers.is_free()
            && let Some((number, images)) = next.take()
        {
            servers.deal(number, images).map_err(servers_error)?;
            under_way.insert(number);
            continue;
        }
        if under_way.is_empty() {
            match next {
                None => break,
                Some(_) => return Err(servers_error("none of them takes a group".into())),
            }
        }
        let done = servers.collect().map_err(servers_error)?;
        if !under_way.remove(&done.group) {
            let (server, group) = (&done.server, done.group + 1);
            let error = format!("{server} sent logits of group {group}, which was not under way");
            return Err(servers_error(error.into()));
        }
        let of_group = done.seconds_processor;
        processor = processor
            .zip(of_group)
            .map(|(all, of_group)| all + of_group);
        let group = &groups[done.group];
        let images = group.range.len();
        let run = GroupRun {
            logits: client.logits_from_bytes(&done.logits, images, &done.server)?,
            stages: done.stages,
            seconds: done.seconds,
        };
        if let Some(checkpoint) = &mut checkpoint {
            let program = instance.of_group(group);
            let mut kept = checkpoint.group(params, key, program, done.group);
            kept.finish(&run)?;
        }
        finished.insert(done.group, run);
        progress.advance(images as u64);
    }
    let infer = start.elapsed().as_secs_f64();
    progress.finish();
    let operations = servers.end().map_err(servers_error)?;

    let mut stages: Vec<StageReport> = Vec::new();
    for (group, run) in groups.iter().zip(finished.into_values()) {
        let start = Instant::now();
        logits.extend(client.decrypt(&run.logits, group.range.len())?.data);
        decrypt += start.elapsed().as_secs_f64();
        add_stages(&mut stages, run.stages);
    }
    let bytes = stages.iter().map(|stage| stage.bytes);
    Ok(Run {
        pool_high_water_bytes: bytes.fold(params.pool().high_water_bytes(), u64::max),
        stages,
        keygen,
        warmup: 0.0,
        encrypt,
        infer,
        processor,
        decrypt,
        profile: options.profile.then(|| summed(operations)),
    })
}

/// The operations of all servers, each of them once.
fn summed(operations: Vec<OperationReport>) -> Vec<OperationReport> {
    let total: f64 = operations.iter().map(|op| op.seconds).sum();
    let mut sums: BTreeMap<String, OperationReport> = BTreeMap::new();
    for op in operations {
        let sum = sums.entry(op.operation.clone()).or_insert(OperationReport {
            count: 0,
            seconds: 0.0,
            ..op.clone()
        });
        sum.count += op.count;
        sum.seconds += op.seconds;
        sum.share = sum.seconds / total;
    }
    sums.into_values().collect()
}

/// Numbers of groups for people, from 1 on and in ranges: `1, 3 to 5`.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a>(pub &'a [usize]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match run {
                [one] => write!(f, "{}", one + 1)?,
                [first, .., last] => write!(f, "{} to {}", first + 1, last + 1)?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_in_ranges() {
        let named = |numbers: &[usize]| Numbers(numbers).to_string();
        assert_eq!(named(&[]), "none");
        assert_eq!(named(&[0]), "1");
        assert_eq!(named(&[0, 2, 3, 4, 8, 9]), "1, 3 to 5, 9 to 10");
    }

    #[test]
    fn operations_of_servers_are_added_up() {
        let op = |name: &str, count, seconds| OperationReport {
            operation: name.to_owned(),
            count,
            seconds,
            share: 1.0,
        };
        let all = vec![op("add", 2, 1.0), op("rotate", 3, 2.0), op("add", 5, 5.0)];
        let sums = summed(all);
        assert_eq!(sums.len(), 2);
        assert_eq!(
            (sums[0].count, sums[0].seconds, sums[0].share),
            (7, 6.0, 0.75)
        );
        assert_eq!((sums[1].count, sums[1].share), (3, 0.25));
    }
}
