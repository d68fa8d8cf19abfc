//! The executor: runs a prepared program on encrypted images as its plan says. It has no type that could hold a secret key.

mod relay;

use std::time::Instant;

use ckks_scheme::{Ciphertext, Evaluator};
use he_layers::{EncryptedTensor, Exchange, LayerError, PreparedProgram, Run, RunState, Share};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::plan::StepForecast;
use crate::progress::{Progress, Unit};
use crate::report::StageReport;

/// Runs prepared programs with one evaluator.
#[derive(Debug)]
pub struct Executor<'a> {
    evaluator: &'a Evaluator,
    program: &'a PreparedProgram,
    steps: &'a [StepForecast],
}

/// A run under way: `step` by `step`, to be sent to another thread or stopped between two.
#[derive(Debug)]
pub struct Execution<'a> {
    run: Run<'a>,
    executor: &'a Executor<'a>,
    stages: Vec<StageReport>,
}

impl<'a> Executor<'a> {
    /// An executor of `program` that obeys the steps of its plan.
    ///
    /// # Errors
    /// [`LayerError::Step`] if the plan has another number of steps.
    pub fn new(
        evaluator: &'a Evaluator,
        program: &'a PreparedProgram,
        steps: &'a [StepForecast],
    ) -> Result<Self, LayerError> {
        if steps.len() != program.steps() {
            return Err(LayerError::Step {
                program: program.name().to_owned(),
                found: steps.len(),
                steps: program.steps(),
            });
        }
        Ok(Self {
            evaluator,
            program,
            steps,
        })
    }

    /// Begins a run of one group of images.
    ///
    /// # Errors
    /// [`LayerError::ForeignTensor`] for images that are not encrypted as the program reads them.
    pub fn begin(&'a self, images: EncryptedTensor) -> Result<Execution<'a>, LayerError> {
        Ok(Execution {
            run: self.program.begin(self.evaluator, images)?,
            executor: self,
            stages: Vec::new(),
        })
    }

    /// Takes a run up where it was after so many steps, with what their stages took and the ciphertexts that later steps need.
    /// It goes on as it would have without a stop, to the last bit.
    ///
    /// # Errors
    /// As [`PreparedProgram::resume`].
    pub fn resume<E: From<LayerError>>(
        &'a self,
        state: &RunState,
        stages: Vec<StageReport>,
        ciphertexts: impl IntoIterator<Item = Result<Ciphertext, E>>,
    ) -> Result<Execution<'a>, E> {
        Ok(Execution {
            run: self.program.resume(self.evaluator, state, ciphertexts)?,
            executor: self,
            stages,
        })
    }

    /// Runs one group of images: encrypted pixels in, encrypted logits out. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`LayerError`], for instance when the pool's budget is exhausted.
    pub fn run(
        &self,
        images: EncryptedTensor,
        progress: &dyn Progress,
    ) -> Result<(EncryptedTensor, Vec<StageReport>), LayerError> {
        let mut execution = self.begin(images)?;
        execution.run(progress, |_| Ok::<_, LayerError>(()))?;
        execution.finish()
    }

    /// Runs one process's share of a group that several processes run together; see [`he_layers::Share`]. All of them get the
    /// logits. What a stage took includes the time in which this process waited for others. `exchange` is called on the
    /// calling thread only.
    ///
    /// # Errors
    /// As [`Self::run`]; [`LayerError::Exchange`].
    pub fn run_shared(
        &self,
        images: EncryptedTensor,
        share: Share,
        exchange: &mut dyn Exchange,
    ) -> Result<(EncryptedTensor, Vec<StageReport>), LayerError> {
        let mut execution = Execution {
            run: self.program.begin_share(self.evaluator, images, share)?,
            executor: self,
            stages: Vec::new(),
        };
        while execution.next_step().is_some() {
            execution.step_by(|run, blocks, fewer| match fewer {
                Some(pool) => relay::step_in(pool, run, blocks, exchange),
                None => run.step_shared(blocks, exchange),
            })?;
        }
        let logits = execution.run.finish_shared(exchange)?;
        Ok((logits, execution.stages))
    }
}

