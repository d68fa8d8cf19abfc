//! The squaring activation `y = (x + t)^2`, one offset a channel.

use rayon::prelude::*;

use crate::error::LayerError;
pub(crate) use crate::error::check_array;
use crate::layer::{Layer, PreparedLayer, forward_of_disturbed};
use crate::prepared::pointwise::PreparedPointwise;
use crate::prepared::square::SquareStage;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// A squaring activation: `y = (x + t)^2`, `t` one number a channel.
///
/// Any quadratic `c2 x^2 + c1 x + c0` is `g (x + t)^2 + d`; `g` and `d` belong to the neighbours: `g` is a factor of the
/// next layer's weights and `d` goes into its [`tap_bias`](crate::Conv2d::tap_bias).
#[derive(Clone, Debug, PartialEq)]
pub struct SquareActivation {
    /// Name for reports and errors.
    pub name: String,
    /// Offset of each channel.
    pub t: Vec<f64>,
    /// Largest `|x + t|` that the encrypted run is built for, for each channel.
    pub declared: Vec<f64>,
    /// Mean of `(x + t)^2` over data, for each channel: the mean of what the next layer reads.
    pub second_moment: Vec<f64>,
}

impl SquareActivation {
    /// An activation of `t.len()` channels.
    ///
    /// # Errors
    /// [`LayerError::ParameterLength`] or [`LayerError::NotFinite`], as [`Self::validate`].
    pub fn new(
        name: impl Into<String>,
        t: Vec<f64>,
        declared: Vec<f64>,
        second_moment: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let activation = Self {
            name: name.into(),
            t,
            declared,
            second_moment,
        };
        activation.validate()?;
        Ok(activation)
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.t.len()
    }

    /// Checks that the three arrays agree and are finite.
    ///
    /// # Errors
    /// [`LayerError::ParameterLength`], [`LayerError::NotFinite`].
    pub fn validate(&self) -> Result<(), LayerError> {
        let expected = self.t.len();
        check_array(&self.name, "t", &self.t, expected)?;
        check_array(&self.name, "declared", &self.declared, expected)?;
        check_array(&self.name, "second_moment", &self.second_moment, expected)
    }

    /// The activation in the clear: `(x + t)^2`.
    ///
    /// # Errors
    /// [`LayerError::Channels`] if `x` has another number of channels.
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.check_channels(x.shape.channels)?;
        let pixels = x.shape.pixels().max(1);
        let mut y = x.clone();
        y.data
            .par_chunks_mut(pixels)
            .enumerate()
            .for_each(|(map, values)| {
                let t = self.t[map % self.t.len()];
                for v in values {
                    *v = (*v + t) * (*v + t);
                }
            });
        Ok(y)
    }

    /// Largest `|x + t|` of each channel over the batch.
    ///
    /// # Errors
    /// [`LayerError::Channels`] if `x` has another number of channels.
    pub fn largest_inputs(&self, x: &PlainTensor) -> Result<Vec<f64>, LayerError> {
        self.check_channels(x.shape.channels)?;
        let mut largest = vec![0.0f64; self.t.len()];
        for (map, values) in x.data.chunks(x.shape.pixels().max(1)).enumerate() {
            let channel = map % self.t.len();
            let t = self.t[channel];
            largest[channel] = values
                .iter()
                .fold(largest[channel], |m, v| m.max((v + t).abs()));
        }
        Ok(largest)
    }

    /// For each image, whether some `|x + t|` of it exceeds what is declared for its channel.
    ///
    /// # Errors
    /// [`LayerError::Channels`] if `x` has another number of channels.
    pub fn images_out_of_range(&self, x: &PlainTensor) -> Result<Vec<bool>, LayerError> {
        self.check_channels(x.shape.channels)?;
        let pixels = x.shape.pixels().max(1);
        let outside = |image: &[f64]| {
            image.chunks(pixels).enumerate().any(|(c, values)| {
                // Written so that a value that is not a number counts as outside.
                !values
                    .iter()
                    .all(|v| (v + self.t[c]).abs() <= self.declared[c])
            })
        };
        Ok((0..x.n).map(|n| outside(x.image(n))).collect())
    }

    pub(crate) fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        self.validate()?;
        if found != self.t.len() {
            return Err(LayerError::Channels {
                layer: self.name.clone(),
                found,
                expected: self.t.len(),
            });
        }
        Ok(())
    }
}

impl Layer for SquareActivation {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.check_channels(input.channels)?;
        Ok(input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        SquareActivation::forward_plain(self, x)
    }

    fn forward_disturbed(
        &self,
        x: &PlainTensor,
        disturb: &mut dyn FnMut(&mut PlainTensor),
    ) -> Result<PlainTensor, LayerError> {
        forward_of_disturbed(self, x, disturb)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        Ok(Box::new(PreparedPointwise(SquareStage::new(
            self, input, chain,
        )?)))
    }
}
