//! Which number is in which slot.
//!
//! A ciphertext holds `lanes` features of `images` images: slot `f * images + i` is feature `f` of image `i`. A rotation by
//! a multiple of `images` is a rotation of the features, and it is cyclic. More features than lanes take several
//! ciphertexts, *blocks*. Classes are padded to a power of two, the *period*. The last `period - 1` images of a ciphertext stay
//! empty, so that a rotation by fewer slots than a period does not carry anything from one feature to the next.
//!
//! Weights have two forms, both of one ciphertext per block:
//! * *plain*: slot `(f, c)` is the weight of feature `f` for class `c < period`; other slots are zero;
//! * *spread*: slot `(f, i)` is the weight of feature `(f + i mod period) mod lanes` for class `f mod period`. Spread weights
//!   meet rotated features without any mask.
//!
//! Spread weights repeat with the period. Between steps of a training the blocks lie side by side in one ciphertext, *packed*: slot
//! `(f, place period + r)` is slot `(f, r)` of the block at that place. So one refresh serves all of them. A bias is one block more there, in
//! whose slot `(f, r)` is that of class `f` modulo the period.

use crate::error::{TrainingError, check};
use serde::{Deserialize, Serialize};

/// How features, labels and weights lie in ciphertexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureLayout {
    slots: usize,
    images: usize,
    features: usize,
    classes: usize,
}

impl FeatureLayout {
    /// The layout of `features` features (a bias takes none) and `classes` classes in ciphertexts of `slots` slots, with `images` images per ciphertext, the empty ones included.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] unless `slots` and `images` are powers of two, there are 2 classes or more, and there are
    /// twice as many images and at least as many lanes as classes in a period.
    pub fn new(
        slots: usize,
        images: usize,
        features: usize,
        classes: usize,
    ) -> Result<Self, TrainingError> {
        check(
            slots.is_power_of_two(),
            "number of slots",
            slots,
            "a power of two",
        )?;
        check(features > 0, "number of features", features, "1 or more")?;
        check(
            (2..=1 << 12).contains(&classes),
            "number of classes",
            classes,
            "2 to 4096",
        )?;
        let period = classes.next_power_of_two();
        check(
            images.is_power_of_two() && (2 * period..=slots / period).contains(&images),
            "images per ciphertext",
            images,
            format_args!("a power of two, {} to {}", 2 * period, slots / period),
        )?;
        Ok(Self {
            slots,
            images,
            features,
            classes,
        })
    }

