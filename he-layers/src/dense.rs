//! The sum over the pixels and a dense layer, without an activation before them.

use crate::activation::check_array;
use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::linear::dense::Dense;
use crate::linear_map::LinearMap;
use crate::prepared::linear::PreparedLinear;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// `logit[k] = bias[k] + sum over c of weight[k, c] * sum over pixels of x[c]`: the division by the number of pixels that
/// makes it an average is part of the weights. The end of a network whose activations are layers of their own; [`Head`] has
/// a squaring before it.
///
/// [`Head`]: crate::Head
#[derive(Clone, Debug, PartialEq)]
pub struct PooledDense {
    /// Name for reports and errors.
    pub name: String,
    /// Channels read.
    pub channels: usize,
    /// Classes.
    pub classes: usize,
    /// `[classes][channels]`, already divided by the pixels of the map.
    pub weight: Vec<f64>,
    /// `[classes]`.
    pub bias: Vec<f64>,
}

impl PooledDense {
    /// Checks that the arrays have the lengths that they imply.
    ///
    /// # Errors
    /// [`LayerError::ParameterValue`], [`LayerError::ParameterLength`], [`LayerError::NotFinite`].
    pub fn validate(&self) -> Result<(), LayerError> {
        for (what, found) in [("channels", self.channels), ("classes", self.classes)] {
            if found == 0 {
                return Err(LayerError::ParameterValue {
                    layer: self.name.clone(),
                    what,
                    found,
                    expected: "at least 1",
                });
            }
        }
        let weights = self.classes * self.channels;
        check_array(&self.name, "head weight", &self.weight, weights)?;
        check_array(&self.name, "head bias", &self.bias, self.classes)
    }

    /// Checks the arrays and the number of channels of an input.
    pub(crate) fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        self.validate()?;
        if found != self.channels {
            return Err(LayerError::Channels {
                layer: self.name.clone(),
                found,
                expected: self.channels,
            });
        }
        Ok(())
    }

    /// The layer in the clear: logits as a tensor of shape `classes x 1 x 1`.
    ///
    /// # Errors
    /// [`LayerError::Channels`] and those of [`Self::validate`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.dense(x.shape)?.forward_plain(x)
    }

    /// The layer for inputs of shape `input`.
    pub(crate) fn dense(&self, input: Chw) -> Result<Dense, LayerError> {
        self.check_channels(input.channels)?;
        Dense::pooled(
            self.name.clone(),
            input,
            self.classes,
            &self.weight,
            self.bias.clone(),
        )
    }
}

impl Layer for PooledDense {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.check_channels(input.channels)?;
        Ok(Chw::new(self.classes, 1, 1))
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        PooledDense::forward_plain(self, x)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        let output = LinearMap::logit_layout(self.classes, &input.layout)?;
        let map = LinearMap::dense(self, &input.layout, &output)?;
        let mean = vec![0.0; self.channels];
        Ok(Box::new(PreparedLinear::new(map, input, chain, &mean)?))
    }
}
