//! One step on ciphertexts. It has no type that could hold a secret key.

mod arithmetic;
mod backward;
mod forward;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ckks_scheme::{Bootstrapper, Ciphertext, Evaluator, Level, Scale};

use self::arithmetic::each;
use super::plan::BlockPlan;
use super::{ACTIVATIONS, BlockLevels};
use crate::error::{TrainingError, check};

/// Encrypted parameters, or an encrypted gradient: one ciphertext for all channels of an activation or a class. Every number is in
/// the slots of all images.
#[derive(Debug)]
pub struct EncryptedWeights {
    /// Offsets of each activation.
    pub offsets: [Ciphertext; ACTIVATIONS],
    /// Scales of each activation.
    pub scales: [Ciphertext; ACTIVATIONS],
    /// Weights of the head, one ciphertext for each class.
    pub head: Vec<Ciphertext>,
    /// Biases of the head, one ciphertext for each class, in the slots of all channels.
    pub bias: Vec<Ciphertext>,
}

/// An encrypted mini-batch.
#[derive(Debug)]
pub struct BlockBatch {
    /// The block's input, one ciphertext for each pixel.
    pub inputs: Vec<Ciphertext>,
    /// For each class 1 in the slots of its images, 0 in all others.
    pub labels: Vec<Ciphertext>,
    /// Number of images, which is not secret.
    pub images: usize,
}

/// What a step gives.
#[derive(Debug)]
pub struct BlockStep {
    /// The parameters after the step.
    pub weights: EncryptedWeights,
    /// The gradient of the loss by the parameters before it.
    pub gradient: EncryptedWeights,
    /// The gradient by the block's input, one ciphertext for each pixel, if it was asked for.
    pub input_gradient: Option<Vec<Ciphertext>>,
}

/// Trains a block and its head on encrypted inputs and labels.
#[derive(Debug)]
pub struct BlockTrainer<'a> {
    eval: Evaluator,
    plan: &'a BlockPlan,
    refresher: Option<Arc<dyn Bootstrapper>>,
    refreshed: AtomicUsize,
}

impl<'a> BlockTrainer<'a> {
    /// A trainer whose evaluator has the keys of [`BlockPlan::keys`], and those of the refreshes.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for a plan with refreshes without anything that carries them out, or the reverse.
    pub fn new(
        eval: Evaluator,
        plan: &'a BlockPlan,
        refresher: Option<Arc<dyn Bootstrapper>>,
    ) -> Result<Self, TrainingError> {
        let (found, expected) = (refresher.is_some(), plan.refreshes());
        let words = |there: bool| if there { "one" } else { "none" };
        check(
            found == expected,
            "what carries out the refreshes of a block's training",
            words(found),
            words(expected),
        )?;
        Ok(Self {
            eval,
            plan,
            refresher,
            refreshed: AtomicUsize::new(0),
        })
    }

    /// Ciphertexts refreshed so far.
    pub fn refreshes(&self) -> usize {
        self.refreshed.load(Ordering::Relaxed)
    }

    /// The evaluator.
    pub fn evaluator(&self) -> &Evaluator {
        &self.eval
    }

