//! A network of one's own, from the ONNX file that PyTorch exported: its ranges measured, planned at 128-bit security, run
//! encrypted.
//!
//! ```sh
//! cargo run --release -p pipeline --example own_network
//! cargo run --release -p pipeline --example own_network -- net.onnx
//! ```
//!
//! `polyphase import` and `polyphase infer` do the same from the command line.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ckks_scheme::exec::KernelChoice;
use datasets::{Dataset, Shape, Synthetic};
use he_models::{ImportOptions, import};
use pipeline::estimate::time::Speed;
use pipeline::inference::{self, Batch, Options};
use pipeline::planner::{self, Machine, Pins, Task};
use pipeline::progress::Silent;

/// A LeNet with quadratic activations for grey images of 12 x 12 pixels.
pub const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../he-models/tests/onnx/lenet.dynamo.onnx"
);

#[allow(dead_code, reason = "tests call `run`")]
fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os()
        .nth(1)
        .map_or(FILE.into(), PathBuf::from);
    run(&file)
}

/// Runs the network of a file on 64 images; an error if the result is wrong.
pub fn run(file: &Path) -> Result<(), Box<dyn Error>> {
    // The network sees (pixel - mean) / std, of pixels in [0, 1].
    let options = ImportOptions {
        mean: vec![0.45],
        std: vec![0.25],
        ..ImportOptions::default()
    };
    let imported = import(file, &options)?;

    // Ranges of the activations. In earnest they are measured on the training images.
    let input = imported.model().input_shape();
    let shape = Shape {
        channels: input.channels,
        height: input.height,
        width: input.width,
    };
    let data = Synthetic::with_shape(0, shape)?;
    let statistics = imported
        .model()
        .evaluate(&data.read(0, 256)?.view().to_f64())?
        .statistics();
    let imported = imported.with_statistics(statistics)?;
    let (model, lowered) = (imported.model(), imported.model().lower()?);

    // The plan: ring, layout, levels, keys, and what they are going to take.
    let task = Task {
        program: &lowered.program,
        checksum: &model.checksum_hex(),
        batch: NonZeroUsize::new(64).ok_or("no images")?,
        max_logit_error: 0.02,
    };
    let machine = Machine {
        threads: rayon::current_num_threads(),
        memory_bytes: 4 << 30,
        beside_bytes: 0,
        together: None,
        speed: Speed::built_in(KernelChoice::Auto.name()),
    };
    let planned = planner::plan(&task, &machine, &Pins::default(), &KernelChoice::Auto)?;
    println!("{}\n", planned.plan);

    // Keys, encryption, the encrypted run, decryption, and the same in the clear.
    let batch = Batch {
        data: &data,
        first: 1000,
        images: task.batch.get(),
    };
    let report = inference::infer(model, planned, batch, Options::default(), &Silent)?;
    println!("{report}");
    let error = report.max_logit_error / report.logit_std;
    if error > task.max_logit_error {
        return Err(format!(
            "the largest logit error is {error} deviations, expected at most 0.02"
        )
        .into());
    }
    Ok(())
}
