//! Which of the plans are precise enough.

use std::collections::BTreeMap;

use datasets::{Dataset, Synthetic};
use he_layers::{CompiledMaps, Grid, LayerError, Packing, PlainTensor, PreparedProgram, Program};

use super::chain::Chain;
use super::{PlanError, Task};
use crate::estimate::error::{self, LogitErrors};
use crate::plan::Plan;

/// What the contrast of an image is multiplied with that leaves a declared range, and how often at most.
const CONTRAST_STEP: f64 = 0.8;
const CONTRAST_STEPS: usize = 24;

/// Errors of plans, simulated once for each chain, scale and packing: they hardly depend on the grid.
pub(super) struct Simulations<'a> {
    task: &'a Task<'a>,
    chains: &'a [Chain],
    compiled: &'a CompiledMaps,
    images: PlainTensor,
    known: BTreeMap<(usize, u32, bool), LogitErrors>,
    least_error: f64,
}

impl<'a> Simulations<'a> {
    /// Nothing is simulated yet.
    pub fn new(
        task: &'a Task<'a>,
        chains: &'a [Chain],
        compiled: &'a CompiledMaps,
    ) -> Result<Self, PlanError> {
        Ok(Self {
            task,
            chains,
            compiled,
            images: images(task)?,
            known: BTreeMap::new(),
            least_error: f64::INFINITY,
        })
    }

    /// The first of some plans, each with the number of its chain, that is precise enough.
    pub fn first_precise(&mut self, plans: Vec<(Plan, usize)>) -> Result<Option<Plan>, PlanError> {
        for (mut plan, chain) in plans {
            let errors = self.errors(&plan, chain)?;
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

    fn errors(&mut self, plan: &Plan, index: usize) -> Result<LogitErrors, PlanError> {
        let d = &plan.decisions;
        let errors = self.of_layout((d.packing, d.grid, d.log_scale), index)?;
        match &d.last {
            None => Ok(errors),
            Some(last) => {
                let layout = (last.packing, last.grid, last.log_scale);
                Ok(errors.worse(self.of_layout(layout, index)?))
            }
        }
    }

    fn of_layout(
        &mut self,
        (packing, grid, log_scale): (Packing, Grid, u32),
        index: usize,
    ) -> Result<LogitErrors, PlanError> {
        let key = (index, log_scale, packing == Packing::Complex);
        if let Some(errors) = self.known.get(&key) {
            return Ok(*errors);
        }
        let chain = &self.chains[index];
        let errors = chain
            .prepare_at(packing, grid, log_scale, self.compiled)
            .and_then(|prepared| {
                let log_q = chain.modulus.log_q(prepared.output().level);
                let batch = self.task.batch.get();
                error::of_logits(&chain.program, &prepared, &self.images, batch, log_q)
            })
            .map_err(|reason| named(self.task, reason))?;
        self.known.insert(key, errors);
        Ok(errors)
    }
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
