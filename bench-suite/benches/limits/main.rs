//! What the machine can do, what each operation has to do, and how near it comes.
//!
//! For each operation the multiply-adds and the compulsory bytes are counted from its algorithm (`bench_suite::work` has
//! the formulas), the lower bound `max(multiply-adds / measured peak, bytes / measured bandwidth)` follows, and the median
//! of its measured times is compared with it: on one thread, and on all of them, each with an operation of its own, where
//! the time is that which one operation takes from the machine. Operands are cycled through so that they come from memory.
//!
//! `cargo bench -p bench-suite --bench limits [-- --quick] [--json FILE] [--log-n 16] [--levels 21,12,4]`

mod kernels;
mod scheme;

use std::error::Error;

use bench_suite::args::Common;
use bench_suite::machine::Machine;
use bench_suite::measure::{self, Effort, Time, Worker};
use bench_suite::naming::BenchId;
use bench_suite::probe::Limits;
use bench_suite::record::Record;
use bench_suite::work::{Bound, BoundBy, Work};
use clap::Parser;
use serde::Serialize;

type BoxError = Box<dyn Error + Send + Sync>;

/// Limit report.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Base-2 logarithm of the ring degree of everything but the transforms, which run from 13 to it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(12..=17))]
    log_n: Option<u32>,
    /// Ciphertext primes, largest first.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(2..=40))]
    levels: Option<Vec<u8>>,
}

/// One line of the report.
struct Item<'a> {
    /// Without threads.
    id: BenchId,
    /// For people.
    label: String,
    /// Of one operation.
    work: Work,
    /// Equal operations in a call of a worker.
    operations: usize,
    /// Makes a worker with operands of its own of about so many bytes.
    make: Box<dyn Fn(usize) -> Result<Worker<'a>, BoxError> + 'a>,
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    time: Time,
    #[serde(flatten)]
    work: Work,
    #[serde(flatten)]
    bound: Bound,
    /// Bound divided by time.
    share: f64,
}

/// The fastest repeat takes at least so much of the median where nothing disturbs it.
const BUSY: f64 = 0.8;

/// Bytes of the operands that a machine's threads cycle through: several times the last-level cache.
fn working_set_bytes(effort: Effort) -> usize {
    if effort == Effort::QUICK {
        1 << 20
    } else {
        256 << 20
    }
}

/// Bytes of a buffer of the memory probe.
fn probe_bytes(effort: Effort) -> usize {
    if effort == Effort::QUICK {
        16 << 20
    } else {
        512 << 20
    }
}

struct Report<'a> {
    machine: &'a Machine,
    effort: Effort,
    /// On one thread, and on all if there are more.
    limits: Vec<Limits>,
    records: Vec<serde_json::Value>,
}

impl<'a> Report<'a> {
    fn new(
        machine: &'a Machine,
        kernel: &str,
        threads: usize,
        effort: Effort,
    ) -> Result<Self, BoxError> {
        let counts = if threads > 1 {
            vec![1, threads]
        } else {
            vec![1]
        };
        let mut limits = counts
            .into_iter()
            .map(|threads| Limits::measure(threads, probe_bytes(effort), effort))
            .collect::<Result<Vec<_>, _>>()?;
        println!(
            "{}, revision {}, kernel {kernel}\n",
            machine.cpu,
            machine.revision.as_deref().unwrap_or("unknown")
        );
        println!(
            "{:<10}{:>26}{:>14}{:>14}{:>14}",
            "threads", "10^9 multiply-adds/s", "read GB/s", "write GB/s", "copy GB/s"
        );
        let mut records = Vec::new();
        for limit in &mut limits {
            println!(
                "{:<10}{:>26}{:>14.1}{:>14.1}{:>14.1}",
                limit.threads,
                limit
                    .multiply_adds
                    .map_or("-".to_owned(), |peak| format!("{:.2}", peak / 1e9)),
                limit.read / 1e9,
                limit.write / 1e9,
                limit.copy / 1e9
            );
            let id = BenchId::new("ckks-math", "limits", kernel).threads(limit.threads, 1);
            records.push(serde_json::to_value(Record::new(id, machine, *limit))?);
            if kernel != "avx512ifma" {
                limit.multiply_adds = None;
            }
        }
        println!(
            "\n{:<46}{:>12}{:>9}{:>12}{:>7}",
            "operation", "10^6 adds", "MB", "bound ms", "by"
        );
        Ok(Self {
            machine,
            effort,
            limits,
            records,
        })
    }

    fn line(&mut self, item: &Item<'_>) -> Result<(), BoxError> {
        let Work {
            multiply_adds,
            bytes,
        } = item.work;
        let bound = item.work.bound(&self.limits[0]);
        let by = match bound.by {
            BoundBy::MultiplyAdds => "adds",
            BoundBy::Bytes => "bytes",
        };
        print!(
            "{:<46}{:>12.3}{:>9.2}{:>12.4}{by:>7}",
            item.label,
            multiply_adds / 1e6,
            bytes / 1e6,
            1e3 * bound.seconds
        );
        for limits in &self.limits {
            let threads = limits.threads;
            let mut workers = (0..threads)
                .map(|_| (item.make)(working_set_bytes(self.effort) / threads))
                .collect::<Result<Vec<_>, _>>()?;
            let time = measure::side_by_side(self.effort, &mut workers)?;
            let time = time.per(item.operations * threads);
            let bound = item.work.bound(limits);
            let share = bound.seconds / time.median;
            print!(
                "   {threads} thread{}:{:>10.4} ms{:>4.0} %{}",
                if threads > 1 { "s" } else { "" },
                1e3 * time.median,
                100.0 * share,
                if time.best < BUSY * time.median {
                    '*'
                } else {
                    ' '
                }
            );
            let line = Line {
                time,
                work: item.work,
                bound,
                share,
            };
            let id = item.id.clone().threads(threads, 1);
            self.records
                .push(serde_json::to_value(Record::new(id, self.machine, line))?);
        }
        println!();
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let (effort, quick) = (args.common.effort(), args.common.is_quick());
    let kernel = args.common.kernel;
    let log_n = args.log_n.unwrap_or(if quick { 13 } else { 16 });
    let levels = args
        .levels
        .unwrap_or_else(|| if quick { vec![4] } else { vec![21, 12, 4] });
    let levels: Vec<usize> = levels.into_iter().map(usize::from).collect();

    let machine = Machine::detect();
    let kernels = kernels::Kernels::new(log_n, &kernel.into())?;
    let name = kernels.kernel_name();
    let mut report = Report::new(&machine, name, args.common.threads(), effort)?;
    for item in kernels.items() {
        report.line(&item)?;
    }
    drop(kernels);
    let scheme = scheme::Scheme::new(log_n, &levels, kernel)?;
    for item in scheme.items(&levels) {
        report.line(&item)?;
    }
    println!(
        "\nshare: bound / time; adds: pairs of 52-bit multiply-adds; MB: compulsory, operands and results once; \
         several threads: each with operations of its own, time of one operation; *: some repeats were much faster than \
         the median, the machine was busy"
    );
    args.common.write_json(&report.records)?;
    Ok(())
}
