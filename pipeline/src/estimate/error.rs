//! Errors of the logits, estimated by disturbing images in the clear as the encrypted run disturbs them.

use he_layers::{Errors, LayerError, PlainTensor, PreparedProgram, Program};
use serde::{Deserialize, Serialize};

/// Most synthetic images that errors are simulated on.
pub const IMAGES: usize = 16;
/// Disturbed runs of each image.
const DRAWS: u64 = 2;

/// Estimates of the largest errors of an encrypted run's logits over a batch, in units of logits. They are no bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogitErrors {
    /// Estimate of the largest error that noise alone makes: against the network with rounded weights.
    pub noise: f64,
    /// Estimate of the largest error of activations that are approximated, a ReLU by a polynomial for instance; 0 without any.
    pub approximation: f64,
    /// Estimate of the largest error against the exact network: noise, rounded weights and approximated activations.
    pub total: f64,
    /// Standard deviation of the exact logits over images and classes.
    pub logit_std: f64,
}

impl LogitErrors {
    /// The larger of the errors of two layouts.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        Self {
            noise: self.noise.max(other.noise),
            approximation: self.approximation.max(other.approximation),
            total: self.total.max(other.total),
            logit_std: self.logit_std,
        }
    }

    /// Estimate of the largest error that rounded weights alone make, in units of logits.
    #[must_use]
    pub fn rounding(&self) -> f64 {
        let others = self.approximation.hypot(self.noise);
        (self.total.powi(2) - others.powi(2)).max(0.0).sqrt()
    }

    /// Noise and rounded weights, in deviations of the logits: what ring, primes and layout decide.
    #[must_use]
    pub fn of_plan(&self) -> f64 {
        (self.total.powi(2) - self.approximation.powi(2))
            .max(0.0)
            .sqrt()
            / self.logit_std
    }
}

/// Estimates the errors on `images`; the batch's largest is that of `batch` images like them. `log_q`: bits of the modulus
/// at the level of the logits.
///
/// # Errors
/// [`LayerError::Shape`] for images of another shape; [`LayerError::Range`] for logits that the modulus does not hold, or
/// that are no numbers.
pub fn of_logits(
    program: &Program,
    prepared: &PreparedProgram,
    images: &PlainTensor,
    batch: usize,
    log_q: f64,
) -> Result<LogitErrors, LayerError> {
    let clean = program.forward_plain(images)?;
    check_range(program, prepared, &clean, log_q)?;
    let disturbed = |errors| {
        let draws =
            (0..DRAWS).map(|seed| prepared.forward_disturbed(program, images, errors, seed));
        Ok::<_, LayerError>(deviation(&draws.collect::<Result<Vec<_>, _>>()?, &clean))
    };
    let (noise, weights) = (disturbed(Errors::Noise)?, disturbed(Errors::Weights)?);
    let approximation = match program.approximates() {
        true => deviation(&[program.forward_exact(images)?], &clean),
        false => 0.0,
    };
    // The largest of n Gaussian errors is near sqrt(2 ln 2n) deviations.
    let errors = batch as f64 * clean.shape.volume() as f64;
    let largest = (2.0 * (2.0 * errors).ln()).sqrt();
    let n = clean.data.len() as f64;
    let mean = clean.data.iter().sum::<f64>() / n;
    let variance = clean.data.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    Ok(LogitErrors {
        noise: largest * noise,
        approximation: largest * approximation,
        total: largest * noise.hypot(weights).hypot(approximation),
        logit_std: variance.sqrt(),
    })
}

/// Refuses logits that wrap around in the modulus.
fn check_range(
    program: &Program,
    prepared: &PreparedProgram,
    clean: &PlainTensor,
    have_bits: f64,
) -> Result<(), LayerError> {
    let output = prepared.output();
    let finite = clean.data.iter().all(|v| v.is_finite());
    let largest = clean
        .data
        .iter()
        .fold(0.0, |most: f64, v| most.max(v.abs()));
    let max = if finite { largest } else { f64::INFINITY };
    let need_bits = max.max(f64::MIN_POSITIVE).log2() + output.scale.log2() + 1.0;
    if need_bits < have_bits {
        return Ok(());
    }
    let (layer, level) = (program.name().to_owned(), output.level);
    Err(LayerError::Range {
        layer,
        max,
        need_bits,
        have_bits,
        level,
    })
}

/// Root mean square of the differences from `clean`, in the image that suffers most.
fn deviation(others: &[PlainTensor], clean: &PlainTensor) -> f64 {
    let values = (others.len() * clean.shape.volume()) as f64;
    let of_image = |n| {
        let pairs = others
            .iter()
            .flat_map(|other| other.image(n).iter().zip(clean.image(n)));
        pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>()
    };
    let squares = (0..clean.n).map(of_image);
    (squares.fold(0.0, f64::max) / values).sqrt()
}
