//! Linear maps: stands for `he_layers::linear` until that is there. Same names and fields.

use he_layers::{Chw, LayerError};

/// Zeros added on the four sides of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

/// A convolution, grouped, with zero padding and a bias for each tap inside the map.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// Name.
    pub name: String,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Groups.
    pub groups: usize,
    /// Kernel.
    pub kernel: (usize, usize),
    /// Stride.
    pub stride: (usize, usize),
    /// Padding.
    pub padding: Padding,
    /// `[out][in / groups][kh][kw]`.
    pub weight: Vec<f64>,
    /// `[out]`.
    pub bias: Vec<f64>,
    /// `[out][kh][kw]`.
    pub tap_bias: Vec<f64>,
}

/// Flatten and dense.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Name.
    pub name: String,
    /// Shape read.
    pub input: Chw,
    /// Outputs.
    pub outputs: usize,
    /// `[output][c][y][x]`.
    pub weight: Vec<f64>,
    /// `[output]`.
    pub bias: Vec<f64>,
}

/// A linear map.
#[derive(Clone, Debug, PartialEq)]
pub enum Linear {
    /// A convolution.
    Conv(Conv2d),
    /// A dense layer.
    Dense(Dense),
}

impl Linear {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Conv(c) => &c.name,
            Self::Dense(d) => &d.name,
        }
    }

    /// Shape of its output.
    ///
    /// # Errors
    /// Of shapes.
    pub fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        match self {
            Self::Conv(c) => {
                if input.channels != c.in_channels {
                    return Err(LayerError::Channels {
                        layer: c.name.clone(),
                        found: input.channels,
                        expected: c.in_channels,
                    });
                }
                let axis = |size: usize, pads: usize, kernel: usize, stride: usize| {
                    let padded = size + pads;
                    if padded < kernel {
                        return Err(LayerError::KernelTooLarge {
                            layer: c.name.clone(),
                            kernel,
                            axis: padded,
                        });
                    }
                    Ok((padded - kernel) / stride + 1)
                };
                let p = c.padding;
                Ok(Chw::new(
                    c.out_channels,
                    axis(input.height, p.top + p.bottom, c.kernel.0, c.stride.0)?,
                    axis(input.width, p.left + p.right, c.kernel.1, c.stride.1)?,
                ))
            }
            Self::Dense(d) => {
                if input != d.input {
                    return Err(LayerError::Shape {
                        layer: d.name.clone(),
                        found: input,
                        expected: d.input,
                    });
                }
                Ok(Chw::new(d.outputs, 1, 1))
            }
        }
    }
}
