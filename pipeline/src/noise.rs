//! What the errors of the encrypted arithmetic do to a network's logits, by simulation in the clear.
//!
//! The errors that count are those of rescaling: independent Gaussians of known deviation on every value that an
//! activation or the residual stream reads. How they grow on the way to the logits is a property of the trained network:
//! errors of neighbouring values arrive together, and images with large activations amplify them more than the average
//! does, so that a propagation of variances alone falls short by a factor of ten on ResNet-20. A few images, disturbed
//! as the encrypted run disturbs them, tell.

use he_layers::{Layer, LayerError, PlainTensor};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, Normal};

/// Disturbed runs of each image.
const DRAWS: u64 = 4;

/// Deviation of the logits' errors, of the image that suffers most: every rescale makes an error of deviation `std`.
///
/// # Errors
/// If the layers do not fit `images`.
pub fn logit_deviation(
    layers: &[&dyn Layer],
    images: &PlainTensor,
    std: f64,
) -> Result<f64, LayerError> {
    let normal = Normal::new(0.0, std).expect("a deviation is finite and not negative");
    let run = |disturb: &mut dyn FnMut(&mut PlainTensor)| {
        let mut x = images.clone();
        for layer in layers {
            x = layer.forward_disturbed(&x, disturb)?;
        }
        Ok::<_, LayerError>(x)
    };
    let clean = run(&mut |_| ())?;
    let mut squares = vec![0.0; images.n];
    for draw in 0..DRAWS {
        let mut rng = ChaCha20Rng::seed_from_u64(draw);
        let noisy = run(&mut |x| {
            x.data
                .iter_mut()
                .for_each(|v| *v += normal.sample(&mut rng));
        })?;
        for (n, square) in squares.iter_mut().enumerate() {
            let pairs = noisy.image(n).iter().zip(clean.image(n));
            *square += pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        }
    }
    let values = DRAWS as f64 * clean.shape.volume() as f64;
    Ok((squares.into_iter().fold(0.0, f64::max) / values).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::layers_of;
    use he_models::Model;

    #[test]
    fn small_errors_reach_the_logits_in_proportion() {
        let model = Model::bundled("tiny").unwrap().fold().unwrap();
        let images = PlainTensor::from_fn(3, model.input, |n, c, y, x| {
            ((7 * n + 3 * c + y * x) % 11) as f64 / 10.0
        });
        let at = |std| logit_deviation(&layers_of(&model), &images, std).unwrap();
        assert_eq!(at(0.0), 0.0);
        let ratio = at(2e-6) / at(1e-6);
        assert!(at(1e-6) > 0.0 && (ratio - 2.0).abs() < 1e-3, "{ratio}");
    }
}
