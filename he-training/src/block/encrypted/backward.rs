//! The way back: deltas, and the gradient, whose factors are at hand when a delta is.

use ckks_scheme::{Ciphertext, Level};

use super::arithmetic::{declare, each};
use super::forward::Forward;
use super::{BlockTrainer, EncryptedWeights};
use crate::block::BlockLevels;
use crate::block::plan::Map;
use crate::error::TrainingError;

impl BlockTrainer<'_> {
    /// The gradient by the parameters and, if it was asked for, by the block's input.
    pub(super) fn backward(
        &self,
        weights: &EncryptedWeights,
        forward: Forward,
        (levels, images): (&BlockLevels, usize),
        progress: &mut impl FnMut(&'static str),
    ) -> Result<(EncryptedWeights, Option<Vec<Ciphertext>>), TrainingError> {
        let (plan, ranges) = (self.plan, &self.plan.settings().ranges);
        let Forward {
            kept: [kept1, kept2],
            squared,
            squares,
            pooled,
            excess,
        } = forward;
        let g3 = &weights.scales[2];
        let per_image = 1.0 / images as f64;
        let per_number = per_image / plan.layout().ciphertexts() as f64;

        let pairs: Vec<_> = weights.head.iter().zip(&excess).collect();
        let mut delta_pooled = self.product(&pairs)?;
        declare(&mut delta_pooled, ranges.delta_pooled);
        let head = each(excess.iter().collect(), |excess| {
            self.gradient(&[(excess, &pooled)], per_image)
        })?;
        let bias = each(excess, |excess| {
            let mut sum = self.over_images(excess)?;
            sum.reinterpret(per_image);
            Ok(sum)
        })?;
        let by_g3 = self.gradient(&[(&delta_pooled, &squares)], per_number)?;
        drop((pooled, squares));
        progress("gradient of the head");

        let mut slope = self.product(&[(g3, &delta_pooled)])?;
        // The derivative of a square.
        slope.reinterpret(2.0);
        let delta3 = each(squared, |u| self.delta(2, (&slope, &u), 1.0))?;
        drop((slope, delta_pooled));
        let by_t3 = self.summed_gradient(&delta3, per_number)?;
        let shortcut = match plan.settings().input_gradient {
            true => {
                let joined_at = Level::new(levels.returned[0]);
                let copy = |ct| Ok(self.eval.copy_at_level(ct, joined_at)?);
                Some(each(delta3.iter().collect(), copy)?)
            }
            false => None,
        };
        let sums = self.apply(Map::SecondBack, delta3)?;
        let returned2 = self.returned(1, sums)?;
        progress("last activation, second convolution transposed");

        let by_g2 = self.by_scale(&returned2, &kept2.squared, per_number)?;
        let pairs = returned2.into_iter().zip(kept2.scaled).collect();
        let delta2 = each(pairs, |(r, h): (Ciphertext, Ciphertext)| {
            self.delta(1, (&h, &r), 2.0)
        })?;
        drop(kept2.squared);
        let by_t2 = self.summed_gradient(&delta2, per_number)?;
        let sums = self.apply(Map::FirstBack, delta2)?;
        let returned1 = self.returned(0, sums)?;
        progress("second activation, first convolution transposed");

        let by_g1 = self.by_scale(&returned1, &kept1.squared, per_number)?;
        let pairs: Vec<_> = returned1.iter().zip(&kept1.scaled).collect();
        let by_t1 = self.gradient(&pairs, 2.0 * per_number)?;
        let input_gradient = match shortcut {
            None => None,
            Some(shortcut) => {
                let terms: Vec<_> = pairs.into_iter().zip(shortcut).collect();
                Some(each(terms, |((r, h), shortcut)| {
                    self.input_gradient((r, h), &shortcut, per_number)
                })?)
            }
        };
        progress("first activation");
        let gradient = EncryptedWeights {
            offsets: [by_t1, by_t2, by_t3],
            scales: [by_g1, by_g2, by_g3],
            head,
            bias,
        };
        Ok((gradient, input_gradient))
    }

    /// `factor` times the sum of products, summed over the images.
    fn gradient(
        &self,
        pairs: &[(&Ciphertext, &Ciphertext)],
        factor: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let sum = self.eval.relinearize(self.tensor(pairs)?)?;
        let mut sum = self.eval.rescale(&self.over_images(sum)?)?;
        sum.reinterpret(factor);
        Ok(sum)
    }

    /// `factor` times the sum over pixels and images.
    fn summed_gradient(
        &self,
        deltas: &[Ciphertext],
        factor: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let mut sum = self.eval.copy(&deltas[0])?;
        for delta in &deltas[1..] {
            self.eval.add_assign(&mut sum, delta)?;
        }
        let mut sum = self.over_images(sum)?;
        sum.reinterpret(factor);
        Ok(sum)
    }

    /// `factor` times the sum over pixels and images of `returned u^2`.
    fn by_scale(
        &self,
        returned: &[Ciphertext],
        squared: &[Ciphertext],
        factor: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let pairs: Vec<_> = returned.iter().zip(squared).collect();
        let once = each(pairs, |pair| self.product(&[pair]))?;
        let pairs: Vec<_> = once.iter().zip(squared).collect();
        self.gradient(&pairs, factor)
    }

    /// `factor` times a product, as the delta of what activation `k`, the second or third, reads.
    fn delta(
        &self,
        k: usize,
        pair: (&Ciphertext, &Ciphertext),
        factor: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let mut delta = self.product(&[pair])?;
        delta.reinterpret(factor);
        declare(&mut delta, self.plan.settings().ranges.deltas[k - 1]);
        self.recentred(delta)
    }

    /// The delta of what activation `k` gives, from sums that are not rescaled.
    fn returned(&self, k: usize, sums: Vec<Ciphertext>) -> Result<Vec<Ciphertext>, TrainingError> {
        let range = self.plan.settings().ranges.returned[k];
        each(sums, |sum| {
            let mut returned = self.eval.rescale(&sum)?;
            declare(&mut returned, range);
            self.recentred(returned)
        })
    }

    /// `factor` times twice a product and what comes through the shortcut.
    fn input_gradient(
        &self,
        pair: (&Ciphertext, &Ciphertext),
        shortcut: &Ciphertext,
        factor: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let mut sum = self.eval.relinearize(self.tensor(&[pair])?)?;
        sum.reinterpret(2.0);
        self.eval.add_scaled_assign(&mut sum, shortcut, 1.0)?;
        let mut sum = self.eval.rescale(&sum)?;
        sum.reinterpret(factor);
        Ok(sum)
    }
}
