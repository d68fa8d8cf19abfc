//! Key levels and channel blocks at a time of a network that is prepared: what fits the memory and is fastest there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ckks_scheme::Level;
use he_layers::PreparedProgram;

use super::chain::Chain;
use super::{Machine, Task};
use crate::decisions::{Decisions, FORMAT, KeySteps};
use crate::estimate::memory::{self, StepNeeds};
use crate::estimate::time::Clock;
use crate::plan::{Forecast, Plan, StepForecast};

/// Most channel blocks at a time that are considered.
const MOST_CONSIDERED: usize = 16;

/// Everything about a plan but its key levels and channel blocks at a time.
pub(super) struct Schedule<'a> {
    pub task: &'a Task<'a>,
    pub chain: &'a Chain,
    pub prepared: &'a PreparedProgram,
    pub log_scale: u32,
    pub machine: &'a Machine,
}

/// Bytes of the limb pool, and of rounded weights beside it.
#[derive(Clone, Copy)]
struct Bytes {
    pool: u64,
    weights: u64,
}

/// A step with some number of channel blocks at a time.
struct Choice {
    step: StepForecast,
    /// Most bytes of rounded weights.
    weights: u64,
}

/// What steps need, by the step and the channel blocks at a time: counted once for all key levels.
type Counted = RefCell<HashMap<(usize, usize), Rc<StepNeeds>>>;

