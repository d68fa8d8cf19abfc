//! Weights as integers: what the encrypted products really multiply with.

use ckks_scheme::encoding::periodic::PeriodicCodec;
use ckks_scheme::{EncodeError, Scale};

use crate::linear::TermWeight;

/// Rounds weights of one period as [`ckks_scheme::PeriodicMatrix`] does.
#[derive(Debug)]
pub(crate) struct Rounding {
    codec: PeriodicCodec,
    scale: Scale,
}

impl Rounding {
    /// For weights of `cells` cells at weight scale `scale`.
    pub(crate) fn new(cells: usize, scale: Scale) -> Result<Self, EncodeError> {
        Ok(Self {
            codec: PeriodicCodec::new(period(cells))?,
            scale,
        })
    }

    /// The values that the rounded weight really has.
    pub(crate) fn apply(&self, weight: &TermWeight) -> Result<TermWeight, EncodeError> {
        let scale = self.scale.value();
        Ok(match weight {
            TermWeight::Zero => TermWeight::Zero,
            TermWeight::Constant(w) => TermWeight::Constant((w * scale).round() / scale),
            TermWeight::Masked(cells) => {
                let coefficients = self.codec.round_real(cells, scale)?;
                TermWeight::Masked(
                    self.codec
                        .decode(&coefficients, scale)
                        .iter()
                        .map(|z| z.re)
                        .collect(),
                )
            }
        })
    }
}

/// The period that stands for a grid of `cells` cells: periodic plaintexts have two cells at least.
pub(crate) fn period(cells: usize) -> usize {
    cells.max(2)
}

/// A plane of one cell as one of two equal cells, which is the shortest period that can be encoded.
pub(crate) fn periodic(plane: Vec<f64>) -> Vec<f64> {
    let period = period(plane.len());
    plane.iter().copied().cycle().take(period).collect()
}
