//! What goes into a network: shape, conditioning and normalisation of pictures.

use he_layers::Chw;
use serde::{Deserialize, Serialize};

use super::MAX_EXTENT;
use crate::{Conditioning, ModelError};

/// Shape, conditioning and normalisation of the input. The network sees `(x - mean) / std`, zero-padded after that, `x` being
/// the pixels divided by 255 and then conditioned.
///
/// Everything up to `x` is done in the clear by whoever encrypts, by [`Self::condition`]. What comes after it is part of the
/// network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Colour channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Mean of each channel, of pixels in `[0, 1]`.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, of pixels in `[0, 1]`.
    pub std: Vec<f64>,
    /// What is done to pictures that are stronger than those that the network was made for; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditioning: Option<Conditioning>,
}

impl InputSpec {
    /// Shape of an image.
    #[must_use]
    pub fn shape(&self) -> Chw {
        Chw::new(self.channels, self.height, self.width)
    }

    /// Makes pictures what the network reads, in place: conditions them, if that is declared. This is the one way from pixels
    /// to inputs, of plaintext evaluations and of encryptions alike. Parallel on the current rayon pool.
    ///
    /// # Shapes and ranges
    /// `[picture][channel][row][column]`, pixels divided by 255. What is left of an incomplete last picture stays as it is.
    /// # Panics
    /// If the conditioning would not pass [`Self::validate`].
    pub fn condition(&self, pictures: &mut [f64]) {
        if let Some(conditioning) = &self.conditioning {
            conditioning.apply(self.shape(), pictures);
        }
    }

    /// The picture that the network sees as zeros: every pixel is the mean of its channel. It is not to be conditioned.
    #[must_use]
    pub fn mean_picture(&self) -> Vec<f64> {
        let pixels = self.height * self.width;
        let maps = self.mean.iter();
        maps.flat_map(|mean| std::iter::repeat_n(*mean, pixels))
            .collect()
    }

    /// Checks every number; `model` names the network in errors.
    ///
    /// # Errors
    /// [`ModelError::Value`], naming the first field that is wrong.
    pub fn validate(&self, model: &str) -> Result<(), ModelError> {
        let value = |field: &str, found: String, expected: String| {
            Err(ModelError::Value {
                model: model.to_owned(),
                field: field.to_owned(),
                found,
                expected,
            })
        };
        let extents = [
            ("input.channels", self.channels),
            ("input.height", self.height),
            ("input.width", self.width),
        ];
        for (field, extent) in extents {
            if extent == 0 || extent > MAX_EXTENT {
                return value(field, extent.to_string(), format!("1 to {MAX_EXTENT}"));
            }
        }
        for (field, values) in [("input.mean", &self.mean), ("input.std", &self.std)] {
            if values.len() != self.channels {
                let found = format!("{} values", values.len());
                return value(field, found, format!("{}, one a channel", self.channels));
            }
        }
        if let Some(bad) = self.mean.iter().find(|m| !m.is_finite()) {
            return value("input.mean", format!("{bad:?}"), "finite values".into());
        }
        if let Some(bad) = self.std.iter().find(|s| !(s.is_normal() && **s > 0.0)) {
            let expected = "finite values above 0";
            return value("input.std", format!("{bad:?}"), expected.into());
        }
        match self.conditioning.as_ref().map(|c| c.check(self.channels)) {
            Some(Err((field, found, expected))) => {
                value(&format!("input.conditioning.{field}"), found, expected)
            }
            Some(Ok(())) | None => Ok(()),
        }
    }
}
