//! Which of the plans are precise enough, and at which scale.

use std::collections::BTreeMap;

use datasets::{Dataset, Synthetic};
use he_layers::{CompiledMaps, Grid, LayerError, Packing, PlainTensor, PreparedProgram, Program};

use super::chain::Chain;
use super::{LOG_SCALES, PlanError, Task};
use crate::decisions::Decisions;
use crate::estimate::error::{self, LogitErrors};
use crate::plan::Plan;

/// What the contrast of an image is multiplied with that leaves a declared range, and how often at most.
const CONTRAST_STEP: f64 = 0.8;
const CONTRAST_STEPS: usize = 24;

/// Packing and grid of the input, and the base-2 logarithm of the scale.
type Scaled = (Packing, Grid, u32);

/// Errors of plans, simulated for each chain and packing: they hardly depend on the grid. A scale that is not pinned is
/// balanced: see [`balanced`].
pub(super) struct Simulations<'a> {
    task: &'a Task<'a>,
    chains: &'a [Chain],
    compiled: &'a CompiledMaps,
    images: PlainTensor,
    is_pinned: bool,
    /// By the chain and whether the packing is complex.
    known: BTreeMap<(usize, bool), (u32, LogitErrors)>,
    least_error: f64,
}

impl<'a> Simulations<'a> {
    /// Nothing is simulated yet. `is_pinned`: the scales stay as they are.
    pub fn new(
        task: &'a Task<'a>,
        chains: &'a [Chain],
        compiled: &'a CompiledMaps,
        is_pinned: bool,
    ) -> Result<Self, PlanError> {
        Ok(Self {
            task,
            chains,
            compiled,
            images: images(task)?,
            is_pinned,
            known: BTreeMap::new(),
            least_error: f64::INFINITY,
        })
    }

    /// The first of some plans, each with the number of its chain, that is precise enough; its scales are balanced.
    pub fn first_precise(&mut self, plans: Vec<(Plan, usize)>) -> Result<Option<Plan>, PlanError> {
        for (mut plan, chain) in plans {
            let errors = self.balance(&mut plan.decisions, chain)?;
            let relative = errors.of_plan();
            self.least_error = self.least_error.min(relative);
            if relative <= self.task.max_logit_error {
                plan.forecast.errors = Some(errors);
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    /// The least error so far, in deviations of the logits; infinite before any.
    pub fn least_error(&self) -> f64 {
        self.least_error
    }

    /// Balances the scales of a plan over a chain, and returns its errors.
    fn balance(&mut self, d: &mut Decisions, chain: usize) -> Result<LogitErrors, PlanError> {
        let layout = (d.packing, d.grid, d.log_scale);
        let (log_scale, mut errors) = self.of_layout(layout, chain)?;
        d.log_scale = log_scale;
        if let Some(last) = &mut d.last {
            let layout = (last.packing, last.grid, last.log_scale);
            let (log_scale, of_last) = self.of_layout(layout, chain)?;
            last.log_scale = log_scale;
            errors = errors.worse(of_last);
        }
        Ok(errors)
    }

    /// The better scale, and the errors at it.
    fn of_layout(
        &mut self,
        (packing, grid, log_scale): Scaled,
        chain: usize,
    ) -> Result<(u32, LogitErrors), PlanError> {
        let key = (chain, packing == Packing::Complex);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let errors = self.simulate((packing, grid, log_scale), chain);
        let errors = errors.map_err(|reason| named(self.task, reason))?;
        let mut best = (log_scale, errors);
        let other = balanced(log_scale, &errors).filter(|_| !self.is_pinned);
        // The chain may not hold the values at another scale.
        if let Some(log_scale) = other
            && let Ok(errors) = self.simulate((packing, grid, log_scale), chain)
            && errors.of_plan() < best.1.of_plan()
        {
            best = (log_scale, errors);
        }
        self.known.insert(key, best);
        Ok(best)
    }

    fn simulate(
        &self,
        (packing, grid, log_scale): Scaled,
        chain: usize,
    ) -> Result<LogitErrors, LayerError> {
        let chain = &self.chains[chain];
        let prepared = chain.prepare_at(packing, grid, log_scale, self.compiled)?;
        let log_q = chain.modulus.log_q(prepared.output().level);
        let batch = self.task.batch.get();
        error::of_logits(&chain.program, &prepared, &self.images, batch, log_q)
    }
}

/// Another scale at which noise and rounded weights do about the same harm, after a simulation at `log_scale`. Relative to the
/// values, noise is inversely proportional to the scale; the scale of the weights is what the primes leave, so that the
/// error of rounding them is proportional to it.
fn balanced(log_scale: u32, errors: &LogitErrors) -> Option<u32> {
    let shift = (errors.noise / errors.rounding()).log2() / 2.0;
    let balanced = (f64::from(log_scale) + shift).round();
    let other = shift.is_finite().then_some(balanced as u32)?;
    (LOG_SCALES.contains(&other) && other != log_scale).then_some(other)
}

/// Errors of a network that is prepared. `program` is what `prepared` was prepared from; `log_q` is the size of the modulus
/// of its output in bits.
pub(super) fn simulated(
    task: &Task<'_>,
    program: &Program,
    prepared: &PreparedProgram,
    log_q: f64,
) -> Result<LogitErrors, PlanError> {
    let batch = task.batch.get();
    let errors = error::of_logits(program, prepared, &images(task)?, batch, log_q);
    errors.map_err(|reason| named(task, reason))
}

/// Synthetic images to simulate errors on: the more images, the worse the worst of them. The network may have been trained on
/// images of another kind: where one leaves a declared range, its contrast is lowered until it does not, since errors
/// beyond the ranges say nothing about those within.
fn images(task: &Task<'_>) -> Result<PlainTensor, PlanError> {
    let input = task.program.shape(task.program.input());
    let shape = datasets::Shape {
        channels: input.channels,
        height: input.height,
        width: input.width,
    };
    let count = task.batch.get().min(error::IMAGES);
    let images = Synthetic::with_shape(0, shape)?.read(0, count)?;
    let images = PlainTensor::new(count, input, images.view().to_f64());
    let images = images.and_then(|mut images| {
        bring_into_range(task.program, &mut images)?;
        Ok(images)
    });
    images.map_err(|reason| named(task, reason))
}

/// Lowers the contrast of images that leave a declared range, step by step, down to one of the input's mean.
fn bring_into_range(program: &Program, images: &mut PlainTensor) -> Result<(), LayerError> {
    let (mean, pixels) = (program.input_mean(), images.shape.pixels());
    let volume = images.shape.volume();
    for _ in 0..CONTRAST_STEPS {
        let outside = program.images_out_of_range(images)?;
        if !outside.contains(&true) {
            break;
        }
        let each = images.data.chunks_exact_mut(volume).zip(outside);
        for (image, _) in each.filter(|(_, outside)| *outside) {
            for (channel, mean) in image.chunks_exact_mut(pixels).zip(&mean) {
                let fade = |v: &mut f64| *v = mean + CONTRAST_STEP * (*v - mean);
                channel.iter_mut().for_each(fade);
            }
        }
    }
    Ok(())
}

fn named(task: &Task<'_>, reason: LayerError) -> PlanError {
    PlanError::layout(task.program.name(), reason)
}
