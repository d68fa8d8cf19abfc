//! Noise of several kinds and scales.

use super::canvas::{Canvas, Random, WHITE};
use crate::Shape;

/// Share of the pictures that are grey.
const GREY: f64 = 0.5;

/// Where values come from.
#[derive(Clone, Copy, Debug)]
pub enum Noise {
    Uniform,
    /// About middle grey, clipped.
    Gaussian,
    /// Full or nothing.
    Binary,
}

impl Noise {
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform noise",
            Self::Gaussian => "Gaussian noise",
            Self::Binary => "black-and-white noise",
        }
    }

    /// A picture in cells of `cell` times `cell` pixels.
    pub fn draw(self, shape: Shape, cell: usize, random: &mut Random) -> Canvas {
        let (rows, columns) = (shape.height.div_ceil(cell), shape.width.div_ceil(cell));
        let (deviation, share) = (
            random.of(&[32.0, 64.0, 128.0]),
            random.of(&[0.1, 0.5, 0.5, 0.9]),
        );
        let maps = if random.chance(GREY) {
            1
        } else {
            shape.channels
        };
        let mut value = || match self {
            Self::Uniform => random.between(0.0, WHITE),
            Self::Gaussian => WHITE / 2.0 + deviation * random.gaussian(),
            Self::Binary => WHITE * f64::from(u8::from(random.chance(share))),
        };
        let values: Vec<f64> = (0..maps * rows * columns).map(|_| value()).collect();
        Canvas::new(shape, |c, y, x| {
            values[(c % maps * rows + y / cell) * columns + x / cell]
        })
    }
}
