//! The planner: from a network, a batch and a machine to a [`Plan`].
//!
//! It looks at chains of primes (without a refresh, and with refreshes where they are cheapest), packings and grids, decides
//! for each the key levels and the channel blocks at a time, and keeps the fastest plan, by the estimates, that stays within
//! the memory and the error that are allowed. Refreshes have to pay: see [`choose`].

mod chains;
mod layouts;
mod pins;
mod placement;
mod schedule;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{BootstrapError, ParamError};
use datasets::{DataError, Dataset, Synthetic};
use he_layers::{CompiledMaps, LayerError, PlainTensor, Program};
use thiserror::Error;

use crate::decisions::{Decisions, Instance, foreign};
use crate::estimate::error::{self, LogitErrors};
use crate::estimate::time::Speed;
use crate::plan::Plan;
use chains::Chain;
pub use chains::LEAST_PRIME_BITS;
pub use pins::{Bootstrap, Pin, PinError, Pins};
pub(crate) use pins::{LOG_SCALES, MOST_BLOCKS};
use schedule::Schedule;

/// Most synthetic images that errors are simulated on.
const ERROR_IMAGES: usize = 16;

/// How much faster a plan with refreshes has to be than one without: refreshes cost precision and keys, and the time of a
/// few of them is the least certain of the estimates.
const REFRESH_GAIN: f64 = 1.15;

/// What a run may use, and how fast it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Threads that compute, at least 1.
    pub threads: usize,
    /// Upper bound of the process's resident memory in bytes.
    pub memory_bytes: u64,
    /// Speed of the primitives.
    pub speed: Speed,
}

/// What is to be planned.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The network, without refreshes.
    pub program: &'a Program,
    /// Its checksum in hexadecimal digits; empty for a program made in code.
    pub checksum: &'a str,
    /// Images to run.
    pub batch: NonZeroUsize,
    /// Largest error of a logit that is allowed, in deviations of the logits.
    pub max_logit_error: f64,
}

/// Why there is no plan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Every plan needs more memory than there may be.
    #[error(
        "memory of {:.2} GiB is not enough for {batch} images of {model}: at least {:.2} GiB are needed",
        gib(*budget_bytes) / 100.0,
        gib(needed_bytes.saturating_add(1)).ceil() / 100.0
    )]
    Memory {
        /// Name of the network.
        model: String,
        /// Images.
        batch: usize,
        /// Memory allowed in bytes.
        budget_bytes: u64,
        /// Memory that would do in bytes.
        needed_bytes: u64,
    },
    /// The network is too deep for every ring at 128-bit security.
    #[error(
        "{model} needs {levels} primes of at least {bits} bits, more than 128-bit security allows at {rings}, {refreshes}"
    )]
    Depth {
        /// Name of the network.
        model: String,
        /// Primes needed without a refresh.
        levels: usize,
        /// Fewest bits of a prime.
        bits: u32,
        /// Rings tried.
        rings: String,
        /// Whether refreshes were tried, in words.
        refreshes: &'static str,
    },
    /// The pinned number of refreshes is impossible.
    #[error(
        "{model} cannot run with exactly {pinned} refreshes at {rings}: {refreshable} of its tensors can be refreshed, each at N = 2^16 or N = 2^17 and if enough levels are left before and after"
    )]
    Refreshes {
        /// Name of the network.
        model: String,
        /// Refreshes asked for.
        pinned: usize,
        /// Tensors that can be refreshed.
        refreshable: usize,
        /// Rings tried.
        rings: String,
    },
    /// No plan is precise enough.
    #[error(
        "{model}: the largest logit error would be about {found:.4} deviations of the logits, expected at most {expected} (`--max-logit-error`)"
    )]
    Precision {
        /// Name of the network.
        model: String,
        /// Least error found, in deviations of the logits.
        found: f64,
        /// Largest error allowed.
        expected: f64,
    },
    /// No layout fits the network, or the pinned one does not.
    #[error("no layout fits {model}: {reason}")]
    Layout {
        /// Name of the network.
        model: String,
        /// What the last layout failed at.
        reason: LayerError,
    },
    /// Refreshes of one network that apply different functions.
    #[error("{model}: its refreshes apply different functions, expected one for all of them")]
    Functions {
        /// Name of the network.
        model: String,
    },
    /// A plan file that belongs to something else.
    #[error("plan: {what} is {found}, expected {expected}")]
    Foreign {
        /// What differs.
        what: &'static str,
        /// In the plan.
        found: String,
        /// In this run.
        expected: String,
    },
    /// Images for the estimate of errors that cannot be made in the network's shape.
    #[error(transparent)]
    Images(#[from] DataError),
    /// Parameters that cannot be built.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// A bootstrapping that cannot be built.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// Hundredths of a GiB.
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30) * 100.0
}

