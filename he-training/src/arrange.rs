//! From a network's output to features: a transposition of slots.
//!
//! A network keeps an image together: slot `image * cells + cell`, one feature in each of the first cells of an image, and as
//! many images again in the imaginary parts if it is packed complex. Training keeps a feature together. The order of the images
//! does not matter to it, so that the top bits of a slot's number and as many low ones just change places: all slots move by
//! multiples of one distance, and one linear transform with baby steps and giant steps does it.
//!
//! Where an image has more cells than there are lanes, features fill a part of the places only, a *section*; several parts
//! of network outputs share a group then.

use ckks_scheme::{
    Ciphertext, Complex64, DiagonalMatrix, DiagonalPattern, KeyRequest, Level, LinearTransform,
    ModulusChain, Scale, TransformPlan,
};

use crate::error::{TrainingError, check};
use crate::layout::FeatureLayout;
use crate::trainer::Trainer;

/// What a giant step of the transposition is worth in baby steps.
const GIANT_COST: f64 = 1.0;

/// How a network's output lies in the slots, and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrangement {
    layout: FeatureLayout,
    cells: usize,
    features_per_ct: usize,
    parts: usize,
}

/// Where an image of a training group comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Section of the group: which of the parts of network outputs that share it.
    pub section: usize,
    /// Place of the image in that part.
    pub image: usize,
}

impl Arrangement {
    /// For outputs of `features` features, one in each of the first `features_per_ct` cells of an image, `cells` cells to
    /// an image; with `complex`, imaginary parts hold images too. `classes`: those to be trained.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] where they do not fit.
    pub fn new(
        slots: usize,
        cells: usize,
        features_per_ct: usize,
        (features, classes): (usize, usize),
        complex: bool,
    ) -> Result<Self, TrainingError> {
        check(
            cells.is_power_of_two() && cells <= slots && slots.is_power_of_two(),
            "cells of an image",
            cells,
            "a power of two, no more than slots",
        )?;
        let lanes = features.next_power_of_two().min(cells);
        // As many bits of the images' numbers change places with those of the features'.
        check(
            lanes <= slots / cells,
            "images in one part of a network's output",
            slots / cells,
            format_args!("{lanes} or more: run the network on more images at a time"),
        )?;
        check(
            features_per_ct.is_power_of_two() && features_per_ct <= cells,
            "features of an image in a ciphertext",
            features_per_ct,
            "a power of two, no more than cells",
        )?;
        Ok(Self {
            layout: FeatureLayout::new(slots, slots / lanes, features, classes)?,
            cells,
            features_per_ct: features_per_ct.min(lanes),
            parts: if complex { 2 } else { 1 },
        })
    }

    /// The layout for training.
    pub fn layout(&self) -> &FeatureLayout {
        &self.layout
    }

    /// Parts (real, imaginary) of a network's output.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Parts of network outputs that share a group of images.
    pub fn sections(&self) -> usize {
        self.cells / self.layout.lanes()
    }

    /// Where the image at a place of a group comes from.
    pub fn origin(&self, place: usize) -> Origin {
        let lanes = self.layout.lanes();
        let (top, section) = (place % lanes, place / lanes % self.sections());
        let middles = self.layout.slots() / self.cells / lanes;
        Origin {
            section,
            image: top * middles + place / self.cells,
        }
    }

    /// Ciphertexts of a network's output.
    pub fn sources(&self) -> usize {
        self.layout.features().div_ceil(self.features_per_ct)
    }

    /// Places of section 0 that hold an image of `section` in a group of `images` images.
    pub fn kept(&self, section: usize, images: usize) -> Vec<usize> {
        let shift = section * self.layout.lanes();
        let images = images.min(self.layout.capacity());
        let places = 0..self.layout.images();
        places
            .filter(|place| self.origin(*place).section == 0 && place + shift < images)
            .collect()
    }

    /// Distance between diagonals of the transposition.
    fn distance(&self) -> i64 {
        self.layout.images() as i64 - 1
    }

    /// The transposition of one ciphertext to these places of section 0; other cells are dropped. All have the diagonals of a full
    /// group, zeros or not, so that they take the same keys.
    fn matrix(&self, kept: &[usize]) -> DiagonalMatrix {
        let (lanes, images) = (self.layout.lanes(), self.layout.images());
        let mut is_kept = vec![false; images];
        kept.iter().for_each(|place| is_kept[*place] = true);
        let mut matrix = DiagonalMatrix::new(self.layout.slots());
        for lane in 0..self.features_per_ct {
            for place in (0..images).filter(|place| self.origin(*place).section == 0) {
                let top = (place % lanes) as i64;
                let step = (top - lane as i64) * self.distance();
                let diagonal = matrix.diagonal_mut(step);
                if is_kept[place] {
                    diagonal[lane * images + place] = Complex64::ONE;
                }
            }
        }
        matrix
    }

