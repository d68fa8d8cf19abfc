//! Deterministic synthetic images with the statistics of CIFAR's.
//!
//! An image is a Gaussian random field: waves of random phase whose amplitude falls with their frequency as
//! `f^(-3/2)`, mixed across the colours, scaled, clamped to 0..=255 and rounded. Measured with the same discrete Fourier
//! transform of 32 x 32 pixels, the amplitude of CIFAR-10's images falls as `f^-1.35` and that of these as `f^-1.37`;
//! mean absolute difference of neighbouring pixels 0.054 and 0.058 of full scale; share of the variance that lies between
//! images 0.27 and 0.29. They have no edges and no objects, hence no labels, and they excite a network trained on CIFAR
//! about as much as its training images do.
//!
//! Any other shape is made of the same fields. The field is a square whose side is a power of two, at most 64. A smaller
//! image is its upper left part; in a larger one the field is stretched, linearly between its points, so finer waves than
//! those of 64 pixels are missing. More than three channels are several colour images, independent of each other.
//!
//! Random words are added, multiplied, divided and rooted, nothing else, so every machine makes the same images.

use std::f64::consts::SQRT_2;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{DataError, Dataset, Images, Shape};

/// Mean and deviation of each colour, as parts of full scale, *before* clamping to 0..=1. A Gaussian variable with these,
/// clamped, has the mean and the deviation of CIFAR-10's training images: (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616).
const BEFORE_CLAMPING: [(f64, f64); 3] = [(0.4909, 0.2595), (0.4813, 0.2549), (0.4419, 0.2821)];

/// Correlation of red with green, red with blue, green with blue, over CIFAR-10's pixels.
const CORRELATION: [f64; 3] = [0.912, 0.784, 0.907];

/// Channels, rows and columns that an image can have.
const LARGEST_SIDE: usize = 4096;
/// Points in a row of a field. More take too long.
const LARGEST_FIELD: usize = 64;

/// Synthetic images: number `i` depends on the seed, the shape and `i` only.
///
/// Any number of them can be read, from any offset.
#[derive(Clone, Debug)]
pub struct Synthetic {
    seed: u64,
    shape: Shape,
    name: String,
    spectrum: Spectrum,
    /// Where rows and columns lie in a field, `max(height, width)` of them.
    places: Vec<Place>,
}

impl Synthetic {
    /// Images of CIFAR's shape.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_shape(seed, Shape::CIFAR)
            .expect("CIFAR's shape is among those that are possible")
    }

    /// Images of another shape: 1 to 4096 channels, rows and columns.
    ///
    /// # Errors
    /// [`DataError::SyntheticShape`] for any other shape.
    pub fn with_shape(seed: u64, shape: Shape) -> Result<Self, DataError> {
        let Shape {
            channels,
            height,
            width,
        } = shape;
        if ![channels, height, width]
            .iter()
            .all(|side| (1..=LARGEST_SIDE).contains(side))
        {
            return Err(DataError::SyntheticShape { found: shape });
        }
        let side = height.max(width);
        let field = side.next_power_of_two().clamp(4, LARGEST_FIELD);
        Ok(Self {
            seed,
            shape,
            name: format!("synthetic images (seed {seed})"),
            spectrum: Spectrum::new(field),
            places: places(side, field),
        })
    }

    /// Appends the pixels of image `index`.
    fn draw(&self, index: u64, pixels: &mut Vec<u8>) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(index);
        let colours: Vec<_> = BEFORE_CLAMPING.into_iter().zip(colour_mix()).collect();
        for first in (0..self.shape.channels).step_by(colours.len()) {
            let channels = (self.shape.channels - first).min(colours.len());
            let fields: Vec<_> = (0..channels)
                .map(|_| self.spectrum.draw(&mut rng))
                .collect();
            for ((mean, deviation), weights) in &colours[..channels] {
                let mixed: Vec<f64> = (0..fields[0].len())
                    .map(|at| {
                        let weighted = fields.iter().zip(weights);
                        weighted.map(|(field, weight)| field[at] * weight).sum()
                    })
                    .collect();
                let side = self.spectrum.side;
                let rows = &self.places[..self.shape.height];
                pixels.extend(rows.iter().flat_map(|row| {
                    let columns = &self.places[..self.shape.width];
                    columns.iter().map(|column| {
                        let value = row.mix(|y| column.mix(|x| mixed[y * side + x]));
                        // A float-to-integer conversion clamps to the integer's range.
                        (255.0 * (mean + deviation * value) + 0.5).floor() as u8
                    })
                }));
            }
        }
    }
}

/// A place between two points of a row or a column of a field.
#[derive(Clone, Copy, Debug)]
struct Place {
    before: usize,
    /// Weight of the point after it, 0..1. The point is not looked at if this is 0.
    beyond: f64,
}

impl Place {
    fn mix(self, value: impl Fn(usize) -> f64) -> f64 {
        let before = value(self.before);
        if self.beyond == 0.0 {
            return before;
        }
        before + self.beyond * (value(self.before + 1) - before)
    }
}

