//! Chains of primes worth a look: rings, prime sizes, digits, and where values are refreshed.

use std::ops::RangeInclusive;

use ckks_scheme::bootstrap::FourierSeries;
use ckks_scheme::counts::Work;
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::params::max_log_qp_128;
use ckks_scheme::{
    BootstrapLiteral, BootstrapOutline, BootstrapParams, FourierLiteral, Level, ModulusChain,
    Parameters, ParamsLiteral, Reduction, RefreshFunction, Scale,
};
use he_layers::{
    CompiledMaps, Grid, LayerError, Layout, Node, Packing, Preparation, PreparedProgram, Program,
    Refresher, RotationCosts, ScaleChain, Setting, Value,
};

use super::pins::{Bootstrap, Pins};
use super::{PlanError, placement};
use crate::decisions::{Decisions, Instance};

/// Bits of a special prime, and the most of a ciphertext prime.
pub(super) const WORD_BITS: u32 = 50;
/// Fewest bits of a ciphertext prime that leave a scale and weights worth having.
pub const LEAST_PRIME_BITS: u32 = 36;
/// Fewest bits of a level that a refresh gives back: below, the refresh itself is not precise.
const LEAST_REFRESH_BITS: u32 = 40;
/// Most bits of a level that a refresh gives back: above, its scale has no room beside the primes of EvalMod.
const MOST_REFRESH_BITS: u32 = 46;
/// What a giant step of the bootstrapping's matrices is worth in baby steps: few keys, or speed.
const GIANT_COSTS: [f64; 2] = [0.3, 1.0];
/// How the exponential of a function's Fourier series is made, as in the scheme's presets.
const EXPONENTIAL_DEGREE: usize = 31;
const EXPONENTIAL_SQUARINGS: u32 = 3;
/// Rings that are tried, by the base-2 logarithm of their degree.
pub(super) const RINGS: RangeInclusive<u32> = 13..=17;
/// Rings that have room for a bootstrapping.
const BOOTSTRAP_RINGS: RangeInclusive<u32> = 16..=17;
/// Most digits of a key switch, without and with a bootstrapping.
pub(super) const MOST_DIGITS: usize = 6;
const MOST_BOOTSTRAP_DIGITS: usize = 8;
/// Levels that a refresh may give back beyond those that the next one takes.
const REFRESH_LEVELS: RangeInclusive<usize> = 2..=24;
/// Chains with a bootstrapping that are looked at closely.
const PROMISING: usize = 8;
/// Lowest level of the output: two primes hold it.
pub(super) const OUTPUT_LEVEL: Level = Level::new(2);

/// A chain of primes with the network as it runs over it.
pub(super) struct Chain {
    /// The primes, without tables.
    pub modulus: ModulusChain,
    /// The network with its refreshes.
    pub program: Program,
    /// Names of the refreshed nodes.
    pub refreshes: Vec<String>,
    pub bootstrap: Option<BootstrapLiteral>,
    pub refreshers: Vec<Refresher>,
    /// Work of one refresh.
    pub refresh_work: Work,
    /// Size of the bootstrapping's matrices in bytes.
    pub matrix_bytes: u64,
}

impl Chain {
    /// The chain of a plan that is obeyed.
    pub fn of_decisions(decisions: &Decisions, instance: &Instance) -> Result<Self, PlanError> {
        let params = &instance.params;
        let (refreshers, refresh_work, _) = match &decisions.bootstrap {
            None => (Vec::new(), Work::default(), 0),
            Some(literal) => outlined(params, literal)?,
        };
        Ok(Self {
            modulus: params.chain().clone(),
            program: instance.program.clone(),
            refreshes: decisions.refreshes.clone(),
            bootstrap: decisions.bootstrap.clone(),
            refreshers,
            refresh_work,
            matrix_bytes: instance.matrix_bytes,
        })
    }

    /// Complex slots of a ciphertext.
    pub fn slots(&self) -> usize {
        self.modulus.slots()
    }

    /// Base-2 logarithm of the nominal scale. A prime is the product of the scale S and the weights' scale, times 4 in
    /// complex packing; 7/12 of its bits to S is about where the errors of rescaling and of rounded weights balance.
    pub fn log_scale(&self, packing: Packing, pins: &Pins) -> u32 {
        let bits = self.modulus.literal().q_bits.iter().copied().min();
        let packing_bits = if packing == Packing::Complex { 2 } else { 0 };
        let balanced = (bits.unwrap_or(WORD_BITS) - packing_bits) * 7 / 12;
        pins.log_scale.unwrap_or(balanced)
    }

