//! Errors of the logits, estimated by disturbing images in the clear as the encrypted run disturbs them.

use he_layers::{Errors, LayerError, PlainTensor, PreparedProgram, Program};
use serde::{Deserialize, Serialize};

/// Most images that errors are simulated on.
pub const IMAGES: usize = 16;
/// Disturbed runs of each image.
const DRAWS: u64 = 2;

/// Estimates of the largest errors of an encrypted run's logits over a batch, in units of logits. They are no bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogitErrors {
    /// Estimate of the largest error that noise alone makes: against the network with rounded weights.
    pub noise: f64,
    /// Estimate of the largest error against the exact network: noise and rounded weights.
    pub total: f64,
    /// Standard deviation of the exact logits over images and classes.
    pub logit_std: f64,
}

/// Estimates the errors on `images`; the batch's largest is that of `batch` images like them.
///
/// # Errors
/// [`LayerError::Shape`] for images of another shape.
pub fn of_logits(
    program: &Program,
    prepared: &PreparedProgram,
    images: &PlainTensor,
    batch: usize,
) -> Result<LogitErrors, LayerError> {
    let clean = program.forward_plain(images)?;
    let deviation = |errors| {
        let mut squares = vec![0.0; images.n];
        for seed in 0..DRAWS {
            let noisy = prepared.forward_disturbed(program, images, errors, seed)?;
            for (n, square) in squares.iter_mut().enumerate() {
                let pairs = noisy.image(n).iter().zip(clean.image(n));
                *square += pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            }
        }
        let values = DRAWS as f64 * clean.shape.volume() as f64;
        // The image that suffers most.
        Ok::<_, LayerError>((squares.into_iter().fold(0.0, f64::max) / values).sqrt())
    };
    let (noise, weights) = (deviation(Errors::Noise)?, deviation(Errors::Weights)?);
    // The largest of n Gaussian errors is near sqrt(2 ln 2n) deviations.
    let errors = batch as f64 * clean.shape.volume() as f64;
    let largest = (2.0 * (2.0 * errors).ln()).sqrt();
    let n = clean.data.len() as f64;
    let mean = clean.data.iter().sum::<f64>() / n;
    let variance = clean.data.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    Ok(LogitErrors {
        noise: largest * noise,
        total: largest * noise.hypot(weights),
        logit_std: variance.sqrt(),
    })
}
