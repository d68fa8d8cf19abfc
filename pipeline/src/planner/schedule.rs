//! Key levels and channel blocks at a time of a network that is prepared: what fits the memory and is fastest there.

mod choices;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ckks_scheme::Level;
use he_layers::PreparedProgram;

use super::chain::Chain;
use super::{Machine, Task};
use crate::decisions::{Decisions, FORMAT, KeySteps, LastGroup, keys_of};
use crate::estimate::memory::{self, StepNeeds};
use crate::estimate::time::{self, Clock};
use crate::plan::{FewerThreads, Forecast, LastForecast, Plan, StepForecast};
use choices::{Bytes, Choice, blocks_worth_a_look, fastest, smallest, threads_worth_a_look};

/// Up to so many levels at which keys could be made, besides the top one, all sets of them are looked at.
const FEW_LEVELS: usize = 4;

/// Parts of the memory, of 64, that rounded weights may take: many threads round many at once.
const WEIGHTS_PARTS: [u64; 3] = [1, 4, 16];

/// Everything about a plan but its key levels and channel blocks at a time.
pub(super) struct Schedule<'a> {
    pub task: &'a Task<'a>,
    pub chain: &'a Chain,
    pub prepared: &'a PreparedProgram,
    pub log_scale: u32,
    /// The network as a last group runs it, and its log_scale, if that has a layout of its own.
    pub last: Option<(&'a PreparedProgram, u32)>,
    pub machine: &'a Machine,
}

/// One of the two layouts of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Groups,
    Last,
}

/// What is fixed for a step, where anything is.
#[derive(Clone, Copy, Default)]
pub(super) struct Fixed {
    /// Channel blocks at a time.
    pub blocks: Option<usize>,
    /// Threads that the step is computed on.
    pub threads: Option<usize>,
}

/// What steps need, by the step and the channel blocks at a time: counted once for all key levels.
type Counted = RefCell<HashMap<(Part, usize, usize), Rc<StepNeeds>>>;

/// Says what is fixed for a step.
type FixedOf<'a> = &'a dyn Fn(Part, usize) -> Fixed;