    /// The network over this chain in a layout.
    pub fn prepare(
        &self,
        packing: Packing,
        grid: Grid,
        pins: &Pins,
        compiled: &CompiledMaps,
    ) -> Result<PreparedProgram, LayerError> {
        self.prepare_at(packing, grid, self.log_scale(packing, pins), compiled)
    }

    /// The same with a nominal scale.
    pub fn prepare_at(
        &self,
        packing: Packing,
        grid: Grid,
        log_scale: u32,
        compiled: &CompiledMaps,
    ) -> Result<PreparedProgram, LayerError> {
        let shape = self.program.shape(self.program.input());
        let scale = Scale::new(f64::from(log_scale).exp2());
        self.program.prepare(&Preparation {
            chain: ScaleChain::of_modulus(&self.modulus, scale),
            input: Layout::new(shape, grid, packing, self.slots())?,
            output_level: OUTPUT_LEVEL,
            refreshers: &self.refreshers,
            rotations: RotationCosts::default(),
            compiled: Some(compiled),
        })
    }
}

/// All chains worth a look, small rings first.
///
/// # Errors
/// [`PlanError::Depth`] if there is none.
pub(super) fn candidates(
    program: &Program,
    pins: &Pins,
    kernel: &KernelChoice,
) -> Result<Vec<Chain>, PlanError> {
    match program.refresh_functions().as_slice() {
        [] => {}
        [function] => return with_function(program, function, pins, kernel),
        [_, _, ..] => {
            return Err(PlanError::Functions {
                model: program.name().to_owned(),
            });
        }
    }
    let mut chains = Vec::new();
    if !matches!(pins.bootstrap, Bootstrap::Exactly(_)) {
        chains.extend(without_refresh(program, pins)?);
    }
    let deep = |chain: &Chain| chain.modulus.literal().q_bits.len() > 12;
    // A network of few levels has nothing to gain from a refresh.
    let wanted = match pins.bootstrap {
        Bootstrap::Never => false,
        Bootstrap::Allowed => chains.iter().all(deep),
        Bootstrap::Exactly(_) => true,
    };
    if wanted {
        chains.extend(with_refreshes(program, pins, kernel)?);
    }
    match chains.is_empty() {
        true => Err(too_deep(program, pins)),
        false => Ok(chains),
    }
}

/// Why there is no chain.
pub(super) fn too_deep(program: &Program, pins: &Pins) -> PlanError {
    let rings = rings(pins, RINGS).map(|n| format!("2^{n}"));
    let rings = format!("N = {}", rings.collect::<Vec<_>>().join(", "));
    let model = program.name().to_owned();
    if let Bootstrap::Exactly(pinned) = pins.bootstrap {
        return PlanError::Refreshes {
            model,
            pinned,
            refreshable: program.refreshable().len(),
            rings,
        };
    }
    PlanError::Depth {
        model,
        levels: levels(program).unwrap_or(0),
        bits: pins.prime_bits.unwrap_or(LEAST_PRIME_BITS),
        rings,
        refreshes: match pins.bootstrap {
            Bootstrap::Never => "and refreshes are pinned to never",
            Bootstrap::Allowed | Bootstrap::Exactly(_) => "with or without refreshes",
        },
    }
}

fn rings(pins: &Pins, all: RangeInclusive<u32>) -> impl Iterator<Item = u32> {
    let pinned = pins.log_n;
    all.filter(move |n| pinned.is_none_or(|pin| pin == *n))
}

/// Primes that the network needs without a refresh.
fn levels(program: &Program) -> Result<usize, LayerError> {
    let chain = ScaleChain::new(Scale::new(2f64.powi(28)), Vec::new());
    let setting = Setting {
        chain: &chain,
        refreshers: &[],
    };
    Ok(program.input_level(&setting, OUTPUT_LEVEL)?.limbs())
}

/// One chain for each ring on which the network is secure without a refresh: the largest primes, the fewest digits.
fn without_refresh(program: &Program, pins: &Pins) -> Result<Vec<Chain>, PlanError> {
    let levels = levels(program).map_err(|reason| PlanError::Layout {
        model: program.name().to_owned(),
        reason,
    })?;
    let bits: Vec<u32> = match pins.prime_bits {
        Some(bits) => vec![bits],
        None => (LEAST_PRIME_BITS..=WORD_BITS).rev().collect(),
    };
    let digits: Vec<usize> = match pins.digits {
        Some(digits) => vec![digits],
        None => (2..=MOST_DIGITS).collect(),
    };
    let literal = |log_n| {
        bits.iter()
            .flat_map(|bits| digits.iter().map(move |digits| (*bits, *digits)))
            .map(|(bits, digits)| with_specials(log_n, vec![bits; levels], digits))
            .find(is_secure)
    };
    let chain = |literal: ParamsLiteral| {
        Ok(Chain {
            modulus: ModulusChain::from_literal(&literal)?,
            program: program.clone(),
            refreshes: Vec::new(),
            bootstrap: None,
            refreshers: Vec::new(),
            refresh_work: Work::default(),
            matrix_bytes: 0,
        })
    };
    rings(pins, RINGS).filter_map(literal).map(chain).collect()
}

