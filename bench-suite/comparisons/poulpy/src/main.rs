//! Multiplication and rotation of CKKS ciphertexts: Polyphase beside `poulpy-ckks`, same ring degree, same bits of
//! modulus, one thread, one run. Both sides encrypt the same slots, and both results are decrypted and checked.

mod ours;
mod theirs;

use std::error::Error;
use std::time::{Duration, Instant};

use bench_suite::args::Common;
use bench_suite::machine::Machine;
use bench_suite::measure::{self, Time};
use bench_suite::naming::BenchId;
use bench_suite::record::Record;
use clap::Parser;
use serde::Serialize;

/// Polyphase beside poulpy-ckks.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Base-2 logarithm of the ring degree.
    #[arg(long)]
    log_n: Option<u32>,
    /// Ciphertext primes of ours, 48 bits each; theirs gets as many bits.
    #[arg(long)]
    levels: Option<usize>,
    /// Digits of the key switches; theirs is tried with each of these.
    #[arg(long, value_delimiter = ',', default_value = "2,3,4,5")]
    digits: Vec<usize>,
}

/// What both sides can do. Slots are real.
trait Side {
    /// The product of the encrypted slots with themselves, relinearised and brought back to the scale.
    fn multiply(&mut self);
    /// The encrypted slots, rotated by one.
    fn rotate(&mut self);
    /// The slots of the last result.
    fn decrypt(&mut self) -> Vec<f64>;
    /// Bits of the ciphertext modulus and the key-switching modulus together.
    fn log_qp(&self) -> f64;
}

#[derive(Serialize)]
struct Comparison {
    #[serde(flatten)]
    time: Time,
    other: &'static str,
    other_seconds: f64,
    other_digits: usize,
    ratio: f64,
}

type BoxError = Box<dyn Error + Send + Sync>;

fn timed(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

/// Both operations give what they should.
fn check(name: &str, side: &mut dyn Side, slots: &[f64]) {
    let close = |what: &str, found: &[f64], expected: &dyn Fn(usize) -> f64| {
        let errors = (0..slots.len()).map(|i| (found[i] - expected(i)).abs());
        let error = errors.fold(0.0, f64::max);
        assert!(error < 1e-3, "{name}: {what} is off by {error}");
    };
    side.multiply();
    close("product", &side.decrypt(), &|i| slots[i] * slots[i]);
    side.rotate();
    close("rotation", &side.decrypt(), &|i| {
        slots[(i + 1) % slots.len()]
    });
}

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let quick = args.common.is_quick();
    let log_n = args.log_n.unwrap_or(if quick { 13 } else { 16 });
    let levels = args.levels.unwrap_or(if quick { 4 } else { 21 });
    let slots: Vec<f64> = (0..1 << (log_n - 1))
        .map(|i| ((i * 37 % 101) as f64 - 50.0) / 64.0)
        .collect();
    let machine = Machine::detect();
    let (mut ours, kernel) = ours::Ours::new(log_n, levels, args.common.kernel, &slots)?;
    check("polyphase", &mut ours, &slots);
    println!(
        "{}, revision {}; one thread; N = 2^{log_n}, log Q = {}; ours: kernel {kernel}, 2 digits, log QP {:.0}\n",
        machine.cpu,
        machine.revision.as_deref().unwrap_or("unknown"),
        levels * ours::PRIME_BITS,
        ours.log_qp()
    );
    println!(
        "{:<30}{:>14}{:>10}{:>12}{:>14}{:>8}",
        "operation", "their digits", "log QP", "ours ms", "poulpy ms", "ratio"
    );
    let mut records = Vec::new();
    for &digits in &args.digits {
        let mut theirs = theirs::Theirs::new(log_n, levels * ours::PRIME_BITS, digits, &slots)?;
        check("poulpy-ckks", &mut theirs, &slots);
        let operations: [(&str, &str, fn(&mut dyn Side)); 2] = [
            ("mul_relin_rescale", "multiply, relinearise, rescale", |s| {
                s.multiply()
            }),
            ("rotate", "rotation", |s| s.rotate()),
        ];
        for (operation, label, call) in operations {
            let mut our_call = || timed(|| call(&mut ours));
            let mut their_call = || timed(|| call(&mut theirs));
            let [our_time, their_time] =
                measure::interleaved(args.common.effort(), [&mut our_call, &mut their_call]);
            let ratio = their_time.median / our_time.median;
            println!(
                "{label:<30}{digits:>14}{:>10.0}{:>12.3}{:>14.3}{ratio:>8.2}",
                theirs.log_qp(),
                1e3 * our_time.median,
                1e3 * their_time.median
            );
            let id = BenchId::new("ckks-scheme", operation, kernel)
                .params(&[("logn", log_n as usize), ("l", levels)]);
            let comparison = Comparison {
                time: our_time,
                other: "poulpy-ckks",
                other_seconds: their_time.median,
                other_digits: digits,
                ratio,
            };
            records.push(serde_json::to_value(Record::new(id, &machine, comparison))?);
        }
    }
    args.common.write_json(&records)?;
    Ok(())
}
