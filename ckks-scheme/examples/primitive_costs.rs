//! Measures what the primitives of encrypted operations cost on this machine: nanoseconds of one unit, for all kernels and
//! the degrees of parameter sets. `cargo run --release -p ckks-scheme --example primitive_costs -- [kernel] [log_n ...]`

use ckks_scheme::counts::PrimitiveCosts;
use ckks_scheme::exec::KernelChoice;
use std::error::Error;
use std::time::{Duration, Instant};

/// For each primitive.
const TIME: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let kernels = match args.next().as_deref() {
        Some("scalar") => vec!["scalar"],
        Some("avx2") => vec!["avx2"],
        Some("avx512ifma") => vec!["avx512ifma"],
        _ => vec!["avx512ifma", "avx2", "scalar"],
    };
    let degrees: Vec<u32> = args.map(|a| a.parse()).collect::<Result<_, _>>()?;
    let degrees = if degrees.is_empty() {
        vec![13, 14, 15, 16, 17]
    } else {
        degrees
    };
    for kernel in kernels {
        for &log_n in &degrees {
            let start = Instant::now();
            let costs = match PrimitiveCosts::measure(&KernelChoice::Named(kernel), log_n, TIME) {
                Ok(costs) => costs,
                Err(error) => {
                    println!("{kernel}: {error}");
                    break;
                }
            };
            let seconds = start.elapsed().as_secs_f64();
            println!("{kernel}, N = 2^{log_n} (measured in {seconds:.1} s), nanoseconds");
            for (name, cost) in PrimitiveCosts::NAMES.iter().zip(costs.to_array()) {
                println!("  {name:<30} {:9.4}", cost * 1e9);
            }
            let row: Vec<String> = costs
                .to_array()
                .iter()
                .map(|cost| format!("{:.4}", cost * 1e9))
                .collect();
            println!("  [{}]", row.join(", "));
        }
    }
    Ok(())
}
