//! Dense layers over flattened images: the description.

use crate::checks::{check_array, check_length, check_sizes};
use crate::error::LayerError;
use crate::tensor::Chw;

/// `y[k] = bias[k] + sum over c, y, x of weight[k, c, y, x] * x[c, y, x]`: flatten, then a matrix. A global average pool is
/// equal weights over the pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Name for reports and errors.
    pub name: String,
    /// Shape of the input.
    pub input: Chw,
    /// Numbers given: channels of an output of one pixel.
    pub outputs: usize,
    /// `[outputs][channel][row][column]`.
    pub weight: Vec<f64>,
    /// `[outputs]`.
    pub bias: Vec<f64>,
}

impl Dense {
    /// A dense layer, weights in the order `[output][channel][row][column]`.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn new(
        name: impl Into<String>,
        input: Chw,
        outputs: usize,
        weight: Vec<f64>,
        bias: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let dense = Self {
            name: name.into(),
            input,
            outputs,
            weight,
            bias,
        };
        dense.validate()?;
        Ok(dense)
    }

    /// A dense layer that reads the sum over the pixels of each channel, weights in the order `[output][channel]`: for
    /// averages, divide them by the number of pixels.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn pooled(
        name: impl Into<String>,
        input: Chw,
        outputs: usize,
        weight: &[f64],
        bias: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let pixels = input.pixels();
        let weight = weight
            .iter()
            .flat_map(|w| std::iter::repeat_n(*w, pixels))
            .collect();
        Self::new(name, input, outputs, weight, bias)
    }

    /// Checks that sizes are positive and that the arrays have the lengths that they imply.
    ///
    /// # Errors
    /// [`LayerError::ParameterValue`], [`LayerError::ParameterLength`], [`LayerError::NotFinite`].
    pub fn validate(&self) -> Result<(), LayerError> {
        self.check_sizes()?;
        self.arrays()
            .try_for_each(|(what, data, length)| check_array(&self.name, what, data, length))
    }

    /// [`Self::validate`] without a look at each number.
    fn check_sizes(&self) -> Result<(), LayerError> {
        let sizes = [
            ("channels", self.input.channels),
            ("rows", self.input.height),
            ("columns", self.input.width),
            ("outputs", self.outputs),
        ];
        check_sizes(&self.name, &sizes)?;
        self.arrays()
            .try_for_each(|(what, data, length)| check_length(&self.name, what, data, length))
    }

    /// Arrays with their names and the lengths that they must have.
    fn arrays(&self) -> impl Iterator<Item = (&'static str, &[f64], usize)> {
        let weights = self.outputs * self.input.volume();
        [
            ("dense weight", &self.weight[..], weights),
            ("dense bias", &self.bias[..], self.outputs),
        ]
        .into_iter()
    }

    /// Shape of the output: `outputs x 1 x 1`.
    ///
    /// # Errors
    /// [`LayerError::Shape`] if `input` is not the layer's input, and those of [`Self::validate`] but
    /// [`LayerError::NotFinite`]: numbers are not looked at.
    pub fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.check_sizes()?;
        if input != self.input {
            return Err(LayerError::Shape {
                layer: self.name.clone(),
                found: input,
                expected: self.input,
            });
        }
        Ok(Chw::new(self.outputs, 1, 1))
    }
}
