//! Which number of the block is in which slot.
//!
//! A ciphertext holds one pixel of all channels and of many images: slot `image * cells + channel`. So the sum over the pixels is
//! a sum of ciphertexts; the sum over the images is a sum of rotations that leaves it in the slots of every image; and a parameter of
//! each channel is one ciphertext, whatever the pixel. Nothing of it needs a mask.

use he_layers::{Chw, Grid, Layout, Packing, PlainTensor};

use crate::error::{TrainingError, check};

/// The layout of a block's tensors: one ciphertext for each pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    shape: Chw,
    cells: usize,
    slots: usize,
}

impl BlockLayout {
    /// A layout of maps of shape `shape` in ciphertexts of `slots` slots, a power of two. Channels are filled up to a power of two.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for maps without numbers or with more channels than slots.
    pub fn new(slots: usize, shape: Chw) -> Result<Self, TrainingError> {
        let cells = shape.channels.max(2).checked_next_power_of_two();
        let fits = slots.is_power_of_two() && cells.is_some_and(|cells| cells <= slots);
        check(
            fits && shape.volume() > 0,
            "shape of a block's maps",
            shape,
            format_args!("1 to {slots} channels, as many as there are slots, and a pixel"),
        )?;
        Ok(Self {
            shape,
            cells: cells.unwrap_or(slots),
            slots,
        })
    }

    /// Shape of one image's maps.
    pub fn shape(&self) -> Chw {
        self.shape
    }

    /// Slots of an image in a ciphertext: the channels, filled up to a power of two.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Slots of a ciphertext.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Images that a mini-batch has at most.
    pub fn images(&self) -> usize {
        self.slots / self.cells
    }

    /// Ciphertexts of a tensor.
    pub fn ciphertexts(&self) -> usize {
        self.shape.pixels()
    }

    /// The same as the layout of a map of single pixels, whose channels are those of all pixels: `pixel * cells + channel`.
    pub(super) fn of_channels(&self) -> Result<Layout, TrainingError> {
        let shape = Chw::new(self.shape.pixels() * self.cells, 1, 1);
        Ok(Layout::new(
            shape,
            Grid::new(1, self.cells),
            Packing::Real,
            self.slots,
        )?)
    }

    /// Rotations that add up the images, one after another.
    pub(super) fn image_steps(&self) -> impl Iterator<Item = i64> + use<> {
        let (cells, images) = (self.cells, self.images());
        (0..images.ilog2()).map(move |log| (cells << log) as i64)
    }

    /// Rotations that add up the cells of an image into its first cell, one after another.
    pub(super) fn cell_steps(&self) -> impl Iterator<Item = i64> + use<> {
        (0..self.cells.ilog2()).map(|log| 1 << log)
    }

    /// Slots of each ciphertext of maps of up to [`Self::images`] images.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images, [`TrainingError::Setting`] for maps of another shape.
    pub fn pack(&self, maps: &PlainTensor) -> Result<Vec<Vec<f64>>, TrainingError> {
        check(
            maps.shape == self.shape,
            "shape of a block's input",
            maps.shape,
            self.shape,
        )?;
        self.check_images(maps.n)?;
        let pixels = self.shape.pixels();
        let mut packed = vec![vec![0.0; self.slots]; pixels];
        for image in 0..maps.n {
            let channels = maps.image(image).chunks_exact(pixels).enumerate();
            for (channel, map) in channels {
                let slot = image * self.cells + channel;
                packed.iter_mut().zip(map).for_each(|(ct, x)| ct[slot] = *x);
            }
        }
        Ok(packed)
    }

    /// Maps of the first `images` images from the slots of each ciphertext.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images or another number of ciphertexts or slots.
    pub fn unpack(&self, slots: &[Vec<f64>], images: usize) -> Result<PlainTensor, TrainingError> {
        self.check_images(images)?;
        let (found, expected) = (
            slots.iter().map(Vec::len).sum(),
            self.ciphertexts() * self.slots,
        );
        if found != expected || slots.iter().any(|ct| ct.len() != self.slots) {
            return Err(TrainingError::Count {
                what: "slots of a tensor",
                found,
                expected,
            });
        }
        let width = self.shape.width;
        Ok(PlainTensor::from_fn(images, self.shape, |n, c, y, x| {
            slots[y * width + x][n * self.cells + c]
        }))
    }

    /// Slots of one number for each channel, the same in all images.
    pub(super) fn spread_channels(&self, values: &[f64]) -> Vec<f64> {
        let value = |slot: usize| values.get(slot % self.cells).copied().unwrap_or(0.0);
        (0..self.slots).map(value).collect()
    }

    /// Slots of one number for each image, the same in all channels; zeros where there is no image.
    pub(super) fn spread_images(&self, value: impl Fn(usize) -> f64, images: usize) -> Vec<f64> {
        (0..self.slots)
            .map(|slot| slot / self.cells)
            .map(|image| if image < images { value(image) } else { 0.0 })
            .collect()
    }

    pub(super) fn check_images(&self, images: usize) -> Result<(), TrainingError> {
        if images <= self.images() {
            return Ok(());
        }
        Err(TrainingError::Count {
            what: "images of a mini-batch",
            found: images,
            expected: self.images(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn maps_are_unpacked_as_they_were_packed() {
        let layout = BlockLayout::new(64, Chw::new(3, 2, 3)).unwrap();
        assert_eq!(
            (layout.cells(), layout.images(), layout.ciphertexts()),
            (4, 16, 6)
        );
        let maps = PlainTensor::from_fn(5, layout.shape(), |n, c, y, x| {
            (1 + n * 100 + c * 10 + y * 3 + x) as f64
        });
        let packed = layout.pack(&maps).unwrap();
        assert_eq!(layout.unpack(&packed, 5).unwrap(), maps);
        // Nothing lies where there is no image and no channel.
        let filled = packed.iter().flatten().filter(|x| **x != 0.0).count();
        assert_eq!(filled, maps.data.len());
        assert!(layout.unpack(&packed, 17).is_err());
        assert!(layout.unpack(&packed[1..], 5).is_err());
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        for (slots, shape) in [
            (64, Chw::new(65, 1, 1)),
            (64, Chw::new(3, 0, 1)),
            (48, Chw::new(3, 1, 1)),
        ] {
            assert!(BlockLayout::new(slots, shape).is_err(), "{shape}");
        }
        let layout = BlockLayout::new(64, Chw::new(3, 2, 3)).unwrap();
        let other = PlainTensor::zeros(1, Chw::new(3, 3, 2));
        assert!(layout.pack(&other).is_err());
        let many = PlainTensor::zeros(17, layout.shape());
        assert!(layout.pack(&many).is_err());
    }
}
