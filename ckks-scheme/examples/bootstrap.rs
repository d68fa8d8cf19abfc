//! Refreshes random ciphertexts and prints precision, time and bytes: `cargo run --release -p ckks-scheme
//! --example bootstrap -- [ciphertexts] [threads] [preset]`, by default 20, 1 and n16.

use ckks_scheme::BootstrapPreset;
use ckks_scheme::bootstrap::{MeasureProgress, PrecisionReport, measure_precision};
use ckks_scheme::exec::KernelChoice;
use rand::SeedableRng;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let ciphertexts: usize = args.next().map_or(Ok(20), |a| a.parse())?;
    let threads: usize = args.next().map_or(Ok(1), |a| a.parse())?;
    let name = args.next().unwrap_or_else(|| "n16".into());
    let preset = BootstrapPreset::named(&name).ok_or("no such preset")?;
    let params = preset.build(KernelChoice::Auto, None)?;
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let start = std::time::Instant::now();
    let mut progress =
        |p: MeasureProgress| eprintln!("{:7.1} s {p:?}", start.elapsed().as_secs_f64());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    let report =
        pool.install(|| measure_precision(&params, ciphertexts, &mut rng, &mut progress))?;
    print(&report);
    Ok(())
}

fn print(r: &PrecisionReport) {
    let gb = |bytes: u64| bytes as f64 * 1e-9;
    println!(
        "N = 2^{}, log QP {:.1}, {} slots, {} ciphertexts on {} thread(s), kernel {}",
        r.log_n, r.log_qp, r.slots, r.ciphertexts, r.threads, r.kernel
    );
    println!(
        "bits: mean {:.2}, median {:.2}, worst {:.2} (predicted bound {:.2}); violations {}",
        r.overall.mean_bits,
        r.overall.median_bits,
        r.overall.min_bits,
        -r.predicted_error_bound.log2(),
        r.range_violations
    );
    println!(
        "left for the user: {:.1} bits in {} levels; log2 of the failure probability {}",
        r.residual_bits,
        r.residual_levels,
        r.failure_log2
            .map_or("-infinity".into(), |f| format!("{f:.1}"))
    );
    println!(
        "{:.3} s a refresh; {} keys {:.2} GB in {:.1} s, matrices {:.2} GB, a refresh takes {:.2} GB, pool {:.2} GB",
        r.seconds,
        r.keys,
        gb(r.key_bytes),
        r.seconds_keygen,
        gb(r.transform_bytes),
        gb(r.working_bytes),
        gb(r.pool_high_water_bytes)
    );
    for (stage, seconds) in &r.seconds_by_stage {
        println!("  {:18} {seconds:7.3} s", stage.name());
    }
    for (name, count, seconds) in &r.operations {
        println!("    {name:18} {count:6.0} {seconds:7.3} s");
    }
}
