//! Which image is encrypted where, so that groups of features come out in order.

use datasets::Dataset;
use he_layers::PlainTensor;
use he_models::Model;
use he_training::{Arrangement, Origin};

use crate::inference::InferenceError;

/// A run's parts, one after the other over all runs, are the sections of groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assignment {
    arrangement: Arrangement,
    /// Images of a run of the network.
    per_run: usize,
    images: usize,
    capacity: usize,
}

impl Assignment {
    /// For `images` images in groups of `capacity`, and runs of the network of `per_run`.
    pub fn new(arrangement: &Arrangement, per_run: usize, images: usize, capacity: usize) -> Self {
        Self {
            arrangement: *arrangement,
            per_run,
            images,
            capacity,
        }
    }

    /// Groups of images.
    pub fn groups(&self) -> usize {
        self.images.div_ceil(self.capacity)
    }

    /// Images of a group.
    pub fn of_group(&self, group: usize) -> usize {
        self.capacity
            .min(self.images.saturating_sub(group * self.capacity))
    }

    /// Runs of the network.
    pub fn runs(&self) -> usize {
        let parts = self.groups() * self.arrangement.sections();
        parts.div_ceil(self.arrangement.parts())
    }

    /// Group and section that a part of a run belongs to; nothing for a part beyond the last.
    pub fn section(&self, run: usize, part: usize) -> Option<(usize, usize)> {
        let at = run * self.arrangement.parts() + part;
        let sections = self.arrangement.sections();
        (at / sections < self.groups()).then_some((at / sections, at % sections))
    }

    /// The pictures of a run, conditioned, where they belong; mean pictures everywhere else. `numbers`: of the images in the data.
    pub fn pictures(
        &self,
        model: &Model,
        data: &dyn Dataset,
        numbers: &[usize],
        run: usize,
    ) -> Result<PlainTensor, InferenceError> {
        let shape = model.input_shape();
        let volume = shape.volume();
        let filler = model.spec().input.mean_picture();
        let pixels = filler
            .iter()
            .copied()
            .cycle()
            .take(self.per_run * volume)
            .collect();
        let mut out = PlainTensor::new(self.per_run, shape, pixels)?;
        let per_part = self.per_run / self.arrangement.parts();
        for part in 0..self.arrangement.parts() {
            let Some((group, section)) = self.section(run, part) else {
                continue;
            };
            for place in 0..self.of_group(group) {
                let origin = self.arrangement.origin(place);
                if origin.section != section {
                    continue;
                }
                let Origin { image, .. } = origin;
                let number = numbers[group * self.capacity + place];
                let mut picture = data.read(number, 1)?.view().to_f64();
                model.spec().input.condition(&mut picture);
                let first = (part * per_part + image) * volume;
                out.data[first..first + volume].copy_from_slice(&picture);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_training::Cells;

    #[test]
    fn every_section_of_every_group_is_a_part_of_one_run() {
        // 32 cells for 16 features: two sections; real and imaginary parts.
        for (cells, features, complex) in [(32, 16, true), (16, 16, true), (32, 16, false)] {
            let all = Cells {
                count: cells,
                features: cells,
                columns: cells,
                width: cells,
            };
            let a = Arrangement::new(512, all, (features, 3), complex).expect("fits");
            let capacity = a.layout().capacity();
            let per_run = 512 / cells * a.parts();
            let assignment = Assignment::new(&a, per_run, 3 * capacity - 7, capacity);
            assert_eq!(assignment.groups(), 3);
            assert_eq!(assignment.of_group(2), capacity - 7);
            assert_eq!(assignment.of_group(3), 0);
            let mut seen = vec![0; 3 * a.sections()];
            for run in 0..assignment.runs() {
                for part in 0..a.parts() {
                    if let Some((group, section)) = assignment.section(run, part) {
                        seen[group * a.sections() + section] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
        }
    }
}
