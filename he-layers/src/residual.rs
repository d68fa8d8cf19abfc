//! The parts of a pre-activation residual network: stem, blocks, head.

use crate::activation::{SquareActivation, check_array};
use crate::dense::PooledDense;
use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer, forward_of_disturbed};
use crate::linear::conv::Conv2d;
use crate::linear_map::LinearMap;
use crate::prepared::block::PreparedBlock;
use crate::prepared::linear::PreparedLinear;
use crate::prepared::square::SquareStage;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// The first convolution: images in, residual stream out.
#[derive(Clone, Debug, PartialEq)]
pub struct Stem {
    /// The convolution.
    pub conv: Conv2d,
    /// Mean of each input channel, in the units that are encrypted; empty: zero. Only the mean correction of the rounded
    /// weights uses it.
    pub input_mean: Vec<f64>,
}

/// A pre-activation residual block: `h = act1(x)`, `x' = skip + conv2(act2(conv1(h)))`, where `skip` is `x`, or
/// `shortcut(h)` if there is a shortcut.
#[derive(Clone, Debug, PartialEq)]
pub struct PreActBlock {
    /// Name for reports and errors.
    pub name: String,
    /// Activation of the stream.
    pub act1: SquareActivation,
    /// First convolution.
    pub conv1: Conv2d,
    /// Activation between the convolutions.
    pub act2: SquareActivation,
    /// Second convolution.
    pub conv2: Conv2d,
    /// Strided (usually 1x1) convolution of `act1`'s output that takes the place of the identity.
    pub shortcut: Option<Conv2d>,
}

/// The end of a network: activation, sum over the pixels, dense layer.
///
/// `logit[k] = bias[k] + sum over c of weight[k, c] * sum over pixels of (x[c] + t[c])^2`: the division by the number of
/// pixels that makes it an average is part of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Activation of the stream.
    pub act: SquareActivation,
    /// Classes.
    pub classes: usize,
    /// `[classes][channels]`, already divided by the pixels of the map.
    pub weight: Vec<f64>,
    /// `[classes]`.
    pub bias: Vec<f64>,
}

impl Stem {
    /// The stem in the clear.
    ///
    /// # Errors
    /// As [`Conv2d::forward_plain`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.conv.forward_plain(x)
    }
}

impl PreActBlock {
    /// Shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// [`LayerError::Shape`] if the two branches do not meet, and those of [`Conv2d::output_shape`].
    pub fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.act1.check_channels(input.channels)?;
        let inner = self.conv1.output_shape(input)?;
        self.act2.check_channels(inner.channels)?;
        let output = self.conv2.output_shape(inner)?;
        let skip = match &self.shortcut {
            Some(shortcut) => shortcut.output_shape(input)?,
            None => input,
        };
        if skip != output {
            return Err(LayerError::Shape {
                layer: self.name.clone(),
                found: skip,
                expected: output,
            });
        }
        Ok(output)
    }

    /// The block in the clear.
    ///
    /// # Errors
    /// As [`Self::output_shape`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.forward_disturbed(x, &mut |_| ())
    }
}

impl Head {
    /// Checks that the arrays have the lengths that they imply.
    ///
    /// # Errors
    /// [`LayerError::ParameterLength`], [`LayerError::NotFinite`].
    pub fn validate(&self) -> Result<(), LayerError> {
        self.act.validate()?;
        check_array(
            &self.act.name,
            "head weight",
            &self.weight,
            self.classes * self.act.channels(),
        )?;
        check_array(&self.act.name, "head bias", &self.bias, self.classes)
    }

    /// Shape of the logits: `classes x 1 x 1`.
    pub fn output_shape(&self) -> Chw {
        Chw::new(self.classes, 1, 1)
    }

    /// The head in the clear: logits as a tensor of shape `classes x 1 x 1`.
    ///
    /// # Errors
    /// [`LayerError::Channels`] and those of [`Self::validate`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.validate()?;
        self.dense().forward_plain(&self.act.forward_plain(x)?)
    }

    /// What comes after the activation.
    pub(crate) fn dense(&self) -> PooledDense {
        PooledDense {
            name: self.act.name.clone(),
            channels: self.act.channels(),
            classes: self.classes,
            weight: self.weight.clone(),
            bias: self.bias.clone(),
        }
    }
}

impl Layer for Stem {
    fn name(&self) -> &str {
        &self.conv.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.conv.output_shape(input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        Stem::forward_plain(self, x)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        let output = input
            .layout
            .with_shape(self.conv.output_shape(input.layout.shape())?)?;
        let map = LinearMap::conv(&self.conv, &input.layout, &output)?;
        let zero = vec![0.0; self.conv.in_channels];
        let mean = if self.input_mean.is_empty() {
            &zero
        } else {
            &self.input_mean
        };
        Ok(Box::new(PreparedLinear::new(map, input, chain, mean)?))
    }
}

impl Layer for PreActBlock {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        PreActBlock::output_shape(self, input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        PreActBlock::forward_plain(self, x)
    }

    fn forward_disturbed(
        &self,
        x: &PlainTensor,
        disturb: &mut dyn FnMut(&mut PlainTensor),
    ) -> Result<PlainTensor, LayerError> {
        PreActBlock::output_shape(self, x.shape)?;
        let mut x = x.clone();
        disturb(&mut x);
        let h = self.act1.forward_plain(&x)?;
        let mut inner = self.conv1.forward_plain(&h)?;
        disturb(&mut inner);
        let mut y = self
            .conv2
            .forward_plain(&self.act2.forward_plain(&inner)?)?;
        let skip = match &self.shortcut {
            Some(shortcut) => shortcut.forward_plain(&h)?,
            None => x,
        };
        y.add_assign(&self.name, &skip)?;
        Ok(y)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        Ok(Box::new(PreparedBlock::new(self, input, chain)?))
    }
}

impl Layer for Head {
    fn name(&self) -> &str {
        &self.act.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.act.check_channels(input.channels)?;
        Ok(Head::output_shape(self))
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        Head::forward_plain(self, x)
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
        let square = SquareStage::new(&self.act, input, chain)?;
        let output = LinearMap::logit_layout(self.classes, &input.layout)?;
        let map = LinearMap::head(self, &input.layout, &output)?;
        Ok(Box::new(PreparedLinear::after(square, map, input, chain)?))
    }
}
