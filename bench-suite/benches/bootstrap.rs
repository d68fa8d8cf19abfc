//! Bootstrapping: seconds in all and by stage, precision, keys, memory, and what a refreshed value costs.
//!
//! Each preset refreshes random ciphertexts on one thread and on all, a ciphertext a thread at a time
//! (`ckks_scheme::bootstrap::measure_precision`).
//!
//! `cargo bench -p bench-suite --bench bootstrap [-- --preset n16,n16-fast] [--ciphertexts 20] [--json FILE]`

use std::error::Error;

use bench_suite::args::Common;
use bench_suite::machine::Machine;
use bench_suite::naming::BenchId;
use bench_suite::record::Record;
use ckks_scheme::bootstrap::{PrecisionReport, measure_precision};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{BootstrapLiteral, BootstrapParams, BootstrapPreset, Content, Parameters};
use clap::Parser;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rayon::ThreadPoolBuilder;
use serde::Serialize;

/// Bootstrapping.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Presets, several names separated by commas; `all` for all of them.
    #[arg(long, value_delimiter = ',', default_value = "n16")]
    preset: Vec<String>,
    /// Ciphertexts to refresh on each number of threads.
    #[arg(long, default_value_t = 20)]
    ciphertexts: usize,
}

/// Keys and values are the same every time.
const SEED: u64 = 0;

type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Serialize)]
struct Line {
    preset: String,
    report: PrecisionReport,
    /// Of wall time, for one real number that was refreshed.
    microseconds_per_value: f64,
    /// The same divided by the levels that it has then.
    microseconds_per_value_and_level: f64,
}

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let machine = Machine::detect();
    let mut threads = vec![1, args.common.threads()];
    threads.dedup();
    let mut records = Vec::new();
    for (name, params) in presets(&args)? {
        println!("{name}");
        for &threads in &threads {
            let ciphertexts = if args.common.is_quick() {
                threads
            } else {
                args.ciphertexts
            };
            let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
            let mut rng = ChaCha20Rng::seed_from_u64(SEED);
            let report =
                pool.install(|| measure_precision(&params, ciphertexts, &mut rng, &mut |_| ()))?;
            let line = line(&name, report);
            print(&line);
            let id = BenchId::new("ckks-scheme", "bootstrap", &line.report.kernel)
                .param("logn", line.report.log_n as usize)
                .param("slots", line.report.slots)
                .threads(threads, 1);
            records.push(Record::new(id, &machine, line));
        }
    }
    args.common.write_json(&records)?;
    Ok(())
}

fn presets(args: &Args) -> Result<Vec<(String, BootstrapParams)>, BoxError> {
    let kernel = KernelChoice::from(args.common.kernel);
    if args.common.is_quick() {
        return Ok(vec![("insecure, N = 2^9".into(), insecure_small(kernel)?)]);
    }
    let all = args.preset.iter().any(|name| name == "all");
    let named: Vec<BootstrapPreset> = if all {
        BootstrapPreset::ALL.to_vec()
    } else {
        let found = args.preset.iter().map(|name| {
            let names: Vec<_> = BootstrapPreset::ALL
                .iter()
                .map(BootstrapPreset::name)
                .collect();
            BootstrapPreset::named(name)
                .ok_or_else(|| format!("preset {name}, expected one of {}", names.join(", ")))
        });
        found.collect::<Result<_, _>>()?
    };
    named
        .iter()
        .map(|preset| {
            Ok((
                preset.name().to_owned(),
                preset.build(kernel.clone(), None)?,
            ))
        })
        .collect()
}

/// To see that it runs.
fn insecure_small(kernel: KernelChoice) -> Result<BootstrapParams, BoxError> {
    let literal = BootstrapLiteral::full_complex(9);
    let user = 2 + literal.input_levels();
    let q_bits = std::iter::once(50)
        .chain(std::iter::repeat_n(43, user))
        .chain(std::iter::repeat_n(50, literal.depth()));
    let scheme = Parameters::builder()
        .log_n(9)
        .q_bits(q_bits)
        .digits(3)
        .kernel(kernel)
        .build_insecure_for_tests()?;
    Ok(BootstrapParams::new(&scheme, literal)?)
}

fn line(preset: &str, report: PrecisionReport) -> Line {
    let components = match report.content {
        Content::Real => 1,
        Content::Complex => 2,
    };
    let per_value = report.seconds * 1e6 / (components * report.slots) as f64;
    Line {
        preset: preset.to_owned(),
        microseconds_per_value: per_value,
        microseconds_per_value_and_level: per_value / report.residual_levels.max(1) as f64,
        report,
    }
}

fn print(line: &Line) {
    let r = &line.report;
    let gb = |bytes: u64| bytes as f64 * 1e-9;
    println!(
        "  {} thread(s): {:.3} s a refresh, {:.2} us a real value, {:.3} us a value and level; {} ciphertexts",
        r.threads,
        r.seconds,
        line.microseconds_per_value,
        line.microseconds_per_value_and_level,
        r.ciphertexts
    );
    for (stage, seconds) in &r.seconds_by_stage {
        println!("    {:16} {seconds:7.3} s on its thread", stage.name());
    }
    println!(
        "    bits: mean {:.2}, median {:.2}, worst {:.2}; {:.0} bits and {} levels left; range violations {}",
        r.overall.mean_bits,
        r.overall.median_bits,
        r.overall.min_bits,
        r.residual_bits,
        r.residual_levels,
        r.range_violations
    );
    println!(
        "    log QP {:.0}, {} keys {:.3} GB made in {:.1} s, matrices {:.3} GB, working set of a refresh {:.3} GB, pool's peak {:.3} GB",
        r.log_qp,
        r.keys,
        gb(r.key_bytes),
        r.seconds_keygen,
        gb(r.transform_bytes),
        gb(r.working_bytes),
        gb(r.pool_high_water_bytes)
    );
}
