//! What the errors of an encrypted run do to its output, by simulation in the clear.
//!
//! Rescales and refreshes make independent errors of known deviation on every value. How they grow on the way to the output
//! is a property of the trained network: errors of neighbouring values arrive together, and images with large activations
//! amplify them. Propagating variances as if errors were independent falls short by a factor of ten on ResNet-20.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};

use super::description::Program;
use super::plain::Point;
use super::prepared::PreparedProgram;
use crate::error::LayerError;
use crate::noise::rounding_std;
use crate::tensor::PlainTensor;

/// Which errors are simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// Noise of rescales and refreshes: what is left against rounded weights.
    Noise,
    /// Rounding of the weights.
    Weights,
}

impl PreparedProgram {
    /// The network in the clear on `images`, disturbed as the encrypted run disturbs it. Different seeds draw different
    /// errors. `program` is what this was prepared from.
    ///
    /// # Errors
    /// [`LayerError::Shape`] for images of another shape.
    pub fn forward_disturbed(
        &self,
        program: &Program,
        images: &PlainTensor,
        errors: Errors,
        seed: u64,
    ) -> Result<PlainTensor, LayerError> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        // What rounding weights adds to sums that are not there yet, by the number of their value.
        let mut added: BTreeMap<usize, PlainTensor> = BTreeMap::new();
        let mut failed = None;
        let output = program.forward_observed(images, &mut |point, x| match (point, errors) {
            (Point::Argument(value), Errors::Noise) => {
                let std = self.argument_error(value.0);
                disturb(&mut rng, x, &|_| std);
            }
            (Point::Result(value), Errors::Noise) => {
                let cubic = self.cubic_error(value.0);
                if cubic > 0.0 {
                    x.data.iter_mut().for_each(|v| *v -= cubic * v.powi(3));
                }
                let std = self.result_error(value.0);
                disturb(&mut rng, x, &|_| std);
            }
            (Point::Result(value), Errors::Weights) => {
                if let Some(std) = self.rounding_errors(value.0) {
                    disturb(&mut rng, x, &|c| std[c]);
                }
                let sums = added.remove(&value.0);
                let sums = sums.map_or(Ok(()), |sums| x.add_assign(&self.name, &sums));
                let common = self.add_common_rounding(value.0, x, &mut rng, &mut added);
                failed = failed.take().or(sums.err()).or(common.err());
            }
            (Point::Argument(_), Errors::Weights) => {}
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(output),
        }
    }

    /// Adds what rounding weights does to products of `x`, value `value`, in all pixels alike.
    fn add_common_rounding(
        &self,
        value: usize,
        x: &PlainTensor,
        rng: &mut ChaCha20Rng,
        added: &mut BTreeMap<usize, PlainTensor>,
    ) -> Result<(), LayerError> {
        let mut draw = || StandardNormal.sample(rng);
        for &(node, product) in &self.values[value].products {
            let node = &self.nodes[node];
            let product = &node.products[product];
            let Some(errors) = product.map.common_rounding(product.weight_scale, &mut draw) else {
                continue;
            };
            let errors = errors.forward_plain(x)?;
            match added.get_mut(&node.value) {
                Some(sum) => sum.add_assign(&self.name, &errors)?,
                None => drop(added.insert(node.value, errors)),
            }
        }
        Ok(())
    }

    /// Error of a stage's argument, unless it shares the rescaled form of its sums.
    fn argument_error(&self, value: usize) -> f64 {
        let Some(stage) = &self.values[value].stage else {
            return 0.0;
        };
        let shared = self.needs_rescaled(&self.values[stage.of]) && self.shares_rescaled(value);
        if shared {
            0.0
        } else {
            stage.stage.error().argument
        }
    }

    /// Coefficient of the error of a value as it comes that is a third power of it.
    fn cubic_error(&self, value: usize) -> f64 {
        let stage = self.values[value].stage.as_ref();
        stage.map_or(0.0, |stage| stage.stage.error().cubic)
    }

    /// Error of a value as it comes: of the stage, or of the rescale that readers of sums share.
    fn result_error(&self, value: usize) -> f64 {
        let prepared = &self.values[value];
        match &prepared.stage {
            Some(stage) => stage.stage.error().result,
            None if self.needs_rescaled(prepared) => {
                rounding_std(prepared.spec.layout.slots(), self.nominal)
            }
            None => 0.0,
        }
    }

    /// For each channel of a sum the error that rounding the weights makes in each pixel by itself; nothing for other values.
    fn rounding_errors(&self, value: usize) -> Option<Vec<f64>> {
        let node = self.nodes.iter().find(|node| node.value == value)?;
        let mut variance = vec![0.0; self.values[value].spec.layout.shape().channels];
        for product in &node.products {
            let std = product
                .map
                .predicted_rounding(product.weight_scale, &product.spread);
            for (sum, std) in variance.iter_mut().zip(std) {
                *sum += std * std;
            }
        }
        Some(variance.into_iter().map(f64::sqrt).collect())
    }
}

/// Adds a draw of deviation `std` of its channel to every value.
fn disturb(rng: &mut ChaCha20Rng, x: &mut PlainTensor, std: &dyn Fn(usize) -> f64) {
    let (pixels, channels) = (x.shape.pixels().max(1), x.shape.channels);
    for (map, values) in x.data.chunks_mut(pixels).enumerate() {
        let std = std(map % channels);
        if std > 0.0 {
            for v in values {
                let draw: f64 = StandardNormal.sample(rng);
                *v += std * draw;
            }
        }
    }
}
