//! Plain tensors: what the references compute on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::LayerError;

/// Shape of one image or feature map: channels, rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chw {
    /// Channels.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl Chw {
    /// A shape of `channels` maps of `height` times `width` pixels.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self {
            channels,
            height,
            width,
        }
    }

    /// Numbers in one image: `channels * height * width`.
    pub const fn volume(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pixels of one channel.
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }
}

impl fmt::Display for Chw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// A batch of images in the clear, `f64`, in the order image, channel, row, column.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainTensor {
    /// Images.
    pub n: usize,
    /// Shape of each image.
    pub shape: Chw,
    /// `n * shape.volume()` numbers.
    pub data: Vec<f64>,
}

impl PlainTensor {
    /// A tensor of `n` images from its numbers.
    ///
    /// # Errors
    /// [`LayerError::TensorLength`] unless `data` holds `n * shape.volume()` numbers.
    pub fn new(n: usize, shape: Chw, data: Vec<f64>) -> Result<Self, LayerError> {
        let expected = n * shape.volume();
        if data.len() != expected {
            return Err(LayerError::TensorLength {
                n,
                shape,
                found: data.len(),
                expected,
            });
        }
        Ok(Self { n, shape, data })
    }

    /// A tensor of zeros.
    pub fn zeros(n: usize, shape: Chw) -> Self {
        Self {
            n,
            shape,
            data: vec![0.0; n * shape.volume()],
        }
    }

    /// A tensor whose number at image `n`, channel `c`, row `y`, column `x` is `f(n, c, y, x)`.
    pub fn from_fn(
        n: usize,
        shape: Chw,
        mut f: impl FnMut(usize, usize, usize, usize) -> f64,
    ) -> Self {
        let mut data = Vec::with_capacity(n * shape.volume());
        for image in 0..n {
            for c in 0..shape.channels {
                for y in 0..shape.height {
                    for x in 0..shape.width {
                        data.push(f(image, c, y, x));
                    }
                }
            }
        }
        Self { n, shape, data }
    }

    /// The number at image `n`, channel `c`, row `y`, column `x`.
    ///
    /// # Panics
    /// If the position lies outside the tensor.
    pub fn at(&self, n: usize, c: usize, y: usize, x: usize) -> f64 {
        assert!(
            c < self.shape.channels && y < self.shape.height && x < self.shape.width,
            "position outside the tensor"
        );
        self.data[((n * self.shape.channels + c) * self.shape.height + y) * self.shape.width + x]
    }

    /// The numbers of one image.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, n: usize) -> &[f64] {
        let volume = self.shape.volume();
        &self.data[n * volume..(n + 1) * volume]
    }

    /// The images `range` as a tensor of their own.
    ///
    /// # Panics
    /// If the range leaves the batch.
    pub fn images(&self, range: std::ops::Range<usize>) -> PlainTensor {
        let volume = self.shape.volume();
        let data = self.data[range.start * volume..range.end * volume].to_vec();
        PlainTensor {
            n: range.len(),
            shape: self.shape,
            data,
        }
    }

    /// Adds `other` number by number; `layer` names who asks, for the error.
    ///
    /// # Errors
    /// [`LayerError::Shape`] if the shapes differ, [`LayerError::Count`] if the batches do.
    pub fn add_assign(&mut self, layer: &str, other: &PlainTensor) -> Result<(), LayerError> {
        if self.shape != other.shape {
            return Err(LayerError::Shape {
                layer: layer.to_owned(),
                found: other.shape,
                expected: self.shape,
            });
        }
        if self.n != other.n {
            return Err(LayerError::Count {
                what: "images to add",
                found: other.n,
                expected: self.n,
            });
        }
        for (a, b) in self.data.iter_mut().zip(&other.data) {
            *a += b;
        }
        Ok(())
    }
}
