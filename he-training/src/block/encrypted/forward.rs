//! The way forward, up to scores less labels.

use ckks_scheme::{Ciphertext, Encoder, Level, Scale};
use rayon::prelude::*;

use super::arithmetic::{declare, each};
use super::{BlockBatch, BlockTrainer, EncryptedWeights};
use crate::block::BlockLevels;
use crate::block::plan::Map;
use crate::error::TrainingError;

/// What the way back needs of an activation: what it squared, and that times its scale.
pub(super) struct Kept {
    pub squared: Vec<Ciphertext>,
    pub scaled: Vec<Ciphertext>,
}

/// What the way back needs.
pub(super) struct Forward {
    /// Of the first two activations.
    pub kept: [Kept; 2],
    /// What the last activation squares.
    pub squared: Vec<Ciphertext>,
    /// The sum over the pixels of the squares.
    pub squares: Ciphertext,
    /// What the head reads.
    pub pooled: Ciphertext,
    /// Scores less labels, one ciphertext for each class.
    pub excess: Vec<Ciphertext>,
}

impl BlockTrainer<'_> {
    pub(super) fn forward(
        &self,
        weights: &EncryptedWeights,
        batch: BlockBatch,
        levels: &BlockLevels,
        progress: &mut impl FnMut(&'static str),
    ) -> Result<Forward, TrainingError> {
        let (plan, ranges) = (self.plan, &self.plan.settings().ranges);
        let [t1, t2, t3] = &weights.offsets;
        let [g1, g2, g3] = &weights.scales;
        let BlockBatch {
            inputs,
            labels,
            images,
        } = batch;

        let u1 = self.offset_inputs(&inputs, t1)?;
        let (a1, kept1) = self.activation(u1, g1, Level::new(levels.returned[0]))?;
        let sums = self.apply(Map::First, a1)?;
        let u2 = self.squared(1, sums, t2, None)?;
        progress("first activation and convolution");

        let (a2, kept2) = self.activation(u2, g2, Level::new(levels.returned[1]))?;
        let sums = self.apply(Map::Second, a2)?;
        let u3 = self.squared(2, sums, t3, Some(inputs))?;
        progress("second activation and convolution");

        let pairs: Vec<_> = u3.iter().map(|u| (u, u)).collect();
        let mut squares = self.product(&pairs)?;
        declare(&mut squares, ranges.squares);
        let mut pooled = self.product(&[(g3, &squares)])?;
        pooled.reinterpret(1.0 / plan.layout().ciphertexts() as f64);
        declare(&mut pooled, ranges.pooled);
        let pooled = self.pooled_with_levels(pooled)?;
        let excess = self.excess(weights, &pooled, &labels, images)?;
        progress("head");
        Ok(Forward {
            kept: [kept1, kept2],
            squared: u3,
            squares,
            pooled,
            excess,
        })
    }

    /// What the first activation squares.
    fn offset_inputs(
        &self,
        inputs: &[Ciphertext],
        offset: &Ciphertext,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let range = self.plan.settings().ranges.squared[0];
        each(inputs.iter().collect(), |z: &Ciphertext| {
            let mut u = self.eval.copy(z)?;
            let offset = self.eval.copy_at_level(offset, u.level())?;
            self.eval.add_assign(&mut u, &offset)?;
            let mut u = self.recentred(u)?;
            declare(&mut u, range);
            Ok(u)
        })
    }

    /// What activation `k` squares, from sums that are not rescaled.
    fn squared(
        &self,
        k: usize,
        sums: Vec<Ciphertext>,
        offset: &Ciphertext,
        shortcut: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let range = self.plan.settings().ranges.squared[k];
        let added = shortcut.map_or_else(Vec::new, |z| z.into_iter().map(Some).collect());
        let added = added.into_iter().chain(std::iter::repeat_with(|| None));
        let terms: Vec<_> = sums.into_iter().zip(added).collect();
        each(
            terms,
            |(mut sum, added): (Ciphertext, Option<Ciphertext>)| {
                if let Some(z) = added {
                    self.eval.add_scaled_assign(&mut sum, &z, 1.0)?;
                }
                self.eval.add_scaled_assign(&mut sum, offset, 1.0)?;
                let mut u = self.eval.rescale(&sum)?;
                declare(&mut u, range);
                self.recentred(u)
            },
        )
    }

    /// `g u^2` of every `u`, and what the way back needs, dropped to the level `kept`.
    fn activation(
        &self,
        u: Vec<Ciphertext>,
        scale: &Ciphertext,
        kept: Level,
    ) -> Result<(Vec<Ciphertext>, Kept), TrainingError> {
        let of_one = |mut u: Ciphertext| {
            let mut scaled = self.product(&[(scale, &u)])?;
            let a = self.product(&[(&scaled, &u)])?;
            self.eval.drop_level(&mut u, kept)?;
            self.eval.drop_level(&mut scaled, kept)?;
            Ok((a, (u, scaled)))
        };
        let all: Vec<_> = u
            .into_par_iter()
            .map(of_one)
            .collect::<Result<_, TrainingError>>()?;
        let (a, kept): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let (squared, scaled) = kept.into_iter().unzip();
        Ok((a, Kept { squared, scaled }))
    }

    /// What the head reads, refreshed if the plan says so: in units of its bound.
    fn pooled_with_levels(&self, pooled: Ciphertext) -> Result<Ciphertext, TrainingError> {
        let Some(refresher) = &self.refresher else {
            return Ok(pooled);
        };
        let range = self.plan.settings().ranges.pooled;
        let ct = self.at_scale(&pooled, self.plan.scale_of(range.max))?;
        drop(pooled);
        let mut out = self.refresh(refresher.as_ref(), ct, range.max)?;
        declare(&mut out, range);
        Ok(out)
    }

    /// Scores less labels for each class, in the slots of all channels of each image; zeros where there is no image.
    fn excess(
        &self,
        weights: &EncryptedWeights,
        pooled: &Ciphertext,
        labels: &[Ciphertext],
        images: usize,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let (plan, eval) = (self.plan, &self.eval);
        let terms: Vec<_> = weights.head.iter().zip(&weights.bias).zip(labels).collect();
        // Right in the first slot of each image.
        let sums = each(terms, |((head, bias), label)| {
            let mut sum = eval.relinearize(self.tensor(&[(head, pooled)])?)?;
            for step in plan.layout().cell_steps() {
                let rotated = eval.rotate(&sum, step)?;
                eval.add_assign(&mut sum, &rotated)?;
            }
            eval.add_scaled_assign(&mut sum, bias, 1.0)?;
            eval.add_scaled_assign(&mut sum, label, -1.0)?;
            Ok(eval.rescale(&sum)?)
        })?;
        let (level, scale) = (sums[0].level(), sums[0].scale());
        let scale = Scale::new(plan.scale() * self.prime(level) / scale.value());
        let cells = plan.layout().cells();
        let is_first = |slot: usize| slot.is_multiple_of(cells) && slot / cells < images;
        let mask = (0..plan.layout().slots()).map(|slot| f64::from(u8::from(is_first(slot))));
        let mask: Vec<f64> = mask.collect();
        let mask = Encoder::new(plan.params()).encode_real(&mask, level, scale)?;
        each(sums, |sum| {
            let mut excess = eval.rescale(&eval.mul_plain(&sum, &mask)?)?;
            let range = plan.settings().ranges.excess;
            declare(&mut excess, range);
            for step in plan.layout().cell_steps() {
                let rotated = eval.rotate(&excess, -step)?;
                eval.add_assign(&mut excess, &rotated)?;
            }
            declare(&mut excess, range);
            Ok(excess)
        })
    }
}