impl<'a> Execution<'a> {
    /// Does all steps that are left. `after_step` sees the run after each of them, for instance to keep its state, and stops it
    /// with an error. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// As [`Self::step`]; the first error of `after_step`.
    pub fn run<E: From<LayerError>>(
        &mut self,
        progress: &dyn Progress,
        mut after_step: impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        // The bar moves in predicted milliseconds: operations of early stages take many times those of late ones.
        let milliseconds = |seconds: f64| (seconds * 1e3).round() as u64;
        let (done, left) = self.executor.steps.split_at(self.run.done());
        let total: f64 = self.executor.steps.iter().map(|s| s.seconds).sum();
        progress.begin(
            "encrypted inference",
            Some(milliseconds(total)),
            Unit::Parts,
        );
        progress.advance(done.iter().map(|s| milliseconds(s.seconds)).sum());
        let mut stage = None;
        for forecast in left {
            if stage.replace(&forecast.stage) != Some(&forecast.stage) {
                progress.stage(&forecast.stage);
            }
            self.step()?;
            progress.advance(milliseconds(forecast.seconds));
            after_step(self)?;
        }
        progress.finish();
        Ok(())
    }

    /// What the next step is forecast to be; nothing after the last.
    pub fn next_step(&self) -> Option<&'a StepForecast> {
        self.executor.steps.get(self.run.done())
    }

    /// Does the next step, on as many threads as its plan says: those of the current rayon pool, or fewer of its own.
    ///
    /// # Errors
    /// [`LayerError::Step`] after the last; [`LayerError::Threads`] if the system has no threads left; [`LayerError::Eval`] and
    /// others.
    pub fn step(&mut self) -> Result<(), LayerError> {
        self.step_by(|run, blocks, fewer| match fewer {
            Some(pool) => pool.install(|| run.step(blocks)),
            None => run.step(blocks),
        })
    }

    /// `run` gets the channel blocks at a time, and a pool where the plan says fewer threads than the current one has.
    fn step_by(
        &mut self,
        run: impl FnOnce(&mut Run<'a>, usize, Option<&ThreadPool>) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let index = self.run.done();
        let program = self.executor.program;
        let all = rayon::current_num_threads();
        let step = self.next_step();
        let (blocks, threads) = step.map_or((1, all), |s| (s.blocks, s.threads(all)));
        let pool = self.executor.evaluator.params().pool();
        pool.reset_high_water();
        let start = Instant::now();
        let fewer = (1..all).contains(&threads).then(|| pool_of(threads));
        run(&mut self.run, blocks, fewer.transpose()?.as_ref())?;
        let (seconds, bytes) = (start.elapsed().as_secs_f64(), pool.high_water_bytes());
        let name = program.step_stage(index);
        if self.stages.last().is_none_or(|stage| stage.name != name) {
            let level_in = program.step_input(index).level.limbs();
            self.stages.push(StageReport {
                name: name.to_owned(),
                seconds: 0.0,
                ciphertexts: 0,
                level_in,
                level_out: level_in,
                bytes: 0,
            });
        }
        if let Some(stage) = self.stages.last_mut() {
            stage.seconds += seconds;
            stage.bytes = stage.bytes.max(bytes);
            let outputs = || program.step_outputs(index).map(|(_, output)| output);
            if let Some(output) = outputs().last() {
                stage.level_out = output.level.limbs();
                stage.ciphertexts = outputs().map(|o| o.layout.ciphertexts()).sum();
            }
        }
        Ok(())
    }

    /// The run itself: its state between two steps.
    pub fn inner(&self) -> &Run<'a> {
        &self.run
    }

    /// The limb pool's high-water mark of the last step, right after it.
    pub(crate) fn pool_high_water_bytes(&self) -> u64 {
        self.executor.evaluator.params().pool().high_water_bytes()
    }

    /// What the stages have taken so far.
    pub fn stages(&self) -> &[StageReport] {
        &self.stages
    }

    /// Whether the steps that are done end a stage of the network.
    pub fn is_between_stages(&self) -> bool {
        let (done, program) = (self.run.done(), self.executor.program);
        done == 0
            || done == program.steps()
            || program.step_stage(done - 1) != program.step_stage(done)
    }

    /// The network's output, when all steps are done, and what the parts of the network took.
    ///
    /// # Errors
    /// [`LayerError::Step`] before that.
    pub fn finish(self) -> Result<(EncryptedTensor, Vec<StageReport>), LayerError> {
        Ok((self.run.finish()?, self.stages))
    }
}

fn pool_of(threads: usize) -> Result<ThreadPool, LayerError> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|_| LayerError::Threads { threads })
}
