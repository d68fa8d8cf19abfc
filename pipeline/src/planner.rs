//! The planner: from a network, a batch and a machine to a [`Plan`].
//!
//! It looks at chains of primes (without a refresh, and with refreshes where they are cheapest), packings and grids, decides
//! for each the key levels and the channel blocks at a time, and keeps the fastest plan, by the estimates, that stays within
//! the memory and the error that are allowed. Refreshes have to pay: see [`choose`].

mod chain;
mod chains;
mod error;
mod last;
mod layouts;
mod literals;
mod pins;
mod placement;
mod precision;
mod schedule;

use std::num::NonZeroUsize;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{BootstrapLiteral, Parameters};
use he_layers::{CompiledMaps, LayerError, Program, Share};

use crate::decisions::{Decisions, Instance, foreign};
use crate::estimate::time::{Speed, Together};
use crate::plan::Plan;
use chain::Chain;
pub use error::PlanError;
use last::Lasts;
pub use literals::LEAST_PRIME_BITS;
pub use pins::{Bootstrap, Pin, PinError, Pins};
pub(crate) use pins::{LOG_SCALES, MOST_BLOCKS};
use precision::Simulations;
use schedule::{Fixed, Part, Schedule};

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
    /// What the process needs of that beside the run, in bytes: for a recording of it, say.
    pub beside_bytes: u64,
    /// The other processes that compute every group together with this one, if there are any.
    pub together: Option<Together>,
    /// Speed of the primitives.
    pub speed: Speed,
}

impl Machine {
    /// The part of every group that is computed here.
    pub fn share(&self) -> Share {
        self.together
            .map_or(Share::whole(), |together| together.share)
    }
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
    /// Largest error of a logit that the plan may make, in deviations of the logits: by noise and rounded weights, see
    /// [`LogitErrors::of_plan`](crate::estimate::error::LogitErrors::of_plan).
    pub max_logit_error: f64,
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
    let instance = plan.decisions.instantiate(task.program, kernel)?;
    bind(&plan, &instance, machine);
    Ok(Planned { plan, instance })
}

/// As [`plan`], over a ring that is there already; with `bootstrap`, values are refreshed where that costs least. Refreshes,
/// layout, key levels and channel blocks are chosen, and no pin of ring or primes is looked at. For rings that the planner does
/// not look for: those of other applications, or of experiments without security.
///
/// # Errors
/// [`PlanError`].
pub fn plan_over(
    task: &Task<'_>,
    machine: &Machine,
    pins: &Pins,
    params: &Parameters,
    bootstrap: Option<&BootstrapLiteral>,
) -> Result<Planned, PlanError> {
    let chain = chains::over(task.program, pins, params, bootstrap)?;
    let plan = best(task, machine, pins, &[chain])?;
    let instance = plan.decisions.instantiate_over(task.program, params)?;
    bind(&plan, &instance, machine);
    Ok(Planned { plan, instance })
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
    let chains = chains::candidates(task.program, pins, kernel)?;
    best(task, machine, pins, &chains)
}

