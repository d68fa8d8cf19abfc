//! The planner: from a model, a batch and a machine to a [`Plan`].
//!
//! It takes the smallest ring on which the network is secure without a refresh and the largest primes that fit there,
//! tries the grids and packings that hold the batch in one or a few groups, chooses for each stage how many channel
//! blocks to absorb at a time, and keeps the fastest plan, by the cost model, that stays within the memory.

mod pins;
mod schedule;

pub use pins::{Pin, PinError, Pins};
use schedule::Schedule;
pub use schedule::schedule;

use crate::cost::CostModel;
use crate::network::{self, Network};
use crate::noise;
use crate::plan::{FORMAT, Plan, StagePlan};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::params::max_log_qp_128;
use ckks_scheme::{Level, ParamError, Parameters, ParamsLiteral, Scale};
use datasets::{DataError, Dataset, Synthetic};
use he_layers::{Grid, LayerError, Packing, PlainTensor};
use he_models::FoldedModel;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use thiserror::Error;

/// Bits of a special prime, and the most of a ciphertext prime.
const WORD_BITS: u32 = 50;
/// Fewest bits of a ciphertext prime that leave a scale and weights worth having.
const LEAST_PRIME_BITS: u32 = 36;
/// Rings that are tried, by the base-2 logarithm of their degree.
const RINGS: RangeInclusive<u32> = 13..=17;
/// Most digits of a key switch.
const MOST_DIGITS: usize = 6;
/// Most synthetic images that the effect of noise is simulated on.
const NOISE_IMAGES: usize = 32;
/// How much more an image may amplify noise than the worst of those.
const NOISE_MARGIN: f64 = 4.0;

/// Where a plan is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Threads.
    pub threads: usize,
    /// Bound on the resident memory of the process.
    pub memory_bytes: u64,
    /// Speed of the primitives.
    pub cost: CostModel,
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
        /// Name of the model.
        model: String,
        /// Images.
        batch: usize,
        /// Memory allowed.
        budget_bytes: u64,
        /// Memory that would do.
        needed_bytes: u64,
    },
    /// The network is too deep for every ring at 128-bit security.
    #[error(
        "{model} needs {levels} primes, more than 128-bit security allows at {ring} (with at least {LEAST_PRIME_BITS} bits a prime): a larger ring or a refresh is needed"
    )]
    Depth {
        /// Name of the model.
        model: String,
        /// Primes needed.
        levels: usize,
        /// Rings tried.
        ring: String,
    },
    /// No grid fits the network, or the pinned one does not.
    #[error("no layout fits {model}: {reason}")]
    Layout {
        /// Name of the model.
        model: String,
        /// What the last layout failed at.
        reason: LayerError,
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
    /// Images for the prediction of errors that cannot be made in the model's shape.
    #[error(transparent)]
    Images(#[from] DataError),
    /// Parameters that cannot be built.
    #[error(transparent)]
    Params(#[from] ParamError),
}

/// Hundredths of a GiB.
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30) * 100.0
}

/// A plan with what it was made from, ready to run.
#[derive(Debug)]
pub struct Planned {
    /// The decisions.
    pub plan: Plan,
    /// Parameter set.
    pub params: Parameters,
    /// The prepared network.
    pub network: Network,
}

/// Plans a batch.
///
/// # Errors
/// [`PlanError`].
pub fn plan(
    model: &FoldedModel,
    batch: NonZeroUsize,
    machine: &Machine,
    pins: &Pins,
    kernel: &KernelChoice,
) -> Result<Planned, PlanError> {
    let literal = choose_literal(model, pins)?;
    let params = Parameters::from_literal(&literal, kernel.clone(), None)?;
    let mut best: Option<(Plan, Network)> = None;
    let mut least_memory: Option<u64> = None;
    let mut last_error = None;
    for (packing, grid) in candidates(model, &params, pins) {
        let scale = choose_scale(&literal, packing, pins);
        let network = match Network::prepare(model, &params, scale, packing, grid) {
            Ok(network) => network,
            Err(error) => {
                last_error = Some(error);
                continue;
            }
        };
        let scheduled = schedule(&model.name, &network, &params, batch, machine, pins.group);
        let plan = match scheduled {
            Ok(plan) => plan,
            Err(PlanError::Memory { needed_bytes, .. }) => {
                least_memory = Some(least_memory.map_or(needed_bytes, |m| m.min(needed_bytes)));
                continue;
            }
            Err(error) => return Err(error),
        };
        let seconds = plan.predicted_seconds_infer;
        if best
            .iter()
            .all(|(b, _)| seconds < b.predicted_seconds_infer)
        {
            best = Some((plan, network));
        }
    }
    match (best, least_memory, last_error) {
        (Some((plan, network)), _, _) => ready(model, plan, params, network, machine),
        (None, Some(needed_bytes), _) => Err(PlanError::Memory {
            model: model.name.clone(),
            batch: batch.get(),
            budget_bytes: machine.memory_bytes,
            needed_bytes,
        }),
        (None, None, Some(reason)) => Err(PlanError::Layout {
            model: model.name.clone(),
            reason,
        }),
        (None, None, None) => Err(PlanError::Depth {
            model: model.name.clone(),
            levels: network::levels(model),
            ring: format!("N = 2^{}", params.log_n()),
        }),
    }
}

