//! Convolutions as layers.

use std::sync::Arc;

use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::layout::Layout;
use crate::linear::Linear;
use crate::linear::conv::Conv2d;
use crate::linear::costs::RotationCosts;
use crate::linear::map::LinearMap;
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
        let map = compile(self, &input.layout, &output)?;
        Ok(Box::new(PreparedLinear::new(
            map,
            input,
            chain,
            &vec![0.0; self.in_channels],
        )?))
    }
}

/// A linear map, compiled with the usual costs of rotations.
pub(crate) fn compile(
    linear: &(impl Clone + Into<Linear>),
    input: &Layout,
    output: &Layout,
) -> Result<LinearMap, LayerError> {
    let linear = Arc::new(linear.clone().into());
    LinearMap::compile(&linear, input, output, &RotationCosts::default())
}
