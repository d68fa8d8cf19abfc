//! The server of a training: encrypted images to encrypted features, encrypted features and labels to an encrypted head.

use std::collections::BTreeMap;
use std::time::Instant;

use ckks_scheme::{Ciphertext, Evaluator, Scale};
use he_layers::EncryptedTensor;
use he_training::{
    Arrangement, Examples, Group, Head, Moments, Softmax, Trainer, TrainingError, Transposition,
};

use super::assignment::Assignment;
use super::{Loss, TrainError, TrainPlan};
use crate::checkpoint::{HeadFile, HeadProgress};
use crate::executor::Executor;
use crate::progress::{Progress, Unit};

/// Transposed features of runs of the network, not refreshed.
#[derive(Debug, Default)]
pub struct Features(Vec<Transposed>);

/// What was transposed together.
#[derive(Debug)]
struct Transposed {
    /// Group and section of each part; nothing for a part that holds none.
    sections: Vec<Option<(usize, usize)>>,
    /// One for each block.
    blocks: Vec<Ciphertext>,
}

/// Makes features from images.
#[derive(Debug)]
pub struct FeatureServer<'a> {
    plan: &'a TrainPlan,
    trainer: Trainer,
    executor: Executor<'a>,
    /// By section, and by images of a group: encoded transpositions.
    transpositions: BTreeMap<(usize, usize), Transposition>,
}

/// Refuses to refresh: features are refreshed when their keys are there.
#[derive(Debug)]
struct Never(ckks_scheme::Level);

impl ckks_scheme::Bootstrapper for Never {
    fn bootstrap(
        &self,
        _: &Evaluator,
        ct: &Ciphertext,
    ) -> Result<Ciphertext, ckks_scheme::BootstrapError> {
        Err(ckks_scheme::BootstrapError::Invalid {
            what: "refresh of features",
            found: format!("asked for at level {}", ct.level()),
            expected: "none before the training".to_owned(),
        })
    }

    fn input_level(&self) -> ckks_scheme::Level {
        self.0
    }

    fn output_level(&self) -> ckks_scheme::Level {
        self.0
    }

    fn request(&self) -> ckks_scheme::KeyRequest {
        ckks_scheme::KeyRequest::new()
    }

    fn working_bytes(&self) -> u64 {
        0
    }
}

impl<'a> FeatureServer<'a> {
    /// A server whose evaluator has the keys of [`TrainPlan::feature_keys`].
    ///
    /// # Errors
    /// [`TrainError`].
    pub fn new(
        plan: &'a TrainPlan,
        evaluator: &'a Evaluator,
        scale: Scale,
    ) -> Result<Self, TrainError> {
        let never = Never(plan.refreshes.input_level());
        let layout = *plan.arrangement.layout();
        let trainer = Trainer::new(evaluator.clone(), layout, std::sync::Arc::new(never), scale)?;
        let planned = &plan.planned;
        let (prepared, steps) = (&planned.instance.prepared, &planned.plan.forecast.steps);
        Ok(Self {
            plan,
            trainer,
            executor: Executor::new(evaluator, prepared, steps)?,
            transpositions: BTreeMap::new(),
        })
    }

    /// Runs the network.
    pub(super) fn executor(&self) -> &Executor<'a> {
        &self.executor
    }

    /// Transposes what a run of the network gave. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`TrainingError`].
    pub(super) fn transpose(
        &mut self,
        output: EncryptedTensor,
        assignment: &Assignment,
        run: usize,
        features: &mut Features,
    ) -> Result<(), TrainingError> {
        let (_, output) = output.into_parts();
        let output = output
            .into_iter()
            .map(|ct| self.trainer.ready_to_transpose(&ct))
            .collect::<Result<Vec<_>, _>>()?;
        let parts = self.plan.arrangement.parts();
        let sections: Vec<_> = (0..parts)
            .map(|part| assignment.section(run, part))
            .collect();
        // Both parts are moved by one transform: what it keeps must be the same for both. Where it is not, each part is
        // moved by itself, and the other one is dropped when they are taken apart.
        let wanted: Vec<(usize, usize)> = sections
            .iter()
            .flatten()
            .map(|(group, section)| (*section, assignment.of_group(*group)))
            .collect();
        let kept: Vec<Vec<usize>> = wanted.iter().map(|w| self.kept(*w)).collect();
        let same = kept.windows(2).all(|pair| pair[0] == pair[1]);
        if same {
            if let Some(first) = wanted.first() {
                let blocks = self.moved(*first, &output)?;
                features.0.push(Transposed { sections, blocks });
            }
            return Ok(());
        }
        for (part, wanted) in wanted.iter().enumerate() {
            let blocks = self.moved(*wanted, &output)?;
            let alone = (0..parts).map(|p| sections[p].filter(|_| p == part));
            features.0.push(Transposed {
                sections: alone.collect(),
                blocks,
            });
        }
        Ok(())
    }

    /// Places of section 0 that a transposition keeps.
    fn kept(&self, (section, images): (usize, usize)) -> Vec<usize> {
        self.plan.arrangement.kept(section, images)
    }

    fn moved(
        &mut self,
        wanted: (usize, usize),
        output: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        if !self.transpositions.contains_key(&wanted) {
            // One at a time: an encoded transform is large.
            self.transpositions.clear();
            let Some(first) = output.first() else {
                return Ok(Vec::new());
            };
            let from = (first.level(), first.scale(), self.plan.summary.norm_bound);
            let (section, images) = wanted;
            let arrangement = self.plan.arrangement;
            let made = self
                .trainer
                .transposition(arrangement, from, section, images)?;
            self.transpositions.insert(wanted, made);
        }
        self.trainer
            .transpose(&self.transpositions[&wanted], output)
    }
}

