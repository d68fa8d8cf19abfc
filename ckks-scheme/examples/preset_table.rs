//! What the presets promise, by counting instead of running: levels for the user, primes, digits of a key switch, bits of the
//! expected error, keys, seconds on one thread at built-in costs, and the ratio to a plain refresh by a sine over the same
//! primes; then stage by stage what a ReLU costs beside such a plain refresh. Takes a few seconds: `cargo run --release -p ckks-scheme --example preset_table`.
//! Costs are those of the kernel that serves here, or of the one named, which need not be available: `-- avx512ifma`.

use ckks_scheme::bootstrap::Stage;
use ckks_scheme::counts::{PrimitiveCosts, Work};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{BootstrapOutline, BootstrapPreset, BootstrapWork, Parameters, RefreshFunction};
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
            let plain = BootstrapOutline::new(&params.plain()?)?;
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
    by_stage()
}

/// Seconds of every stage, of a refresh that applies a ReLU and of a plain one over the same primes.
fn by_stage() -> Result<(), Failure> {
    let names: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    println!("\n| ReLU and plain | {} | all |", names.join(" | "));
    println!("|---|---|---|---|---|---|");
    for preset in BootstrapPreset::ALL {
        let params = preset.build_for(&RefreshFunction::Relu, KernelChoice::Auto, None)?;
        let scheme = params.scheme();
        let costs = costs(scheme)?;
        let mut works = Vec::new();
        for params in [&params, &params.plain()?] {
            let outline = BootstrapOutline::new(params)?;
            works.push(outline.work(&outline.request())?);
        }
        let pair = |of: &dyn Fn(&BootstrapWork) -> Work| {
            let seconds: Vec<f64> = works.iter().map(|work| costs.seconds(&of(work))).collect();
            format!("{:.2}, {:.2}", seconds[0], seconds[1])
        };
        let stages: Vec<String> = (0..names.len())
            .map(|i| pair(&|work| work.stages[i].1))
            .collect();
        println!(
            "| `{}` | {} | {} |",
            preset.name(),
            stages.join(" | "),
            pair(&BootstrapWork::total)
        );
    }
    Ok(())
}

fn seconds(outline: &BootstrapOutline) -> Result<f64, Failure> {
    let scheme = outline.params().scheme();
    let costs = costs(scheme)?;
    Ok(costs.seconds(&outline.work(&outline.request())?.total()))
}

fn costs(scheme: &Parameters) -> Result<PrimitiveCosts, Failure> {
    let kernel = match std::env::args().nth(1) {
        Some(name) => name.parse::<KernelChoice>()?.name(),
        None => scheme.kernel_name(),
    };
    Ok(PrimitiveCosts::built_in(kernel, scheme.log_n()))
}
