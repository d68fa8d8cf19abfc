//! The iterations under encryption.

use std::f64::consts::SQRT_2;

use ckks_scheme::{Ciphertext, Complex64, Level};
use rayon::prelude::*;

use super::gram::{Finished, Moments, width};
use super::{Iteration, Ridge};
use crate::error::TrainingError;
use crate::head::{Bias, Head};
use crate::layout::WeightForm;
use crate::trainer::{Trainer, declare};

/// An iteration's weights and those before them, one ciphertext for each block, in units of the weights' bound.
struct State {
    now: Vec<Ciphertext>,
    before: Vec<Ciphertext>,
}

impl Ridge {
    /// The weights, plain, from sums over images. `after` is called after every iteration with their number so far. Parallel on the
    /// current rayon pool.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for settings that do not fit, [`TrainingError::Count`] without images,
    /// [`TrainingError::Eval`], [`TrainingError::Bootstrap`].
    pub fn solve(
        &self,
        moments: Moments<'_>,
        trainer: &Trainer,
        mut after: impl FnMut(usize),
    ) -> Result<Head, TrainingError> {
        let t = trainer;
        let steps = self.iterations()?;
        let (input, output) = t.refresh_levels();
        // Scales halve from one refresh to the next, where they double.
        let cycle = output.saturating_sub(input + 2).max(1) as f64;
        let last = steps.last().map_or(1.0, |s| s.alpha);
        let finished = moments.finish(self, last * t.target() * (-1.0 / cycle).exp2())?;
        let top = finished.cross.iter().map(Ciphertext::level).min();
        let top = top.unwrap_or(Level::new(1));
        let first = steps.first().map_or(1.0, |s| s.alpha);
        let begin = |cross: &Ciphertext| {
            // The first weights are a multiple of `M`.
            let mut now = t.eval.copy(cross)?;
            now.reinterpret(first);
            Ok((now, t.eval.zero(top, cross.scale())?))
        };
        let (now, before) = finished
            .cross
            .iter()
            .map(begin)
            .collect::<Result<_, TrainingError>>()?;
        let mut state = State { now, before };
        after(1);
        for (index, step) in steps.iter().enumerate().skip(1) {
            let level = state.now[0].level().limbs();
            let more = index + 1 < steps.len();
            // The next iteration could not be refreshed after it.
            let refresh = more && level == input + 1;
            let next = self.iterate(t, &finished, &state, *step, refresh)?;
            state = if refresh {
                refreshed(t, next, top)?
            } else {
                let before = std::mem::replace(&mut state.now, next);
                State {
                    now: state.now,
                    before,
                }
            };
            after(index + 1);
        }
        let unit = self.weight_bound();
        let blocks = state.now.into_iter().map(|mut w| {
            w.reinterpret(unit);
            w
        });
        let bias = finished.centre.map_or(Bias::None, Bias::Centred);
        Ok(Head::new(WeightForm::Plain, blocks.collect(), bias))
    }

    /// The next weights; with `packed`, plus i times the present ones.
    fn iterate(
        &self,
        t: &Trainer,
        sums: &Finished,
        state: &State,
        step: Iteration,
        packed: bool,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let layout = &t.layout;
        let (width, lanes, blocks) = (width(layout), layout.lanes(), layout.blocks());
        let babies: Vec<i64> = (0..width).map(|r| layout.lane_step(r)).collect();
        let level = state.now[0].level();
        let rotated = state.now.iter().map(|w| t.rotations(w, &babies));
        let rotated = rotated.collect::<Result<Vec<_>, _>>()?;
        let giants = lanes / width;
        let inner = (0..blocks * giants)
            .into_par_iter()
            .map(|at| {
                let (block, g) = (at / giants, at % giants);
                let pairs: Vec<(&Ciphertext, &Ciphertext)> = sums.gram[block]
                    .iter()
                    .zip(&rotated)
                    .flat_map(|(diagonals, w)| diagonals[g * width..(g + 1) * width].iter().zip(w))
                    .collect();
                let sum = t.eval.sum_of_products(&pairs, level)?;
                Ok(t.eval.relinearize(sum)?)
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let present = 1.0 + step.beta - step.alpha * self.regularisation;
        let present = Complex64::new(present, f64::from(u8::from(packed)));
        (0..blocks)
            .into_par_iter()
            .map(|block| {
                let terms: Vec<(&Ciphertext, i64)> = inner[block * giants..(block + 1) * giants]
                    .iter()
                    .enumerate()
                    .map(|(g, sum)| (sum, layout.lane_step(g * width)))
                    .collect();
                let mut next = t.eval.rotate_sum(&terms)?;
                t.eval.negate_assign(&mut next);
                next.reinterpret(step.alpha);
                t.eval
                    .add_scaled_assign(&mut next, &state.now[block], present)?;
                t.eval
                    .add_scaled_assign(&mut next, &state.before[block], -step.beta)?;
                t.eval
                    .add_scaled_assign(&mut next, &sums.cross[block], step.alpha)?;
                // The evaluator takes the operands for independent, and would foretell errors that grow with every iteration.
                let max = if packed { SQRT_2 } else { 1.0 };
                declare(&mut next, max, 2.0);
                Ok(t.eval.rescale(&next)?)
            })
            .collect()
    }
}

/// Refreshes weights plus i times those before, and takes them apart; at level `top` afterwards.
fn refreshed(t: &Trainer, packed: Vec<Ciphertext>, top: Level) -> Result<State, TrainingError> {
    let parts = packed
        .into_par_iter()
        .map(|z| {
            let z = t.recentred(z)?;
            let mut z = t.refresh(z, SQRT_2)?;
            t.eval.drop_level(&mut z, top)?;
            let conjugate = t.eval.conjugate(&z)?;
            let (mut now, mut before) = (t.eval.copy(&z)?, z);
            t.take_real(&mut now, &conjugate)?;
            t.take_imaginary(&mut before, &conjugate)?;
            for part in [&mut now, &mut before] {
                part.declare_values(1.0, 1.0);
            }
            Ok((now, before))
        })
        .collect::<Result<Vec<_>, TrainingError>>()?;
    let (now, before) = parts.into_iter().unzip();
    Ok(State { now, before })
}
