//! Seconds per image against the number of images: what the planner predicts, and what a run takes.
//!
//! Each batch is planned; unless `--simulate`, it is also run, with synthetic images, in this process. The table, a CSV file
//! and a plot show both. A batch that is not feasible here is a line that says why.
//!
//! `cargo bench -p bench-suite --bench sweep -- --model resnet20 --batch 1,8,32,128,512 [--simulate] [--csv FILE]
//! [--svg FILE] [--json FILE]`

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bench_suite::args::{Common, write_file};
use bench_suite::chart::{Chart, Series};
use bench_suite::machine;
use bench_suite::naming::BenchId;
use bench_suite::record::Record;
use ckks_scheme::exec::KernelChoice;
use clap::Parser;
use datasets::{Shape, Synthetic};
use he_models::{Lowered, Model};
use pipeline::estimate::time::Speed;
use pipeline::inference::{self, Batch, Options};
use pipeline::planner::{self, Machine, Pins, Task};
use pipeline::progress::Silent;
use pipeline::system;
use serde::Serialize;

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

/// Share of the free memory that a run may take.
const MEMORY_SHARE: f64 = 0.8;
/// Memory where the system does not tell how much is free.
const UNKNOWN_MEMORY: u64 = 8 << 30;
/// Largest logit error that a plan may lead to, in deviations of the logits: the default of the command.
const MAX_LOGIT_ERROR: f64 = 0.02;
/// Keys, encryptions and images are the same every time.
const SEED: u64 = 0;

/// One batch size.
#[derive(Clone, Debug, Default, Serialize)]
struct Row {
    model: String,
    batch: usize,
    threads: usize,
    log_n: Option<u32>,
    packing: Option<String>,
    grid: Option<String>,
    images_per_group: Option<usize>,
    groups: Option<usize>,
    predicted_seconds: Option<f64>,
    predicted_seconds_per_image: Option<f64>,
    predicted_peak_bytes: Option<u64>,
    measured_seconds: Option<f64>,
    measured_seconds_per_image: Option<f64>,
    pool_high_water_bytes: Option<u64>,
    agreement: Option<f64>,
    /// Why there is no plan or no run.
    error: Option<String>,
    #[serde(skip)]
    kernel: &'static str,
}

type BoxError = Box<dyn Error + Send + Sync>;

struct Sweep {
    model: Model,
    lowered: Lowered,
    machine: Machine,
    kernel: KernelChoice,
    simulate: bool,
}

impl Sweep {
    fn row(&self, batch: NonZeroUsize) -> Row {
        let mut row = Row {
            model: self.model.name().to_owned(),
            batch: batch.get(),
            threads: self.machine.threads,
            kernel: "-",
            ..Row::default()
        };
        if let Err(error) = self.fill(&mut row, batch) {
            row.error = Some(error.to_string());
        }
        row
    }

