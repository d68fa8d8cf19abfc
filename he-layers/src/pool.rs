//! Average pooling.

use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::linear::conv::Conv2d;
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
    /// The pooling of `channels` channels.
    fn conv(&self, channels: usize) -> Result<Conv2d, LayerError> {
        Conv2d::average_pool(self.name.clone(), channels, self.window, self.window)
    }
}

impl Layer for AvgPool {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.conv(input.channels)?.output_shape(input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.conv(x.shape.channels)?.forward_plain(x)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        Layer::prepare(&self.conv(input.layout.shape().channels)?, input, chain)
    }
}