    fn plan(&self, level: Level) -> Result<TransformPlan, TrainingError> {
        let pattern = DiagonalPattern::of(&self.matrix(&self.kept(0, usize::MAX)));
        let degree = 2 * self.layout.slots();
        Ok(TransformPlan::new(&pattern, degree, level, GIANT_COST)?)
    }

    /// Size in bytes of the keys and the encoded transform for outputs that are transposed at `level`.
    ///
    /// # Errors
    /// [`TrainingError::Eval`].
    pub fn bytes(&self, level: Level, chain: &ModulusChain) -> Result<u64, TrainingError> {
        let mut request = KeyRequest::new();
        self.request(level, &mut request)?;
        Ok(request.bytes(chain) + self.plan(level)?.bytes(chain))
    }

    /// Adds the keys for outputs that are transposed at `level`.
    ///
    /// # Errors
    /// [`TrainingError::Eval`].
    pub fn request(&self, level: Level, request: &mut KeyRequest) -> Result<(), TrainingError> {
        self.plan(level)?.request(request);
        let below = Level::new(level.limbs().saturating_sub(1).max(1));
        for source in 1..self.sources() {
            request.rotation(-self.layout.lane_step(self.first_lane(source)), below);
        }
        Ok(())
    }

    /// Adds the keys for taking parts of refreshed outputs at `level` together.
    pub fn request_sections(&self, level: Level, request: &mut KeyRequest) {
        request.conjugation(level);
        for section in 1..self.sections() {
            request.rotation(-((section * self.layout.lanes()) as i64), level);
        }
    }

    fn first_lane(&self, source: usize) -> usize {
        source * self.features_per_ct % self.layout.lanes()
    }
}

/// The transposition, encoded for one level.
#[derive(Debug)]
pub struct Transposition {
    arrangement: Arrangement,
    transform: LinearTransform,
}

impl Trainer {
    /// The transposition of outputs at `level` and `scale`, as [`Self::ready_to_transpose`] gives them, of values of at most `max`.
    /// It brings these, divided by `max`, to the trainer's scale, as [`Self::refreshed_parts`] takes them. Features are kept as
    /// [`Arrangement::kept`] says.
    ///
    /// # Errors
    /// [`TrainingError::Eval`].
    pub fn transposition(
        &self,
        arrangement: Arrangement,
        (level, scale, max): (Level, Scale, f64),
        section: usize,
        images: usize,
    ) -> Result<Transposition, TrainingError> {
        let matrix = arrangement.matrix(&arrangement.kept(section, images));
        let weight = Scale::new(self.target() / max * self.prime(level) / scale.value());
        let params = self.eval.params();
        Ok(Transposition {
            arrangement,
            transform: LinearTransform::new(params, &matrix, level, weight, GIANT_COST)?,
        })
    }

    /// A network's output, rescaled and at a scale at which it can be transposed without losing precision; one level below.
    ///
    /// # Errors
    /// [`TrainingError::Eval`].
    pub fn ready_to_transpose(&self, output: &Ciphertext) -> Result<Ciphertext, TrainingError> {
        self.recentred(self.eval.rescale(output)?)
    }

    /// A network's output as features, complex if it was packed so: one ciphertext for each block, one level below.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for another number of ciphertexts, [`TrainingError::Eval`].
    pub fn transpose(
        &self,
        transposition: &Transposition,
        output: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let arrangement = &transposition.arrangement;
        if output.len() != arrangement.sources() {
            return Err(TrainingError::Count {
                what: "ciphertexts of features",
                found: output.len(),
                expected: arrangement.sources(),
            });
        }
        let lanes = self.layout.lanes();
        let mut blocks: Vec<Option<Ciphertext>> = Vec::new();
        blocks.resize_with(self.layout.blocks(), || None);
        for (source, ct) in output.iter().enumerate() {
            let moved = self
                .eval
                .linear_transform_rescale(ct, &transposition.transform)?;
            let step = -self.layout.lane_step(arrangement.first_lane(source));
            let mut moved = self.eval.rotate(&moved, step)?;
            moved.declare_values(ct.tracked().max, ct.tracked().max);
            match &mut blocks[source * arrangement.features_per_ct / lanes] {
                block @ None => *block = Some(moved),
                Some(block) => self.eval.add_assign(block, &moved)?,
            }
        }
        Ok(blocks.into_iter().flatten().collect())
    }

