//! The steps under encryption.
//!
//! Between steps all blocks of weights are one ciphertext `z = w + i G (v - w)`, packed, in units of the weights' bound (more
//! ciphertexts where the blocks do not fit into one). One refresh gives both their levels back. Its error counts once in `w`.
//! In the lead `v - w` it counts `1 / (1 - momentum)` times in the end, so the lead is kept `G` times as large: a power of two,
//! for the bound of the lead is that much lower. Had `z` been `w + i v`, the lead would have the error of `w` and of `v`.

use std::ops::Range;

use ckks_scheme::{Ciphertext, Complex64, Level, Scale};
use rayon::prelude::*;

use super::levels::{LEVELS_AFTER, StepLevels};
use super::probabilities::{Probabilities, score_scale};
use super::{Derived, Softmax, circuit};
use crate::error::{TrainingError, check};
use crate::group::Group;
use crate::head::{Bias, Head, Meeting};
use crate::layout::WeightForm;
use crate::trainer::{Trainer, declare};

const I: Complex64 = Complex64::I;
/// Scales whose logarithms differ by less are those of the same circuit.
const SAME_SCALE: f64 = 1e-6;

/// A training under way, step by step.
#[derive(Debug)]
pub struct SoftmaxRun<'a> {
    trainer: &'a Trainer,
    settings: Softmax,
    derived: Derived,
    levels: StepLevels,
    groups: usize,
    done: usize,
    /// `w + i G (v - w)` in units of the bound, packed; refreshed when the next step reads it.
    state: Vec<Ciphertext>,
}

impl Softmax {
    /// Begins a training of `epochs` passes over `groups` groups of images, from weights of zero.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for settings that do not fit, or refreshes that give too few levels.
    pub fn begin<'a>(
        &self,
        trainer: &'a Trainer,
        groups: usize,
    ) -> Result<SoftmaxRun<'a>, TrainingError> {
        let mut run = self.run(trainer, groups)?;
        let (level, scale) = run.between(0);
        let zero = |_| trainer.eval.zero(level, scale);
        let packs = 0..self.packs(&trainer.layout);
        run.state = packs.map(zero).collect::<Result<_, _>>()?;
        Ok(run)
    }

    /// Goes on with a training after its first `done` steps, from what [`SoftmaxRun::state`] gave then. With the same keys and the same
    /// groups of images the head is that of a run without a break, to the last bit.
    ///
    /// # Errors
    /// As [`Self::begin`]. What cannot be the state of this training is refused: [`TrainingError::Setting`] for more steps than there
    /// are, and for another level or scale; [`TrainingError::Count`] for another number of ciphertexts or of their polynomials.
    pub fn resume<'a>(
        &self,
        trainer: &'a Trainer,
        groups: usize,
        done: usize,
        state: Vec<Ciphertext>,
    ) -> Result<SoftmaxRun<'a>, TrainingError> {
        let run = self.run(trainer, groups)?;
        let steps = run.steps();
        check(
            done <= steps,
            "steps that are done",
            done,
            format_args!("{steps} at most"),
        )?;
        let (level, scale) = run.between(done);
        let count = |what, found, expected| match found == expected {
            true => Ok(()),
            false => Err(TrainingError::Count {
                what,
                found,
                expected,
            }),
        };
        let packs = self.packs(&trainer.layout);
        count("ciphertexts of weights", state.len(), packs)?;
        for ct in &state {
            count("polynomials of a ciphertext of weights", ct.parts(), 2)?;
            let found = ct.level();
            check(found == level, "level of weights", found, level)?;
            let (found, expected) = (ct.scale().log2(), scale.log2());
            let near = (found - expected).abs() < SAME_SCALE;
            check(near, "log2 of the scale of weights", found, expected)?;
        }
        Ok(SoftmaxRun { done, state, ..run })
    }

    /// A training whose weights are still missing.
    fn run<'a>(
        &self,
        trainer: &'a Trainer,
        groups: usize,
    ) -> Result<SoftmaxRun<'a>, TrainingError> {
        let derived = self.derived(trainer.layout.classes(), self.steps(groups))?;
        let levels = StepLevels::new(&derived, trainer.refresh_levels())?;
        Ok(SoftmaxRun {
            settings: *self,
            derived,
            levels,
            groups,
            done: 0,
            state: Vec::new(),
            trainer,
        })
    }
}