/// Special primes as long as the longest digit.
fn with_specials(log_n: u32, q_bits: Vec<u32>, digits: usize) -> ParamsLiteral {
    let in_digit = q_bits.len().div_ceil(digits);
    let digit_bits = q_bits.chunks(in_digit).map(|d| d.iter().sum::<u32>()).max();
    let specials = digit_bits.unwrap_or(0).div_ceil(WORD_BITS);
    ParamsLiteral {
        log_n,
        q_bits,
        p_bits: vec![WORD_BITS; specials as usize],
        digits,
    }
}

fn is_secure(literal: &ParamsLiteral) -> bool {
    let log_qp: u32 = literal.q_bits.iter().chain(&literal.p_bits).sum();
    log_qp <= max_log_qp_128(literal.log_n)
}

/// The most promising chains with a bootstrapping: for each number of levels that a refresh gives back the largest primes,
/// and the refreshes where they cost least.
fn with_refreshes(
    program: &Program,
    pins: &Pins,
    kernel: &KernelChoice,
) -> Result<Vec<Chain>, PlanError> {
    let exactly = match pins.bootstrap {
        Bootstrap::Exactly(count) => Some(count),
        Bootstrap::Never | Bootstrap::Allowed => None,
    };
    let mut found: Vec<(f64, Refreshed)> = Vec::new();
    for log_n in rings(pins, BOOTSTRAP_RINGS) {
        for user in REFRESH_LEVELS {
            let choices = bootstrap_literals(log_n, user, pins);
            let Some((_, bootstrap)) = choices.first() else {
                continue;
            };
            let top = 1 + bootstrap.input_levels() + user + bootstrap.depth();
            let limits = placement::Limits {
                input: Level::new(bootstrap.input_levels() + 1),
                output: Level::new(top - bootstrap.depth()),
                top: Level::new(top),
            };
            let placed = placement::place(program, &limits, exactly)?;
            let Some((at, units)) = placed.filter(|(at, _)| !at.is_empty()) else {
                continue;
            };
            for (literal, bootstrap) in choices {
                // Twice as many slots are worth twice as much work.
                let units = units * f64::from(log_n) * key_switch_units(&literal);
                let at = at.clone();
                found.push((
                    units,
                    Refreshed {
                        literal,
                        bootstrap,
                        at,
                    },
                ));
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut chains = Vec::new();
    for (_, chain) in found.into_iter().take(PROMISING) {
        for giant_cost in GIANT_COSTS {
            let bootstrap = BootstrapLiteral {
                giant_cost,
                ..chain.bootstrap.clone()
            };
            let chain = Refreshed {
                bootstrap,
                ..chain.clone()
            };
            chains.push(bootstrapped(program, chain, kernel)?);
        }
    }
    Ok(chains)
}

/// Limbs that a key switch half way up the chain transforms and multiplies: digits, inner product and the end.
fn key_switch_units(literal: &ParamsLiteral) -> f64 {
    let (primes, specials) = (literal.q_bits.len(), literal.p_bits.len());
    let level = primes.div_ceil(2);
    let in_digit = primes.div_ceil(literal.digits);
    let extended = (level + specials) as f64;
    level.div_ceil(in_digit) as f64 * extended + 2.0 * extended
}

/// Chains for a network whose activations are applied by its refreshes: as few levels between two of them as the network
/// needs.
fn with_function(
    program: &Program,
    function: &FourierSeries,
    pins: &Pins,
    kernel: &KernelChoice,
) -> Result<Vec<Chain>, PlanError> {
    let mut chains = Vec::new();
    for log_n in rings(pins, BOOTSTRAP_RINGS) {
        let base = BootstrapLiteral {
            reduction: Reduction::Fourier(FourierLiteral {
                degree: EXPONENTIAL_DEGREE,
                squarings: EXPONENTIAL_SQUARINGS,
                function: RefreshFunction::Series(function.clone()),
                harmonics: function.harmonics(),
            }),
            log_message_ratio: function.period().log2(),
            ..BootstrapLiteral::full_complex(log_n)
        };
        for user in 1..=*REFRESH_LEVELS.end() {
            let top = 1 + base.input_levels() + user + base.depth();
            let limits = placement::Limits {
                input: Level::new(base.input_levels() + 1),
                output: Level::new(top - base.depth()),
                top: Level::new(top),
            };
            let function = Some(function.clone());
            if !placement::reaches(program, &limits, function)? {
                continue;
            }
            for (literal, bootstrap) in literals_over(log_n, user, &base, pins) {
                for giant_cost in GIANT_COSTS {
                    let bootstrap = BootstrapLiteral {
                        giant_cost,
                        ..bootstrap.clone()
                    };
                    let chain = Refreshed {
                        literal: literal.clone(),
                        bootstrap,
                        at: Vec::new(),
                    };
                    chains.push(bootstrapped(program, chain, kernel)?);
                }
            }
            break;
        }
    }
    match chains.is_empty() {
        true => Err(too_deep(program, pins)),
        false => Ok(chains),
    }
}

/// A chain with a bootstrapping, and the values to refresh.
#[derive(Clone)]
struct Refreshed {
    literal: ParamsLiteral,
    bootstrap: BootstrapLiteral,
    at: Vec<Value>,
}

/// Chains whose refreshes give back `user` levels: base prime, SlotsToCoeffs and the user's levels, then EvalMod and
/// CoeffsToSlots. For every number of digits the largest primes.
fn bootstrap_literals(
    log_n: u32,
    user: usize,
    pins: &Pins,
) -> Vec<(ParamsLiteral, BootstrapLiteral)> {
    literals_over(log_n, user, &BootstrapLiteral::full_complex(log_n), pins)
}

/// The same for any bootstrapping. One with a function has primes of one size: its values fill the base prime, and their
/// scale is near to it.
fn literals_over(
    log_n: u32,
    user: usize,
    base: &BootstrapLiteral,
    pins: &Pins,
) -> Vec<(ParamsLiteral, BootstrapLiteral)> {
    let bits: Vec<u32> = match pins.prime_bits {
        Some(bits) => vec![bits],
        None => (LEAST_REFRESH_BITS..=MOST_REFRESH_BITS).rev().collect(),
    };
    let digits: Vec<usize> = match pins.digits {
        Some(digits) => vec![digits],
        None => (2..=MOST_BOOTSTRAP_DIGITS).collect(),
    };
    let literal = |bits: u32, digits| {
        let q_bits = std::iter::once(WORD_BITS)
            .chain(std::iter::repeat_n(bits, base.input_levels() + user))
            .chain(std::iter::repeat_n(
                if base.function().is_identity() {
                    WORD_BITS
                } else {
                    bits
                },
                base.depth(),
            ));
        with_specials(log_n, q_bits.collect(), digits)
    };
    let largest = |digits: &usize| {
        let literals = bits.iter().map(|bits| (*bits, literal(*bits, *digits)));
        let (bits, literal) = literals
            .into_iter()
            .find(|(_, literal)| is_secure(literal))?;
        let bootstrap = BootstrapLiteral {
            log_scale: f64::from(bits),
            ..base.clone()
        };
        Some((literal, bootstrap))
    };
    digits.iter().filter_map(largest).collect()
}

fn bootstrapped(
    program: &Program,
    chain: Refreshed,
    kernel: &KernelChoice,
) -> Result<Chain, PlanError> {
    let Refreshed {
        literal,
        bootstrap,
        at,
    } = chain;
    let params = Parameters::from_literal(&literal, kernel.clone(), None)?;
    let (refreshers, refresh_work, matrix_bytes) = outlined(&params, &bootstrap)?;
    let refreshed = program
        .with_refreshes(&at)
        .map_err(|reason| PlanError::Layout {
            model: program.name().to_owned(),
            reason,
        })?;
    let is_refreshed = |node: &&Node| at.contains(&node.value());
    let refreshes = program.nodes().iter().filter(is_refreshed);
    Ok(Chain {
        modulus: params.chain().clone(),
        program: refreshed,
        refreshes: refreshes.map(|node| node.name().to_owned()).collect(),
        bootstrap: Some(bootstrap),
        refreshers,
        refresh_work,
        matrix_bytes,
    })
}

/// A bootstrapping to plan with, its work and the bytes of its matrices.
fn outlined(
    params: &Parameters,
    literal: &BootstrapLiteral,
) -> Result<(Vec<Refresher>, Work, u64), PlanError> {
    let bootstrap = BootstrapParams::new(params, literal.clone())?;
    let outline = BootstrapOutline::new(&bootstrap)?;
    let keys = outline.request().reduced(params.log_n());
    let work = outline
        .work(&keys)
        .map_err(ckks_scheme::BootstrapError::from)?;
    let refresher = Refresher::outlined(&outline)?;
    Ok((vec![refresher], work.total(), outline.matrix_bytes()))
}
