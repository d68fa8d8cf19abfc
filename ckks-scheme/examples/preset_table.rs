//! What the presets promise, by counting instead of running: levels for the user, primes, digits of a key switch, bits of the
//! expected error, keys, seconds on one thread at built-in costs, and the ratio to a plain refresh by a sine over the same
//! primes. Takes a few seconds: `cargo run --release -p ckks-scheme --example preset_table`.

use ckks_scheme::counts::PrimitiveCosts;
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapLiteral, BootstrapOutline, BootstrapParams, BootstrapPreset, RefreshFunction,
};
use std::error::Error;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    println!(
        "| preset, function | levels | primes | digits | log QP | expected bits | keys, GB | seconds | to plain | us per output bit |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for preset in BootstrapPreset::ALL {
        for function in [RefreshFunction::Identity, RefreshFunction::Relu] {
            let params = preset.build_for(&function, KernelChoice::Auto, None)?;
            let outline = BootstrapOutline::new(&params)?;
            let plain = BootstrapOutline::new(&plain_over(&params)?)?;
            let seconds = seconds(&outline)?;
            // Uniform within the bound of the approximation, as a guess; the mean error is 0.8 deviations.
            let error = outline
                .error_std()
                .hypot(outline.approximation_error() / 3.0);
            let bits = -(0.8 * error).log2();
            let scheme = params.scheme();
            let top = scheme.max_level();
            println!(
                "| `{}`, {} | {} | {top} | {} | {:.0} | {bits:.1} | {:.2} | {seconds:.2} | {:.2} | {:.2} |",
                preset.name(),
                function.name(),
                params.residual_levels(),
                scheme.key_shape(top).digits(top),
                scheme.log_qp(),
                outline.request().bytes(scheme.chain()) as f64 * 1e-9,
                seconds / self::seconds(&plain)?,
                seconds * 1e6 / (2.0 * params.slots() as f64 * bits),
            );
        }
    }
    rotated_while_raising()
}

fn seconds(outline: &BootstrapOutline) -> Result<f64, Failure> {
    let scheme = outline.params().scheme();
    let costs = PrimitiveCosts::built_in(scheme.kernel_name(), scheme.log_n());
    Ok(costs.seconds(&outline.work(&outline.request())?.total()))
}

/// The sine's refresh over the same primes, which leaves more levels.
fn plain_over(params: &BootstrapParams) -> Result<BootstrapParams, Failure> {
    let lit = params.literal();
    let full = BootstrapLiteral::full_complex(params.scheme().log_n());
    Ok(BootstrapParams::new(
        params.scheme(),
        BootstrapLiteral {
            log_message_ratio: full.log_message_ratio,
            reduction: full.reduction,
            ..lit.clone()
        },
    )?)
}

/// What the rotations of CoeffsToSlots' first matrix cost, and would cost if its baby steps were rotated from the ephemeral
/// secret: by keys of one digit, without a ModUp, and so more of them for fewer giant steps.
fn rotated_while_raising() -> Result<(), Failure> {
    let preset = BootstrapPreset::ALL[0];
    let params = preset.build(KernelChoice::Auto, None)?;
    let outline = BootstrapOutline::new(&params)?;
    let scheme = params.scheme();
    let counts = scheme.counts();
    let costs = PrimitiveCosts::built_in(scheme.kernel_name(), scheme.log_n());
    let top = scheme.max_level();
    let first = outline.plans().find(|plan| plan.level() == top);
    let first = first.ok_or("no matrix at the top level")?;
    let steps = |rotations: &[i64]| rotations.iter().filter(|steps| **steps != 0).count();
    let (babies, giants) = (steps(first.babies()), steps(first.giants()));
    let digits = scheme.key_shape(top).digits(top) as f64;
    let product = costs.seconds(&counts.inner_product(top, top));
    let mod_up = costs.seconds(&counts.mod_up(top, top));
    let giant = costs.seconds(&counts.rotate(top, top));
    let now = mod_up + babies as f64 * product + giants as f64 * giant;
    let cost = |babies: usize| {
        let giants = first.diagonals().div_ceil(babies + 1) - 1;
        babies as f64 * product / digits + giants as f64 * giant
    };
    let best = (1..first.diagonals()).min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
    let best = best.ok_or("a matrix of one diagonal")?;
    println!(
        "{}: rotations of the first matrix, {} diagonals, {babies} baby and {giants} giant steps: {now:.3} s; from the ephemeral secret \
         as many {:.3} s, {best} baby steps {:.3} s",
        preset.name(),
        first.diagonals(),
        cost(babies),
        cost(best)
    );
    Ok(())
}