    /// The layout with the fewest ciphertexts per image, for `features` features and `classes` classes: as many lanes as
    /// features, if there are so many.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_features(
        slots: usize,
        features: usize,
        classes: usize,
    ) -> Result<Self, TrainingError> {
        let period = classes.next_power_of_two();
        let lanes = features.next_power_of_two().max(period);
        // Few lanes where that leaves too few images.
        let images = (slots / lanes.max(1)).max(2 * period);
        Self::new(slots, images, features, classes)
    }

    /// Slots of a ciphertext.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Images per ciphertext, the empty ones included: the slots of one feature.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Images that a group of ciphertexts holds.
    pub fn capacity(&self) -> usize {
        self.images - self.period() + 1
    }

    /// Features per ciphertext.
    pub fn lanes(&self) -> usize {
        self.slots / self.images
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of classes, padded to a power of two.
    pub fn period(&self) -> usize {
        self.classes.next_power_of_two()
    }

    /// Ciphertexts of the features of one group of images.
    pub fn blocks(&self) -> usize {
        self.features.div_ceil(self.lanes())
    }

    /// Blocks of spread weights that one packed ciphertext holds.
    pub(crate) fn places(&self) -> usize {
        self.images / self.period()
    }

    /// Slot of lane `f` and image `i`.
    pub fn slot(&self, f: usize, i: usize) -> usize {
        f * self.images + i
    }

    /// Rotation that brings lane `f + k` to lane `f`.
    pub(crate) fn lane_step(&self, k: usize) -> i64 {
        (k * self.images) as i64
    }

    /// A slot vector by lane and image.
    pub(crate) fn slots_of(&self, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        (0..self.slots)
            .map(|slot| value(slot / self.images, slot % self.images))
            .collect()
    }

    /// Slot vectors of the features of one group, one per block. `rows`: `[image][feature]`.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a group holds or for part of an image.
    pub fn pack_features(&self, rows: &[f64]) -> Result<Vec<Vec<f64>>, TrainingError> {
        let d = self.features;
        let images = rows.len() / d;
        if !rows.len().is_multiple_of(d) {
            return Err(TrainingError::Count {
                what: "numbers in a list of features",
                found: rows.len(),
                expected: (images + 1) * d,
            });
        }
        self.check_images(images)?;
        let block = |b: usize| {
            self.slots_of(|f, i| {
                let feature = b * self.lanes() + f;
                let there = i < images && feature < d;
                if there { rows[i * d + feature] } else { 0.0 }
            })
        };
        Ok((0..self.blocks()).map(block).collect())
    }

    /// Features `[image][feature]` from the slots of their blocks.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a group holds, or another number of blocks or slots.
    pub fn unpack_features(
        &self,
        blocks: &[Vec<f64>],
        images: usize,
    ) -> Result<Vec<f64>, TrainingError> {
        self.check_images(images)?;
        self.check_blocks("blocks of features", blocks)?;
        let feature = |feature: usize, image: usize| {
            let lanes = self.lanes();
            blocks[feature / lanes][self.slot(feature % lanes, image)]
        };
        let row = |image| (0..self.features).map(move |f| feature(f, image));
        Ok((0..images).flat_map(row).collect())
    }

    /// Slot vector of the labels of one group: 1 where lane `f` modulo the period is the image's class.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a group holds; [`TrainingError::Setting`] for a label that is no class.
    pub fn pack_labels(&self, labels: &[usize]) -> Result<Vec<f64>, TrainingError> {
        self.check_images(labels.len())?;
        if let Some(label) = labels.iter().find(|label| **label >= self.classes) {
            let expected = format!("below {}", self.classes);
            return Err(TrainingError::setting("label", label, expected));
        }
        let period = self.period();
        Ok(self.slots_of(|f, i| {
            let hit = labels.get(i).is_some_and(|label| f % period == *label);
            f64::from(u8::from(hit))
        }))
    }

    /// Scores `[image][class]` from the slots of a score ciphertext.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a group holds, or too few slots.
    pub fn unpack_scores(&self, slots: &[f64], images: usize) -> Result<Vec<f64>, TrainingError> {
        self.check_images(images)?;
        self.check_slots(slots.len())?;
        let row = |i| (0..self.classes).map(move |c| slots[self.slot(c, i)]);
        Ok((0..images).flat_map(row).collect())
    }

    /// Weights `[feature][class]` from the slots of their blocks.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for another number of blocks or slots.
    pub fn unpack_weights(
        &self,
        form: WeightForm,
        blocks: &[Vec<f64>],
    ) -> Result<Vec<f64>, TrainingError> {
        self.check_blocks("blocks of weights", blocks)?;
        let weight = |feature: usize, class: usize| {
            let (b, f) = (feature / self.lanes(), feature % self.lanes());
            blocks[b][self.weight_slot(form, f, class)]
        };
        let row = |feature| (0..self.classes).map(move |class| weight(feature, class));
        Ok((0..self.features).flat_map(row).collect())
    }

    /// A slot that holds the weight of lane `f` for a class.
    pub(crate) fn weight_slot(&self, form: WeightForm, f: usize, class: usize) -> usize {
        match form {
            WeightForm::Plain => self.slot(f, class),
            WeightForm::Spread => {
                let lanes = self.lanes();
                let r = (f + lanes - class) % self.period();
                self.slot((f + lanes - r) % lanes, r)
            }
        }
    }

    fn check_images(&self, images: usize) -> Result<(), TrainingError> {
        if images <= self.capacity() {
            return Ok(());
        }
        Err(TrainingError::Count {
            what: "images in a group",
            found: images,
            expected: self.capacity(),
        })
    }

    fn check_blocks(&self, what: &'static str, blocks: &[Vec<f64>]) -> Result<(), TrainingError> {
        if blocks.len() != self.blocks() {
            return Err(TrainingError::Count {
                what,
                found: blocks.len(),
                expected: self.blocks(),
            });
        }
        blocks.iter().try_for_each(|b| self.check_slots(b.len()))
    }

    fn check_slots(&self, slots: usize) -> Result<(), TrainingError> {
        if slots == self.slots {
            return Ok(());
        }
        Err(TrainingError::Count {
            what: "slots",
            found: slots,
            expected: self.slots,
        })
    }
}