/// A plan with the network made ready for it.
#[derive(Debug)]
pub struct Planned {
    /// Decisions and forecast.
    pub plan: Plan,
    /// Ring, program with refreshes, prepared program.
    pub instance: Instance,
}

/// Plans a batch, and makes the network ready for it. The limb pool is bound to the memory from then on.
///
/// # Errors
/// [`PlanError`].
pub fn plan(
    task: &Task<'_>,
    machine: &Machine,
    pins: &Pins,
    kernel: &KernelChoice,
) -> Result<Planned, PlanError> {
    let plan = choose(task, machine, pins, kernel)?;
    ready(task, plan, machine, kernel)
}

/// Chooses a plan, without making anything ready: the fastest within memory and error. One with refreshes is chosen only
/// where it is at least 15 % faster than all without.
///
/// # Errors
/// [`PlanError`].
pub fn choose(
    task: &Task<'_>,
    machine: &Machine,
    pins: &Pins,
    kernel: &KernelChoice,
) -> Result<Plan, PlanError> {
    let model = || task.program.name().to_owned();
    let chains = chains::candidates(task.program, pins, kernel)?;
    let compiled = CompiledMaps::default();
    let mut found: Vec<(Plan, usize)> = Vec::new();
    let mut least_memory: Option<u64> = None;
    let mut last_error = None;
    for (index, chain) in chains.iter().enumerate() {
        for (packing, grid) in layouts::candidates(task.program, chain.slots(), pins) {
            let prepared = match chain.prepare(packing, grid, pins, &compiled) {
                Ok(prepared) => prepared,
                Err(error) => {
                    last_error = Some(error);
                    continue;
                }
            };
            let schedule = Schedule {
                task,
                chain,
                prepared: &prepared,
                log_scale: chain.log_scale(packing, pins),
                machine,
            };
            let plan = schedule.best(pins.blocks);
            let needed = plan.forecast.predicted_peak_bytes;
            if needed > machine.memory_bytes {
                least_memory = Some(least_memory.map_or(needed, |m| m.min(needed)));
            } else {
                found.push((plan, index));
            }
        }
    }
    if found.is_empty() {
        return Err(match (least_memory, last_error) {
            (Some(needed_bytes), _) => PlanError::Memory {
                model: model(),
                batch: task.batch.get(),
                budget_bytes: machine.memory_bytes,
                needed_bytes,
            },
            (None, Some(reason)) => PlanError::Layout {
                model: model(),
                reason,
            },
            (None, None) => PlanError::Layout {
                model: model(),
                reason: LayerError::Grid {
                    grid: layouts::least(task.program),
                    slots: chains.iter().map(Chain::slots).max().unwrap_or(0),
                },
            },
        });
    }
    found.sort_by(|(a, _), (b, _)| handicapped_seconds(a).total_cmp(&handicapped_seconds(b)));
    precise_enough(task, found, &chains, &compiled)
}

/// Seconds of a run, times [`REFRESH_GAIN`] if it refreshes anything.
fn handicapped_seconds(plan: &Plan) -> f64 {
    let handicap = if plan.forecast.bootstraps > 0 {
        REFRESH_GAIN
    } else {
        1.0
    };
    plan.forecast.predicted_seconds_infer * handicap
}