/// `count` places in a field: point by point if there are enough points, otherwise spread from the first to the last.
fn places(count: usize, points: usize) -> Vec<Place> {
    (0..count)
        .map(|i| {
            if count <= points {
                return Place {
                    before: i,
                    beyond: 0.0,
                };
            }
            let (steps, last) = (i * (points - 1), count - 1);
            Place {
                before: steps / last,
                beyond: (steps % last) as f64 / last as f64,
            }
        })
        .collect()
}

impl Dataset for Synthetic {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn num_images(&self) -> Option<usize> {
        None
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        let mut pixels = Vec::new();
        if pixels
            .try_reserve_exact(count.saturating_mul(self.shape.values()))
            .is_err()
        {
            return Err(DataError::Memory {
                dataset: self.name.clone(),
                count,
            });
        }
        for index in 0..count as u64 {
            self.draw((offset as u64).wrapping_add(index), &mut pixels);
        }
        Ok(Images::new(self.shape, offset, pixels, None))
    }
}

/// Row `c`: the weights of three independent fields in colour `c`. The Cholesky factor of the correlation matrix.
fn colour_mix() -> [[f64; 3]; 3] {
    let [rg, rb, gb] = CORRELATION;
    let gg = (1.0 - rg * rg).sqrt();
    let bg = (gb - rg * rb) / gg;
    [
        [1.0, 0.0, 0.0],
        [rg, gg, 0.0],
        [rb, bg, (1.0 - rb * rb - bg * bg).sqrt()],
    ]
}

/// Amplitudes of the waves that make a field of `side * side` pixels.
///
/// The waves repeat after twice the side, so that opposite borders of an image have little to do with each other, and
/// have `u` periods along a doubled row and `v` along a doubled column, over the half plane that real fields need:
/// `0 <= u < side`, `|v| < side`.
#[derive(Clone, Debug)]
struct Spectrum {
    side: usize,
    /// `[u][v + side - 1]`; 0 outside the half plane. Scaled so that a field has variance 1.
    amplitudes: Vec<f64>,
    /// cos and sin of `2 pi k / (2 side)`.
    circle: Vec<(f64, f64)>,
}

impl Spectrum {
    fn new(side: usize) -> Self {
        let span = side as i64 - 1;
        let mut amplitudes: Vec<_> = (0..=span)
            .flat_map(|u| (-span..=span).map(move |v| (u, v)))
            .map(|(u, v)| match (u, v) {
                (0, 0) => 1.0 / SQRT_2,
                (0, v) if v < 0 => 0.0,
                _ => {
                    let f = ((u * u + v * v) as f64).sqrt();
                    1.0 / (f * f.sqrt())
                }
            })
            .collect();
        let variance: f64 = amplitudes.iter().map(|a| a * a).sum();
        amplitudes.iter_mut().for_each(|a| *a /= variance.sqrt());
        Self {
            side,
            amplitudes,
            circle: unit_circle(2 * side),
        }
    }

    /// A field of variance 1, row by row.
    fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let (side, columns) = (self.side, 2 * self.side - 1);
        let angle = |product: usize| self.circle[product % (2 * side)];
        let mut field = vec![0.0; side * side];
        for (u, amplitudes) in self.amplitudes.chunks_exact(columns).enumerate() {
            let waves: Vec<_> = amplitudes
                .iter()
                .map(|a| (a * near_gaussian(rng), a * near_gaussian(rng)))
                .collect();
            for (y, row) in field.chunks_exact_mut(side).enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for (i, (wave_re, wave_im)) in waves.iter().enumerate() {
                    // v = i - (side - 1), taken modulo the period 2 * side.
                    let (cos, sin) = angle((i + side + 1) * y);
                    re += wave_re * cos - wave_im * sin;
                    im += wave_re * sin + wave_im * cos;
                }
                for (x, value) in row.iter_mut().enumerate() {
                    let (cos, sin) = angle(u * x);
                    *value += re * cos - im * sin;
                }
            }
        }
        field
    }
}

/// The points of the unit circle at `2 pi k / n`, for `n` a power of two from 4 on, by halving a quarter turn.
fn unit_circle(n: usize) -> Vec<(f64, f64)> {
    let mut circle = vec![(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)];
    let mut cos: f64 = 0.0;
    while circle.len() < n {
        cos = ((1.0 + cos) / 2.0).sqrt();
        let sin = (1.0 - cos * cos).sqrt();
        circle = circle
            .iter()
            .flat_map(|&(c, s)| [(c, s), (c * cos - s * sin, c * sin + s * cos)])
            .collect();
    }
    circle
}

/// A random number of mean 0 and variance 1: the sum of four uniform ones, so never beyond 3.47.
pub(crate) fn near_gaussian(rng: &mut ChaCha8Rng) -> f64 {
    let word = rng.next_u64();
    let sum: u64 = (0..4).map(|i| word >> (16 * i) & 0xffff).sum();
    // Four uniform numbers of 0..65536 have mean 131070 and variance (2^32 - 1) / 3.
    (sum as f64 - 131_070.0) / (f64::from(u32::MAX) / 3.0).sqrt()
}
