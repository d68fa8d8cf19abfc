//! The softmax of ciphertexts, one for each group of a mini-batch.
//!
//! Two groups are refreshed together, as real and imaginary part, and taken apart by a conjugation. That doubles the scale:
//! `z + conj(z)` is twice the real part. So everything before it keeps to a scale of [`ROOM`] times the usual one or below.
//!
//! Errors are declared where ranges are: whatever they are, they are in the sums too that numbers are divided by, and the numbers with
//! their errors are in the range that is proved for any numbers. So no error is larger than the range. Predictions operation
//! by operation multiply the errors of all factors of a division instead, stage after stage.

use ckks_scheme::{Ciphertext, Complex64, Level};
use rayon::prelude::*;

use super::circuit::Arithmetic;
use super::schedule::Schedule;
use crate::error::TrainingError;
use crate::trainer::{Trainer, declare};

/// Scales keep below this share of the usual one, `1 / (2 sqrt 2)`: doubled, they are at most `1 / sqrt 2` of it. A product of two
/// such values has half the usual scale, and one of two products a quarter, which is below this share again.
const ROOM: f64 = std::f64::consts::FRAC_1_SQRT_2 / 2.0;

/// The softmax of ciphertexts.
pub(super) struct Probabilities<'a> {
    pub trainer: &'a Trainer,
    /// Of each group.
    pub labels: Vec<&'a Ciphertext>,
}

/// Scale of scores one level below `weights`: squared, divided by a prime and by the first gain, it is the scale that the softmax
/// keeps to.
pub(super) fn score_scale(t: &Trainer, schedule: &Schedule, weights: usize) -> f64 {
    let prime = t.prime(Level::new(weights - 1));
    (schedule.first_gain * ROOM * t.target() * prime).sqrt()
}

fn each<T: Sync>(
    x: &[T],
    f: impl Fn(&T) -> Result<Ciphertext, TrainingError> + Sync + Send,
) -> Result<Vec<Ciphertext>, TrainingError> {
    x.par_iter().map(f).collect()
}

impl Probabilities<'_> {
    fn of_start(&self, x: &Ciphertext, gain: f64) -> Result<Ciphertext, TrainingError> {
        let (t, layout) = (self.trainer, &self.trainer.layout);
        let (period, classes) = (layout.period(), layout.classes());
        let is_class = |f: usize, _| Complex64::from(f64::from(u8::from(f % period < classes)));
        let level = x.level();
        let mut x = t.eval.copy(x)?;
        let mask = t.plain(level, x.scale().value(), is_class)?;
        t.eval.add_plain_assign(&mut x, &mask)?;
        x.declare_values(2.0, 2.0);
        let mut square = t.eval.sum_of_products(&[(&x, &x)], level)?;
        let mask = t.plain(level, square.scale().value(), is_class)?;
        t.eval.add_plain_assign(&mut square, &mask)?;
        let mut out = t.eval.relinearize_rescale(square)?;
        out.reinterpret(gain);
        out.declare_values(1.0, 1.0);
        self.recentred(out)
    }

    fn product_of(
        &self,
        a: &Ciphertext,
        b: &Ciphertext,
        gain: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let eval = &self.trainer.eval;
        let product = eval.sum_of_products(&[(a, b)], a.level().min(b.level()))?;
        let mut product = eval.relinearize_rescale(product)?;
        product.reinterpret(gain);
        self.recentred(product)
    }

    fn recentred(&self, ct: Ciphertext) -> Result<Ciphertext, TrainingError> {
        self.trainer
            .recentred_below(ct, ROOM * self.trainer.target())
    }

    /// One or two groups, refreshed. One alone is taken apart too, so that all have one scale.
    fn refreshed(&self, groups: &[Ciphertext]) -> Result<Vec<Ciphertext>, TrainingError> {
        let t = self.trainer;
        let mut packed: Option<Ciphertext> = None;
        for ct in groups.iter().rev() {
            // The last one times i, and the first one.
            packed = Some(match packed {
                None => t.eval.copy(ct)?,
                Some(mut z) => {
                    t.eval.mul_i_assign(&mut z);
                    t.eval.add_assign(&mut z, ct)?;
                    z
                }
            });
        }
        let Some(z) = packed else {
            return Ok(Vec::new());
        };
        let z = t.refresh(z, std::f64::consts::SQRT_2)?;
        let conjugate = t.eval.conjugate(&z)?;
        let mut parts = vec![t.eval.copy(&z)?];
        t.take_real(&mut parts[0], &conjugate)?;
        if groups.len() > 1 {
            let mut imaginary = z;
            t.take_imaginary(&mut imaginary, &conjugate)?;
            parts.push(imaginary);
        }
        for part in &mut parts {
            declare(part, 1.0, 1.0);
        }
        Ok(parts)
    }
}

