//! Average pooling.

use crate::conv::Conv2d;
use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::linear_map::LinearMap;
use crate::prepared::linear::PreparedLinear;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// Averages over windows that do not overlap; the stride is the window.
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPool {
    /// Name for reports and errors.
    pub name: String,
    /// Rows and columns of a window.
    pub window: (usize, usize),
}

impl AvgPool {
    /// The pooling as a convolution of each channel with itself.
    fn conv(&self) -> Result<Conv2d, LayerError> {
        let taps = self.window.0 * self.window.1;
        let weight = vec![1.0 / taps as f64; taps];
        Conv2d::new(
            self.name.clone(),
            (1, 1),
            self.window,
            self.window,
            (0, 0),
            weight,
        )
    }
}

/// Each channel as an image of its own.
fn one_channel(shape: Chw) -> Chw {
    Chw {
        channels: 1,
        ..shape
    }
}

impl Layer for AvgPool {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        let one = self.conv()?.output_shape(one_channel(input))?;
        Ok(Chw {
            channels: input.channels,
            ..one
        })
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        let shape = self.output_shape(x.shape)?;
        let maps = PlainTensor::new(x.n * x.shape.channels, one_channel(x.shape), x.data.clone())?;
        PlainTensor::new(x.n, shape, self.conv()?.forward_plain(&maps)?.data)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        let output = input
            .layout
            .with_shape(self.output_shape(input.layout.shape())?)?;
        let map = LinearMap::channelwise(&self.conv()?, &input.layout, &output)?;
        let mean = vec![0.0; input.layout.shape().channels];
        Ok(Box::new(PreparedLinear::new(map, input, chain, &mean)?))
    }
}