    fn fill(&self, row: &mut Row, batch: NonZeroUsize) -> Result<(), BoxError> {
        let pins = Pins::default();
        let checksum = self.model.checksum_hex();
        let task = Task {
            program: &self.lowered.program,
            checksum: &checksum,
            batch,
            max_logit_error: MAX_LOGIT_ERROR,
        };
        let planned = planner::plan(&task, &self.machine, &pins, &self.kernel)?;
        let (decisions, forecast) = (&planned.plan.decisions, &planned.plan.forecast);
        let images = batch.get() as f64;
        row.kernel = planned.instance.params.kernel_name();
        row.log_n = Some(decisions.params.log_n);
        row.packing = Some(decisions.packing.to_string());
        row.grid = Some(decisions.grid.to_string());
        row.images_per_group = Some(forecast.images_per_group);
        row.groups = Some(forecast.groups);
        row.predicted_seconds = Some(forecast.predicted_seconds_infer);
        row.predicted_seconds_per_image = Some(forecast.predicted_seconds_infer / images);
        row.predicted_peak_bytes = Some(forecast.predicted_peak_bytes);
        if self.simulate {
            return Ok(());
        }
        let input = self.model.input_shape();
        let shape = Shape {
            channels: input.channels,
            height: input.height,
            width: input.width,
        };
        let data = Synthetic::with_shape(SEED, shape)?;
        let images = Batch {
            data: &data,
            first: 0,
            images: batch.get(),
        };
        let options = Options {
            seed: Some(SEED),
            ..Options::default()
        };
        let report = inference::infer(&self.model, planned, images, options, &Silent)?;
        row.measured_seconds = Some(report.seconds_infer);
        row.measured_seconds_per_image = Some(report.seconds_per_image);
        row.pool_high_water_bytes = Some(report.pool_high_water_bytes);
        row.agreement = Some(report.agreement);
        Ok(())
    }
}

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
        None => system::available_memory_bytes()
            .map_or(UNKNOWN_MEMORY, |free| (free as f64 * MEMORY_SHARE) as u64),
    };
    let model = Model::open(&model)?;
    let kernel = KernelChoice::from(args.common.kernel);
    let sweep = Sweep {
        lowered: model.lower()?,
        model,
        machine: Machine {
            threads: args.common.threads(),
            memory_bytes,
            speed: Speed::built_in(kernel.name()),
        },
        kernel,
        simulate: args.simulate,
    };

    let machine = machine::Machine::detect();
    println!(
        "{}, {} threads, {}, revision {}",
        sweep.model.name(),
        sweep.machine.threads,
        machine.cpu,
        machine.revision.as_deref().unwrap_or("unknown")
    );
    print_header();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(sweep.machine.threads)
        .build()?;
    let mut rows = Vec::new();
    for batch in batches {
        let row = pool.install(|| sweep.row(batch));
        print_row(&row);
        rows.push(row);
    }
    if let Some(path) = &args.csv {
        write_file(path, &to_csv(&rows)?)?;
    }
    if let Some(path) = &args.svg {
        write_file(path, &chart(&sweep, &rows).to_svg())?;
    }
    let mut records = Vec::new();
    for row in &rows {
        let id = BenchId::new("pipeline", &format!("infer_{}", row.model), row.kernel)
            .params(row.log_n.map(|n| ("logn", n as usize)).as_slice())
            .batch(row.batch)
            .threads(1, row.threads);
        let mut result = serde_json::to_value(row)?;
        // Every record has it already.
        if let Some(fields) = result.as_object_mut() {
            fields.remove("threads");
        }
        records.push(Record::new(id, &machine, result));
    }
    args.common.write_json(&records)?;
    Ok(())
}

fn print_header() {
    println!(
        "\n{:>6}{:>7}{:>9}{:>8}{:>8}{:>8}{:>15}{:>13}{:>14}{:>12}{:>11}",
        "batch",
        "N",
        "packing",
        "grid",
        "images",
        "groups",
        "predicted s",
        "an image",
        "measured s",
        "an image",
        "same top-1"
    );
}

fn print_row(row: &Row) {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let count = |value: Option<usize>| text(&value.map(|v| v.to_string()));
    let seconds = |value: Option<f64>, digits: usize| text(&value.map(|v| format!("{v:.digits$}")));
    println!(
        "{:>6}{:>7}{:>9}{:>8}{:>8}{:>8}{:>15}{:>13}{:>14}{:>12}{:>11}",
        row.batch,
        text(&row.log_n.map(|log_n| format!("2^{log_n}"))),
        text(&row.packing),
        text(&row.grid),
        count(row.images_per_group),
        count(row.groups),
        seconds(row.predicted_seconds, 2),
        seconds(row.predicted_seconds_per_image, 4),
        seconds(row.measured_seconds, 2),
        seconds(row.measured_seconds_per_image, 4),
        seconds(row.agreement, 4),
    );
    if let Some(error) = &row.error {
        println!("{:>6} {error}", "");
    }
}

fn to_csv(rows: &[Row]) -> Result<String, BoxError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn chart(sweep: &Sweep, rows: &[Row]) -> Chart {
    let series = |name: &str, dashed, value: fn(&Row) -> Option<f64>| Series {
        name: name.to_owned(),
        points: rows
            .iter()
            .filter_map(|row| Some((row.batch as f64, value(row)?)))
            .collect(),
        dashed,
    };
    let all = [
        series("predicted", true, |row| row.predicted_seconds_per_image),
        series("measured", false, |row| row.measured_seconds_per_image),
    ];
    Chart {
        title: format!(
            "{}: encrypted inference on {} threads",
            sweep.model.name(),
            sweep.machine.threads
        ),
        x_label: "images in a batch".to_owned(),
        y_label: "seconds per image".to_owned(),
        series: all.into_iter().filter(|s| !s.points.is_empty()).collect(),
    }
}
