//! The planner: from a model, a batch and a machine to a [`Plan`].
//!
//! It takes the smallest ring on which the network is secure without a refresh and the largest primes that fit there,
//! tries the grids and packings that hold the batch in one or a few groups, chooses for each stage how many channel
//! blocks to absorb at a time, and keeps the fastest plan, by the cost model, that stays within the memory.

mod pins;

pub use pins::{Pin, PinError, Pins};

use crate::cost::{CostModel, KeySteps, temporary_limbs};
use crate::network::{self, Network};
use crate::noise;
use crate::plan::{FORMAT, Plan, StagePlan};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::noise::BOUND_SIGMAS;
use ckks_scheme::params::max_log_qp_128;
use ckks_scheme::{Level, ParamError, Parameters, ParamsLiteral, Scale};
use datasets::{DataError, Dataset, Synthetic};
use he_layers::{Grid, LayerError, Op, Packing, PlainTensor, PreparedLayer};
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
/// Synthetic images that the effect of noise is simulated on.
const NOISE_IMAGES: usize = 8;
/// Bytes of the process beside limbs, tables and slot vectors: program, threads' stacks, weights.
const BASE_BYTES: u64 = 300_000_000;

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
        gib(*budget_bytes),
        gib(*needed_bytes)
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

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
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
        let drafts = key_step_choices(&network.level_steps())
            .into_iter()
            .map(|steps| {
                draft(
                    model,
                    batch.get(),
                    machine,
                    pins,
                    &params,
                    &network,
                    scale,
                    steps,
                )
            });
        let mut fastest: Option<Plan> = None;
        for draft in drafts {
            let needed = draft.predicted_peak_bytes;
            let seconds = draft.predicted_seconds_infer;
            if needed > machine.memory_bytes {
                least_memory = Some(least_memory.map_or(needed, |m| m.min(needed)));
            } else if fastest.iter().all(|f| seconds < f.predicted_seconds_infer) {
                fastest = Some(draft);
            }
        }
        let Some(draft) = fastest else { continue };
        let seconds = draft.predicted_seconds_infer;
        if best
            .iter()
            .all(|(b, _)| seconds < b.predicted_seconds_infer)
        {
            best = Some((draft, network));
        }
    }
    match (best, least_memory, last_error) {
        (Some((mut plan, network)), _, _) => {
            plan.predicted_max_logit_error = logit_error(model, &params, &plan)?;
            Ok(Planned {
                plan,
                params,
                network,
            })
        }
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

/// Prepares a run that obeys a plan, after checking that it belongs to this model, batch and memory.
///
/// # Errors
/// [`PlanError::Foreign`], [`PlanError::Memory`], and what can be wrong with its parameters and layout.
pub fn obey(
    plan: Plan,
    model: &FoldedModel,
    batch: NonZeroUsize,
    machine: &Machine,
    kernel: &KernelChoice,
) -> Result<Planned, PlanError> {
    let same = |what, found: String, expected: String| {
        if found == expected {
            Ok(())
        } else {
            Err(PlanError::Foreign {
                what,
                found,
                expected,
            })
        }
    };
    same("format", plan.format.to_string(), FORMAT.to_string())?;
    same("model", plan.model.clone(), model.name.clone())?;
    same(
        "model checksum",
        plan.model_checksum.clone(),
        hex(&model.checksum),
    )?;
    same("batch", plan.batch.to_string(), batch.to_string())?;
    let levels = network::levels(model);
    same(
        "number of primes",
        plan.params.q_bits.len().to_string(),
        levels.to_string(),
    )?;
    same(
        "number of stages",
        plan.stages.len().to_string(),
        (model.blocks.len() + 2).to_string(),
    )?;
    if plan.predicted_peak_bytes > machine.memory_bytes {
        return Err(PlanError::Memory {
            model: model.name.clone(),
            batch: batch.get(),
            budget_bytes: machine.memory_bytes,
            needed_bytes: plan.predicted_peak_bytes,
        });
    }
    let params = Parameters::from_literal(&plan.params, kernel.clone(), None)?;
    let scale = Scale::new(f64::from(plan.log_scale).exp2());
    let network =
        Network::prepare(model, &params, scale, plan.packing, plan.grid).map_err(|reason| {
            PlanError::Layout {
                model: model.name.clone(),
                reason,
            }
        })?;
    same(
        "images per group",
        plan.images_per_group.to_string(),
        network.images().to_string(),
    )?;
    same(
        "groups",
        plan.groups.to_string(),
        plan.batch.div_ceil(network.images()).to_string(),
    )?;
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
    let images = Synthetic::with_shape(0, shape)?.read(0, NOISE_IMAGES)?;
    let images = PlainTensor::new(NOISE_IMAGES, model.input, images.view().to_f64());
    let std = params.noise().rounding() / f64::from(plan.log_scale).exp2();
    let layers = network::layers_of(model);
    let deviation =
        noise::logit_deviation(&layers, &images.map_err(reason)?, std).map_err(reason)?;
    Ok(BOUND_SIGMAS * deviation)
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

/// Every choice of key levels that has the highest: more of them are faster at low levels and take more memory.
fn key_step_choices(levels: &[Level]) -> Vec<KeySteps> {
    let Some((&top, rest)) = levels.split_first() else {
        return vec![KeySteps(Vec::new())];
    };
    let chosen = |mask: usize| {
        rest.iter()
            .enumerate()
            .filter(move |(i, _)| mask >> i & 1 == 1)
    };
    (0..1usize << rest.len())
        .map(|mask| {
            KeySteps(
                std::iter::once(top)
                    .chain(chosen(mask).map(|(_, l)| *l))
                    .collect(),
            )
        })
        .collect()
}

fn draft(
    model: &FoldedModel,
    batch: usize,
    machine: &Machine,
    pins: &Pins,
    params: &Parameters,
    network: &Network,
    scale: Scale,
    steps: KeySteps,
) -> Plan {
    let request = network
        .required_keys()
        .reduced(params.log_n())
        .at_steps(&steps.0);
    let key_bytes = request.bytes(params);
    let fixed = fixed_bytes(model, params, network);
    let groups = batch.div_ceil(network.images());
    let stages: Vec<StagePlan> = network
        .layers()
        .iter()
        .map(|layer| {
            let budget = machine.memory_bytes.saturating_sub(fixed);
            stage(
                layer.as_ref(),
                machine,
                pins,
                params,
                &steps,
                key_bytes,
                budget,
            )
        })
        .collect();
    let pool_bytes = stages
        .iter()
        .map(|s| s.pool_bytes)
        .max()
        .unwrap_or(key_bytes);
    Plan {
        format: FORMAT,
        model: model.name.clone(),
        model_checksum: hex(&model.checksum),
        batch,
        images_per_group: network.images(),
        groups,
        params: params.literal().clone(),
        log_scale: scale.log2().round() as u32,
        packing: network.input().layout.packing(),
        grid: network.input().layout.grid(),
        key_steps: steps,
        threads: machine.threads,
        keys: request.count(),
        key_bytes,
        pool_bytes,
        predicted_peak_bytes: pool_bytes + fixed,
        predicted_seconds_infer: groups as f64 * stages.iter().map(|s| s.seconds).sum::<f64>(),
        predicted_max_logit_error: 0.0,
        stages,
    }
}

/// The group size that is fastest within the budget; the smallest if none is.
fn stage(
    layer: &dyn PreparedLayer,
    machine: &Machine,
    pins: &Pins,
    params: &Parameters,
    steps: &KeySteps,
    key_bytes: u64,
    budget: u64,
) -> StagePlan {
    let (input, output) = (layer.input(), layer.output());
    let temporaries = machine.threads * temporary_limbs(params, input.level);
    let at = |group: usize| {
        let counts = layer.op_counts(group);
        let limbs = layer.peak_limbs(group) + temporaries;
        StagePlan {
            name: layer.name().to_owned(),
            shape: output.layout.shape(),
            ciphertexts_in: input.layout.ciphertexts(),
            ciphertexts_out: output.layout.ciphertexts(),
            level_in: input.level,
            level_out: output.level,
            group_blocks: group,
            rotations: [Op::HoistedRotation, Op::GiantRotation, Op::FoldRotation]
                .into_iter()
                .map(|op| counts.total(op))
                .sum(),
            pool_bytes: key_bytes + limbs as u64 * params.limb_bytes(),
            seconds: machine
                .cost
                .seconds(&counts, params, steps, input.layout.grid().cells())
                / machine.threads as f64,
        }
    };
    if let Some(group) = pins.group {
        return at(group);
    }
    let sizes = std::iter::successors(Some(1), |g| Some(g * 2))
        .take_while(|g| *g <= input.layout.blocks().min(16));
    let smallest = at(1);
    sizes
        .map(at)
        .filter(|s| s.pool_bytes <= budget)
        .min_by(|a, b| a.seconds.total_cmp(&b.seconds))
        .unwrap_or(smallest)
}

/// Memory that does not depend on the schedule: tables, weights, encoding.
fn fixed_bytes(model: &FoldedModel, params: &Parameters, network: &Network) -> u64 {
    let primes = (params.literal().q_bits.len() + params.literal().p_bits.len()) as u64;
    // Twiddles of both directions with their quotients.
    let tables = primes * 4 * params.limb_bytes();
    let weights: usize = model
        .blocks
        .iter()
        .map(|b| b.conv1.weight.len() + b.conv2.weight.len())
        .sum();
    // Rounded masks of one product at a time, in each thread, and slot vectors being encoded.
    let input = &network.input().layout;
    let slots = (input.ciphertexts() * input.slots() * 16) as u64;
    BASE_BYTES + tables + 8 * weights as u64 + slots
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut s, b| {
        // Writing to a string cannot fail.
        let _ = write!(s, "{b:02x}");
        s
    })
}
