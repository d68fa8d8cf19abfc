//! Refreshes random ciphertexts at N = 2^16 and prints precision, time and bytes: `cargo run --release -p ckks-scheme
//! --example bootstrap -- [ciphertexts] [threads]`.

use ckks_scheme::bootstrap::{MeasureProgress, measure_precision};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{BootstrapLiteral, BootstrapParams, Parameters};
use rand::SeedableRng;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let ciphertexts: usize = args.next().map_or(Ok(20), |a| a.parse())?;
    let threads: usize = args.next().map_or(Ok(1), |a| a.parse())?;
    let literal = BootstrapParams::scheme_literal_log_n16();
    let scheme = Parameters::from_literal(&literal, KernelChoice::Auto, None)?;
    let params = BootstrapParams::new(&scheme, BootstrapLiteral::full_complex(16))?;
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let start = std::time::Instant::now();
    let mut progress =
        |p: MeasureProgress| eprintln!("{:7.1} s {p:?}", start.elapsed().as_secs_f64());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    let report =
        pool.install(|| measure_precision(&params, ciphertexts, &mut rng, &mut progress))?;
    println!("{report:#?}");
    Ok(())
}
