//! Seconds of single steps of a softmax regression on features that the client has and encrypts: 128-bit security, N = 2^16.
//!
//! ```text
//! cargo run --release -p he-training --example softmax_step -- [images] [features] [classes] [steps]
//! ```
//! Default: mini-batches of 2048 images of 768 features and 10 classes, 2 steps. Ranges are those of a training of 250 steps, of
//! which the first ones are done, on one mini-batch. The weights are compared with those of the same steps in the clear.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ckks_scheme::counts::PrimitiveCosts;
use ckks_scheme::{
    BootstrapPreset, Bootstrapper, CosineBootstrapper, Evaluator, KernelChoice, KeyGenerator,
};
use he_training::{
    Client, Examples, FeatureLayout, Softmax, Trainer, scale_of, softmax_keys, step_levels,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Groups of images, each a mini-batch, in the training whose ranges are used.
const GROUPS: usize = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes: [usize; 4] = [2048, 768, 10, 2];
    for (size, text) in sizes.iter_mut().zip(std::env::args().skip(1)) {
        *size = text.parse::<usize>().map_err(|error| {
            format!("{text}: {error}, expected a number of images, features, classes or steps")
        })?;
    }
    let [images, features, classes, steps] = sizes;

    let preset = BootstrapPreset::named("n16-precise").ok_or("no preset n16-precise")?;
    let params = preset.build(KernelChoice::Auto, None)?;
    let scheme = params.scheme();
    let per_ct = images.next_power_of_two();
    let layout = FeatureLayout::new(scheme.slots(), per_ct, features, classes)?;
    let examples = blobs(images.min(layout.capacity()), features, classes)?;
    let softmax = Softmax {
        norm_bound: examples.largest_norm(),
        ..Softmax::default()
    };
    let threads = rayon::current_num_threads();
    let forecast = softmax.forecast(&layout, GROUPS, &params, threads)?;
    let costs = PrimitiveCosts::built_in(scheme.kernel_name(), scheme.log_n());
    let per_step = forecast.seconds(&costs) / forecast.steps as f64;
    println!(
        "{} images, {features} features in {} ciphertexts, {classes} classes, {threads} threads",
        examples.images(),
        layout.blocks(),
    );
    println!("{:?}", step_levels(&softmax, &layout, GROUPS, &params)?);
    println!(
        "keys {:.2} GB, matrices {:.2} GB; a step takes about {per_step:.1} s, as counted",
        forecast.key_bytes as f64 * 1e-9,
        forecast.matrix_bytes as f64 * 1e-9,
    );

    let refreshes = CosineBootstrapper::new(&params)?;
    let encryption = (params.output_level(), scale_of(&params)?);
    let mut request = softmax_keys(&softmax, &layout, GROUPS, &params)?;
    request.extend(&refreshes.request());
    let mut rng = rand::rng();
    let keygen = KeyGenerator::new(scheme);
    let secret = keygen.secret_key(&mut rng)?;
    let keys = keygen.evaluation_keys(&secret, &request, &mut rng)?;
    let mut client = Client::new(&secret, layout, encryption, &mut rng);
    let batch = [client.encrypt(&examples)?];

    let evaluator = Evaluator::new(scheme, Arc::new(keys));
    let trainer = Trainer::new(evaluator, layout, Arc::new(refreshes), encryption.1)?;
    let mut run = softmax.begin(&trainer, GROUPS)?;
    for step in 1..=steps {
        let start = Instant::now();
        run.step(&batch)?;
        let (seconds, refreshed) = (start.elapsed().as_secs_f64(), trainer.refreshes());
        println!("step {step}: {seconds:.1} s, {refreshed} ciphertexts refreshed so far");
    }
    let head = run.finish()?;
    let bytes = scheme.pool().high_water_bytes() as f64 * 1e-9;
    println!("largest size of all limbs: {bytes:.2} GB");

    let mut clear = None;
    let same = vec![examples; GROUPS];
    softmax.train_clear(&same, |done, weights| {
        if done == steps {
            clear = Some(weights.clone());
        }
    })?;
    let clear = clear.ok_or("more steps than the training has")?;
    let difference = clear.difference(&client.decrypt_head(&head)?);
    println!("largest difference of a weight from the clear twin: {difference:.2e} of the largest");
    Ok(())
}

/// Images of classes that lie around means of their own.
fn blobs(images: usize, features: usize, classes: usize) -> Result<Examples, Box<dyn Error>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut number = || rng.random_range(-1.0..1.0) / (features as f64).sqrt();
    let means: Vec<f64> = (0..features * classes).map(|_| number()).collect();
    let labels: Vec<usize> = (0..images).map(|i| i % classes).collect();
    let rows = labels
        .iter()
        .flat_map(|label| &means[label * features..(label + 1) * features]);
    let rows = rows.map(|mean| mean + number()).collect();
    Ok(Examples::new(features, classes, rows, labels)?)
}
