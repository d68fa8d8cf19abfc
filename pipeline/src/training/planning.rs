//! What a training is going to take, before it begins.

use std::num::NonZeroUsize;

use ckks_scheme::{BootstrapParams, KeyRequest, Level, Scale};
use he_layers::{Packing, TensorSpec};
use he_models::Model;
use he_training::{Arrangement, Cells, Forecast, TrainingError, scale_of};

use super::assignment::Assignment;
use super::forecast::TrainForecast;
use super::{Loss, Rule, TrainError, TrainSettings};
use crate::decisions::{Decisions, Instance};
use crate::estimate::memory::secret_limbs;
use crate::inference::{Batch, InferenceError};
use crate::planner::{self, Machine, Pins, Planned, Task};

/// Copies of the features in the clear: as they are evaluated, as examples, in groups, in mini-batches, and two in between.
const FEATURE_COPIES: usize = 6;

/// What is to be trained.
#[derive(Clone, Copy)]
pub struct TrainTask<'a> {
    /// A network whose classes are features, in units in which their norm is declared.
    pub model: &'a Model,
    /// Labelled images to train on.
    pub train: Batch<'a>,
    /// Labelled images to try the head on.
    pub test: Batch<'a>,
    /// Number of classes of the labels.
    pub classes: usize,
    /// What is minimised. Settings that the rule covers are replaced.
    pub loss: Loss,
    /// Where rate, momentum and decay or regularisation come from; nothing: from `loss`.
    pub rule: Option<Rule>,
    /// Images that the network runs on at a time.
    pub batch: NonZeroUsize,
    /// Largest error of a feature that the network's plan may make, in their deviations.
    pub max_error: f64,
}

/// How a training is carried out.
#[derive(Debug)]
pub struct TrainPlan {
    /// The network up to its features.
    pub planned: Planned,
    /// The refreshes, of the network and of the training.
    pub refreshes: BootstrapParams,
    /// Scale of features and labels.
    pub scale: Scale,
    /// What is minimised, with all settings.
    pub loss: Loss,
    /// How features become groups.
    pub arrangement: Arrangement,
    /// What the training takes, without making the features. Its keys are those that it needs.
    pub forecast: Forecast,
    /// All of it, in numbers.
    pub summary: TrainForecast,
}

/// The network's part of a plan.
struct Network {
    planned: Planned,
    arrangement: Arrangement,
    /// What transposing the features takes, beside the network.
    transposition_bytes: u64,
}

/// Plans a training over the ring of `refreshes`. Images that will be left out are not known yet, and are counted. `begun`: what
/// was decided for the network when the run was begun; it is obeyed. The limb pool is bound to the memory from then on.
///
/// # Errors
/// [`TrainError::Plan`], [`TrainError::Training`] for settings and sizes that do not fit, [`TrainError::Memory`].
pub fn plan(
    task: &TrainTask<'_>,
    refreshes: &BootstrapParams,
    machine: &Machine,
    begun: Option<&Decisions>,
) -> Result<TrainPlan, TrainError> {
    // With as many groups as images at most.
    task.loss_of(task.train.images)?.validate()?;
    let scale = scale_of(refreshes)?;
    let params = refreshes.scheme();
    let data_bytes = data_bytes(task).saturating_add(machine.beside_bytes);
    // Bytes that the network's plan keeps free for the transposition.
    let mut reserved = 0;
    let network = loop {
        let machine = Machine {
            beside_bytes: data_bytes.saturating_add(reserved),
            ..machine.clone()
        };
        let found = network(task, refreshes, &machine, begun)?;
        let peak = found.planned.plan.forecast.predicted_peak_bytes - reserved;
        if peak.saturating_add(found.transposition_bytes) <= machine.memory_bytes {
            break found;
        }
        // More than before: what was reserved was within the memory.
        reserved = found.transposition_bytes;
    };
    let Network {
        planned,
        arrangement,
        transposition_bytes,
    } = network;
    let of_network = &planned.plan.forecast;
    let fixed_bytes = of_network.predicted_peak_bytes - of_network.pool_bytes - reserved;
    let feature_bytes = fixed_bytes + of_network.pool_bytes + transposition_bytes;
    let pool_bytes = machine.memory_bytes.saturating_sub(fixed_bytes);
    params.pool().set_budget(Some(pool_bytes));

    let layout = arrangement.layout();
    let groups = |images: usize| images.div_ceil(layout.capacity());
    let (train_groups, test_groups) = (groups(task.train.images), groups(task.test.images));
    let loss = task.loss_of(train_groups)?;
    let mut forecast = match &loss {
        Loss::Ridge(ridge) => ridge.forecast(layout, train_groups, refreshes, machine.threads)?,
        Loss::Softmax(softmax) => {
            softmax.forecast(layout, train_groups, refreshes, machine.threads)?
        }
    };
    let top = refreshes.output_level();
    arrangement.request_sections(top, &mut forecast.keys);
    forecast.key_bytes = forecast.keys.bytes(params.chain());
    // The features of the test images wait meanwhile.
    let waiting = 2 * top.limbs() * layout.blocks() * test_groups + secret_limbs(params.chain());
    forecast.ciphertext_bytes += waiting as u64 * params.limb_bytes();
    let train_bytes = fixed_bytes.saturating_add(forecast.pool_bytes());
    if train_bytes > machine.memory_bytes {
        return Err(TrainError::Memory {
            loss: loss.name(),
            needed_bytes: train_bytes,
            budget_bytes: machine.memory_bytes,
        });
    }
    let runs = runs(task, &arrangement, planned.instance.prepared.images());
    let costs = machine.speed.at(params.log_n(), machine.threads);
    let per_run = of_network.predicted_seconds_infer / of_network.groups.max(1) as f64;
    let summary = TrainForecast {
        loss: loss.name().to_owned(),
        settings: TrainSettings::new(&loss, task.rule.as_ref()),
        images: task.train.images,
        test_images: task.test.images,
        classes: task.classes,
        features: layout.features(),
        norm_bound: loss.norm_bound(),
        groups: train_groups,
        images_per_group: layout.capacity(),
        ciphertexts_per_group: layout.blocks(),
        steps: forecast.steps,
        bootstraps_train: forecast.refreshes,
        refresh_from: refreshes.input_level().limbs(),
        refresh_to: top.limbs(),
        key_bytes: forecast.key_bytes,
        transposition_bytes,
        train_bytes,
        predicted_peak_bytes: train_bytes.max(feature_bytes),
        predicted_seconds_features: per_run * runs as f64,
        predicted_seconds_train: forecast.seconds(&costs),
        network: planned.plan.clone(),
    };
    Ok(TrainPlan {
        refreshes: refreshes.clone(),
        scale,
        loss,
        planned,
        arrangement,
        forecast,
        summary,
    })
}

