//! Means of features and labels: what a bias takes in a ridge regression.
//!
//! A bias without regularisation centres the rest: `W` solves the equations of centred features and labels, `G - mu mu^T` in the
//! place of `G` and `M - mu nu^T` in that of `M`, with the means `mu` of the features and `nu` of the labels. The bias is
//! `nu - W^T mu` then. The iterations do not change, and neither do their bounds: the trace of `G - mu mu^T` is no larger.

use ckks_scheme::{Ciphertext, Complex64};

use super::gram::{placed, width};
use crate::error::TrainingError;
use crate::head::Centre;
use crate::layout::FeatureLayout;
use crate::trainer::Trainer;

/// Sums of features and labels over the images seen so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// One for each block.
    features: Vec<Ciphertext>,
    labels: Option<Ciphertext>,
}

/// Means, ready for products of which rescaled ones have the scale of diagonals.
pub(super) struct Means {
    /// Slot `(f, 0)`: the mean of lane `f + r` for each baby step `r`, `[block][r]`.
    forward: Vec<Vec<Ciphertext>>,
    /// Slot `(f, 0)`: the mean of lane `f - g width` for each giant step `g`, `[block][g]`.
    back: Vec<Vec<Ciphertext>>,
    /// Slot `(f, c)`: the mean of lane `f`.
    repeated: Vec<Ciphertext>,
    /// Slot `(f, c)`: the mean of the labels of class `c`, in units of the weights' bound.
    classes: Ciphertext,
    /// For the head.
    pub centre: Centre,
}

/// Rotations of lanes for baby steps, and back for giant steps.
pub(super) fn steps(layout: &FeatureLayout) -> (Vec<i64>, Vec<i64>) {
    let width = width(layout);
    let babies = (0..width).map(|r| layout.lane_step(r)).collect();
    let giants = (0..layout.lanes() / width).map(|g| -layout.lane_step(g * width));
    (babies, giants.collect())
}

impl Totals {
    /// Adds a group of images.
    pub fn add(
        &mut self,
        t: &Trainer,
        features: &[Ciphertext],
        labels: &Ciphertext,
    ) -> Result<(), TrainingError> {
        match &mut self.labels {
            None => self.labels = Some(t.eval.copy(labels)?),
            Some(sum) => t.eval.add_assign(sum, labels)?,
        }
        if self.features.is_empty() {
            let copies = features.iter().map(|x| Ok(t.eval.copy(x)?));
            self.features = copies.collect::<Result<_, TrainingError>>()?;
            return Ok(());
        }
        for (sum, x) in self.features.iter_mut().zip(features) {
            t.eval.add_assign(sum, x)?;
        }
        Ok(())
    }

    /// The means, one level below the features. `share`: one over the number of images. `norm`: bound of a feature. `scale`: of
    /// diagonals, one level below that.
    pub fn finish(
        self,
        t: &Trainer,
        share: f64,
        (norm, unit): (f64, f64),
        scale: f64,
    ) -> Result<Means, TrainingError> {
        let layout = &t.layout;
        let (period, images) = (layout.period(), layout.images());
        let labels = self.labels.ok_or(TrainingError::Count {
            what: "images",
            found: 0,
            expected: 1,
        })?;
        let below = labels.level().limbs().saturating_sub(1).max(1);
        let prime = t.prime(ckks_scheme::Level::new(below));
        // Two such factors have the scale of a diagonal, and one with one of the classes that of the weights.
        let of_mean = (scale * prime).sqrt();
        let of_class = t.target() * prime / of_mean;
        let first = |_: usize, i: usize| Complex64::from(if i == 0 { share } else { 0.0 });
        let mean = |sum: Ciphertext, scale: f64, max: f64| {
            let sum = t.window_sum(sum, 1, images)?;
            let mut mean = t.eval.rescale(&t.masked(&sum, scale, first)?)?;
            mean.declare_values(max, max);
            Ok::<_, TrainingError>(mean)
        };
        let everywhere = |mean: &Ciphertext, count: usize| {
            let max = mean.tracked().max;
            let mut out = t.window_sum(t.eval.copy(mean)?, -1, count)?;
            out.declare_values(max, max);
            Ok::<_, TrainingError>(out)
        };

        let of_labels = t.window_sum(t.eval.copy(&labels)?, 1, images)?;
        let classes: Vec<i64> = (0..period).map(|k| layout.lane_step(k)).collect();
        let of_labels = t.rotations(&of_labels, &classes)?;
        let mut classes = t
            .eval
            .rescale(&placed(t, &of_labels, share / unit, of_class)?)?;
        classes.declare_values(1.0, 1.0);
        let offset = everywhere(&mean(labels, t.target(), 1.0)?, images)?;

        let (babies, giants) = steps(layout);
        let (mut forward, mut back) = (Vec::new(), Vec::new());
        let (mut repeated, mut means) = (Vec::new(), Vec::new());
        for sum in self.features {
            let mean = mean(sum, of_mean, norm)?;
            forward.push(t.rotations(&mean, &babies)?);
            back.push(t.rotations(&mean, &giants)?);
            repeated.push(everywhere(&mean, period)?);
            means.push(everywhere(&mean, images)?);
        }
        Ok(Means {
            forward,
            back,
            repeated,
            classes,
            centre: Centre { means, offset },
        })
    }
}

impl Means {
    /// Takes `mu mu^T` off the diagonal `k` of a pair of blocks: from slots `(f, 0)`, not rescaled.
    pub fn centre_diagonal(
        &self,
        t: &Trainer,
        diagonal: &mut Ciphertext,
        (a, b, k): (usize, usize, usize),
    ) -> Result<(), TrainingError> {
        let width = width(&t.layout);
        let factors = (&self.back[a][k / width], &self.forward[b][k % width]);
        take_off(t, diagonal, factors)
    }

    /// Takes `mu nu^T` off the products of a block with the labels: from slots `(f, c)`, in units of the weights' bound, not
    /// rescaled.
    pub fn centre_cross(
        &self,
        t: &Trainer,
        cross: &mut Ciphertext,
        block: usize,
    ) -> Result<(), TrainingError> {
        take_off(t, cross, (&self.repeated[block], &self.classes))
    }
}

/// Subtracts a product from what has its scale.
fn take_off(
    t: &Trainer,
    from: &mut Ciphertext,
    factors: (&Ciphertext, &Ciphertext),
) -> Result<(), TrainingError> {
    let level = from.level();
    let product = t.eval.sum_of_products(&[factors], level)?;
    let product = t.eval.relinearize(product)?;
    Ok(t.eval.add_scaled_assign(from, &product, -1.0)?)
}
