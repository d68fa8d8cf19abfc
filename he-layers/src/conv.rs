//! Convolutions as layers.

use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::linear::conv::Conv2d;
use crate::linear_map::LinearMap;
use crate::prepared::linear::PreparedLinear;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

impl Layer for Conv2d {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        Conv2d::output_shape(self, input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        Conv2d::forward_plain(self, x)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        let output = input
            .layout
            .strided(self.output_shape(input.layout.shape())?, self.stride)?;
        let map = LinearMap::conv(self, &input.layout, &output)?;
        Ok(Box::new(PreparedLinear::new(
            map,
            input,
            chain,
            &vec![0.0; self.in_channels],
        )?))
    }
}
