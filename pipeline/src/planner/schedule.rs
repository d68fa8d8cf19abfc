//! Group sizes and key levels of a network that is prepared: what fits the memory and is fastest there.

use super::{Machine, PlanError};
use crate::cost::KeySteps;
use crate::memory;
use crate::network::Network;
use crate::plan::{FORMAT, Plan, StagePlan};
use ckks_scheme::{Level, Parameters};
use he_layers::{Op, Packing, PreparedLayer};
use std::num::NonZeroUsize;

/// Plans a network that is prepared already, made of any layers: decides the levels that have keys of their own and how
/// many channel blocks each layer takes at a time (`group`, where that is given). `name` is for people.
///
/// It predicts no error of the logits ([`Plan::predicted_max_logit_error`] is 0), and does not bind the limb pool to the
/// memory; `params.pool().set_budget()` does.
///
/// # Errors
/// [`PlanError::Memory`].
pub fn schedule(
    name: &str,
    network: &Network,
    params: &Parameters,
    batch: NonZeroUsize,
    machine: &Machine,
    group: Option<usize>,
) -> Result<Plan, PlanError> {
    let schedule = Schedule {
        name,
        network,
        params,
        batch: batch.get(),
        machine,
    };
    let fits = |plan: &Plan| plan.predicted_peak_bytes <= machine.memory_bytes;
    // Whatever fits comes before whatever does not; then the fastest of the one, the smallest of the other.
    let best = key_step_choices(&network.level_steps())
        .into_iter()
        .map(|steps| schedule.plan(steps, |_| group))
        .min_by(|a, b| match (fits(a), fits(b)) {
            (true, true) => {
                let seconds = |plan: &Plan| plan.predicted_seconds_infer;
                seconds(a).total_cmp(&seconds(b))
            }
            (false, false) => a.predicted_peak_bytes.cmp(&b.predicted_peak_bytes),
            (a, b) => b.cmp(&a),
        });
    schedule.within_memory(best.expect("there is a choice without any level"))
}

/// Every choice of key levels that has the highest: more of them are faster at low levels and take more memory.
fn key_step_choices(levels: &[Level]) -> Vec<KeySteps> {
    let Some((&top, rest)) = levels.split_first() else {
        return vec![KeySteps(Vec::new())];
    };
    let chosen = |mask: usize| {
        rest.iter()
            .enumerate()
            .filter(move |(i, _)| mask >> i & 1 == 1)
    };
    (0..1usize << rest.len())
        .map(|mask| {
            KeySteps(
                std::iter::once(top)
                    .chain(chosen(mask).map(|(_, l)| *l))
                    .collect(),
            )
        })
        .collect()
}

/// Everything about a plan but its group sizes and key levels.
pub(super) struct Schedule<'a> {
    pub name: &'a str,
    pub network: &'a Network,
    pub params: &'a Parameters,
    pub batch: usize,
    pub machine: &'a Machine,
}

impl Schedule<'_> {
    /// Memory of the process beside the limb pool.
    fn fixed_bytes(&self) -> u64 {
        memory::fixed_bytes(self.network, self.params, self.batch)
    }

    /// The plan with keys at `steps`; `group` says how many channel blocks a stage takes at a time where that is fixed.
    pub fn plan(&self, steps: KeySteps, group: impl Fn(usize) -> Option<usize>) -> Plan {
        let (params, network, threads) = (self.params, self.network, self.machine.threads);
        let request = network
            .required_keys()
            .reduced(params.log_n())
            .at_steps(&steps.0);
        let key_bytes = request.bytes(params);
        let stages: Vec<StagePlan> = network
            .layers()
            .iter()
            .enumerate()
            .map(|(index, layer)| self.stage(layer.as_ref(), &steps, key_bytes, group(index)))
            .collect();
        let encryption = memory::encryption_limbs(network, params, threads) as u64;
        let pool_bytes = stages
            .iter()
            .map(|s| s.pool_bytes)
            .fold(key_bytes + encryption * params.limb_bytes(), u64::max);
        let groups = self.batch.div_ceil(network.images());
        Plan {
            format: FORMAT,
            model: self.name.to_owned(),
            model_checksum: String::new(),
            batch: self.batch,
            images_per_group: network.images(),
            groups,
            params: params.literal().clone(),
            log_scale: self.log_scale(),
            packing: network.input().layout.packing(),
            grid: network.input().layout.grid(),
            key_steps: steps,
            threads,
            keys: request.count(),
            key_bytes,
            pool_bytes,
            predicted_peak_bytes: pool_bytes.saturating_add(self.fixed_bytes()),
            predicted_seconds_infer: groups as f64 * stages.iter().map(|s| s.seconds).sum::<f64>(),
            predicted_max_logit_error: 0.0,
            stages,
        }
    }

    /// The group size that is fastest within the memory; the smallest if none is.
    fn stage(
        &self,
        layer: &dyn PreparedLayer,
        steps: &KeySteps,
        key_bytes: u64,
        group: Option<usize>,
    ) -> StagePlan {
        let (input, output) = (layer.input(), layer.output());
        let (params, threads) = (self.params, self.machine.threads);
        let at = |group: usize| {
            let counts = layer.op_counts(group);
            let limbs = memory::layer_limbs(layer, group, &counts, params, steps, threads);
            let cost = &self.machine.cost;
            let seconds = cost.seconds(&counts, params, steps, input.layout.grid().cells());
            StagePlan {
                name: layer.name().to_owned(),
                shape: output.layout.shape(),
                ciphertexts_in: input.layout.ciphertexts(),
                ciphertexts_out: output.layout.ciphertexts(),
                level_in: input.level,
                level_out: output.level,
                group_blocks: group,
                rotations: [Op::HoistedRotation, Op::GiantRotation, Op::FoldRotation]
                    .into_iter()
                    .map(|op| counts.total(op))
                    .sum(),
                pool_bytes: key_bytes + limbs as u64 * params.limb_bytes(),
                seconds: seconds / threads as f64,
            }
        };
        if let Some(group) = group {
            return at(group);
        }
        let budget = self.machine.memory_bytes.saturating_sub(self.fixed_bytes());
        let sizes = std::iter::successors(Some(1), |g| Some(g * 2))
            .take_while(|g| *g <= input.layout.blocks().min(16));
        sizes
            .map(at)
            .filter(|s| s.pool_bytes <= budget)
            .min_by(|a, b| a.seconds.total_cmp(&b.seconds))
            .unwrap_or_else(|| at(1))
    }

    /// The plan, if the memory is enough for it.
    pub fn within_memory(&self, plan: Plan) -> Result<Plan, PlanError> {
        if plan.predicted_peak_bytes <= self.machine.memory_bytes {
            return Ok(plan);
        }
        Err(PlanError::Memory {
            model: self.name.to_owned(),
            batch: self.batch,
            budget_bytes: self.machine.memory_bytes,
            needed_bytes: plan.predicted_peak_bytes,
        })
    }

    /// Base-2 logarithm of the nominal scale S; the input stands at S^2, packed complex at 4 S^2.
    fn log_scale(&self) -> u32 {
        let input = self.network.input();
        let factor = match input.layout.packing() {
            Packing::Real => 0.0,
            Packing::Complex => 2.0,
        };
        ((input.scale.log2() - factor) / 2.0).round() as u32
    }
}