    /// One step of gradient descent. `progress` is told the name of each part that is done. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for a mini-batch or parameters that do not fit the plan; [`TrainingError::Setting`] for too few levels,
    /// saying how many are missing; [`TrainingError::Eval`], [`TrainingError::Layer`], [`TrainingError::Bootstrap`].
    pub fn step(
        &self,
        weights: EncryptedWeights,
        batch: BlockBatch,
        mut progress: impl FnMut(&'static str),
    ) -> Result<BlockStep, TrainingError> {
        let levels = self.check(&weights, &batch)?;
        let images = batch.images;
        let weights = self.with_levels(weights, &levels)?;
        if self.refresher.is_some() {
            progress("refresh of parameters");
        }
        let forward = self.forward(&weights, batch, &levels, &mut progress)?;
        let (gradient, input_gradient) =
            self.backward(&weights, forward, (&levels, images), &mut progress)?;
        let weights = self.updated(weights, &gradient)?;
        progress("update");
        Ok(BlockStep {
            weights,
            gradient,
            input_gradient,
        })
    }

    /// Checks numbers of ciphertexts, levels and scales; gives the step's levels.
    fn check(
        &self,
        weights: &EncryptedWeights,
        batch: &BlockBatch,
    ) -> Result<BlockLevels, TrainingError> {
        let (layout, classes) = (self.plan.layout(), self.plan.classes());
        for (what, found, expected) in [
            (
                "ciphertexts of a block's input",
                batch.inputs.len(),
                layout.ciphertexts(),
            ),
            ("ciphertexts of labels", batch.labels.len(), classes),
            ("ciphertexts of a head", weights.head.len(), classes),
            (
                "ciphertexts of a head's biases",
                weights.bias.len(),
                classes,
            ),
            ("images of a mini-batch", batch.images.min(1), 1),
        ] {
            if found != expected {
                return Err(TrainingError::Count {
                    what,
                    found,
                    expected,
                });
            }
        }
        layout.check_images(batch.images)?;
        let lowest = batch.inputs.iter().map(Ciphertext::level).min();
        let levels = self.plan.levels(lowest.map_or(0, Level::limbs))?;
        for label in &batch.labels {
            check_level("level of labels", label, levels.head())?;
        }
        Ok(levels)
    }

    /// The parameters, refreshed where they are too low for a step.
    fn with_levels(
        &self,
        weights: EncryptedWeights,
        levels: &BlockLevels,
    ) -> Result<EncryptedWeights, TrainingError> {
        let ranges = &self.plan.settings().ranges;
        let fit = |what, ct: Ciphertext, level: usize, bound: f64| {
            if ct.level().limbs() >= level {
                return Ok(ct);
            }
            match &self.refresher {
                None => {
                    check_level(what, &ct, level)?;
                    Ok(ct)
                }
                Some(refresher) => self.refresh(refresher.as_ref(), ct, bound),
            }
        };
        let mut offsets = Vec::new();
        for (k, ct) in weights.offsets.into_iter().enumerate() {
            offsets.push(fit(
                "level of offsets",
                ct,
                levels.offsets(k),
                ranges.offsets,
            )?);
        }
        let mut scales = Vec::new();
        for (k, ct) in weights.scales.into_iter().enumerate() {
            scales.push(fit("level of scales", ct, levels.scales(k), ranges.scales)?);
        }
        let of_head = |what, cts, bound| each(cts, |ct| fit(what, ct, levels.head(), bound));
        Ok(EncryptedWeights {
            offsets: <[_; ACTIVATIONS]>::try_from(offsets).expect("one for each activation"),
            scales: <[_; ACTIVATIONS]>::try_from(scales).expect("one for each activation"),
            head: of_head("level of a head", weights.head, ranges.head)?,
            bias: of_head("level of a head's biases", weights.bias, ranges.bias)?,
        })
    }

    /// The parameters after the step, at the scale of parameters.
    fn updated(
        &self,
        weights: EncryptedWeights,
        gradient: &EncryptedWeights,
    ) -> Result<EncryptedWeights, TrainingError> {
        let settings = self.plan.settings();
        let (rates, ranges) = (settings.rates, &settings.ranges);
        let one = |(w, d): (&Ciphertext, &Ciphertext), rate: f64, bound: f64| {
            let level = w.level().min(d.level());
            let scale = self.plan.scale_of(bound).value() * self.prime(level);
            let mut sum = self.eval.zero(level, Scale::new(scale))?;
            self.eval.add_scaled_assign(&mut sum, w, 1.0)?;
            self.eval.add_scaled_assign(&mut sum, d, -rate)?;
            let mut next = self.eval.rescale(&sum)?;
            next.declare_values(bound, bound);
            Ok(next)
        };
        let many = |w: &[Ciphertext], d: &[Ciphertext], rate: f64, bound: f64| {
            let pairs: Vec<_> = w.iter().zip(d).collect();
            each(pairs, |pair| one(pair, rate, bound))
        };
        let three = |w: &[Ciphertext; ACTIVATIONS], d, rate, bound| {
            let next = many(w, d, rate, bound)?;
            Ok::<_, TrainingError>(
                <[_; ACTIVATIONS]>::try_from(next).expect("one for each activation"),
            )
        };
        let (w, d) = (&weights, gradient);
        Ok(EncryptedWeights {
            offsets: three(&w.offsets, &d.offsets, rates.offsets, ranges.offsets)?,
            scales: three(&w.scales, &d.scales, rates.scales, ranges.scales)?,
            head: many(&w.head, &d.head, rates.head, ranges.head)?,
            bias: many(&w.bias, &d.bias, rates.bias, ranges.bias)?,
        })
    }
}

fn check_level(what: &'static str, ct: &Ciphertext, level: usize) -> Result<(), TrainingError> {
    let found = ct.level().limbs();
    check(
        found >= level,
        what,
        found,
        format_args!(
            "{level} at least: {} levels are missing",
            level.saturating_sub(found)
        ),
    )
}
