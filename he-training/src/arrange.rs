//! From a network's output to features: a transposition of slots.
//!
//! A network keeps an image together: slot `image * cells + cell`, one feature in each of the first cells of an image, and as
//! many images again in the imaginary parts if it is packed complex. Training keeps a feature together. The order of the images
//! does not matter to it, so that the top bits of a slot's number and as many low ones just change places: all slots move by
//! multiples of one distance, and one linear transform with baby steps and giant steps does it.
//!
//! Features in squares of cells, as strides leave them, get lanes that keep that so where the squares fill the lanes; they are trained in
//! the order of the lanes then ([`Arrangement::order`]).
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

/// The cells of an image in a network's output, and where its features are: feature `j` of a ciphertext in cell
/// `j / columns * width + j mod columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Cells of an image.
    pub count: usize,
    /// Features of an image in one ciphertext.
    pub features: usize,
    /// Features in a row of cells.
    pub columns: usize,
    /// Cells from one row to the next.
    pub width: usize,
}

impl Cells {
    fn cell(&self, j: usize) -> usize {
        j / self.columns * self.width + j % self.columns
    }

    fn rows(&self) -> usize {
        self.features.div_ceil(self.columns)
    }
}

/// How a network's output lies in the slots, and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrangement {
    layout: FeatureLayout,
    cells: Cells,
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
    /// For outputs of `features` features in these cells; with `complex`, imaginary parts hold images too. `classes`: those to be
    /// trained.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] where they do not fit.
    pub fn new(
        slots: usize,
        cells: Cells,
        (features, classes): (usize, usize),
        complex: bool,
    ) -> Result<Self, TrainingError> {
        let Cells { count, columns, .. } = cells;
        check(
            count.is_power_of_two() && count <= slots && slots.is_power_of_two(),
            "cells of an image",
            count,
            "a power of two, no more than slots",
        )?;
        let lanes = features.next_power_of_two().min(count);
        // As many bits of the images' numbers change places with those of the features'.
        check(
            lanes <= slots / count,
            "images in one part of a network's output",
            slots / count,
            format_args!("{lanes} or more: run the network on more images at a time"),
        )?;
        check(
            cells.features.is_power_of_two() && cells.features <= count,
            "features of an image in a ciphertext",
            cells.features,
            "a power of two, no more than cells",
        )?;
        let of_ct = cells.features.min(lanes);
        let cells = Cells {
            features: of_ct,
            columns: columns.min(of_ct),
            ..cells
        };
        check(
            cells.columns.is_power_of_two() && cells.cell(of_ct - 1) < count,
            "features in a row of cells",
            columns,
            "a power of two, and all rows within the cells",
        )?;
        Ok(Self {
            layout: FeatureLayout::new(slots, slots / lanes, features, classes)?,
            cells,
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
        self.cells.count / self.layout.lanes()
    }

    /// Where the image at a place of a group comes from.
    pub fn origin(&self, place: usize) -> Origin {
        let lanes = self.layout.lanes();
        let (top, section) = (place % lanes, place / lanes % self.sections());
        let middles = self.layout.slots() / self.cells.count / lanes;
        Origin {
            section,
            image: top * middles + place / self.cells.count,
        }
    }

    /// Ciphertexts of a network's output.
    pub fn sources(&self) -> usize {
        self.layout.features().div_ceil(self.cells.features)
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

    /// Whether the cells of a ciphertext's features, moved side by side, fill the lanes. Then a lane has the number of its cell, and
    /// all slots move by multiples of one distance. Otherwise the features of a ciphertext take lanes in their order, and each row of
    /// cells moves by distances of its own.
    fn is_tiled(&self) -> bool {
        let Cells { columns, width, .. } = self.cells;
        let lanes = self.layout.lanes();
        self.cells.rows() > 1
            && self.layout.features() == lanes
            && width.is_multiple_of(columns)
            && lanes.is_multiple_of(width * self.cells.rows())
    }

    /// Lane of feature `j` of a ciphertext, before it is moved by [`Self::first_lane`].
    fn lane(&self, j: usize) -> usize {
        if self.is_tiled() {
            self.cells.cell(j)
        } else {
            j
        }
    }

    /// The network's features in the order in which they are trained.
    pub fn order(&self) -> Vec<usize> {
        let (lanes, of_ct) = (self.layout.lanes(), self.cells.features);
        let place = |feature: usize| {
            let source = feature / of_ct;
            feature / lanes * lanes + self.first_lane(source) + self.lane(feature % of_ct)
        };
        let mut order: Vec<usize> = (0..self.layout.features()).collect();
        order.sort_by_key(|feature| place(*feature));
        order
    }

    /// The transposition of one ciphertext to these places of section 0; other cells are dropped. All have the diagonals of a full
    /// group, zeros or not, so that they take the same keys.
    fn matrix(&self, kept: &[usize]) -> DiagonalMatrix {
        let images = self.layout.images();
        let mut is_kept = vec![false; images];
        kept.iter().for_each(|place| is_kept[*place] = true);
        let mut matrix = DiagonalMatrix::new(self.layout.slots());
        for j in 0..self.cells.features {
            let lane = self.lane(j);
            for place in (0..images).filter(|place| self.origin(*place).section == 0) {
                // From slot `image cells + cell` to slot `lane images + place`.
                let source = self.origin(place).image * self.cells.count + self.cells.cell(j);
                let step = source as i64 - (lane * images + place) as i64;
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
        let Cells { columns, width, .. } = self.cells;
        if self.is_tiled() {
            let across = width / columns;
            return source % across * columns + source / across * width * self.cells.rows();
        }
        source * self.cells.features % self.layout.lanes()
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
            match &mut blocks[source * arrangement.cells.features / lanes] {
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

    fn cells(count: usize, features: usize, columns: usize, width: usize) -> Cells {
        Cells {
            count,
            features,
            columns,
            width,
        }
    }

    #[test]
    fn every_feature_of_every_image_gets_to_its_place() {
        for (slots, cells, features, tiled) in [
            (256, cells(16, 16, 16, 16), 16, false),
            (256, cells(16, 16, 16, 16), 9, false),
            (512, cells(32, 32, 32, 32), 12, false),
            (512, cells(16, 4, 4, 4), 14, false),
            (256, cells(8, 8, 8, 8), 16, false),
            // Squares of 2 x 2 cells in a grid of 8 x 8 and of 4 x 4.
            (512, cells(64, 4, 2, 8), 8, false),
            (512, cells(16, 4, 2, 4), 16, true),
            (512, cells(16, 4, 2, 4), 8, true),
            (512, cells(16, 4, 2, 4), 32, false),
        ] {
            let a = Arrangement::new(slots, cells, (features, 3), true).expect("fits");
            assert_eq!(a.is_tiled(), tiled);
            let (layout, cells) = (a.layout, a.cells);
            let places: Vec<usize> = (0..layout.images()).collect();
            let places: Vec<usize> = places
                .into_iter()
                .filter(|p| a.origin(*p).section == 0)
                .collect();
            let matrix = a.matrix(&places);
            let number = |feature: usize, image: usize| (1 + feature + 100 * image) as f64;
            let mut outputs = vec![vec![Complex64::new(-1.0, 0.0); slots]; a.sources()];
            for image in 0..slots / cells.count {
                for feature in 0..features {
                    let slot = image * cells.count + cells.cell(feature % cells.features);
                    outputs[feature / cells.features][slot] = number(feature, image).into();
                }
            }
            let order = a.order();
            let moved: Vec<Vec<Complex64>> = outputs.iter().map(|o| matrix.apply(o)).collect();
            let mut seen = vec![false; slots / cells.count];
            for place in 0..layout.images() {
                let Origin { section, image } = a.origin(place);
                if section > 0 {
                    continue;
                }
                assert!(!std::mem::replace(&mut seen[image], true));
                for (trained, feature) in order.iter().copied().enumerate() {
                    let source = feature / cells.features;
                    let lane = trained % layout.lanes() - a.first_lane(source);
                    let found = moved[source][layout.slot(lane, place)];
                    assert_eq!(found.re, number(feature, image));
                }
            }
            assert!(seen.iter().all(|seen| *seen));
            let diagonals = matrix.diagonals();
            let rows = if tiled { 1 } else { cells.rows() };
            assert!(diagonals < 2 * layout.lanes() * rows, "{diagonals}");
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
        let new = |cells, features| Arrangement::new(256, cells, (features, 3), false);
        assert!(new(cells(24, 8, 8, 8), 8).is_err());
        assert!(new(cells(32, 32, 32, 32), 32).is_err());
        assert!(new(cells(16, 3, 3, 3), 8).is_err());
        assert!(new(cells(16, 8, 2, 8), 8).is_err());
    }
}