impl TrainTask<'_> {
    /// What is minimised in a training on so many groups of images.
    fn loss_of(&self, groups: usize) -> Result<Loss, TrainingError> {
        match &self.rule {
            None => Ok(self.loss),
            Some(rule) => rule.applied(&self.loss, (self.train.images, groups)),
        }
    }
}

/// Plans the network up to its features over the ring of the refreshes.
fn network(
    task: &TrainTask<'_>,
    refreshes: &BootstrapParams,
    machine: &Machine,
    begun: Option<&Decisions>,
) -> Result<Network, TrainError> {
    let params = refreshes.scheme();
    let lowered = task.model.lower().map_err(InferenceError::from)?;
    let mut program = lowered.program;
    // A rescale and the transposition come before the refresh.
    program.leave_levels(refreshes.input_level().limbs());
    let checksum = task.model.checksum_hex();
    let task_of_network = Task {
        program: &program,
        checksum: &checksum,
        batch: task.batch,
        max_logit_error: task.max_error,
    };
    let planned = match begun {
        Some(begun) => planner::obey_over(begun, &task_of_network, machine, params),
        None => planner::plan_over(
            &task_of_network,
            machine,
            &Pins::default(),
            params,
            Some(refreshes.literal()),
        ),
    };
    let planned = planned.map_err(TrainError::of_plan)?;
    let prepared = &planned.instance.prepared;
    let arrangement = arranged(prepared.output(), task.classes)?;
    // Features of all runs wait for their refresh.
    let level = transposition_level(prepared.output());
    let runs = runs(task, &arrangement, prepared.images());
    let limbs = runs * arrangement.layout().blocks() * 2 * (level.limbs() - 1);
    let waiting = limbs as u64 * params.limb_bytes();
    let transposition_bytes = arrangement.bytes(level, params.chain())? + waiting;
    Ok(Network {
        planned,
        arrangement,
        transposition_bytes,
    })
}

/// Most bytes of features in the clear, beside the limb pool.
fn data_bytes(task: &TrainTask<'_>) -> u64 {
    let images = task.train.images.saturating_add(task.test.images);
    let row = task.model.classes().len() * size_of::<f64>();
    images.saturating_mul(row).saturating_mul(FEATURE_COPIES) as u64
}

/// How outputs of a network become features of groups.
fn arranged(output: &TensorSpec, classes: usize) -> Result<Arrangement, TrainError> {
    let layout = &output.layout;
    let cells = Cells {
        count: layout.grid().cells(),
        features: layout.channels_per_ct(),
        columns: layout.gaps().1,
        width: layout.grid().cols,
    };
    Ok(Arrangement::new(
        layout.slots(),
        cells,
        (layout.shape().channels, classes),
        layout.packing() == Packing::Complex,
    )?)
}

/// Level of a network's output when it is transposed.
fn transposition_level(output: &TensorSpec) -> Level {
    Level::new(output.level.limbs() - 1)
}

/// Runs of the network on all images.
fn runs(task: &TrainTask<'_>, arrangement: &Arrangement, per_run: usize) -> usize {
    let capacity = arrangement.layout().capacity();
    let of = |images| Assignment::new(arrangement, per_run, images, capacity).runs();
    of(task.train.images) + of(task.test.images)
}

impl TrainPlan {
    /// Level and scale of features and labels.
    pub fn encryption(&self) -> (Level, Scale) {
        (self.refreshes.output_level(), self.scale)
    }

    /// The switching keys for the features.
    ///
    /// # Errors
    /// [`TrainingError::Eval`].
    pub fn feature_keys(&self) -> Result<KeyRequest, TrainingError> {
        let Instance {
            params, prepared, ..
        } = &self.planned.instance;
        let steps = &self.planned.plan.decisions.key_steps.0;
        let mut request = prepared.keys_at(steps, params.log_n());
        let level = transposition_level(prepared.output());
        self.arrangement.request(level, &mut request)?;
        Ok(request)
    }

    /// Which image of `images` is encrypted where.
    pub(super) fn assignment(&self, images: usize) -> Assignment {
        let per_run = self.planned.instance.prepared.images();
        let capacity = self.arrangement.layout().capacity();
        Assignment::new(&self.arrangement, per_run, images, capacity)
    }

    /// Refreshes of so many runs of the network.
    pub(super) fn network_refreshes(&self, runs: usize) -> usize {
        let forecast = &self.planned.plan.forecast;
        forecast.bootstraps / forecast.groups.max(1) * runs
    }
}
