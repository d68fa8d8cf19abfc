//! A picture in the making, and the randomness that makes it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::synthetic::near_gaussian;
use crate::{Batch, Shape};

/// Full scale of a pixel.
pub const WHITE: f64 = 255.0;

/// A picture whose pixels are not yet clipped to `0..=255` and rounded.
#[derive(Clone, Debug)]
pub struct Canvas {
    pub shape: Shape,
    /// `[channel][row][column]`
    pub pixels: Vec<f64>,
}

/// A colour: a value for each channel.
pub type Colour = Vec<f64>;

impl Canvas {
    /// The first picture of a batch.
    pub fn of(images: &Batch<'_>) -> Self {
        let values = images.range(0..1).to_f64();
        Self {
            shape: images.shape(),
            pixels: values.into_iter().map(|x| WHITE * x).collect(),
        }
    }

    /// A picture whose pixel in channel `c`, row `y`, column `x` is `f(c, y, x)`.
    pub fn new(shape: Shape, f: impl Fn(usize, usize, usize) -> f64) -> Self {
        let mut pixels = Vec::with_capacity(shape.values());
        for c in 0..shape.channels {
            for y in 0..shape.height {
                pixels.extend((0..shape.width).map(|x| f(c, y, x)));
            }
        }
        Self { shape, pixels }
    }

    /// A picture of two colours: the second one where `mask` is true.
    pub fn of_two(
        shape: Shape,
        [first, second]: [&Colour; 2],
        mask: impl Fn(usize, usize) -> bool,
    ) -> Self {
        Self::new(
            shape,
            |c, y, x| if mask(y, x) { second[c] } else { first[c] },
        )
    }

    /// Paints the pixels where `mask` is true.
    pub fn paint(&mut self, colour: &Colour, mask: impl Fn(usize, usize) -> bool) {
        let (height, width) = (self.shape.height, self.shape.width);
        let maps = self.pixels.chunks_exact_mut(height * width);
        for (map, value) in maps.zip(colour) {
            for (at, pixel) in map.iter_mut().enumerate() {
                if mask(at / width, at % width) {
                    *pixel = *value;
                }
            }
        }
    }

    pub fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.pixels.iter_mut().for_each(|pixel| *pixel = f(*pixel));
        self
    }

    /// Clipped and rounded.
    pub fn finish(self) -> impl Iterator<Item = u8> {
        // A float-to-integer conversion clamps to the integer's range.
        self.pixels
            .into_iter()
            .map(|pixel| (pixel + 0.5).floor() as u8)
    }
}

/// Random numbers of one picture. They are made of random words by additions, multiplications and divisions alone.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: [u8; 32], stream: u64) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Uniform in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between two numbers.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n - 1)
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// One of some numbers.
    pub fn of(&mut self, options: &[f64]) -> f64 {
        options[self.below(options.len())]
    }

    /// Mean 0, deviation 1.
    pub fn gaussian(&mut self) -> f64 {
        near_gaussian(&mut self.0)
    }

    /// Any colour, one of full channels only, black or white: a third each.
    pub fn colour(&mut self, channels: usize) -> Colour {
        match self.below(3) {
            0 => (0..channels).map(|_| self.between(0.0, WHITE)).collect(),
            1 => (0..channels).map(|_| self.of(&[0.0, WHITE])).collect(),
            _ => vec![self.of(&[0.0, WHITE]); channels],
        }
    }
}
