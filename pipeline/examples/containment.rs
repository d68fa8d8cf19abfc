//! Which images a blown-up one spoils, by packing, grid and strength: `docs/notes/containment.md`.
//!
//! ```sh
//! cargo run --release -p pipeline --example containment
//! ```
//!
//! Two groups of the tiny network at a small ring without security. The first image of the first group is a checkerboard of
//! growing contrast, all others are synthetic. An image counts as spoiled if its logits are off by more than 0.1 deviations.

use std::error::Error;
use std::sync::Arc;

use ckks_scheme::{Evaluator, Parameters};
use datasets::{Dataset, Shape, Synthetic};
use he_layers::{Client, Grid, Packing, PlainTensor};
use he_models::Model;

/// Largest error of a logit that is not a spoiled one, in deviations of the logits.
const TOLERANCE: f64 = 0.1;
/// Contrast of the checkerboard, in full scales of a pixel.
const STRENGTHS: [f64; 8] = [0.0, 2.0, 2.5, 3.0, 4.0, 8.0, 16.0, 64.0];

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::bundled("tiny")?;
    println!(
        "| packing | grid | images in a group | contrast | first share | largest share | beyond the bounds itself | its partner spoiled | spoiled in its group | of them beyond the bounds | spoiled in the other group |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for packing in [Packing::Real, Packing::Complex] {
        for (rows, cols) in [(4, 4), (8, 8), (16, 16)] {
            measure(&model, packing, Grid::new(rows, cols))?;
        }
    }
    Ok(())
}

fn measure(model: &Model, packing: Packing, grid: Grid) -> Result<(), Box<dyn Error>> {
    let params = Parameters::builder()
        .log_n(10)
        .q_bits([46; 8])
        .digits(3)
        .build_insecure_for_tests()?;
    let program = model.lower()?.program;
    let prepared = program.prepare_on(&params, 26, grid, packing)?;
    let (mut client, keys) = Client::generate(&params, &prepared)?;
    let evaluator = Evaluator::new(&params, Arc::new(keys));
    let images = prepared.images();
    let bounds = model.logit_bounds()?;
    for strength in STRENGTHS {
        let pixels = pictures(2 * images, strength)?;
        let exact = model.evaluate(&pixels)?;
        let deviation = model.evaluate(&pixels[model.image_len()..])?.logit_std();
        let mut spoiled = [0; 2];
        let mut beyond = 0;
        let mut itself = false;
        // Whose values are the imaginary parts of its slots.
        let mut partner = None;
        for (group, pixels) in pixels.chunks_exact(images * model.image_len()).enumerate() {
            let inputs = PlainTensor::new(images, model.input_shape(), pixels.to_vec())?;
            let logits = prepared.forward(&evaluator, client.encrypt(&inputs)?, 1)?;
            let logits = client.decrypt(&logits, images)?;
            for image in 0..images {
                let found = logits.image(image);
                let first = (group * images + image) * exact.classes;
                let right = &exact.logits[first..first + exact.classes];
                let mut pairs = found.iter().zip(right);
                if (group, image) == (0, 0) {
                    itself = !bounds.hold(found);
                    continue;
                }
                let wrong = pairs.any(|(a, b)| (a - b).abs() > TOLERANCE * deviation);
                spoiled[group] += usize::from(wrong);
                if packing == Packing::Complex && (group, image) == (0, images / 2) {
                    partner = Some(wrong);
                }
                beyond += usize::from(!bounds.hold(found));
            }
        }
        let alone = model.evaluate(&pixels[..model.image_len()])?;
        let shares = alone.activations.iter().filter_map(|record| record.share());
        let shares: Vec<f64> = shares.collect();
        println!(
            "| {packing} | {grid} | {images} | {strength} | {:.2} | {:.2e} | {} | {} | {} of {} | {beyond} | {} of {images} |",
            shares[0],
            shares.iter().fold(0.0, |m: f64, s| m.max(*s)),
            yes(itself),
            partner.map_or("-", yes),
            spoiled[0],
            images - 1,
            spoiled[1]
        );
    }
    Ok(())
}

fn yes(it_is: bool) -> &'static str {
    if it_is { "yes" } else { "no" }
}

/// Synthetic pictures, the first one a checkerboard.
fn pictures(count: usize, strength: f64) -> Result<Vec<f64>, Box<dyn Error>> {
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let mut pixels = Synthetic::with_shape(0, shape)?
        .read(0, count)?
        .view()
        .to_f64();
    if strength > 0.0 {
        for (at, pixel) in pixels[..shape.values()].iter_mut().enumerate() {
            let white = (at + at / 8) % 2 == 0;
            *pixel = 0.5 + strength * if white { 0.5 } else { -0.5 };
        }
    }
    Ok(pixels)
}
