//! A client and a trainer over one small, insecure ring: test code only.

use std::sync::Arc;

use ckks_scheme::bootstrap::{FourierLiteral, Reduction, RefreshFunction};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapLiteral, BootstrapParams, Bootstrapper, CosineBootstrapper, Evaluator, KeyGenerator,
    KeyRequest, Parameters, SecretKey,
};
use he_training::{Client, Examples, FeatureLayout, Trainer, TrainingError, scale_of};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// The kernel named by POLYPHASE_KERNEL, so that the suite can run on any.
pub fn kernel() -> KernelChoice {
    std::env::var("POLYPHASE_KERNEL").map_or(KernelChoice::Auto, |name| name.parse().unwrap())
}

/// The circuit of the preset `n16-precise` on a small ring, with `levels` levels for the user.
pub fn refreshes(log_n: u32, levels: usize) -> BootstrapParams {
    refreshes_at(log_n, levels, 50.0)
}

/// The same with another scale than the primes have.
pub fn refreshes_at(log_n: u32, levels: usize, log_scale: f64) -> BootstrapParams {
    let literal = BootstrapLiteral {
        log_scale,
        log_message_ratio: 5.0,
        reduction: Reduction::Fourier(FourierLiteral {
            degree: 31,
            squarings: 3,
            function: RefreshFunction::Identity,
            harmonics: 3,
        }),
        ..BootstrapLiteral::full_complex(log_n)
    };
    let q_bits = std::iter::once(50)
        .chain(std::iter::repeat_n(50, literal.input_levels() + levels))
        .chain(std::iter::repeat_n(50, literal.depth()));
    let params = Parameters::builder()
        .log_n(log_n)
        .q_bits(q_bits)
        .digits(4)
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap();
    BootstrapParams::new(&params, literal).unwrap()
}

/// A secret key, and a trainer with the keys of `request` and of the refreshes.
pub fn two_sides(
    params: &BootstrapParams,
    layout: FeatureLayout,
    request: &KeyRequest,
) -> Result<(SecretKey, Trainer), TrainingError> {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let refresher = CosineBootstrapper::new(params)?;
    let mut request = request.clone();
    request.extend(&refresher.request());
    let scheme = params.scheme();
    let keygen = KeyGenerator::new(scheme);
    let secret = keygen.secret_key(&mut rng)?;
    let keys = keygen.evaluation_keys(&secret, &request, &mut rng)?;
    let eval = Evaluator::new(scheme, Arc::new(keys));
    let trainer = Trainer::new(eval, layout, Arc::new(refresher), scale_of(params)?)?;
    Ok((secret, trainer))
}

/// The client of a trainer.
pub fn client<'a>(
    secret: &'a SecretKey,
    params: &BootstrapParams,
    layout: FeatureLayout,
) -> Client<'a> {
    let encryption = (params.output_level(), scale_of(params).unwrap());
    Client::new(
        secret,
        layout,
        encryption,
        &mut ChaCha20Rng::seed_from_u64(4),
    )
}

/// Images of classes that lie around means of their own.
pub fn blobs(images: usize, features: usize, classes: usize) -> Examples {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let means: Vec<f64> = (0..features * classes)
        .map(|_| rng.random_range(-0.6..0.6))
        .collect();
    // As many of each: few steps would find little more than the most frequent class otherwise, by the bias.
    let labels: Vec<usize> = (0..images).map(|i| i % classes).collect();
    let mut rows = Vec::new();
    for label in &labels {
        for f in 0..features {
            let noise: f64 = (0..3).map(|_| rng.random_range(-0.5..0.5)).sum();
            rows.push((means[label * features + f] + noise) / (features as f64).sqrt());
        }
    }
    Examples::new(features, classes, rows, labels).unwrap()
}
