//! Seconds per image against the number of images: what the planner predicts, and what a run takes.
//!
//! As `polyphase sweep`, by the same code ([`pipeline::sweep`]), with synthetic images and records of the form that all benches write.
//!
//! `cargo bench -p bench-suite --bench sweep -- --model resnet20 --batch 1,8,32,128,512 [--simulate] [--csv FILE]
//! [--svg FILE] [--json FILE]`

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bench_suite::args::{Common, write_file};
use bench_suite::machine;
use bench_suite::naming::BenchId;
use bench_suite::record::Record;
use ckks_scheme::exec::KernelChoice;
use clap::Parser;
use datasets::{Dataset, Shape, Synthetic};
use he_models::Model;
use pipeline::estimate::time::Speed;
use pipeline::planner::Machine;
use pipeline::progress::Silent;
use pipeline::sweep::{Row, Sweep, Table};
use pipeline::system;

/// Batch sizes, predicted and measured.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Bundled model, or a model file.
    #[arg(long)]
    model: Option<String>,
    /// Images, several numbers separated by commas.
    #[arg(long, value_delimiter = ',')]
    batch: Option<Vec<NonZeroUsize>>,
    /// Only predicts.
    #[arg(long)]
    simulate: bool,
    /// Bound on the resident memory (default: 80 % of what is free).
    #[arg(long, value_name = "GIB")]
    memory_gib: Option<f64>,
    /// Writes the table.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Writes a plot.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Largest logit error that a plan may lead to, in deviations of the logits: the default of the command.
const MAX_LOGIT_ERROR: f64 = 0.02;
/// Keys, encryptions and images are the same every time.
const SEED: u64 = 0;

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let quick = args.common.is_quick();
    let model = args
        .model
        .unwrap_or_else(|| if quick { "tiny" } else { "resnet20" }.to_owned());
    let batches = args.batch.unwrap_or_else(|| {
        let batches: &[usize] = if quick {
            &[1, 8]
        } else {
            &[1, 8, 32, 128, 512]
        };
        batches
            .iter()
            .copied()
            .filter_map(NonZeroUsize::new)
            .collect()
    });
    let memory_bytes = match args.memory_gib {
        Some(gib) => (gib * f64::from(1 << 30)) as u64,
        None => system::memory_for_a_run(),
    };
    let model = Model::open(&model)?;
    let kernel = KernelChoice::from(args.common.kernel);
    let input = model.input_shape();
    let shape = Shape {
        channels: input.channels,
        height: input.height,
        width: input.width,
    };
    let data = Synthetic::with_shape(SEED, shape)?;
    let data: &dyn Dataset = &data;
    let sweep = Sweep {
        lowered: &model.lower()?,
        model: &model,
        data: (!args.simulate).then_some(data),
        machine: Machine {
            threads: args.common.threads(),
            memory_bytes,
            beside_bytes: 0,
            together: None,
            speed: Speed::built_in(kernel.name()),
        },
        memory_is_asked_for: args.memory_gib.is_some(),
        kernel,
        max_logit_error: MAX_LOGIT_ERROR,
        seed: Some(SEED),
    };

    let machine = machine::Machine::detect();
    println!(
        "{}, {} threads, {}, revision {}\n",
        model.name(),
        sweep.machine.threads,
        machine.cpu,
        machine.revision.as_deref().unwrap_or("unknown")
    );
    println!("{}", Table::header());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(sweep.machine.threads)
        .build()?;
    let mut table = Table::new(sweep.settings());
    let print = |_: &Table, row: &Row| {
        println!("{row}");
        Ok::<(), BoxError>(())
    };
    pool.install(|| sweep.run(&batches, &mut table, &Silent, print))?;
    if let Some(path) = &args.csv {
        write_file(path, &table.to_csv()?)?;
    }
    if let Some(path) = &args.svg {
        write_file(path, &table.to_svg())?;
    }
    let mut records = Vec::new();
    for row in &table.rows {
        let operation = format!("infer_{}", table.settings.model);
        let id = BenchId::new("pipeline", &operation, &table.settings.kernel)
            .params(row.log_n.map(|n| ("logn", n as usize)).as_slice())
            .batch(row.batch)
            .threads(1, table.settings.threads);
        records.push(Record::new(id, &machine, serde_json::to_value(row)?));
    }
    args.common.write_json(&records)?;
    Ok(())
}