/// Prepares a run that obeys the decisions of a plan: parameters, scale, packing, grid, key levels and group sizes. What
/// the plan predicts is predicted anew for this machine.
///
/// # Errors
/// [`PlanError::Foreign`] if it belongs to another model or batch or cannot be obeyed, [`PlanError::Memory`],
/// [`PlanError::Params`].
pub fn obey(
    plan: &Plan,
    model: &FoldedModel,
    batch: NonZeroUsize,
    machine: &Machine,
    kernel: &KernelChoice,
) -> Result<Planned, PlanError> {
    let foreign = |what, found: String, expected: String| PlanError::Foreign {
        what,
        found,
        expected,
    };
    let same = |what, found: String, expected: String| {
        if found == expected {
            Ok(())
        } else {
            Err(foreign(what, found, expected))
        }
    };
    same("format", plan.format.to_string(), FORMAT.to_string())?;
    same("model", plan.model.clone(), model.name.clone())?;
    let checksum = hex(&model.checksum);
    same("model checksum", plan.model_checksum.clone(), checksum)?;
    same("batch", plan.batch.to_string(), batch.to_string())?;
    let (primes, levels) = (plan.params.q_bits.len(), network::levels(model));
    same("number of primes", primes.to_string(), levels.to_string())?;
    let (stages, layers) = (plan.stages.len(), network::layers_of(model).len());
    same("number of stages", stages.to_string(), layers.to_string())?;
    if !pins::LOG_SCALES.contains(&plan.log_scale) {
        let (low, high) = (pins::LOG_SCALES.start(), pins::LOG_SCALES.end());
        let expected = format!("{low} to {high}");
        return Err(foreign("log_scale", plan.log_scale.to_string(), expected));
    }
    let within = |level: &&Level| !(1..=levels).contains(&level.limbs());
    if let Some(level) = plan.key_steps.0.iter().find(within) {
        let expected = format!("1 to {levels}");
        return Err(foreign("level of keys", level.to_string(), expected));
    }
    let groups = |s: &&StagePlan| !(1..=pins::MOST_BLOCKS as usize).contains(&s.group_blocks);
    if let Some(stage) = plan.stages.iter().find(groups) {
        let (found, expected) = (stage.group_blocks.to_string(), "1 or more".to_owned());
        return Err(foreign("number of blocks of a group", found, expected));
    }

    let params = Parameters::from_literal(&plan.params, kernel.clone(), None)?;
    let scale = Scale::new(f64::from(plan.log_scale).exp2());
    let network = Network::prepare(model, &params, scale, plan.packing, plan.grid);
    let network = network.map_err(|reason| {
        let found = format!("{} on {} ({reason})", plan.packing, plan.grid);
        foreign("layout", found, format!("one that fits {}", model.name))
    })?;
    let schedule = Schedule {
        name: &model.name,
        network: &network,
        params: &params,
        batch: batch.get(),
        machine,
    };
    let group = |stage: usize| Some(plan.stages[stage].group_blocks);
    let plan = schedule.within_memory(schedule.plan(plan.key_steps.clone(), group))?;
    ready(model, plan, params, network, machine)
}

/// Completes a plan that fits the memory, to which the limb pool is bound from now on.
fn ready(
    model: &FoldedModel,
    mut plan: Plan,
    params: Parameters,
    network: Network,
    machine: &Machine,
) -> Result<Planned, PlanError> {
    plan.model_checksum = hex(&model.checksum);
    plan.predicted_max_logit_error = logit_error(model, &params, &plan)?;
    let fixed = plan.predicted_peak_bytes - plan.pool_bytes;
    let budget = machine.memory_bytes.saturating_sub(fixed);
    params.pool().set_budget(Some(budget));
    Ok(Planned {
        plan,
        params,
        network,
    })
}

