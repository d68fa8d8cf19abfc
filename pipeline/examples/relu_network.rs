//! A residual network with ReLUs: polynomials stand for them, and values are refreshed on the way, where the planner finds
//! that to be cheapest.
//!
//! ```sh
//! cargo run --release -p pipeline --example relu_network
//! ```
//!
//! The ring is too small to be secure, so that it takes a moment. Without `plan_over` the planner chooses a secure one.

use std::error::Error;
use std::num::NonZeroUsize;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{BootstrapLiteral, Parameters};
use datasets::{Dataset, Shape, Synthetic};
use he_models::spec::ReluApproximation;
use he_models::{ImportOptions, import};
use pipeline::estimate::time::Speed;
use pipeline::inference::{self, Batch, Options};
use pipeline::planner::{self, Machine, Pins, Task};
use pipeline::progress::Silent;

/// A stem and two residual blocks for colour images of 8 x 8 pixels.
const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../he-models/tests/onnx/residual.dynamo.onnx"
);
/// Base-2 logarithm of the ring degree.
const LOG_N: u32 = 10;
/// Levels that a refresh gives back beyond those that the next one takes.
const LEVELS: usize = 12;

/// Runs the example; an error if the result is wrong.
pub fn main() -> Result<(), Box<dyn Error>> {
    let options = ImportOptions {
        mean: vec![0.45],
        std: vec![0.25],
        relu: Some(ReluApproximation::Polynomial { degree: 31 }),
        ..ImportOptions::default()
    };
    let imported = import(FILE, &options)?;
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let data = Synthetic::with_shape(0, shape)?;
    let statistics = imported
        .model()
        .evaluate(&data.read(0, 256)?.view().to_f64())?
        .statistics();
    let imported = imported.with_statistics(statistics)?;
    let (model, lowered) = (imported.model(), imported.model().lower()?);

    // Primes for the network, and those that the bootstrapping takes for itself.
    let bootstrap = BootstrapLiteral::full_complex(LOG_N);
    let user = LEVELS + bootstrap.input_levels();
    let q_bits = [vec![50], vec![43; user], vec![50; bootstrap.depth()]].concat();
    let params = Parameters::builder()
        .log_n(LOG_N)
        .q_bits(q_bits)
        .digits(3)
        .build_insecure_for_tests()?;

    let task = Task {
        program: &lowered.program,
        checksum: &model.checksum_hex(),
        batch: NonZeroUsize::new(8).ok_or("no images")?,
        max_logit_error: 0.05,
    };
    let machine = Machine {
        threads: rayon::current_num_threads(),
        memory_bytes: 4 << 30,
        beside_bytes: 0,
        together: None,
        speed: Speed::built_in(KernelChoice::Auto.name()),
    };
    let planned = planner::plan_over(&task, &machine, &Pins::default(), &params, Some(&bootstrap))?;
    println!("{}\n", planned.plan);
    let batch = Batch {
        data: &data,
        first: 1000,
        images: task.batch.get(),
    };
    let report = inference::infer(model, planned, batch, Options::default(), &Silent)?;
    println!("{report}");
    if report.bootstraps == 0 {
        return Err("nothing was refreshed".into());
    }
    let estimate = report.predicted_max_logit_error.unwrap_or(0.0);
    if report.max_logit_error > estimate {
        let error = report.max_logit_error;
        return Err(format!("the largest logit error is {error}, {estimate} was expected").into());
    }
    Ok(())
}