/// Refreshes features and puts them together: one ciphertext per block for each group.
///
/// # Errors
/// [`TrainError`].
pub(super) fn refreshed(
    trainer: &Trainer,
    arrangement: &Arrangement,
    features: Features,
    bound: f64,
    progress: &dyn Progress,
) -> Result<Vec<Vec<Ciphertext>>, TrainError> {
    let total = Some(features.0.len() as u64);
    progress.begin("refreshing features", total, Unit::Parts);
    let mut groups: BTreeMap<usize, BTreeMap<usize, Vec<Ciphertext>>> = BTreeMap::new();
    for Transposed { sections, blocks } in features.0 {
        let parts = trainer.refreshed_parts(arrangement, blocks, bound)?;
        for (part, place) in parts.into_iter().zip(sections) {
            if let Some((group, section)) = place {
                groups.entry(group).or_default().insert(section, part);
            }
        }
        progress.advance(1);
    }
    progress.finish();
    let joined = groups.into_values().map(|sections| {
        let parts = sections.into_values().collect();
        Ok(trainer.joined(arrangement, parts)?)
    });
    joined.collect()
}

/// Groups from features and encrypted labels. Their numbers of images are known.
pub(super) fn groups(
    features: Vec<Vec<Ciphertext>>,
    labels: Vec<Ciphertext>,
    examples: &[Examples],
) -> Vec<Group> {
    let groups = features.into_iter().zip(labels).zip(examples);
    let group = |((features, labels), examples): ((_, _), &Examples)| Group {
        features,
        labels,
        images: examples.images(),
    };
    groups.map(group).collect()
}

/// A head, and what its training took.
pub(super) struct Trained {
    pub head: Head,
    /// Seconds and refreshed ciphertexts, those of earlier processes included.
    pub seconds: f64,
    pub refreshes: usize,
}

/// Trains a head. What is kept of it lets a training by steps go on; sums and iterations take minutes, and begin anew.
///
/// # Errors
/// [`TrainingError`]; of a kept head those of [`HeadFile`].
pub(super) fn train(
    trainer: &Trainer,
    loss: &Loss,
    groups: Vec<Group>,
    kept: Option<&mut HeadFile<'_>>,
    progress: &dyn Progress,
) -> Result<Trained, TrainError> {
    let (start, refreshed) = (Instant::now(), trainer.refreshes());
    let (head, before) = match loss {
        Loss::Ridge(ridge) => {
            let count = Some(groups.len() as u64);
            progress.begin("sums over images", count, Unit::Things("groups"));
            let mut moments = Moments::new(trainer);
            for group in groups {
                moments.add(&group)?;
                progress.advance(1);
            }
            progress.finish();
            let steps = ridge.iterations()?.len() as u64;
            progress.begin("iterations", Some(steps), Unit::Things("iterations"));
            let head = ridge.solve(moments, trainer, |_| progress.advance(1))?;
            progress.finish();
            (head, HeadProgress::default())
        }
        Loss::Softmax(softmax) => stepped(trainer, softmax, &groups, kept, progress)?,
    };
    Ok(Trained {
        head,
        seconds: before.seconds + start.elapsed().as_secs_f64(),
        refreshes: before.refreshes + trainer.refreshes() - refreshed,
    })
}

/// A head by steps, and what earlier processes have done of it.
fn stepped(
    trainer: &Trainer,
    softmax: &Softmax,
    groups: &[Group],
    mut kept: Option<&mut HeadFile<'_>>,
    progress: &dyn Progress,
) -> Result<(Head, HeadProgress), TrainError> {
    let (start, refreshed) = (Instant::now(), trainer.refreshes());
    let found = kept.as_mut().map(|kept| kept.find()).transpose()?.flatten();
    let (mut run, before) = match (found, &kept) {
        (Some((before, weights)), Some(kept)) => {
            let run = softmax.resume(trainer, groups.len(), before.done, weights);
            let run = run.map_err(|error| kept.refused(error))?;
            let (done, steps) = (before.done, run.steps());
            progress.note(&format!(
                "checkpoint: the head goes on after step {done} of {steps}"
            ));
            (run, before)
        }
        _ => {
            let run = softmax.begin(trainer, groups.len())?;
            (run, HeadProgress::default())
        }
    };
    let steps = run.steps() as u64;
    progress.begin("steps", Some(steps), Unit::Things("steps"));
    progress.advance(run.done() as u64);
    while run.done() < run.steps() {
        run.step(&groups[run.next_groups()])?;
        if let Some(kept) = &mut kept {
            let now = HeadProgress {
                done: run.done(),
                refreshes: before.refreshes + trainer.refreshes() - refreshed,
                seconds: before.seconds + start.elapsed().as_secs_f64(),
            };
            kept.after_step(now, run.state())?;
        }
        progress.advance(1);
    }
    progress.finish();
    Ok((run.finish()?, before))
}
