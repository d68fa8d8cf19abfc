//! What a training is going to take, before it begins.

use std::fmt;
use std::num::NonZeroUsize;

use ckks_scheme::{BootstrapParams, KeyRequest, Level, Scale};
use he_layers::{Packing, TensorSpec};
use he_models::Model;
use he_training::{Arrangement, Forecast, TrainingError, scale_of};

use super::assignment::Assignment;
use super::{Loss, TrainError};
use crate::decisions::Instance;
use crate::inference::Batch;
use crate::planner::{self, Machine, Pins, Planned, Task};
use crate::units::gb;

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
    /// What is minimised.
    pub loss: Loss,
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
    /// How features become groups.
    pub arrangement: Arrangement,
    /// What the training takes, without the features.
    pub forecast: Forecast,
    /// Estimated seconds of the training, without the features.
    pub seconds_train: f64,
    /// Estimated seconds of the network on all images.
    pub seconds_network: f64,
    /// Size in bytes of what transposing the features takes, beside the network.
    pub transposition_bytes: u64,
    /// Estimated largest resident memory of the training, without the features, in bytes.
    pub train_bytes: u64,
    /// Memory that may be used, in bytes.
    pub memory_bytes: u64,
    /// Groups of images to train on.
    pub groups: usize,
}

/// Plans a training over the ring of `refreshes`. Images that will be left out are not known yet, and are counted.
///
/// # Errors
/// [`TrainError::Plan`], [`TrainError::Training`] for settings and sizes that do not fit, [`TrainError::Memory`].
pub fn plan(
    task: &TrainTask<'_>,
    refreshes: &BootstrapParams,
    machine: &Machine,
    pins: &Pins,
) -> Result<TrainPlan, TrainError> {
    match &task.loss {
        Loss::Ridge(ridge) => ridge.validate()?,
        Loss::Softmax(softmax) => softmax.validate()?,
    }
    let params = refreshes.scheme();
    let lowered = task
        .model
        .lower()
        .map_err(crate::inference::InferenceError::from)?;
    let mut program = lowered.program;
    // A rescale and the transposition come before the refresh.
    program.leave_levels(refreshes.input_level().limbs());
    let checksum = task.model.checksum_hex();
    let of_network = Task {
        program: &program,
        checksum: &checksum,
        batch: task.batch,
        max_logit_error: task.max_error,
    };
    let network = |machine: &Machine| -> Result<(Planned, Arrangement, u64), TrainError> {
        let literal = refreshes.literal();
        let planned = planner::plan_over(&of_network, machine, pins, params, Some(literal))?;
        let prepared = &planned.instance.prepared;
        let arrangement = arranged(prepared.output(), task.classes)?;
        // Features of all runs wait for their refresh.
        let level = transposition_level(prepared.output());
        let runs = runs(task, &arrangement, prepared.images());
        let limbs = runs * arrangement.layout().blocks() * 2 * (level.limbs() - 1);
        let waiting = limbs as u64 * params.limb_bytes();
        let bytes = arrangement.bytes(level, params.chain())? + waiting;
        Ok((planned, arrangement, bytes))
    };
    let peak = |planned: &Planned| planned.plan.forecast.predicted_peak_bytes;
    let mut found = network(machine)?;
    let (planned, _, bytes) = &found;
    if peak(planned) + bytes > machine.memory_bytes {
        let less = Machine {
            memory_bytes: machine.memory_bytes.saturating_sub(*bytes),
            ..machine.clone()
        };
        drop(found);
        found = network(&less)?;
        // What was kept free is for the transposition.
        let fixed = peak(&found.0) - found.0.plan.forecast.pool_bytes;
        let budget = machine.memory_bytes.saturating_sub(fixed);
        params.pool().set_budget(Some(budget));
    }
    let (planned, arrangement, transposition_bytes) = found;
    let prepared = &planned.instance.prepared;
    let layout = arrangement.layout();
    let groups = task.train.images.div_ceil(layout.capacity());
    let runs = runs(task, &arrangement, prepared.images());
    let forecast = match &task.loss {
        Loss::Ridge(ridge) => ridge.forecast(layout, groups, refreshes, machine.threads)?,
        Loss::Softmax(softmax) => softmax.forecast(layout, groups, refreshes, machine.threads)?,
    };
    let costs = machine.speed.at(params.log_n(), machine.threads);
    let per_run =
        planned.plan.forecast.predicted_seconds_infer / planned.plan.forecast.groups.max(1) as f64;
    let train_bytes = forecast.key_bytes + forecast.matrix_bytes + forecast.ciphertext_bytes;
    if train_bytes > machine.memory_bytes {
        return Err(TrainError::Memory {
            needed_bytes: train_bytes,
            budget_bytes: machine.memory_bytes,
        });
    }
    Ok(TrainPlan {
        seconds_train: costs.seconds(&forecast.work),
        seconds_network: per_run * runs as f64,
        transposition_bytes,
        train_bytes,
        memory_bytes: machine.memory_bytes,
        refreshes: refreshes.clone(),
        planned,
        arrangement,
        forecast,
        groups,
    })
}

/// How outputs of a network become features of groups.
fn arranged(output: &TensorSpec, classes: usize) -> Result<Arrangement, TrainError> {
    let layout = &output.layout;
    let cells = layout.slots() / (layout.images() / layout.packing().images_per_slot());
    Ok(Arrangement::new(
        layout.slots(),
        cells,
        layout.channels_per_ct(),
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
        (self.refreshes.output_level(), scale_of(&self.refreshes))
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

    /// The switching keys for the training.
    pub fn training_keys(&self) -> KeyRequest {
        let mut request = self.forecast.keys.clone();
        let top = self.refreshes.output_level();
        self.arrangement.request_sections(top, &mut request);
        request
    }

    /// Refreshes of the network on all images.
    pub(super) fn network_refreshes(&self, assignments: &[Assignment]) -> usize {
        let forecast = &self.planned.plan.forecast;
        let runs: usize = assignments.iter().map(Assignment::runs).sum();
        forecast.bootstraps / forecast.groups.max(1) * runs
    }
}

impl fmt::Display for TrainPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.planned.plan)?;
        let layout = self.arrangement.layout();
        let refreshes = &self.refreshes;
        writeln!(
            f,
            "\nhead: {} features x {} classes, {} groups of up to {} images, {} ciphertexts each",
            layout.features(),
            layout.classes(),
            self.groups,
            layout.capacity(),
            layout.blocks(),
        )?;
        writeln!(
            f,
            "{} steps, {} refreshes from level {} to level {}, keys {:.2} GB, memory about {:.2} GB",
            self.forecast.steps,
            self.forecast.refreshes,
            refreshes.input_level(),
            refreshes.output_level(),
            gb(self.forecast.key_bytes),
            gb(self.train_bytes),
        )?;
        writeln!(
            f,
            "transposing the features takes {:.2} GB beside the network",
            gb(self.transposition_bytes),
        )?;
        write!(
            f,
            "estimated: features {:.0} s, training {:.0} s, {:.2} s for each step",
            self.seconds_network,
            self.seconds_train,
            self.seconds_train / self.forecast.steps as f64,
        )
    }
}