/// The first of the plans that is precise enough.
fn precise_enough(
    task: &Task<'_>,
    plans: Vec<(Plan, usize)>,
    chains: &[Chain],
    compiled: &CompiledMaps,
) -> Result<Plan, PlanError> {
    let layout = |reason| PlanError::Layout {
        model: task.program.name().to_owned(),
        reason,
    };
    let images = error_images(task)?;
    // Errors hardly depend on the grid: one simulation for each chain, scale and packing.
    let mut known: BTreeMap<(usize, u32, bool), LogitErrors> = BTreeMap::new();
    let mut least = f64::INFINITY;
    for (mut plan, index) in plans {
        let chain = &chains[index];
        let d = &plan.decisions;
        let key = (index, d.log_scale, d.packing == he_layers::Packing::Complex);
        let errors = match known.get(&key) {
            Some(errors) => *errors,
            None => {
                let prepared = chain
                    .prepare_at(d.packing, d.grid, d.log_scale, compiled)
                    .map_err(layout)?;
                let errors = error::of_logits(&chain.program, &prepared, &images, task.batch.get());
                *known.entry(key).or_insert(errors.map_err(layout)?)
            }
        };
        let relative = errors.total / errors.logit_std;
        if relative <= task.max_logit_error {
            plan.forecast.errors = Some(errors);
            return Ok(plan);
        }
        least = least.min(relative);
    }
    Err(PlanError::Precision {
        model: task.program.name().to_owned(),
        found: least,
        expected: task.max_logit_error,
    })
}

/// Synthetic images to simulate errors on: the more images, the worse the worst of them.
fn error_images(task: &Task<'_>) -> Result<PlainTensor, PlanError> {
    let input = task.program.shape(task.program.input());
    let shape = datasets::Shape {
        channels: input.channels,
        height: input.height,
        width: input.width,
    };
    let count = task.batch.get().min(ERROR_IMAGES);
    let images = Synthetic::with_shape(0, shape)?.read(0, count)?;
    let images = PlainTensor::new(count, input, images.view().to_f64());
    images.map_err(|reason| PlanError::Layout {
        model: task.program.name().to_owned(),
        reason,
    })
}

/// Prepares a run that obeys the decisions of a plan to the letter. What it is going to take is forecast anew, for this
/// machine.
///
/// # Errors
/// [`PlanError::Foreign`] if the plan belongs to another network or batch or cannot be obeyed, [`PlanError::Memory`],
/// [`PlanError::Params`].
pub fn obey(
    decisions: &Decisions,
    task: &Task<'_>,
    machine: &Machine,
    kernel: &KernelChoice,
) -> Result<Planned, PlanError> {
    decisions.check_format()?;
    decisions.check_model(task.program.name(), task.checksum)?;
    if decisions.batch != task.batch.get() {
        return Err(foreign("batch", decisions.batch, task.batch));
    }
    let instance = decisions.instantiate(task.program, kernel)?;
    let plan = forecast(decisions, &instance, task, machine)?;
    bind(&plan, &instance, machine);
    Ok(Planned { plan, instance })
}

/// Forecasts what a run of `decisions` is going to take on a machine.
///
/// # Errors
/// [`PlanError::Memory`] if the machine has too little of it.
pub fn forecast(
    decisions: &Decisions,
    instance: &Instance,
    task: &Task<'_>,
    machine: &Machine,
) -> Result<Plan, PlanError> {
    let chain = Chain::of_decisions(decisions, instance)?;
    let schedule = Schedule {
        task,
        chain: &chain,
        prepared: &instance.prepared,
        log_scale: decisions.log_scale,
        machine,
    };
    let mut plan = schedule.plan(&decisions.key_steps, &|step| {
        Some(decisions.blocks_at_a_time[step])
    });
    let needed_bytes = plan.forecast.predicted_peak_bytes;
    if needed_bytes > machine.memory_bytes {
        return Err(PlanError::Memory {
            model: task.program.name().to_owned(),
            batch: task.batch.get(),
            budget_bytes: machine.memory_bytes,
            needed_bytes,
        });
    }
    let images = error_images(task)?;
    let errors = error::of_logits(
        &instance.program,
        &instance.prepared,
        &images,
        task.batch.get(),
    );
    plan.forecast.errors = Some(errors.map_err(|reason| PlanError::Layout {
        model: task.program.name().to_owned(),
        reason,
    })?);
    Ok(plan)
}

fn ready(
    task: &Task<'_>,
    plan: Plan,
    machine: &Machine,
    kernel: &KernelChoice,
) -> Result<Planned, PlanError> {
    let instance = plan.decisions.instantiate(task.program, kernel)?;
    bind(&plan, &instance, machine);
    Ok(Planned { plan, instance })
}

/// Bounds the limb pool to what the memory leaves for it.
fn bind(plan: &Plan, instance: &Instance, machine: &Machine) {
    let fixed = plan.forecast.predicted_peak_bytes - plan.forecast.pool_bytes;
    let budget = machine.memory_bytes.saturating_sub(fixed);
    instance.params.pool().set_budget(Some(budget));
}