    /// Refreshes features of values of at most `max`, transposed for that, and takes their parts apart: for each part one ciphertext per
    /// block, at the level that a refresh gives.
    ///
    /// # Errors
    /// [`TrainingError::Eval`], [`TrainingError::Bootstrap`].
    pub fn refreshed_parts(
        &self,
        arrangement: &Arrangement,
        features: Vec<Ciphertext>,
        max: f64,
    ) -> Result<Vec<Vec<Ciphertext>>, TrainingError> {
        let mut parts: Vec<Vec<Ciphertext>> = Vec::new();
        parts.resize_with(arrangement.parts, Vec::new);
        for ct in features {
            // Real and imaginary parts of what is refreshed are at most 1.
            let mut unit = ct;
            unit.reinterpret(1.0 / max);
            let unit = self.recentred(unit)?;
            let mut real = self.refresh(unit, std::f64::consts::SQRT_2)?;
            let conjugate = self.eval.conjugate(&real)?;
            let imaginary = match arrangement.parts {
                1 => None,
                _ => {
                    let mut part = self.eval.copy(&real)?;
                    self.take_imaginary(&mut part, &conjugate)?;
                    Some(part)
                }
            };
            self.take_real(&mut real, &conjugate)?;
            for (part, mut ct) in parts.iter_mut().zip(std::iter::once(real).chain(imaginary)) {
                ct.reinterpret(max);
                ct.declare_values(max, max);
                part.push(ct);
            }
        }
        Ok(parts)
    }

    /// One group's features from the parts that share it, in the order of their sections.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for none or too many parts, [`TrainingError::Eval`].
    pub fn joined(
        &self,
        arrangement: &Arrangement,
        parts: Vec<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let (found, expected) = (parts.len(), arrangement.sections());
        let mut parts = parts.into_iter();
        let Some(mut sum) = parts.next().filter(|_| found <= expected) else {
            return Err(TrainingError::Count {
                what: "parts of a group",
                found,
                expected,
            });
        };
        for (section, part) in parts.enumerate() {
            let step = -(((section + 1) * self.layout.lanes()) as i64);
            for (sum, ct) in sum.iter_mut().zip(&part) {
                let max = sum.tracked().max;
                let moved = self.eval.rotate(ct, step)?;
                self.eval.add_assign(sum, &moved)?;
                sum.declare_values(max, max);
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slot of a network's output that holds a feature of an image.
    fn source_slot(a: &Arrangement, feature: usize, image: usize) -> (usize, usize) {
        let ct = feature / a.features_per_ct;
        (ct, image * a.cells + feature % a.features_per_ct)
    }

    #[test]
    fn every_feature_of_every_image_gets_to_its_place() {
        for (slots, cells, per_ct, features) in [
            (256, 16, 16, 16),
            (256, 16, 16, 9),
            (512, 32, 32, 12),
            (512, 16, 4, 14),
            (256, 8, 8, 16),
        ] {
            let a = Arrangement::new(slots, cells, per_ct, (features, 3), true).expect("fits");
            let layout = a.layout;
            let places: Vec<usize> = (0..layout.images()).collect();
            let places: Vec<usize> = places
                .into_iter()
                .filter(|p| a.origin(*p).section == 0)
                .collect();
            let matrix = a.matrix(&places);
            let number = |feature: usize, image: usize| (1 + feature + 100 * image) as f64;
            let mut outputs = vec![vec![Complex64::new(-1.0, 0.0); slots]; a.sources()];
            for image in 0..slots / cells {
                for feature in 0..features {
                    let (ct, slot) = source_slot(&a, feature, image);
                    outputs[ct][slot] = number(feature, image).into();
                }
            }
            let moved: Vec<Vec<Complex64>> = outputs.iter().map(|o| matrix.apply(o)).collect();
            let mut seen = vec![false; slots / cells];
            for place in 0..layout.images() {
                let Origin { section, image } = a.origin(place);
                if section > 0 {
                    continue;
                }
                assert!(!std::mem::replace(&mut seen[image], true));
                for feature in 0..features {
                    let source = feature / a.features_per_ct;
                    let lane = feature % layout.lanes() - a.first_lane(source);
                    let found = moved[source][layout.slot(lane, place)];
                    assert_eq!(found.re, number(feature, image));
                }
            }
            assert!(seen.iter().all(|seen| *seen));
            let diagonals = matrix.diagonals();
            assert!(diagonals < 2 * layout.lanes(), "{diagonals}");
            // Groups of few images, or of none in a section, take the same keys.
            for images in 0..3 {
                let few = a.matrix(&a.kept(a.sections() - 1, images));
                let steps = |m: &DiagonalMatrix| m.iter().map(|(step, _)| step).collect::<Vec<_>>();
                assert_eq!(steps(&few), steps(&matrix));
            }
        }
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        assert!(Arrangement::new(256, 24, 8, (8, 3), false).is_err());
        assert!(Arrangement::new(256, 32, 32, (32, 3), false).is_err());
        assert!(Arrangement::new(256, 16, 3, (8, 3), false).is_err());
    }
}
