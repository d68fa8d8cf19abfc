//! Linear maps: their descriptions, and what they become for a layout.
//!
//! Everything that is linear in a tensor is one of two things: a [`Conv2d`] (any kernel, stride, padding and groups; average
//! pooling, slices and concatenations are convolutions with few weights), or a [`Dense`] layer over all numbers of an image.

mod column;
mod compose;
mod connect;
mod conv;
mod costs;
mod dense;
mod estimate;
mod gather;
mod links;
mod map;
mod plain;
mod product;
mod slots;
mod term;

pub use self::conv::{Conv2d, Padding};
pub use self::costs::RotationCosts;
pub use self::dense::Dense;
pub use self::map::{LinearMap, TermWeight};
pub use self::product::ProductTask;
use crate::error::LayerError;
use crate::layout::Layout;
use crate::tensor::{Chw, PlainTensor};

/// A linear map of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Linear {
    /// A convolution.
    Conv(Conv2d),
    /// A dense layer over the flattened image.
    Dense(Dense),
}

impl From<Conv2d> for Linear {
    fn from(conv: Conv2d) -> Self {
        Linear::Conv(conv)
    }
}

impl From<Dense> for Linear {
    fn from(dense: Dense) -> Self {
        Linear::Dense(dense)
    }
}

impl Linear {
    /// Name for reports and errors.
    pub fn name(&self) -> &str {
        match self {
            Linear::Conv(conv) => &conv.name,
            Linear::Dense(dense) => &dense.name,
        }
    }

    /// Checks sizes and arrays.
    ///
    /// # Errors
    /// As [`Conv2d::validate`] and [`Dense::validate`].
    pub fn validate(&self) -> Result<(), LayerError> {
        match self {
            Linear::Conv(conv) => conv.validate(),
            Linear::Dense(dense) => dense.validate(),
        }
    }

    /// Shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// As [`Conv2d::output_shape`] and [`Dense::output_shape`].
    pub fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        match self {
            Linear::Conv(conv) => conv.output_shape(input),
            Linear::Dense(dense) => dense.output_shape(input),
        }
    }

    /// The map in the clear, parallel over images (current rayon pool).
    ///
    /// # Errors
    /// As [`Self::validate`] and [`Self::output_shape`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        match self {
            Linear::Conv(conv) => conv.forward_plain(x),
            Linear::Dense(dense) => dense.forward_plain(x),
        }
    }

    /// Products of the map on one image: weights that are not zero, for every output pixel that they go to.
    ///
    /// # Errors
    /// As [`Self::output_shape`].
    pub fn products(&self, input: Chw) -> Result<usize, LayerError> {
        let output = self.output_shape(input)?;
        let (weight, pixels) = match self {
            Linear::Conv(conv) => (&conv.weight, output.pixels()),
            Linear::Dense(dense) => (&dense.weight, 1),
        };
        Ok(weight.iter().filter(|w| **w != 0.0).count() * pixels)
    }

    /// The layout of the output for input in `input`. For a convolution, [`Layout::strided`]. For a dense layer, the clean
    /// one; see [`LinearMap::dense_layout`](crate::LinearMap::dense_layout) for the other.
    ///
    /// # Errors
    /// As [`Self::output_shape`].
    pub fn output_layout(&self, input: &Layout) -> Result<Layout, LayerError> {
        let shape = self.output_shape(input.shape())?;
        match self {
            Linear::Conv(conv) => input.strided(shape, conv.stride),
            Linear::Dense(_) => input.with_shape(shape),
        }
    }
}