impl Schedule<'_> {
    /// The fastest plan that fits the memory; the smallest if none does. More key levels are faster at low levels and take more
    /// memory. Which sets of them are looked at does not depend on the memory, so that more of it never makes a plan slower.
    /// `blocks` fixes the channel blocks at a time.
    pub fn best(&self, blocks: Option<usize>) -> Plan {
        let counted = Counted::default();
        let fixed = Fixed {
            blocks,
            threads: None,
        };
        let plan = |steps: &KeySteps| self.plan_counted(steps, &|_, _| fixed, &counted);
        let levels = self.falling_levels();
        let sets = match levels.split_first() {
            None => vec![KeySteps(Vec::new())],
            Some((&top, rest)) if rest.len() <= FEW_LEVELS => all_sets(top, rest),
            Some((&top, rest)) => self.some_sets(top, rest, fixed, &counted),
        };
        let better = |a: Plan, b: Plan| if self.is_better(&b, &a) { b } else { a };
        let best = sets.iter().map(plan).reduce(better);
        best.expect("one set of levels is always there")
    }

    /// Sets that are worth a look where there are too many: up to two levels more than the top, and those that come of adding
    /// the best level one after another, in time as if there were memory for everything, and in memory.
    fn some_sets(
        &self,
        top: Level,
        rest: &[Level],
        fixed: Fixed,
        counted: &Counted,
    ) -> Vec<KeySteps> {
        let with = |levels: &[Level]| {
            let mut levels = levels.to_vec();
            levels.sort_unstable_by(|a, b| b.cmp(a));
            KeySteps(levels)
        };
        let mut sets = vec![with(&[top])];
        for (index, &a) in rest.iter().enumerate() {
            sets.push(with(&[top, a]));
            sets.extend(rest[..index].iter().map(|&b| with(&[top, a, b])));
        }
        for memory_bytes in [u64::MAX, 1] {
            let machine = Machine {
                memory_bytes,
                ..self.machine.clone()
            };
            let apart = Schedule {
                machine: &machine,
                ..*self
            };
            let plan = |steps: &KeySteps| apart.plan_counted(steps, &|_, _| fixed, counted);
            let mut levels = vec![top];
            let mut best = plan(&with(&levels));
            loop {
                let left = rest.iter().filter(|level| !levels.contains(level));
                let plans = left.map(|level| {
                    let more = with(&[&levels[..], &[*level]].concat());
                    (plan(&more), more)
                });
                let next = plans.reduce(|a, b| if apart.is_better(&b.0, &a.0) { b } else { a });
                match next {
                    Some((plan, more)) if apart.is_better(&plan, &best) => {
                        best = plan;
                        sets.push(more.clone());
                        levels = more.0;
                    }
                    _ => break,
                }
            }
        }
        sets
    }

    /// Whatever fits comes before whatever does not; then the faster of the one, the smaller of the other.
    fn is_better(&self, a: &Plan, b: &Plan) -> bool {
        let fits = |plan: &Plan| plan.forecast.predicted_peak_bytes <= self.machine.memory_bytes;
        match (fits(a), fits(b)) {
            (true, true) => a.forecast.predicted_seconds_infer < b.forecast.predicted_seconds_infer,
            (false, false) => a.forecast.predicted_peak_bytes < b.forecast.predicted_peak_bytes,
            (fits, _) => fits,
        }
    }

    /// Levels at which the number of ciphertexts falls: good steps for smaller keys.
    fn falling_levels(&self) -> Vec<Level> {
        let mut levels = Vec::new();
        let mut ciphertexts = usize::MAX;
        for step in 0..self.prepared.steps() {
            let input = self.prepared.step_input(step);
            // What is encrypted has no activation before it that needs keys at its level.
            if step > 0 && input.layout.ciphertexts() < ciphertexts {
                ciphertexts = input.layout.ciphertexts();
                levels.push(input.level);
            }
        }
        levels.sort_unstable_by(|a, b| b.cmp(a));
        levels.dedup();
        levels
    }

    /// The plan with keys at `steps`; `fixed_of` says what is fixed for a step.
    pub fn plan(&self, steps: &KeySteps, fixed_of: FixedOf<'_>) -> Plan {
        self.plan_counted(steps, fixed_of, &Counted::default())
    }

    fn plan_counted(&self, steps: &KeySteps, fixed_of: FixedOf<'_>, counted: &Counted) -> Plan {
        let (task, chain, prepared) = (self.task, self.chain, self.prepared);
        let (modulus, threads) = (&chain.modulus, self.machine.threads);
        let input = &prepared.input().layout;
        let last = self.last.map(|(last, _)| last);
        let request = keys_of(prepared, last, &steps.0, modulus.log_n());
        let key_bytes = request.bytes(modulus);
        let held = key_bytes + chain.matrix_bytes;
        let fixed = memory::fixed_bytes(prepared, last, modulus, task.batch.get(), threads)
            .saturating_add(self.machine.beside_bytes);
        let for_steps = self.machine.memory_bytes.saturating_sub(fixed);
        let encryption = |of: &PreparedProgram| memory::encryption_limbs(of, modulus, threads);
        let encryption = last.map_or(0, encryption).max(encryption(prepared)) as u64;
        let encrypted = held.saturating_add(encryption.saturating_mul(modulus.limb_bytes()));
        let of_part = |part: Part, of: &PreparedProgram| {
            let clock = Clock::new(
                modulus,
                steps,
                &self.machine.speed,
                of.input().layout.grid().cells(),
                chain.refresh_work,
            );
            let steps = 0..of.steps();
            let choices = steps.map(|step| {
                let fixed = fixed_of(part, step);
                self.choices((part, of), step, &clock, held, fixed, counted)
            });
            choices.collect::<Vec<_>>()
        };
        let mut choices = of_part(Part::Groups, prepared);
        if let Some(last) = last {
            choices.extend(of_part(Part::Last, last));
        }
        let least = smallest(&choices, encrypted);
        let groups = task.batch.get().div_ceil(prepared.images());
        let full = groups - usize::from(last.is_some());
        let seconds = |chosen: &[&Choice]| {
            let sum = |of: &[&Choice]| of.iter().map(|choice| choice.seconds).sum::<f64>();
            let (of_groups, of_last) = chosen.split_at(prepared.steps());
            full as f64 * sum(of_groups) + sum(of_last)
        };
        let fastest = |bytes: Bytes| -> Option<Vec<&Choice>> {
            choices.iter().map(|of| fastest(of, bytes)).collect()
        };
        // Each split of the memory grows with it, so that more of it never makes a plan slower.
        let memory_bytes = self.machine.memory_bytes;
        let within = WEIGHTS_PARTS.into_iter().filter_map(|parts| {
            let (pool, weights) = (least.pool, least.weights);
            let weights = memory::weights_budget(parts, memory_bytes, for_steps, pool, weights);
            let pool = for_steps.saturating_sub(weights);
            fastest(Bytes { pool, weights })
        });
        let chosen = within.min_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        let chosen = chosen.or_else(|| fastest(least));
        let chosen = chosen.expect("what takes least is a choice");
        let predicted_seconds_infer = seconds(&chosen);
        let weights = chosen.iter().map(|choice| choice.weights).max();
        let fixed = fixed.saturating_add(weights.unwrap_or(0));
        let (of_groups, of_last) = chosen.split_at(prepared.steps());
        let forecasts = |part: Part, of: &PreparedProgram, chosen: &[&Choice]| {
            let steps = chosen.iter().enumerate();
            let steps =
                steps.map(|(step, choice)| self.forecast((part, of), step, choice, counted));
            steps.collect::<Vec<_>>()
        };
        let of_groups = forecasts(Part::Groups, prepared, of_groups);
        let of_last = last.map(|last| forecasts(Part::Last, last, of_last));
        let of_last = of_last.unwrap_or_default();
        let of_steps = of_groups.iter().chain(&of_last).map(|s| s.pool_bytes);
        let pool_bytes = of_steps.fold(encrypted, u64::max);
        let blocks = |steps: &[StepForecast]| steps.iter().map(|s| s.blocks).collect();
        let threads_of =
            |steps: &[StepForecast]| match steps.iter().all(|s| s.fewer_threads.is_none()) {
                true => Vec::new(),
                false => steps.iter().map(|s| s.threads(threads)).collect(),
            };
        let refreshes = last.map_or(0, PreparedProgram::refreshes);
        let refreshes = full
            .saturating_mul(prepared.refreshes())
            .saturating_add(refreshes);
        let decisions = Decisions {
            format: FORMAT,
            model: task.program.name().to_owned(),
            model_checksum: task.checksum.to_owned(),
            batch: task.batch.get(),
            params: modulus.literal().clone(),
            bootstrap: chain.bootstrap.clone(),
            refreshes: chain.refreshes.clone(),
            log_scale: self.log_scale,
            packing: input.packing(),
            grid: input.grid(),
            key_steps: steps.clone(),
            threads,
            blocks_at_a_time: blocks(&of_groups),
            threads_at_a_time: threads_of(&of_groups),
            last: self.last.map(|(last, log_scale)| LastGroup {
                log_scale,
                packing: last.input().layout.packing(),
                grid: last.input().layout.grid(),
                blocks_at_a_time: blocks(&of_last),
                threads_at_a_time: threads_of(&of_last),
            }),
        };
        Plan {
            decisions: decisions.in_least_format(),
            forecast: Forecast {
                images_per_group: prepared.images(),
                groups,
                bootstraps: refreshes,
                keys: request.count(),
                key_bytes,
                matrix_bytes: chain.matrix_bytes,
                pool_bytes,
                predicted_peak_bytes: pool_bytes.saturating_add(fixed),
                predicted_seconds_infer,
                errors: None,
                last: last.map(|_| LastForecast {
                    images: task.batch.get() - full * prepared.images(),
                    steps: of_last,
                }),
                steps: of_groups,
            },
        }
    }

    fn needs(
        &self,
        (part, prepared): (Part, &PreparedProgram),
        step: usize,
        blocks: usize,
        counted: &Counted,
    ) -> Rc<StepNeeds> {
        let share = self.machine.share();
        let count = || Rc::new(StepNeeds::new(prepared, step, blocks, share));
        let mut counted = counted.borrow_mut();
        Rc::clone(counted.entry((part, step, blocks)).or_insert_with(count))
    }

    /// The choices of channel blocks at a time and of threads, with `held_bytes` of keys and matrices in the pool.
    fn choices(
        &self,
        (part, prepared): (Part, &PreparedProgram),
        step: usize,
        clock: &Clock<'_>,
        held_bytes: u64,
        fixed: Fixed,
        counted: &Counted,
    ) -> Vec<Choice> {
        let all = self.machine.threads;
        let blocks = prepared.step_input(step).layout.blocks();
        let modulus = &self.chain.modulus;
        let key_level = |level| clock.key_level(level);
        let exchange = self.machine.together.map_or(0.0, |together| {
            time::exchange_seconds(&together, prepared, step, modulus)
        });
        let mut choices = Vec::new();
        for blocks in blocks_worth_a_look(blocks, fixed.blocks) {
            let needs = self.needs((part, prepared), step, blocks, counted);
            let works = needs
                .phases
                .each_ref()
                .map(|phase| (phase, clock.work(phase)));
            let shared = needs.shared_limbs(modulus);
            let of_thread = needs.thread_limbs(modulus, &key_level);
            let with_all = exchange + clock.seconds(&works, all);
            for threads in threads_worth_a_look(all, fixed.threads) {
                let limbs = shared.saturating_add(threads.saturating_mul(of_thread));
                let bytes = (limbs as u64).saturating_mul(modulus.limb_bytes());
                let seconds = exchange + clock.seconds(&works, threads);
                choices.push(Choice {
                    blocks,
                    threads,
                    pool_bytes: held_bytes.saturating_add(bytes),
                    weights: needs.bytes_beside(threads, threads < all),
                    seconds,
                    fewer_threads: match threads < all {
                        false => None,
                        true if with_all < seconds => Some(FewerThreads::ThatFit(threads)),
                        true => Some(FewerThreads::ThatHelp(threads)),
                    },
                });
            }
        }
        choices
    }

    /// What a step is going to take as it was chosen.
    fn forecast(
        &self,
        (part, prepared): (Part, &PreparedProgram),
        step: usize,
        choice: &Choice,
        counted: &Counted,
    ) -> StepForecast {
        let input = prepared.step_input(step);
        let (mut shape, mut level_out, mut ciphertexts_out) =
            (input.layout.shape(), input.level, 0);
        for (_, output) in prepared.step_outputs(step) {
            (shape, level_out) = (output.layout.shape(), output.level);
            ciphertexts_out += output.layout.ciphertexts();
        }
        let needs = self.needs((part, prepared), step, choice.blocks, counted);
        StepForecast {
            stage: prepared.step_stage(step).to_owned(),
            shape,
            ciphertexts_in: input.layout.ciphertexts(),
            ciphertexts_out,
            level_in: input.level,
            level_out,
            blocks: choice.blocks,
            fewer_threads: choice.fewer_threads,
            rotations: needs.counts.rotations(),
            pool_bytes: choice.pool_bytes,
            seconds: choice.seconds,
        }
    }
}

/// The sets of levels with `top`, each from the highest level down.
fn all_sets(top: Level, rest: &[Level]) -> Vec<KeySteps> {
    let subset = |bits: usize| {
        let chosen = rest.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
        let chosen = chosen.map(|(_, level)| *level);
        KeySteps(std::iter::once(top).chain(chosen).collect())
    };
    (0..1 << rest.len()).map(subset).collect()
}