/// The fastest plan over any of the chains that stays within memory and error.
fn best(
    task: &Task<'_>,
    machine: &Machine,
    pins: &Pins,
    chains: &[Chain],
) -> Result<Plan, PlanError> {
    let model = || task.program.name().to_owned();
    let compiled = CompiledMaps::default();
    let (mut fitting, mut too_large) = (Vec::new(), Vec::new());
    let mut last_error = None;
    for (index, chain) in chains.iter().enumerate() {
        let mut lasts = Lasts::new(pins, &compiled);
        for (packing, grid) in layouts::candidates(task.program, chain.slots(), task.batch, pins) {
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
                last: None,
                machine,
            };
            let plan = schedule.best(pins.blocks);
            let with_last = lasts.plans(&schedule, &plan);
            for plan in with_last.into_iter().chain([plan]) {
                let fits = plan.forecast.predicted_peak_bytes <= machine.memory_bytes;
                let plans = if fits { &mut fitting } else { &mut too_large };
                plans.push((plan, index));
            }
        }
    }
    if fitting.is_empty() && too_large.is_empty() {
        let grid = layouts::least(task.program);
        let slots = chains.iter().map(Chain::slots).max().unwrap_or(0);
        let reason = last_error.unwrap_or(LayerError::Grid { grid, slots });
        return Err(PlanError::layout(task.program.name(), reason));
    }
    let nothing_fits = fitting.is_empty();
    fitting.sort_by(|(a, _), (b, _)| handicapped_seconds(a).total_cmp(&handicapped_seconds(b)));
    let is_pinned = pins.log_scale.is_some();
    let mut simulations = Simulations::new(task, chains, &compiled, is_pinned)?;
    if let Some(plan) = simulations.first_precise(fitting)? {
        return Ok(plan);
    }
    let within_memory = simulations.least_error();
    // What would do: the smallest plan that is precise enough.
    too_large.sort_by_key(|(plan, _)| plan.forecast.predicted_peak_bytes);
    let precise = simulations.first_precise(too_large)?;
    let needed_bytes = precise.map(|plan| plan.forecast.predicted_peak_bytes);
    Err(match needed_bytes {
        Some(needed_bytes) if nothing_fits => PlanError::Memory {
            model: model(),
            batch: task.batch.get(),
            budget_bytes: machine.memory_bytes,
            needed_bytes,
        },
        _ => PlanError::Precision {
            model: model(),
            found: if nothing_fits {
                simulations.least_error()
            } else {
                within_memory
            },
            expected: task.max_logit_error,
            needed_bytes,
        },
    })
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
    check(decisions, task)?;
    let instance = decisions.instantiate(task.program, kernel)?;
    obeyed(decisions, instance, task, machine)
}

/// As [`obey`], over a ring that is there already: for the decisions of [`plan_over`].
///
/// # Errors
/// As [`obey`]; [`PlanError::Foreign`] also if the ring is not the one that was decided.
pub fn obey_over(
    decisions: &Decisions,
    task: &Task<'_>,
    machine: &Machine,
    params: &Parameters,
) -> Result<Planned, PlanError> {
    check(decisions, task)?;
    let instance = decisions.instantiate_over(task.program, params)?;
    obeyed(decisions, instance, task, machine)
}

/// Checks that decisions are for this network and batch.
fn check(decisions: &Decisions, task: &Task<'_>) -> Result<(), PlanError> {
    decisions.check_format()?;
    decisions.check_model(task.program.name(), task.checksum)?;
    if decisions.batch != task.batch.get() {
        return Err(foreign("batch", decisions.batch, task.batch));
    }
    Ok(())
}

fn obeyed(
    decisions: &Decisions,
    instance: Instance,
    task: &Task<'_>,
    machine: &Machine,
) -> Result<Planned, PlanError> {
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
    let in_last = instance.grouping().in_last(task.batch.get());
    if decisions.last.is_some() && in_last == 0 {
        return Err(foreign("images of the last group", in_last, "1 or more"));
    }
    let chain = Chain::of_decisions(decisions, instance)?;
    let schedule = Schedule {
        task,
        chain: &chain,
        prepared: &instance.prepared,
        log_scale: decisions.log_scale,
        last: match (&instance.last, &decisions.last) {
            (Some(prepared), Some(last)) => Some((prepared, last.log_scale)),
            _ => None,
        },
        machine,
    };
    let mut plan = schedule.plan(&decisions.key_steps, &|part, step| {
        let blocks = match (part, &decisions.last) {
            (Part::Last, Some(last)) => last.blocks_at_a_time[step],
            _ => decisions.blocks_at_a_time[step],
        };
        let is_last = part == Part::Last;
        Fixed {
            blocks: Some(blocks),
            threads: Some(decisions.threads_of(step, is_last, machine.threads)),
        }
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
    let programs = std::iter::once(&instance.prepared).chain(&instance.last);
    for prepared in programs {
        let log_q = instance.params.log_q(prepared.output().level);
        let errors = precision::simulated(task, &instance.program, prepared, log_q)?;
        let worst = plan.forecast.errors.map(|worst| worst.worse(errors));
        plan.forecast.errors = Some(worst.unwrap_or(errors));
    }
    Ok(plan)
}

/// Bounds the limb pool to what the memory leaves for it.
fn bind(plan: &Plan, instance: &Instance, machine: &Machine) {
    let fixed = plan.forecast.predicted_peak_bytes - plan.forecast.pool_bytes;
    let budget = machine.memory_bytes.saturating_sub(fixed);
    instance.params.pool().set_budget(Some(budget));
}
