//! Photographs, changed or mixed.

use super::canvas::{Canvas, Random, WHITE};
use crate::Shape;

const MIDDLE: f64 = WHITE / 2.0;

/// A way to change a photograph.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Times as far from middle grey.
    Contrast(f64, &'static str),
    /// Times as light.
    Brightness(f64, &'static str),
    /// Three times as far from their grey.
    Saturation,
    /// What a mean over 3 x 3 pixels takes away, three times more.
    Sharpening,
    Inversion,
}

impl Change {
    /// Those that change pictures of a shape.
    pub fn of(shape: Shape) -> impl Iterator<Item = Self> {
        let all = [
            Self::Contrast(2.0, "contrast x2"),
            Self::Contrast(4.0, "contrast x4"),
            Self::Brightness(0.5, "brightness -50 %"),
            Self::Brightness(1.5, "brightness +50 %"),
            Self::Saturation,
            Self::Sharpening,
            Self::Inversion,
        ];
        let coloured = shape.channels == 3;
        all.into_iter()
            .filter(move |change| coloured || !matches!(change, Self::Saturation))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Contrast(_, name) | Self::Brightness(_, name) => name,
            Self::Saturation => "saturation x3",
            Self::Sharpening => "sharpening x3",
            Self::Inversion => "inversion",
        }
    }

    pub fn apply(self, photograph: Canvas) -> Canvas {
        match self {
            Self::Contrast(factor, _) => photograph.map(|p| MIDDLE + factor * (p - MIDDLE)),
            Self::Brightness(factor, _) => photograph.map(|p| factor * p),
            Self::Saturation => saturated(photograph, 3.0),
            Self::Sharpening => sharpened(&photograph, 3.0),
            Self::Inversion => photograph.map(|p| WHITE - p),
        }
    }
}

fn saturated(mut photograph: Canvas, factor: f64) -> Canvas {
    let Shape {
        channels,
        height,
        width,
    } = photograph.shape;
    let pixels = height * width;
    for at in 0..pixels {
        let channel = |c: usize| c * pixels + at;
        let sum: f64 = (0..channels).map(|c| photograph.pixels[channel(c)]).sum();
        let grey = sum / channels as f64;
        for c in 0..channels {
            let pixel = &mut photograph.pixels[channel(c)];
            *pixel = grey + factor * (*pixel - grey);
        }
    }
    photograph
}

fn sharpened(photograph: &Canvas, factor: f64) -> Canvas {
    let Shape { height, width, .. } = photograph.shape;
    let at = |c: usize, y: usize, x: usize| photograph.pixels[(c * height + y) * width + x];
    // The border is repeated beyond it.
    let around = |i: usize, size: usize| [i.saturating_sub(1), i, (i + 1).min(size - 1)];
    Canvas::new(photograph.shape, |c, y, x| {
        let rows = around(y, height).into_iter();
        let cells = rows.flat_map(|y| around(x, width).map(|x| at(c, y, x)));
        let mean = cells.sum::<f64>() / 9.0;
        at(c, y, x) + factor * (at(c, y, x) - mean)
    })
}

/// Two photographs in one picture.
pub fn mixed(first: &Canvas, second: &Canvas, random: &mut Random) -> Canvas {
    let (kind, share, cell) = (random.below(5), random.unit(), 1 + random.below(8));
    let Shape { height, width, .. } = first.shape;
    Canvas::new(first.shape, |c, y, x| {
        let at = (c * height + y) * width + x;
        let (p, q) = (first.pixels[at], second.pixels[at]);
        match kind {
            0 => share * p + (1.0 - share) * q,
            1 => p + q - MIDDLE,
            2 => MIDDLE + p - q,
            3 if (y / cell + x / cell) % 2 == 0 => p,
            3 => q,
            _ => p.max(q),
        }
    })
}