impl SoftmaxRun<'_> {
    /// Steps done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Steps in all.
    pub fn steps(&self) -> usize {
        self.settings.steps(self.groups)
    }

    /// The weights after the steps that are done, as ciphertexts: what [`Softmax::resume`] goes on from.
    pub fn state(&self) -> &[Ciphertext] {
        &self.state
    }

    /// Level and scale of the weights after `done` steps.
    fn between(&self, done: usize) -> (Level, Scale) {
        let level = match done {
            0 => self.trainer.refresh_levels().1,
            _ => self.levels.end,
        };
        (Level::new(level), Scale::new(self.trainer.target()))
    }

    /// Numbers of the groups that the next step reads: one mini-batch.
    pub fn next_groups(&self) -> Range<usize> {
        self.settings.groups_of_step(self.done, self.groups)
    }

    /// Does the next step, on its mini-batch. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for another number of groups than [`Self::next_groups`] says, and for one of another number of
    /// blocks; [`TrainingError::Setting`] after the last step; [`TrainingError::Eval`], [`TrainingError::Bootstrap`].
    pub fn step(&mut self, batch: &[Group]) -> Result<(), TrainingError> {
        let steps = self.steps();
        check(
            self.done < steps,
            "next step",
            self.done + 1,
            format_args!("{steps} at most"),
        )?;
        let (found, expected) = (batch.len(), self.next_groups().len());
        if found != expected {
            return Err(TrainingError::Count {
                what: "groups of a mini-batch",
                found,
                expected,
            });
        }
        for group in batch {
            let found = group.features.len();
            self.trainer.check_blocks("blocks of features", found)?;
        }
        let images: usize = batch.iter().map(|group| group.images).sum();
        if images == 0 {
            return Err(TrainingError::Count {
                what: "images of a mini-batch",
                found: 0,
                expected: 1,
            });
        }
        let t = self.trainer;
        let (_, output) = t.refresh_levels();
        let state = std::mem::take(&mut self.state)
            .into_par_iter()
            .map(|z| {
                if z.level().limbs() >= output {
                    return Ok(z);
                }
                t.refresh(z, std::f64::consts::SQRT_2)
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let conjugates = state
            .par_iter()
            .map(|z| Ok(t.eval.conjugate(z)?))
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let ahead = self.ahead(&state, &conjugates)?;
        let excess = self.excess(&ahead, batch)?;
        drop(ahead);
        let turned = excess
            .into_par_iter()
            .map(|excess| t.turned_back(&excess))
            .collect::<Result<Vec<_>, _>>()?;
        let mut cuts = (0..t.layout.blocks())
            .map(|block| {
                let groups = turned.iter().zip(batch);
                let of_block = groups.map(|(t, group)| (&t[..], &group.features[block]));
                let sums = t.correlate(&of_block.collect::<Vec<_>>(), t.target())?;
                self.change(&sums, images, 1.0)
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        if self.settings.bias {
            // What is not turned back.
            let excess = turned.iter().filter_map(|turned| turned.first());
            let sums = t.image_sums(excess.zip(batch.iter().map(|group| group.images)))?;
            cuts.push(self.change(&sums, images, self.settings.constant)?);
        }
        let changes = t.packed(&cuts)?;
        drop((turned, cuts));
        self.state = (changes.into_iter().zip(state).zip(conjugates))
            .map(|((change, z), zc)| self.next(change, &z, &zc))
            .collect::<Result<_, _>>()?;
        self.done += 1;
        Ok(())
    }

    /// The look-ahead weights `v`, spread, where they meet the features; the bias is the last, if there is one.
    fn ahead(
        &self,
        state: &[Ciphertext],
        conjugates: &[Ciphertext],
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let t = self.trainer;
        let above = Level::new(self.levels.weights + 1);
        let packs = state
            .iter()
            .zip(conjugates)
            .map(|(z, zc)| {
                let z = t.eval.copy_at_level(z, above)?;
                let zc = t.eval.copy_at_level(zc, above)?;
                let gain = self.derived.lead_gain;
                let mut lead = t.eval.copy(&z)?;
                t.take_imaginary(&mut lead, &zc)?;
                lead.reinterpret(1.0 / gain);
                let mut w = z;
                t.take_real(&mut w, &zc)?;
                // An integer: it takes no level.
                let mut v = t.eval.mul_const(&w, 1.0, Scale::new(gain))?;
                t.eval.add_assign(&mut v, &lead)?;
                v.declare_values(1.0, 1.0);
                Ok(v)
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        t.unpacked(&packs, self.settings.blocks(&t.layout))
    }

    /// Probabilities less labels, of each group.
    fn excess(
        &self,
        ahead: &[Ciphertext],
        batch: &[Group],
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let t = self.trainer;
        let level = Level::new(self.levels.weights);
        let schedule = &self.derived.schedule;
        let (weights, bias) = ahead.split_at(t.layout.blocks());
        let meeting = Meeting {
            weights,
            bias: bias.first().map(|bias| (bias, self.settings.constant)),
            factor: self.derived.unit / self.derived.score_unit,
            scale: score_scale(t, schedule, self.levels.weights),
        };
        let scores = batch
            .par_iter()
            .map(|group| {
                let mut scores = t.meet(&meeting, &group.features, level)?;
                declare(&mut scores, 1.0, 2.0);
                Ok(scores)
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let probabilities = Probabilities {
            trainer: t,
            labels: batch.iter().map(|group| &group.labels).collect(),
        };
        circuit::excess(&probabilities, schedule, scores, LEVELS_AFTER)
    }

    /// What the gradient of a block adds to the next `w + i G (v - w)`, from `factor` times its sums over the images: cut out, not rescaled.
    fn change(
        &self,
        sums: &Ciphertext,
        images: usize,
        factor: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let t = self.trainer;
        let rate = self.settings.rate;
        t.cut(
            sums,
            -self.both() * factor * rate / (images as f64 * self.derived.unit),
        )
    }

    /// What a change of the next `w` is in the next `z`: it changes the next lead, `momentum (w' - w)`, too.
    fn both(&self) -> Complex64 {
        1.0 + I * self.derived.lead_gain * self.settings.momentum
    }

    /// The next `z` from this one, its conjugate, and what the gradients add.
    fn next(
        &self,
        mut next: Ciphertext,
        z: &Ciphertext,
        zc: &Ciphertext,
    ) -> Result<Ciphertext, TrainingError> {
        let eval = &self.trainer.eval;
        let Softmax {
            rate,
            momentum,
            decay,
            ..
        } = self.settings;
        let gain = self.derived.lead_gain;
        // z' = w' + i gain momentum (w' - w) = both w' - i gain momentum w, where w' = keep v - rate g and
        // v = w + y / gain, with w = (z + zc) / 2 and y = (z - zc) / 2i.
        let kept = self.both() * (1.0 - rate * decay);
        let of_w = (kept - I * gain * momentum) / 2.0;
        let of_lead = kept / gain / (2.0 * I);
        eval.add_scaled_assign(&mut next, z, of_w + of_lead)?;
        eval.add_scaled_assign(&mut next, zc, of_w - of_lead)?;
        // The bounds of weights and leads hold for any gradients, and so with all errors: parts are within -1 and 1.
        declare(&mut next, std::f64::consts::SQRT_2, 2.0);
        Ok(eval.rescale(&next)?)
    }

    /// The weights after the steps that are done, spread.
    ///
    /// # Errors
    /// [`TrainingError::Eval`].
    pub fn finish(self) -> Result<Head, TrainingError> {
        let (t, unit) = (self.trainer, self.derived.unit);
        let constant = self.settings.constant;
        let packs = self.state.into_iter().map(|mut z| {
            let conjugate = t.eval.conjugate(&z)?;
            t.take_real(&mut z, &conjugate)?;
            z.declare_values(1.0, 1.0);
            Ok(z)
        });
        let packs = packs.collect::<Result<Vec<_>, TrainingError>>()?;
        let mut blocks = t.unpacked(&packs, self.settings.blocks(&t.layout))?;
        let bias = match blocks.split_off(t.layout.blocks()).pop() {
            None => Bias::None,
            Some(bias) => {
                // Scores have the scale of what is encrypted.
                let scale = t.target() * t.prime(bias.level()) / bias.scale().value();
                let bias = t
                    .eval
                    .mul_const(&bias, unit * constant, Scale::new(scale))?;
                Bias::Added(t.eval.rescale(&bias)?)
            }
        };
        for block in &mut blocks {
            block.reinterpret(unit);
        }
        Ok(Head::new(WeightForm::Spread, blocks, bias))
    }
}
