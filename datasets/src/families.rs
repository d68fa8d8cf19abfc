//! Families of pictures that networks are not made for: photographs changed beyond recognition, noise, patterns, drawings.
//!
//! A network may blow up on pictures that are nothing like its training images. These show whether it does. They are
//! pictures of 8 bits, of any shape, without labels. Randomness is a seed's: picture 7 of a family is the same on every
//! machine.

mod canvas;
mod drawings;
mod noise;
mod patterns;
mod photographs;

use crate::dataset::check_bounds;
use crate::{DataError, Dataset, Images, Shape};
use canvas::{Canvas, Random};
use noise::Noise;
use photographs::Change;

/// Scales of the noise: pixels along a side of a cell of one value.
const CELLS: [usize; 4] = [1, 2, 4, 8];
/// Drawings for each picture of another random family.
const DRAWINGS: usize = 5;

/// Images of a data set that others are made of.
#[derive(Clone, Copy)]
pub struct Photographs<'a> {
    /// Where they come from.
    pub data: &'a dyn Dataset,
    /// Number of the first one there.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// One family: a [`Dataset`] that knows how many pictures it has.
#[derive(Clone)]
pub struct Family<'a> {
    name: String,
    photographs: Photographs<'a>,
    make: Make,
    count: usize,
    seed: [u8; 32],
}

/// How pictures are made.
#[derive(Clone, Copy, Debug)]
enum Make {
    Changed(Change),
    Mixed,
    Noise(Noise, usize),
    Boards,
    Colours,
    Drawn,
}

/// All families. Every photograph is changed in every way; of what is random there are `random` pictures a family, five times
/// as many drawings; of patterns and colours all that there are.
///
/// | family | pictures |
/// |---|---|
/// | contrast x2, x4 | about middle grey, clipped |
/// | brightness -50 %, +50 % | times 0.5 or 1.5, clipped |
/// | saturation x3 | three times as far from their grey; of three channels only |
/// | sharpening x3 | what a mean over 3 x 3 pixels takes away, added three times more |
/// | inversion | dark for light |
/// | mixtures of two images | averaged, added, subtracted, one in the gaps of the other, the lighter of both |
/// | uniform, Gaussian, black-and-white noise | in cells of 1, 2, 4 and 8 pixels, of each channel or of grey |
/// | stripes and checkerboards of every period | along rows, columns and diagonals, of black, white and full colours |
/// | single colours | 9 levels of each channel |
/// | drawings | lines, discs and text-like marks on one colour |
#[must_use]
pub fn families(photographs: Photographs<'_>, random: usize, seed: u64) -> Vec<Family<'_>> {
    let shape = photographs.data.shape();
    let mut found: Vec<Family<'_>> = Vec::new();
    let mut add = |name: String, make: Make, count: usize| {
        found.push(Family {
            seed: seed_of(seed, &name),
            name,
            photographs,
            make,
            count,
        });
    };
    for change in Change::of(shape) {
        add(
            change.name().to_owned(),
            Make::Changed(change),
            photographs.count,
        );
    }
    let mixtures = if photographs.count == 0 { 0 } else { random };
    add("mixtures of two images".to_owned(), Make::Mixed, mixtures);
    for noise in [Noise::Uniform, Noise::Gaussian, Noise::Binary] {
        for cell in CELLS {
            let name = format!("{}, cells of {cell}", noise.name());
            add(name, Make::Noise(noise, cell), random);
        }
    }
    let name = "stripes and checkerboards of every period";
    add(name.to_owned(), Make::Boards, patterns::boards(shape));
    add(
        "single colours".to_owned(),
        Make::Colours,
        patterns::colours(shape),
    );
    add(
        "drawings".to_owned(),
        Make::Drawn,
        DRAWINGS.saturating_mul(random),
    );
    found
}

/// Families of one seed are independent of each other, whichever there are.
fn seed_of(seed: u64, name: &str) -> [u8; 32] {
    // FNV-1a.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&hash.to_le_bytes());
    bytes
}

impl Family<'_> {
    fn draw(&self, index: usize) -> Result<Canvas, DataError> {
        let shape = self.shape();
        let mut random = Random::new(self.seed, index as u64);
        Ok(match self.make {
            Make::Changed(change) => change.apply(self.photograph(index)?),
            Make::Mixed => {
                let [first, second] = [0; 2].map(|_| random.below(self.photographs.count));
                let (first, second) = (self.photograph(first)?, self.photograph(second)?);
                photographs::mixed(&first, &second, &mut random)
            }
            Make::Noise(noise, cell) => noise.draw(shape, cell, &mut random),
            Make::Boards => patterns::board(shape, index),
            Make::Colours => patterns::colour(shape, index),
            Make::Drawn => drawings::drawn(shape, &mut random),
        })
    }

    fn photograph(&self, index: usize) -> Result<Canvas, DataError> {
        let Photographs { data, first, .. } = self.photographs;
        let image = data.read(first + index, 1)?;
        Ok(Canvas::of(&image.view()))
    }
}

impl Dataset for Family<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> Shape {
        self.photographs.data.shape()
    }

    fn num_images(&self) -> Option<usize> {
        Some(self.count)
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        check_bounds(&self.name, self.count, offset, count)?;
        let mut pixels = Vec::new();
        for index in offset..offset + count {
            pixels.extend(self.draw(index)?.finish());
        }
        Ok(Images::new(self.shape(), offset, pixels, None))
    }
}