/// Bound on the largest error that noise makes in a logit, simulated on synthetic images.
fn logit_error(model: &FoldedModel, params: &Parameters, plan: &Plan) -> Result<f64, PlanError> {
    let reason = |reason| PlanError::Layout {
        model: model.name.clone(),
        reason,
    };
    let shape = datasets::Shape {
        channels: model.input.channels,
        height: model.input.height,
        width: model.input.width,
    };
    // The more images, the worse the worst of them.
    let count = plan.batch.min(NOISE_IMAGES);
    let images = Synthetic::with_shape(0, shape)?.read(0, count)?;
    let images = PlainTensor::new(count, model.input, images.view().to_f64());
    let std = params.noise().rounding() / f64::from(plan.log_scale).exp2();
    let layers = network::layers_of(model);
    let deviation =
        noise::logit_deviation(&layers, &images.map_err(reason)?, std).map_err(reason)?;
    // The largest of n Gaussian errors is near sqrt(2 ln 2n) deviations.
    let errors = (plan.batch * model.classes.len()) as f64;
    Ok(NOISE_MARGIN * (2.0 * (2.0 * errors).ln()).sqrt() * deviation)
}

/// The smallest ring that is secure, the largest primes, the fewest digits.
fn choose_literal(model: &FoldedModel, pins: &Pins) -> Result<ParamsLiteral, PlanError> {
    let levels = network::levels(model);
    let rings: Vec<u32> = pins.log_n.map_or_else(|| RINGS.collect(), |n| vec![n]);
    let digits: Vec<usize> = pins
        .digits
        .map_or_else(|| (2..=MOST_DIGITS).collect(), |d| vec![d]);
    let bits: Vec<u32> = pins.prime_bits.map_or_else(
        || (LEAST_PRIME_BITS..=WORD_BITS).rev().collect(),
        |b| vec![b],
    );
    for &log_n in &rings {
        for &bits in &bits {
            for &digits in &digits {
                let digit_bits = levels.div_ceil(digits) as u32 * bits;
                let specials = digit_bits.div_ceil(WORD_BITS);
                let log_qp = levels as u32 * bits + specials * WORD_BITS;
                if log_qp <= max_log_qp_128(log_n) {
                    return Ok(ParamsLiteral {
                        log_n,
                        q_bits: vec![bits; levels],
                        p_bits: vec![WORD_BITS; specials as usize],
                        digits,
                    });
                }
            }
        }
    }
    let ring = rings
        .iter()
        .map(|n| format!("2^{n}"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(PlanError::Depth {
        model: model.name.clone(),
        levels,
        ring: format!("N = {ring}"),
    })
}

/// A prime is the product of the scale S and the weights' scale, times 4 in complex packing. 7/12 of its bits to S is
/// about where the errors of rescaling and of rounded weights balance.
fn choose_scale(literal: &ParamsLiteral, packing: Packing, pins: &Pins) -> Scale {
    let bits = literal.q_bits.iter().copied().min().unwrap_or(WORD_BITS);
    let packing_bits = if packing == Packing::Complex { 2 } else { 0 };
    let log_scale = pins.log_scale.unwrap_or((bits - packing_bits) * 7 / 12);
    Scale::new(f64::from(log_scale).exp2())
}

/// Layouts worth a look: square grids and those twice as wide as high, from 64 pixels a cell to eight cells a pixel.
fn candidates(model: &FoldedModel, params: &Parameters, pins: &Pins) -> Vec<(Packing, Grid)> {
    let packings = pins
        .packing
        .map_or_else(|| vec![Packing::Real, Packing::Complex], |p| vec![p]);
    let pixels = model.input.pixels().next_power_of_two();
    let grids: Vec<Grid> = pins.grid.map_or_else(
        || {
            let sides = (1..=params.log_n() - 1).map(|log| 1usize << log);
            sides
                .flat_map(|cols| [Grid::new(cols, cols), Grid::new(cols / 2, cols)])
                .filter(|g| g.rows >= 2 && g.cells() <= params.slots() / 8)
                .filter(|g| g.cells() >= pixels / 64 && g.cells() <= 8 * pixels)
                .collect()
        },
        |g| vec![g],
    );
    let with_grids = |packing| grids.iter().map(move |&grid| (packing, grid));
    packings.into_iter().flat_map(with_grids).collect()
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut s, b| {
        // Writing to a string cannot fail.
        let _ = write!(s, "{b:02x}");
        s
    })
}