impl Arithmetic for Probabilities<'_> {
    type Value = Vec<Ciphertext>;
    type Error = TrainingError;

    fn start(&self, x: Self::Value, gain: f64) -> Result<Self::Value, TrainingError> {
        each(&x, |x| self.of_start(x, gain))
    }

    fn class_sum(&self, x: &Self::Value) -> Result<Self::Value, TrainingError> {
        let (t, layout) = (self.trainer, &self.trainer.layout);
        each(x, |x| {
            let mut sum = t.window_sum(t.eval.copy(x)?, layout.lane_step(1), layout.period())?;
            declare(&mut sum, 1.0, 1.0);
            Ok(sum)
        })
    }

    fn subtracted_from(&self, a: f64, x: &Self::Value) -> Result<Self::Value, TrainingError> {
        let eval = &self.trainer.eval;
        each(x, |x| {
            let mut out = eval.copy(x)?;
            eval.negate_assign(&mut out);
            eval.add_const_assign(&mut out, a.into())?;
            Ok(out)
        })
    }

    fn quadratic(
        &self,
        x: &Self::Value,
        centre: f64,
        offset: f64,
    ) -> Result<Self::Value, TrainingError> {
        let eval = &self.trainer.eval;
        each(x, |x| {
            let mut shifted = eval.copy(x)?;
            eval.add_const_assign(&mut shifted, (-centre).into())?;
            let mut out = self.product_of(&shifted, &shifted, 1.0)?;
            eval.add_const_assign(&mut out, offset.into())?;
            Ok(out)
        })
    }

    fn product(
        &self,
        a: &Self::Value,
        b: &Self::Value,
        gain: f64,
    ) -> Result<Self::Value, TrainingError> {
        let pairs: Vec<_> = a.iter().zip(b).collect();
        each(&pairs, |(a, b)| self.product_of(a, b, gain))
    }

    fn product_less_labels(
        &self,
        a: &Self::Value,
        b: &Self::Value,
        gain: f64,
    ) -> Result<Self::Value, TrainingError> {
        let eval = &self.trainer.eval;
        let terms: Vec<_> = a.iter().zip(b).zip(&self.labels).collect();
        each(&terms, |((a, b), labels)| {
            let mut product = eval.sum_of_products(&[(a, b)], a.level().min(b.level()))?;
            product.reinterpret(gain);
            eval.add_scaled_assign(&mut product, labels, -1.0)?;
            let mut out = eval.relinearize_rescale(product)?;
            declare(&mut out, 1.5, 1.5);
            self.trainer.recentred(out)
        })
    }

    fn with_levels(&self, mut x: Self::Value, levels: usize) -> Result<Self::Value, TrainingError> {
        let (input, _) = self.trainer.refresh_levels();
        x.iter_mut().for_each(|x| declare(x, 1.0, 1.0));
        if x.iter().all(|x| x.level().limbs() >= input + levels) {
            return Ok(x);
        }
        let parts = x.par_chunks(2).map(|groups| self.refreshed(groups));
        let parts = parts.collect::<Result<Vec<_>, TrainingError>>()?;
        Ok(parts.into_iter().flatten().collect())
    }
}
