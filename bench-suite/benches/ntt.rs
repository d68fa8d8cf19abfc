//! Transforms against those of the crate `tfhe-ntt`: same primes, same degrees, same run.
//!
//! The two are timed in turn, call by call. "one limb": the same limb and prime again and again. "many": limb after limb,
//! each of another prime, as in a ciphertext, so that limbs and tables do not stay in the nearest cache. The ratio is
//! their time divided by ours: above 1, ours is faster. Their inverse leaves out the factor 1/N, ours brings it.
//!
//! `cargo bench -p bench-suite --bench ntt [-- --quick] [--json FILE]`

use std::error::Error;
use std::time::{Duration, Instant};

use bench_suite::args::Common;
use bench_suite::machine::Machine;
use bench_suite::measure::{self, Effort, Time};
use bench_suite::naming::BenchId;
use bench_suite::record::Record;
use ckks_math::{KernelChoice, LimbRing, primes};
use clap::Parser;
use serde::Serialize;
use tfhe_ntt::prime64::Plan;

/// Transforms against those of `tfhe-ntt`.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
}

/// Sizes of primes: the largest that both have fast paths for, and that of ResNet-20.
const PRIME_BITS: [u32; 2] = [50, 48];
/// Limbs, each with a prime of its own, of a call on many.
const MANY: usize = 32;

#[derive(Serialize)]
struct Comparison {
    #[serde(flatten)]
    time: Time,
    other: &'static str,
    other_seconds: f64,
    ratio: f64,
}

/// Both sides' tables for one prime, and a limb each.
struct Pair {
    ours: LimbRing,
    theirs: Plan,
    our_limb: Vec<u64>,
    their_limb: Vec<u64>,
}

impl Pair {
    fn new(q: u64, log_n: u32, kernel: &KernelChoice) -> Result<Self, Box<dyn Error>> {
        let theirs = Plan::try_new(1 << log_n, q).ok_or("tfhe-ntt has no tables for a prime")?;
        let limb: Vec<u64> = (0..1u64 << log_n)
            .map(|i| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % q)
            .collect();
        Ok(Self {
            ours: LimbRing::new(q, log_n, kernel)?,
            theirs,
            our_limb: limb.clone(),
            their_limb: limb,
        })
    }

    /// Squares a polynomial both ways: neither side may be fast and wrong.
    fn check(&mut self) {
        let modulus = self.ours.modulus();
        self.ours.ntt(&mut self.our_limb);
        self.theirs.fwd(&mut self.their_limb);
        for limb in [&mut self.our_limb, &mut self.their_limb] {
            limb.iter_mut().for_each(|x| *x = modulus.mul(*x, *x));
        }
        self.ours.intt(&mut self.our_limb);
        self.theirs.inv(&mut self.their_limb);
        self.theirs.normalize(&mut self.their_limb);
        assert_eq!(self.our_limb, self.their_limb, "both square alike");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Forward,
    Inverse,
}

/// Times of a limb: ours, theirs.
fn compare(pairs: &mut [Pair], direction: Direction, effort: Effort) -> [Time; 2] {
    // Separate limbs and tables, so that each side finds the caches as it left them.
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = pairs
        .iter_mut()
        .map(|p| ((&p.ours, &mut p.our_limb), (&p.theirs, &mut p.their_limb)))
        .unzip();
    let count = ours.len();
    // Short calls are repeated, so that the clock does not count.
    let repeats = 64 / count.min(64);
    let mut run_ours = || {
        timed(repeats, || {
            for (ring, limb) in &mut ours {
                match direction {
                    Direction::Forward => ring.ntt(limb),
                    Direction::Inverse => ring.intt(limb),
                }
            }
        })
    };
    let mut run_theirs = || {
        timed(repeats, || {
            for (plan, limb) in &mut theirs {
                match direction {
                    Direction::Forward => plan.fwd(limb),
                    Direction::Inverse => plan.inv(limb),
                }
            }
        })
    };
    measure::interleaved(effort, [&mut run_ours, &mut run_theirs])
        .map(|time| time.per(count * repeats))
}

fn timed(repeats: usize, mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..repeats).for_each(|_| call());
    start.elapsed()
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let quick = args.common.is_quick();
    let kernel = args.common.kernel.into();
    let machine = Machine::detect();
    println!(
        "{}, revision {}; one thread, microseconds a limb, medians; ratio: theirs / ours",
        machine.cpu,
        machine.revision.as_deref().unwrap_or("unknown")
    );
    println!(
        "\n{:<6}{:<12}{:<10}{:<14}{:>10}{:>10}{:>8}",
        "N", "primes", "", "limbs", "ours", "tfhe-ntt", "ratio"
    );
    let mut records = Vec::new();
    for log_n in if quick { 13..=13 } else { 13..=16 } {
        for bits in PRIME_BITS {
            let mut pairs = primes::ntt_primes_below(1 << bits, log_n)
                .take(if quick { 2 } else { MANY })
                .map(|q| Pair::new(q, log_n, &kernel))
                .collect::<Result<Vec<_>, _>>()?;
            pairs.iter_mut().for_each(Pair::check);
            let name = pairs[0].ours.kernel_name();
            for (direction, operation) in
                [(Direction::Forward, "ntt"), (Direction::Inverse, "intt")]
            {
                for count in [1, pairs.len()] {
                    let [ours, theirs] =
                        compare(&mut pairs[..count], direction, args.common.effort());
                    let ratio = theirs.median / ours.median;
                    println!(
                        "2^{log_n:<4}{:<12}{operation:<10}{:<14}{:>10.2}{:>10.2}{ratio:>8.2}",
                        format!("{bits} bits"),
                        if count == 1 {
                            "one limb".to_owned()
                        } else {
                            format!("many ({count})")
                        },
                        1e6 * ours.median,
                        1e6 * theirs.median,
                    );
                    let id = BenchId::new("ckks-math", operation, name)
                        .params(&[("logn", log_n as usize), ("q", bits as usize)])
                        .batch(count);
                    let comparison = Comparison {
                        time: ours,
                        other: "tfhe-ntt",
                        other_seconds: theirs.median,
                        ratio,
                    };
                    records.push(serde_json::to_value(Record::new(id, &machine, comparison))?);
                }
            }
        }
    }
    args.common.write_json(&records)?;
    Ok(())
}
