//! Operations that the way forward and the way back have in common.

use std::sync::atomic::Ordering;

use ckks_scheme::{Bootstrapper, Ciphertext, Level, Scale};
use he_layers::EncryptedTensor;
use rayon::prelude::*;

use super::BlockTrainer;
use crate::block::Range;
use crate::block::plan::Map;
use crate::error::TrainingError;

pub(super) fn declare(ct: &mut Ciphertext, range: Range) {
    ct.declare_values(range.max, range.rms);
}

pub(super) fn each<T: Send>(
    items: Vec<T>,
    f: impl Fn(T) -> Result<Ciphertext, TrainingError> + Sync + Send,
) -> Result<Vec<Ciphertext>, TrainingError> {
    items.into_par_iter().map(f).collect()
}

impl BlockTrainer<'_> {
    /// Refreshes numbers of at most `bound`, whose scale is that of the refresh divided by it.
    pub(super) fn refresh(
        &self,
        refresher: &dyn Bootstrapper,
        mut ct: Ciphertext,
        bound: f64,
    ) -> Result<Ciphertext, TrainingError> {
        ct.reinterpret(1.0 / bound);
        ct.declare_values(1.0, 1.0);
        self.refreshed.fetch_add(1, Ordering::Relaxed);
        let mut out = refresher.bootstrap(&self.eval, &ct)?;
        out.declare_values(1.0, 1.0);
        out.reinterpret(bound);
        Ok(out)
    }

    pub(super) fn prime(&self, level: Level) -> f64 {
        self.plan.params().prime(level) as f64
    }

    /// The same values at another scale, one level below.
    pub(super) fn at_scale(
        &self,
        ct: &Ciphertext,
        scale: Scale,
    ) -> Result<Ciphertext, TrainingError> {
        let level = ct.level();
        let raised = Scale::new(scale.value() * self.prime(level));
        let mut sum = self.eval.zero(level, raised)?;
        self.eval.add_scaled_assign(&mut sum, ct, 1.0)?;
        Ok(self.eval.rescale(&sum)?)
    }

    /// The same values at a scale above half of the usual one: multiplied by an integer. Scales would fall from product to product
    /// otherwise.
    pub(super) fn recentred(&self, ct: Ciphertext) -> Result<Ciphertext, TrainingError> {
        let factor = (self.plan.scale() / ct.scale().value()).floor();
        if factor < 2.0 {
            return Ok(ct);
        }
        Ok(self.eval.mul_const(&ct, 1.0, Scale::new(factor))?)
    }

    /// A sum of products at the lowest level of the operands, before it is relinearised.
    pub(super) fn tensor(
        &self,
        pairs: &[(&Ciphertext, &Ciphertext)],
    ) -> Result<Ciphertext, TrainingError> {
        let levels = pairs.iter().map(|(a, b)| a.level().min(b.level()));
        let level = levels.min().unwrap_or(Level::new(1));
        Ok(self.eval.sum_of_products(pairs, level)?)
    }

    /// A sum of products one level below the lowest of the operands.
    pub(super) fn product(
        &self,
        pairs: &[(&Ciphertext, &Ciphertext)],
    ) -> Result<Ciphertext, TrainingError> {
        let sum = self.tensor(pairs)?;
        self.recentred(self.eval.relinearize_rescale(sum)?)
    }

    /// A linear map, not rescaled.
    pub(super) fn apply(
        &self,
        map: Map,
        x: Vec<Ciphertext>,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let first = &x[0];
        let prepared = self.plan.map(map, first.level(), first.scale())?;
        let input = EncryptedTensor::new(prepared.input().clone(), x)?;
        let sums = prepared.forward(&self.eval, input, 1)?;
        Ok(sums.into_parts().1)
    }

    /// The sum over the images, in the slots of all of them.
    pub(super) fn over_images(&self, mut ct: Ciphertext) -> Result<Ciphertext, TrainingError> {
        for step in self.plan.layout().image_steps() {
            let rotated = self.eval.rotate(&ct, step)?;
            self.eval.add_assign(&mut ct, &rotated)?;
        }
        Ok(ct)
    }
}