/// How weights lie in the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightForm {
    /// Slot `(f, c)`: feature `f`, class `c`.
    Plain,
    /// Slot `(f, i)`: feature `(f + i mod period) mod lanes`, class `f mod period`.
    Spread,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_has_a_slot_of_its_own_in_both_forms() {
        for (slots, images, features, classes) in
            [(256, 32, 8, 3), (256, 16, 16, 4), (512, 16, 70, 8)]
        {
            let layout = FeatureLayout::new(slots, images, features, classes).expect("a layout");
            for form in [WeightForm::Plain, WeightForm::Spread] {
                let mut seen = vec![false; slots];
                for f in 0..layout.lanes() {
                    for class in 0..classes {
                        let slot = layout.weight_slot(form, f, class);
                        assert!(!std::mem::replace(&mut seen[slot], true));
                        if form == WeightForm::Spread {
                            let (lane, r) = (slot / images, slot % images);
                            assert!(r < layout.period());
                            assert_eq!(lane % layout.period(), class);
                            assert_eq!((lane + r) % layout.lanes(), f);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn features_come_back_as_they_were_packed() {
        let layout = FeatureLayout::new(256, 32, 11, 3).expect("a layout");
        let rows: Vec<f64> = (0..29 * 11).map(f64::from).collect();
        let blocks = layout.pack_features(&rows).expect("a group");
        assert_eq!(layout.unpack_features(&blocks, 29).expect("rows"), rows);
    }

    #[test]
    fn impossible_layouts_say_what_is_wrong() {
        for (slots, images, features, classes, what) in [
            (100, 16, 4, 2, "number of slots"),
            (256, 16, 0, 2, "number of features"),
            (256, 16, 4, 1, "number of classes"),
            (256, 24, 4, 2, "images per ciphertext"),
            (256, 4, 4, 3, "images per ciphertext"),
            (256, 128, 4, 3, "images per ciphertext"),
        ] {
            let refused = FeatureLayout::new(slots, images, features, classes);
            let Err(TrainingError::Setting { what: found, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(found, what);
        }
        let layout = FeatureLayout::new(256, 32, 8, 3).expect("a layout");
        assert_eq!(layout.capacity(), 29);
        assert!(layout.pack_features(&vec![0.0; 30 * 8]).is_err());
        assert!(layout.pack_features(&[0.0; 7]).is_err());
        assert!(layout.unpack_features(&[vec![0.0; 256]], 30).is_err());
        assert!(layout.unpack_features(&[], 29).is_err());
        assert!(layout.pack_labels(&[3]).is_err());
    }

    #[test]
    fn the_layout_for_many_features_has_as_many_lanes_as_features() {
        let layout = |features| FeatureLayout::for_features(1 << 15, features, 10);
        let of = |features| layout(features).map(|l| (l.lanes(), l.images(), l.blocks()));
        assert_eq!(of(65).expect("a layout"), (128, 256, 1));
        assert_eq!(of(64).expect("a layout"), (64, 512, 1));
        assert_eq!(of(5).expect("a layout"), (16, 2048, 1));
        assert_eq!(of(768).expect("a layout"), (1024, 32, 1));
    }
}
