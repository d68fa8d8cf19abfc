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
use crate::estimate::time::Clock;
use crate::plan::{Forecast, LastForecast, Plan, StepForecast, ThreadsAre};
use choices::{Bytes, Choice, blocks_worth_a_look, fastest, smallest, threads_worth_a_look};

/// Up to so many levels at which keys could be made, besides the top one, all sets of them are looked at.
const FEW_LEVELS: usize = 4;

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
    /// Threads.
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
