//! Post-activation residual blocks, as ReLU networks have them.

use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::linear::conv::Conv2d;
use crate::poly_activation::PolyActivation;
use crate::prepared::post_act::PreparedPostAct;
use crate::refresh::Refresh;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// A post-activation residual block: `y = act2(skip + conv2(act1(conv1(x))))`, where `skip` is `x`, or `shortcut(x)` if
/// there is a shortcut.
///
/// It reads values and gives values at the nominal scale. With `refresh`, the output of `act1` is refreshed; the block's own
/// output is refreshed by a [`Refresh`] layer after it.
#[derive(Clone, Debug)]
pub struct PostActBlock {
    /// Name for reports and errors.
    pub name: String,
    /// First convolution.
    pub conv1: Conv2d,
    /// Activation between the convolutions.
    pub act1: PolyActivation,
    /// Refresh of what the second convolution reads.
    pub refresh: Option<Refresh>,
    /// Second convolution.
    pub conv2: Conv2d,
    /// Strided (usually 1x1) convolution of the input that takes the place of the identity.
    pub shortcut: Option<Conv2d>,
    /// Activation of the sum.
    pub act2: PolyActivation,
}

impl PostActBlock {
    /// Shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// [`LayerError::Shape`] if the two branches do not meet, and those of the parts.
    pub fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        let inner = self.conv1.output_shape(input)?;
        self.act1.check_channels(inner.channels)?;
        if let Some(refresh) = &self.refresh {
            refresh.check_channels(inner.channels)?;
        }
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
        self.act2.check_channels(output.channels)?;
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

impl Layer for PostActBlock {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        PostActBlock::output_shape(self, input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        PostActBlock::forward_plain(self, x)
    }

    fn forward_disturbed(
        &self,
        x: &PlainTensor,
        disturb: &mut dyn FnMut(&mut PlainTensor),
    ) -> Result<PlainTensor, LayerError> {
        PostActBlock::output_shape(self, x.shape)?;
        let mut inner = self.conv1.forward_plain(x)?;
        disturb(&mut inner);
        let mut sum = self
            .conv2
            .forward_plain(&self.act1.forward_plain(&inner)?)?;
        match &self.shortcut {
            Some(shortcut) => sum.add_assign(&self.name, &shortcut.forward_plain(x)?)?,
            None => sum.add_assign(&self.name, x)?,
        }
        disturb(&mut sum);
        self.act2.forward_plain(&sum)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        Ok(Box::new(PreparedPostAct::new(self, input, chain)?))
    }
}