impl Schedule<'_> {
    /// The fastest plan that fits the memory; the smallest if none does. Key levels are added one by one, as long as that
    /// helps: more of them are faster at low levels and take more memory. `blocks` fixes the channel blocks at a time.
    pub fn best(&self, blocks: Option<usize>) -> Plan {
        let counted = Counted::default();
        let levels = self.falling_levels();
        let Some((&top, rest)) = levels.split_first() else {
            return self.plan_counted(&KeySteps(Vec::new()), &|_| blocks, &counted);
        };
        let mut steps = KeySteps(vec![top]);
        let mut best = self.plan_counted(&steps, &|_| blocks, &counted);
        loop {
            let mut next: Option<(Plan, KeySteps)> = None;
            for level in rest.iter().filter(|l| !steps.0.contains(l)) {
                let mut with = steps.clone();
                with.0.push(*level);
                with.0.sort_unstable_by(|a, b| b.cmp(a));
                let plan = self.plan_counted(&with, &|_| blocks, &counted);
                let current = next.as_ref().map_or(&best, |(plan, _)| plan);
                if self.is_better(&plan, current) {
                    next = Some((plan, with));
                }
            }
            match next {
                Some((plan, with)) => (best, steps) = (plan, with),
                None => return best,
            }
        }
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

    /// The plan with keys at `steps`; `blocks` says how many channel blocks a step takes at a time where that is fixed.
    pub fn plan(&self, steps: &KeySteps, blocks: &dyn Fn(usize) -> Option<usize>) -> Plan {
        self.plan_counted(steps, blocks, &Counted::default())
    }

    fn plan_counted(
        &self,
        steps: &KeySteps,
        blocks: &dyn Fn(usize) -> Option<usize>,
        counted: &Counted,
    ) -> Plan {
        let (task, chain, prepared) = (self.task, self.chain, self.prepared);
        let (modulus, threads) = (&chain.modulus, self.machine.threads);
        let input = &prepared.input().layout;
        let request = prepared.keys_at(&steps.0, modulus.log_n());
        let key_bytes = request.bytes(modulus);
        let held = key_bytes + chain.matrix_bytes;
        let clock = Clock::new(
            modulus,
            steps,
            (&self.machine.speed, threads),
            input.grid().cells(),
            chain.refresh_work,
        );
        let fixed = memory::fixed_bytes(prepared, modulus, task.batch.get(), threads)
            .saturating_add(self.machine.beside_bytes);
        let for_steps = self.machine.memory_bytes.saturating_sub(fixed);
        let encryption = memory::encryption_limbs(prepared, modulus, threads) as u64;
        let encrypted = held.saturating_add(encryption.saturating_mul(modulus.limb_bytes()));
        let choices: Vec<Vec<Choice>> = (0..prepared.steps())
            .map(|step| self.choices(step, &clock, held, blocks(step), counted))
            .collect();
        let least = smallest(&choices, encrypted);
        let memory_bytes = self.machine.memory_bytes;
        let weights = memory::weights_budget(memory_bytes, for_steps, least.pool, least.weights);
        let budget = Bytes {
            pool: for_steps.saturating_sub(weights),
            weights,
        };
        let fastest = |bytes: Bytes| -> Option<Vec<&Choice>> {
            choices.iter().map(|of| fastest(of, bytes)).collect()
        };
        let chosen = fastest(budget).or_else(|| fastest(least));
        let chosen = chosen.expect("what takes least is a choice");
        let weights = chosen.iter().map(|choice| choice.weights).max();
        let fixed = fixed.saturating_add(weights.unwrap_or(0));
        let forecasts: Vec<StepForecast> = chosen.into_iter().map(|c| c.step.clone()).collect();
        let of_steps = forecasts.iter().map(|s| s.pool_bytes);
        let pool_bytes = of_steps.fold(encrypted, u64::max);
        let groups = task.batch.get().div_ceil(prepared.images());
        let seconds: f64 = forecasts.iter().map(|s| s.seconds).sum();
        Plan {
            decisions: Decisions {
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
                blocks_at_a_time: forecasts.iter().map(|s| s.blocks).collect(),
            },
            forecast: Forecast {
                images_per_group: prepared.images(),
                groups,
                bootstraps: groups.saturating_mul(prepared.refreshes()),
                keys: request.count(),
                key_bytes,
                matrix_bytes: chain.matrix_bytes,
                pool_bytes,
                predicted_peak_bytes: pool_bytes.saturating_add(fixed),
                predicted_seconds_infer: groups as f64 * seconds,
                errors: None,
                steps: forecasts,
            },
        }
    }

    fn needs(&self, step: usize, blocks: usize, counted: &Counted) -> Rc<StepNeeds> {
        let threads = self.machine.threads;
        let count = || Rc::new(StepNeeds::new(self.prepared, step, blocks, threads));
        let mut counted = counted.borrow_mut();
        Rc::clone(counted.entry((step, blocks)).or_insert_with(count))
    }

    /// Most bytes in the pool during a step, with `held_bytes` of keys and matrices.
    fn pool_bytes(&self, needs: &StepNeeds, clock: &Clock<'_>, held_bytes: u64) -> u64 {
        let modulus = &self.chain.modulus;
        let key_level = |level| clock.key_level(level);
        let limbs = needs.pool_limbs(modulus, &key_level, self.machine.threads);
        held_bytes.saturating_add((limbs as u64).saturating_mul(modulus.limb_bytes()))
    }

    /// The choices of channel blocks at a time.
    fn choices(
        &self,
        step: usize,
        clock: &Clock<'_>,
        held_bytes: u64,
        blocks: Option<usize>,
        counted: &Counted,
    ) -> Vec<Choice> {
        let (prepared, threads) = (self.prepared, self.machine.threads);
        let input = prepared.step_input(step);
        let at = |blocks: usize| {
            let needs = self.needs(step, blocks, counted);
            let (mut shape, mut level_out, mut ciphertexts_out) =
                (input.layout.shape(), input.level, 0);
            for (_, output) in prepared.step_outputs(step) {
                (shape, level_out) = (output.layout.shape(), output.level);
                ciphertexts_out += output.layout.ciphertexts();
            }
            let step = StepForecast {
                stage: prepared.step_stage(step).to_owned(),
                shape,
                ciphertexts_in: input.layout.ciphertexts(),
                ciphertexts_out,
                level_in: input.level,
                level_out,
                blocks,
                rotations: needs.counts.rotations(),
                pool_bytes: self.pool_bytes(&needs, clock, held_bytes),
                seconds: clock.seconds(&needs.counts) / threads as f64,
            };
            Choice {
                step,
                weights: needs.weight_bytes,
            }
        };
        if let Some(blocks) = blocks {
            return vec![at(blocks)];
        }
        // Fewer at a time do not always take less: sums that are added to again and again are held longer.
        let most = input.layout.blocks().clamp(1, MOST_CONSIDERED);
        let sizes = std::iter::successors(Some(1), |g| Some(g * 2)).take_while(|g| *g <= most);
        sizes.map(at).collect()
    }
}

/// The fastest choice within so many bytes.
fn fastest(choices: &[Choice], bytes: Bytes) -> Option<&Choice> {
    let fits = |c: &&Choice| c.step.pool_bytes <= bytes.pool && c.weights <= bytes.weights;
    let fitting = choices.iter().filter(fits);
    fitting.min_by(|a, b| a.step.seconds.total_cmp(&b.step.seconds))
}

/// The least bytes that all steps can do with, at least `pool` of them in the pool: the largest of each kind over the steps count.
fn smallest(choices: &[Vec<Choice>], pool: u64) -> Bytes {
    let pools = choices
        .iter()
        .flatten()
        .map(|c| c.step.pool_bytes.max(pool));
    let within = |pool: u64| {
        let least = |of: &Vec<Choice>| {
            let fitting = of.iter().filter(|c| c.step.pool_bytes <= pool);
            fitting.map(|c| c.weights).min()
        };
        let weights: Option<Vec<u64>> = choices.iter().map(least).collect();
        let weights = weights?.into_iter().max().unwrap_or(0);
        Some(Bytes { pool, weights })
    };
    let all = pools.chain([pool]).filter_map(within);
    let least = all.min_by_key(|bytes| bytes.pool.saturating_add(bytes.weights));
    least.expect("the largest pool serves all steps")
}
