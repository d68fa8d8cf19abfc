//! Timelines: what ran when on which worker, and the memory meanwhile, measured and predicted.
//!
//! [`Timeline::to_svg`] is a picture, [`Timeline::to_json`] a trace in Chrome's format, which Perfetto
//! (<https://ui.perfetto.dev>) and `chrome://tracing` open.

mod chrome;
mod svg;

use std::time::{Duration, Instant};

use ckks_scheme::{Evaluator, Trace};

use crate::executor::Execution;
use crate::plan::{Forecast, StepForecast};

/// Records a run.
#[derive(Debug)]
pub struct Recording {
    origin: Instant,
    phases: Vec<Phase>,
    steps: Vec<Step>,
    /// When what is running began.
    begun: Duration,
    group: usize,
    is_last: bool,
    trace: Option<Trace>,
}

/// A part of the run beside the steps: keys, encryption, checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Phase {
    name: &'static str,
    start: Duration,
    length: Duration,
}

/// A step as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    group: usize,
    /// Whether the group has the layout of a last one.
    is_last: bool,
    /// Which of the steps of a group.
    index: usize,
    start: Duration,
    length: Duration,
    /// The limb pool's high-water mark.
    pool_bytes: u64,
}

/// A run as it was and as it was predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    title: String,
    workers: usize,
    phases: Vec<Phase>,
    steps: Vec<Step>,
    forecast: Forecast,
    trace: Trace,
}

impl Recording {
    /// Most bytes that a run needs more when it is recorded. The file is written when the run is over.
    pub const MOST_BYTES: u64 = Trace::MOST_BYTES;

    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            phases: Vec::new(),
            steps: Vec::new(),
            begun: Duration::ZERO,
            group: 0,
            is_last: false,
            trace: None,
        }
    }

    /// Makes an evaluator write down its operations.
    pub(crate) fn watch(&self, evaluator: &Evaluator) {
        evaluator.record(self.origin);
    }

    /// Takes over what an evaluator has written down.
    pub(crate) fn collect(&mut self, evaluator: &Evaluator) {
        self.trace = evaluator.profile().trace();
    }

    /// Something other than a step took from the last end until now.
    pub(crate) fn phase(&mut self, name: &'static str) {
        let (start, now) = (self.begun, self.origin.elapsed());
        self.begun = now;
        self.phases.push(Phase {
            name,
            start,
            length: now.saturating_sub(start),
        });
    }

    /// The steps of a group, from 0, begin; `is_last`: of one with a layout of its own.
    pub(crate) fn group(&mut self, number: usize, is_last: bool) {
        (self.group, self.is_last) = (number, is_last);
        self.begun = self.origin.elapsed();
    }

    /// A step took from the last end until now.
    pub(crate) fn step(&mut self, execution: &Execution<'_>) {
        let (start, now) = (self.begun, self.origin.elapsed());
        self.begun = now;
        self.steps.push(Step {
            group: self.group,
            is_last: self.is_last,
            index: execution.inner().done().saturating_sub(1),
            start,
            length: now.saturating_sub(start),
            pool_bytes: execution.pool_high_water_bytes(),
        });
    }

    /// The timeline of a run that was forecast so, on so many workers.
    #[must_use]
    pub fn finish(self, title: String, forecast: &Forecast, workers: usize) -> Timeline {
        Timeline {
            title,
            workers,
            phases: self.phases,
            steps: self.steps,
            forecast: forecast.clone(),
            trace: self.trace.unwrap_or_default(),
        }
    }
}

/// Stages in a row: what steps of one stage and one group are together.
struct Stage<'a> {
    name: &'a str,
    start: f64,
    end: f64,
}

impl Timeline {
    /// When the last thing ended, in seconds.
    fn end(&self) -> f64 {
        let phases = self.phases.iter().map(|phase| phase.start + phase.length);
        let steps = self.steps.iter().map(|step| step.start + step.length);
        let measured = phases.chain(steps).max().unwrap_or_default();
        let predicted = self
            .predicted()
            .last()
            .map_or(0.0, |(_, start, length)| start + length);
        measured.as_secs_f64().max(predicted)
    }

    /// The forecast of a step.
    fn forecast(&self, step: &Step) -> Option<&StepForecast> {
        self.forecast.steps_of(step.is_last).get(step.index)
    }

    /// The steps that were done as they were predicted: one after the other from when each group began. Step, start and
    /// length in seconds.
    fn predicted(&self) -> Vec<(&StepForecast, f64, f64)> {
        let mut all: Vec<(&StepForecast, f64, f64)> = Vec::new();
        let mut group = None;
        let mut at = 0.0;
        for step in &self.steps {
            let Some(forecast) = self.forecast(step) else {
                continue;
            };
            if group.replace(step.group) != Some(step.group) {
                at = step.start.as_secs_f64().max(at);
            }
            all.push((forecast, at, forecast.seconds));
            at += forecast.seconds;
        }
        all
    }

    /// The stages as they were.
    fn measured_stages(&self) -> Vec<Stage<'_>> {
        in_stages(self.steps.iter().filter_map(|step| {
            let name = &self.forecast(step)?.stage;
            let (start, length) = (step.start.as_secs_f64(), step.length.as_secs_f64());
            Some((name.as_str(), start, length))
        }))
    }

    /// The stages as they were predicted.
    fn predicted_stages(&self) -> Vec<Stage<'_>> {
        let steps = self.predicted().into_iter();
        in_stages(steps.map(|(step, start, length)| (step.stage.as_str(), start, length)))
    }
}

/// Steps of one stage that follow one another become one.
fn in_stages<'a>(steps: impl Iterator<Item = (&'a str, f64, f64)>) -> Vec<Stage<'a>> {
    let mut stages: Vec<Stage<'a>> = Vec::new();
    for (name, start, length) in steps {
        match stages.last_mut() {
            Some(stage) if stage.name == name => stage.end = start + length,
            _ => stages.push(Stage {
                name,
                start,
                end: start + length,
            }),
        }
    }
    stages
}

#[cfg(test)]
mod tests;
