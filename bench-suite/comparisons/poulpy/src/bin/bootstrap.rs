//! Bootstrapping of 32768 complex slots: Polyphase beside `poulpy-ckks`, one thread each, one after the other in one run.
//!
//! Each side runs a preset of its own, with its own chain, precision and residual modulus, all of which are printed. Theirs
//! is driven by the preset driver of their test suite, which encrypts, refreshes and checks one vector of slots.
//!
//! `cargo run --release --bin bootstrap [-- --ciphertexts 5] [--preset n16] [--theirs 0,1,3]`

use std::error::Error;
use std::time::Instant;

use ckks_scheme::BootstrapPreset;
use ckks_scheme::bootstrap::measure_precision;
use ckks_scheme::exec::KernelChoice;
use clap::Parser;
use poulpy_ckks::layouts::EvalModRing;
use poulpy_ckks::presets::bootstrapping::{self, BootstrappingPreset};
use poulpy_ckks::test_suite::presets::{BootstrappingPresetRun, CIBackend, preset_for_backend};
use poulpy_cpu_avx512::NTT3x42Ifma;
use rand::SeedableRng;

/// Polyphase's bootstrapping beside that of poulpy-ckks.
#[derive(Parser)]
struct Args {
    /// Refreshes to time on each side, after one that is not counted.
    #[arg(long, default_value_t = 5)]
    ciphertexts: usize,
    /// Presets of ours.
    #[arg(long, value_delimiter = ',', default_value = "n16,n16-fast")]
    preset: Vec<String>,
    /// Which of their presets, by their place in the list of all.
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    theirs: Vec<usize>,
}

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    for name in &args.preset {
        ours(name, args.ciphertexts)?;
    }
    let all = bootstrapping::all()?;
    for &index in &args.theirs {
        let preset = all.get(index).ok_or("they have no such preset")?;
        theirs(preset, args.ciphertexts)?;
    }
    Ok(())
}

fn ours(name: &str, ciphertexts: usize) -> Result<(), BoxError> {
    let preset = BootstrapPreset::named(name).ok_or("no such preset")?;
    let params = preset.build(KernelChoice::Auto, None)?;
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let report = pool.install(|| measure_precision(&params, ciphertexts, &mut rng, &mut |_| ()))?;
    println!(
        "polyphase {name}: {:.3} s; {:.1} bits mean, {:.1} worst; {:.0} bits left for the user; keys {:.2} GB",
        report.seconds,
        report.overall.mean_bits,
        report.overall.min_bits,
        report.residual_bits,
        report.key_bytes as f64 * 1e-9
    );
    Ok(())
}

fn theirs(preset: &BootstrappingPreset, count: usize) -> Result<(), BoxError> {
    type Kernel = NTT3x42Ifma;
    let name = preset.name();
    let preset = preset_for_backend::<Kernel, CIBackend<Kernel>>(preset)?;
    let conjugate_invariant = !matches!(preset.plan().eval_mod_ring(), EvalModRing::Standard);
    let left = preset.output_k() - preset.input_k();
    let mut run = if conjugate_invariant {
        BootstrappingPresetRun::<Kernel>::setup_ci(preset)
    } else {
        BootstrappingPresetRun::<Kernel>::setup(preset)
    };
    let start = Instant::now();
    for _ in 0..count {
        run.bootstrap();
    }
    let seconds = start.elapsed().as_secs_f64() / count as f64;
    let (re, im) = run.precision();
    println!(
        "poulpy-ckks {name}: {seconds:.3} s; {:.1} bits mean, {:.1} worst; {left} bits left for the user",
        re.avg_log2_prec.min(im.avg_log2_prec),
        re.min_log2_prec.min(im.min_log2_prec)
    );
    Ok(())
}
