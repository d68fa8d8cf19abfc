//! The layout of a last group: where a batch leaves few images after full groups, another layout runs them for less.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use he_layers::{CompiledMaps, PreparedProgram};

use super::schedule::Schedule;
use super::{Machine, Pins, Task, layouts};
use crate::plan::Plan;

/// Layouts of a last group that are tried with each layout of the others: the fastest, and the smallest besides.
const MOST_TRIED: usize = 3;

/// A layout that runs the images of a last group.
struct Candidate {
    prepared: PreparedProgram,
    log_scale: u32,
    /// Estimate of the time of these images alone, with memory for everything: no plan runs them faster in this layout.
    seconds: f64,
    /// Bytes of the smallest plan of these images alone.
    least_bytes: u64,
}

/// The layouts over one chain of primes that are worth a try for numbers of images that are left. They do not depend on the
/// memory, so that more of it never makes a plan slower.
pub(super) struct Lasts<'a> {
    pins: &'a Pins,
    compiled: &'a CompiledMaps,
    /// By the number of images.
    tried: BTreeMap<usize, Vec<Candidate>>,
}

impl<'a> Lasts<'a> {
    pub fn new(pins: &'a Pins, compiled: &'a CompiledMaps) -> Self {
        Self {
            pins,
            compiled,
            tried: BTreeMap::new(),
        }
    }

    /// The plans of `schedule` with a last group of a layout of its own that may be faster than `plan`, in which the last group
    /// is as the others.
    pub fn plans(&mut self, schedule: &Schedule<'_>, plan: &Plan) -> Vec<Plan> {
        let (batch, images) = (schedule.task.batch.get(), schedule.prepared.images());
        let may = batch > images && !self.pins.equal_groups;
        let Some(left) = NonZeroUsize::new(batch % images).filter(|_| may) else {
            return Vec::new();
        };
        let of_one = plan.forecast.predicted_seconds_infer / plan.forecast.groups as f64;
        let (pins, compiled) = (self.pins, self.compiled);
        let tried = self.tried.entry(left.get());
        let tried = tried.or_insert_with(|| candidates(schedule, left, pins, compiled));
        // In the layout of the others only the rounding of sums of seconds would differ.
        let layout = &schedule.prepared.input().layout;
        let may_pay = tried
            .iter()
            .filter(|last| last.prepared.input().layout != *layout && last.seconds < of_one);
        let plans = may_pay.map(|last| {
            let schedule = Schedule {
                last: Some((&last.prepared, last.log_scale)),
                ..*schedule
            };
            schedule.best(pins.blocks)
        });
        plans.collect()
    }
}

fn candidates(
    schedule: &Schedule<'_>,
    left: NonZeroUsize,
    pins: &Pins,
    compiled: &CompiledMaps,
) -> Vec<Candidate> {
    let (chain, program) = (schedule.chain, schedule.task.program);
    let task = Task {
        batch: left,
        ..*schedule.task
    };
    let with_memory = |memory_bytes| Machine {
        memory_bytes,
        ..schedule.machine.clone()
    };
    let (ample, least) = (with_memory(u64::MAX), with_memory(1));
    let layouts = layouts::candidates(program, chain.slots(), left, pins);
    let candidates = layouts.into_iter().filter_map(|(packing, grid)| {
        let prepared = chain.prepare(packing, grid, pins, compiled).ok()?;
        if prepared.images() < left.get() {
            return None;
        }
        let log_scale = chain.log_scale(packing, pins);
        let best = |machine: &Machine| {
            let alone = Schedule {
                task: &task,
                chain,
                prepared: &prepared,
                log_scale,
                last: None,
                machine,
            };
            alone.best(pins.blocks).forecast
        };
        let seconds = best(&ample).predicted_seconds_infer;
        let least_bytes = best(&least).predicted_peak_bytes;
        Some(Candidate {
            prepared,
            log_scale,
            seconds,
            least_bytes,
        })
    });
    let mut candidates: Vec<Candidate> = candidates.collect();
    candidates.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let others = candidates.split_off(candidates.len().min(MOST_TRIED));
    candidates.extend(others.into_iter().min_by_key(|last| last.least_bytes));
    candidates
}
