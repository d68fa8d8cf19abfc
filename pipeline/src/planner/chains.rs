//! Chains of primes worth a look: rings, prime sizes, digits, and where values are refreshed.

use std::ops::RangeInclusive;

use ckks_scheme::bootstrap::FourierSeries;
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapLiteral, BootstrapParams, FourierLiteral, Level, ModulusChain, Parameters,
    ParamsLiteral, Reduction, RefreshFunction, Scale,
};
use he_layers::{LayerError, Node, Program, ScaleChain, Setting, Value};

use super::chain::{Chain, OUTPUT_LEVEL, outlined};
use super::literals::{
    LEAST_PRIME_BITS, RINGS, bootstrap_literals, key_switch_units, literals_over, plain_literal,
    rings,
};
use super::pins::{Bootstrap, Pins};
use super::{PlanError, placement};

/// What a giant step of the bootstrapping's matrices is worth in baby steps: few keys, or speed.
const GIANT_COSTS: [f64; 2] = [0.3, 1.0];
/// How the exponential of a function's Fourier series is made, as in the scheme's presets.
const EXPONENTIAL_DEGREE: usize = 31;
const EXPONENTIAL_SQUARINGS: u32 = 3;
/// Rings that have room for a bootstrapping.
const BOOTSTRAP_RINGS: RangeInclusive<u32> = 16..=17;
/// Levels that a refresh may give back beyond those that the next one takes.
const REFRESH_LEVELS: RangeInclusive<usize> = 2..=24;
/// Chains with a bootstrapping that are looked at closely.
const PROMISING: usize = 8;

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

/// The network over a ring that is there, with refreshes where they cost least if there is a bootstrapping.
///
/// # Errors
/// [`PlanError::Refreshes`] if no refreshes make it run.
pub(super) fn over(
    program: &Program,
    pins: &Pins,
    params: &Parameters,
    bootstrap: Option<&BootstrapLiteral>,
) -> Result<Chain, PlanError> {
    let Some(literal) = bootstrap else {
        return Ok(Chain::plain(program, params.chain().clone()));
    };
    // Networks whose activations are refreshes have them where they are.
    if !program.refresh_functions().is_empty() {
        return refreshed(program, params, literal, &[]);
    }
    let bootstrap = BootstrapParams::new(params, literal.clone())?;
    let limits = placement::Limits {
        input: bootstrap.input_level(),
        output: bootstrap.output_level(),
        top: params.max_level(),
    };
    match placement::place(program, &limits, exactly(pins))? {
        Some((at, _)) => refreshed(program, params, literal, &at),
        None => Err(PlanError::Refreshes {
            model: program.name().to_owned(),
            pinned: exactly(pins),
            refreshable: program.refreshable().len(),
            rings: format!("N = 2^{}", params.log_n()),
        }),
    }
}

/// The number of refreshes that is asked for.
fn exactly(pins: &Pins) -> Option<usize> {
    match pins.bootstrap {
        Bootstrap::Exactly(count) => Some(count),
        Bootstrap::Never | Bootstrap::Allowed => None,
    }
}

/// Why there is no chain.
fn too_deep(program: &Program, pins: &Pins) -> PlanError {
    let names = rings(pins, RINGS).map(|n| format!("2^{n}"));
    let mut rings = format!("N = {}", names.collect::<Vec<_>>().join(", "));
    let model = program.name().to_owned();
    if let Bootstrap::Exactly(pinned) = pins.bootstrap {
        if pins.log_n.is_some_and(|n| !BOOTSTRAP_RINGS.contains(&n)) {
            let (least, most) = (BOOTSTRAP_RINGS.start(), BOOTSTRAP_RINGS.end());
            rings += &format!(" (a bootstrapping needs N = 2^{least} or N = 2^{most})");
        }
        return PlanError::Refreshes {
            model,
            pinned: Some(pinned),
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

/// Primes that the network needs without a refresh.
fn levels(program: &Program) -> Result<usize, LayerError> {
    let chain = ScaleChain::new(Scale::new(2f64.powi(28)), Vec::new());
    let setting = Setting {
        chain: &chain,
        refreshers: &[],
    };
    Ok(program.input_level(&setting, OUTPUT_LEVEL)?.limbs())
}

/// One chain for each ring on which the network is secure without a refresh.
fn without_refresh(program: &Program, pins: &Pins) -> Result<Vec<Chain>, PlanError> {
    let levels = levels(program).map_err(|reason| PlanError::layout(program.name(), reason))?;
    let literal = |log_n| plain_literal(log_n, levels, pins);
    let chain = |literal| Ok(Chain::plain(program, ModulusChain::from_literal(&literal)?));
    rings(pins, RINGS).filter_map(literal).map(chain).collect()
}

/// The most promising chains with a bootstrapping: for each number of levels that a refresh gives back the largest primes,
/// and the refreshes where they cost least.
fn with_refreshes(
    program: &Program,
    pins: &Pins,
    kernel: &KernelChoice,
) -> Result<Vec<Chain>, PlanError> {
    let exactly = exactly(pins);
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
    refreshed(program, &params, &bootstrap, &at)
}

/// The network over the primes of `params`, with the values `at` refreshed.
fn refreshed(
    program: &Program,
    params: &Parameters,
    bootstrap: &BootstrapLiteral,
    at: &[Value],
) -> Result<Chain, PlanError> {
    let (refreshers, refresh_work, matrix_bytes) = outlined(params, bootstrap)?;
    let refreshed = program
        .with_refreshes(at)
        .map_err(|reason| PlanError::layout(program.name(), reason))?;
    let is_refreshed = |node: &&Node| at.contains(&node.value());
    let refreshes = program.nodes().iter().filter(is_refreshed);
    Ok(Chain {
        modulus: params.chain().clone(),
        program: refreshed,
        refreshes: refreshes.map(|node| node.name().to_owned()).collect(),
        bootstrap: Some(bootstrap.clone()),
        refreshers,
        refresh_work,
        matrix_bytes,
    })
}
