//! One step on ciphertexts. It has no type that could hold a secret key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ckks_scheme::{Bootstrapper, Ciphertext, Encoder, Evaluator, Level, Scale};
use he_layers::EncryptedTensor;
use rayon::prelude::*;

use super::plan::{BlockPlan, Map};
use super::{ACTIVATIONS, BlockLevels, Range};
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

fn declare(ct: &mut Ciphertext, range: Range) {
    ct.declare_values(range.max, range.rms);
}

fn each<T: Send>(
    items: Vec<T>,
    f: impl Fn(T) -> Result<Ciphertext, TrainingError> + Sync + Send,
) -> Result<Vec<Ciphertext>, TrainingError> {
    items.into_par_iter().map(f).collect()
}

/// What the way back needs of an activation: what it squared, and that times its scale.
struct Kept {
    squared: Vec<Ciphertext>,
    scaled: Vec<Ciphertext>,
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
        let weights = self.with_levels(weights, &levels)?;
        if self.refresher.is_some() {
            progress("refresh of parameters");
        }
        let (plan, ranges) = (self.plan, &self.plan.settings().ranges);
        let [t1, t2, t3] = &weights.offsets;
        let [g1, g2, g3] = &weights.scales;
        let BlockBatch {
            inputs,
            labels,
            images,
        } = batch;
        let at = |limbs: usize| Level::new(limbs);
        let pixels = plan.layout().ciphertexts() as f64;

        let u1 = self.offset_inputs(&inputs, t1)?;
        let (a1, kept1) = self.activation(u1, g1, at(levels.returned[0]))?;
        let sums = self.apply(Map::First, a1)?;
        let u2 = self.squared(1, sums, t2, None)?;
        progress("first activation and convolution");

        let (a2, kept2) = self.activation(u2, g2, at(levels.returned[1]))?;
        let sums = self.apply(Map::Second, a2)?;
        let u3 = self.squared(2, sums, t3, Some(inputs))?;
        progress("second activation and convolution");

        let pairs: Vec<_> = u3.iter().map(|u| (u, u)).collect();
        let mut squares = self.product(&pairs)?;
        declare(&mut squares, ranges.squares);
        let mut pooled = self.product(&[(g3, &squares)])?;
        pooled.reinterpret(1.0 / pixels);
        declare(&mut pooled, ranges.pooled);
        let pooled = self.pooled_with_levels(pooled)?;
        let excess = self.excess(&weights, &pooled, &labels, images)?;
        drop(labels);
        progress("head");

        let pairs: Vec<_> = weights.head.iter().zip(&excess).collect();
        let mut delta_pooled = self.product(&pairs)?;
        declare(&mut delta_pooled, ranges.delta_pooled);
        let images = images as f64;
        let per_image = 1.0 / images;
        let per_number = per_image / pixels;
        let head = each(excess.iter().collect(), |excess| {
            self.gradient(&[(excess, &pooled)], per_image)
        })?;
        let bias = each(excess.iter().collect(), |excess| {
            let mut sum = self.over_images(self.eval.copy(excess)?)?;
            sum.reinterpret(per_image);
            Ok(sum)
        })?;
        drop(excess);
        let by_g3 = self.gradient(&[(&delta_pooled, &squares)], per_number)?;
        drop((pooled, squares));
        progress("gradient of the head");

        let mut slope = self.product(&[(g3, &delta_pooled)])?;
        // The derivative of a square.
        slope.reinterpret(2.0);
        let delta3 = each(u3, |u| self.delta(2, (&slope, &u), 1.0))?;
        drop((slope, delta_pooled));
        let by_t3 = self.summed_gradient(&delta3, per_number)?;
        let shortcut = match plan.settings().input_gradient {
            true => {
                let joined_at = at(levels.returned[0]);
                let copy = |ct| Ok(self.eval.copy_at_level(ct, joined_at)?);
                Some(each(delta3.iter().collect(), copy)?)
            }
            false => None,
        };
        let sums = self.apply(Map::SecondBack, delta3)?;
        let returned2 = self.returned(1, sums)?;
        progress("second convolution, transposed");

        let by_g2 = self.by_scale(&returned2, &kept2.squared, per_number)?;
        let pairs = returned2.into_iter().zip(kept2.scaled).collect();
        let delta2 = each(pairs, |(r, h): (Ciphertext, Ciphertext)| {
            self.delta(1, (&h, &r), 2.0)
        })?;
        drop(kept2.squared);
        let by_t2 = self.summed_gradient(&delta2, per_number)?;
        let sums = self.apply(Map::FirstBack, delta2)?;
        let returned1 = self.returned(0, sums)?;
        progress("first convolution, transposed");

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
        let gradient = EncryptedWeights {
            offsets: [by_t1, by_t2, by_t3],
            scales: [by_g1, by_g2, by_g3],
            head,
            bias,
        };
        let weights = self.updated(weights, &gradient)?;
        progress("gradient of the first activation, update");
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

    /// Refreshes numbers of at most `bound`, whose scale is that of the refresh divided by it.
    fn refresh(
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

    fn prime(&self, level: Level) -> f64 {
        self.plan.params().prime(level) as f64
    }

    /// The same values at another scale, one level below.
    fn at_scale(&self, ct: &Ciphertext, scale: Scale) -> Result<Ciphertext, TrainingError> {
        let level = ct.level();
        let raised = Scale::new(scale.value() * self.prime(level));
        let mut sum = self.eval.zero(level, raised)?;
        self.eval.add_scaled_assign(&mut sum, ct, 1.0)?;
        Ok(self.eval.rescale(&sum)?)
    }

    /// The same values at a scale above half of the usual one: multiplied by an integer. Scales would fall from product to product
    /// otherwise.
    fn recentred(&self, ct: Ciphertext) -> Result<Ciphertext, TrainingError> {
        let factor = (self.plan.scale() / ct.scale().value()).floor();
        if factor < 2.0 {
            return Ok(ct);
        }
        Ok(self.eval.mul_const(&ct, 1.0, Scale::new(factor))?)
    }

    /// A sum of products at the lowest level of the operands, before it is relinearised.
    fn tensor(&self, pairs: &[(&Ciphertext, &Ciphertext)]) -> Result<Ciphertext, TrainingError> {
        let levels = pairs.iter().map(|(a, b)| a.level().min(b.level()));
        let level = levels.min().unwrap_or(Level::new(1));
        Ok(self.eval.sum_of_products(pairs, level)?)
    }

    /// A sum of products one level below the lowest of the operands.
    fn product(&self, pairs: &[(&Ciphertext, &Ciphertext)]) -> Result<Ciphertext, TrainingError> {
        let sum = self.tensor(pairs)?;
        self.recentred(self.eval.relinearize_rescale(sum)?)
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

    /// A linear map, not rescaled.
    fn apply(&self, map: Map, x: Vec<Ciphertext>) -> Result<Vec<Ciphertext>, TrainingError> {
        let first = &x[0];
        let prepared = self.plan.map(map, first.level(), first.scale())?;
        let input = EncryptedTensor::new(prepared.input().clone(), x)?;
        let sums = prepared.forward(&self.eval, input, 1)?;
        Ok(sums.into_parts().1)
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
        let is_first = |slot: usize| slot % cells == 0 && slot / cells < images;
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

    /// The sum over the images, in the slots of all of them.
    fn over_images(&self, mut ct: Ciphertext) -> Result<Ciphertext, TrainingError> {
        for step in self.plan.layout().image_steps() {
            let rotated = self.eval.rotate(&ct, step)?;
            self.eval.add_assign(&mut ct, &rotated)?;
        }
        Ok(ct)
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
