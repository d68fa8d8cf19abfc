//! Where values are refreshed: as few ciphertexts as the levels allow, and everything else at low levels.

use ckks_scheme::bootstrap::FourierSeries;
use ckks_scheme::{Level, Scale};
use he_layers::{LayerError, Program, Refresher, ScaleChain, Setting, Value};

use super::PlanError;
use super::chain::OUTPUT_LEVEL;

/// Levels around a refresh.
pub(super) struct Limits {
    /// Least level of what is refreshed.
    pub input: Level,
    /// Level that a refresh gives.
    pub output: Level,
    /// Highest level: inputs may start there.
    pub top: Level,
}

/// Work of one refresh in units of what a key switch takes at one level, `level^1.5` of which it takes at a level: 3.1 s
/// against 35 ms at level 21, N = 2^16.
const REFRESH_UNITS: f64 = 8500.0;
/// Key switches that a ciphertext takes on its way through a linear map, its share of the matrix product included.
const LINEAR_UNITS: f64 = 4.0;
/// Rounds of improvement.
const ROUNDS: usize = 8;

/// The sums to refresh, in order, and the units of work of a run with them: `exactly` so many, if that is asked for. Nothing
/// if the network cannot run within the limits.
pub(super) fn place(
    program: &Program,
    limits: &Limits,
    exactly: Option<usize>,
) -> Result<Option<(Vec<Value>, f64)>, PlanError> {
    let named = |reason| PlanError::layout(program.name(), reason);
    let search = Search::new(program, limits);
    let Some(first) = search.reachable(exactly).map_err(named)? else {
        return Ok(None);
    };
    search.improve(first, exactly).map_err(named).map(Some)
}

/// Whether the network's own refreshes, which apply `function`, give enough levels.
pub(super) fn reaches(
    program: &Program,
    limits: &Limits,
    function: Option<FourierSeries>,
) -> Result<bool, PlanError> {
    let scale = Scale::new(2f64.powi(28));
    let chain = ScaleChain::new(scale, Vec::new());
    let refresher = Refresher::levels_only(limits.input, limits.output).with_function(function);
    let setting = Setting {
        chain: &chain,
        refreshers: std::slice::from_ref(&refresher),
    };
    let short = program
        .levels(&setting, OUTPUT_LEVEL)
        .and_then(|levels| program.first_shortage(&setting, &levels, limits.top));
    match short {
        Ok(short) => Ok(short.is_none()),
        Err(reason) => Err(PlanError::layout(program.name(), reason)),
    }
}

struct Search<'a> {
    program: &'a Program,
    limits: &'a Limits,
    chain: ScaleChain,
    refresher: Refresher,
    candidates: Vec<Value>,
}

impl<'a> Search<'a> {
    fn new(program: &'a Program, limits: &'a Limits) -> Self {
        // Levels are all that counts here.
        let scale = Scale::new(2f64.powi(28));
        let refresher = Refresher::levels_only(limits.input, limits.output);
        Self {
            program,
            limits,
            chain: ScaleChain::new(scale, Vec::new()),
            refresher,
            candidates: program.refreshable(),
        }
    }

    fn setting(&self) -> Setting<'_> {
        Setting {
            chain: &self.chain,
            refreshers: std::slice::from_ref(&self.refresher),
        }
    }

    /// From the output on: where a level is short, the earliest sum whose refresh reaches as far as what is chosen already.
    fn reachable(&self, exactly: Option<usize>) -> Result<Option<Vec<Value>>, LayerError> {
        let mut at: Vec<Value> = Vec::new();
        let most = exactly.unwrap_or(self.candidates.len());
        while self.shortage(&at)?.is_some() {
            let before = at.iter().min().copied();
            let mut next = None;
            for &v in &self.candidates {
                if before.is_some_and(|b| v >= b) {
                    break;
                }
                let mut with = at.clone();
                with.push(v);
                // Shortages are found from the output on: if only the input is short, all refreshes reach.
                if self.shortage(&with)?.is_none_or(|input| input) {
                    next = Some(v);
                    break;
                }
            }
            match next {
                Some(v) if at.len() < most => at.push(v),
                _ => return Ok(None),
            }
        }
        if let Some(count) = exactly {
            let missing = count.saturating_sub(at.len());
            let free = self.candidates.iter().copied();
            let free: Vec<Value> = free
                .filter(|v| !at.contains(v))
                .rev()
                .take(missing)
                .collect();
            at.extend(free);
            if at.len() != count {
                return Ok(None);
            }
        }
        at.sort_unstable();
        Ok(Some(at))
    }

    /// Whether levels are short with these refreshes, and if so whether only the input's are.
    fn shortage(&self, at: &[Value]) -> Result<Option<bool>, LayerError> {
        let refreshed = self.program.with_refreshes(at)?;
        let setting = self.setting();
        let levels = refreshed.levels(&setting, OUTPUT_LEVEL)?;
        let short = refreshed.first_shortage(&setting, &levels, self.limits.top)?;
        Ok(short.map(|s| s.value == refreshed.input()))
    }

    /// Moves, adds and removes refreshes as long as that makes the run cheaper.
    fn improve(
        &self,
        mut at: Vec<Value>,
        exactly: Option<usize>,
    ) -> Result<(Vec<Value>, f64), LayerError> {
        let mut best = self.cost(&at)?.unwrap_or(f64::INFINITY);
        for _ in 0..ROUNDS {
            let mut better: Option<Vec<Value>> = None;
            let mut consider = |with: Vec<Value>| -> Result<(), LayerError> {
                if let Some(cost) = self.cost(&with)?
                    && cost < best
                {
                    best = cost;
                    better = Some(with);
                }
                Ok(())
            };
            let free = |at: &[Value]| -> Vec<Value> {
                let all = self.candidates.iter().copied();
                all.filter(|v| !at.contains(v)).collect()
            };
            for moved in 0..at.len() {
                for v in free(&at) {
                    let mut with = at.clone();
                    with[moved] = v;
                    consider(with)?;
                }
                if exactly.is_none() && at.len() > 1 {
                    let mut with = at.clone();
                    with.remove(moved);
                    consider(with)?;
                }
            }
            if exactly.is_none() {
                for v in free(&at) {
                    let mut with = at.clone();
                    with.push(v);
                    consider(with)?;
                }
            }
            match better {
                Some(with) => at = with,
                None => break,
            }
        }
        at.sort_unstable();
        Ok((at, best))
    }

    /// Units of work of a run with these refreshes; nothing if levels are short. Ciphertexts count in proportion to numbers.
    fn cost(&self, at: &[Value]) -> Result<Option<f64>, LayerError> {
        let refreshed = self.program.with_refreshes(at)?;
        let setting = self.setting();
        let levels = refreshed.levels(&setting, OUTPUT_LEVEL)?;
        if refreshed
            .first_shortage(&setting, &levels, self.limits.top)?
            .is_some()
        {
            return Ok(None);
        }
        let mut cost = 0.0;
        for (value, level) in refreshed.all_values().zip(&levels) {
            let size = refreshed.shape(value).volume() as f64;
            let depth = refreshed.stage_depth(value, &setting)?;
            let key_switches =
                LINEAR_UNITS * refreshed.products_of(value) as f64 + stage_units(depth);
            cost += size * key_switches * (level.limbs() as f64).powf(1.5);
        }
        for v in at {
            cost += self.program.shape(*v).volume() as f64 * REFRESH_UNITS;
        }
        Ok(Some(cost))
    }
}

/// Key switches of a stage of so many levels: a square takes two, a polynomial of degree `d` about `2 sqrt(2 d)` in each of
/// two parts.
fn stage_units(depth: usize) -> f64 {
    match depth {
        0 => 0.0,
        1 => 2.0,
        d => 4.0 * (d as f64 / 2.0).exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::chain::outlined;
    use ckks_scheme::counts::PrimitiveCosts;
    use ckks_scheme::exec::KernelChoice;
    use ckks_scheme::{BootstrapPreset, ModulusChain, ParamsLiteral};

    #[test]
    fn a_refresh_is_worth_what_the_cost_model_says() {
        let costs = PrimitiveCosts::built_in("avx512ifma", 16);
        let literal = ParamsLiteral {
            log_n: 16,
            q_bits: vec![50; 21],
            p_bits: vec![50; 11],
            digits: 2,
        };
        let chain = ModulusChain::from_literal(&literal).expect("a chain");
        let level = chain.max_level();
        let key_switch = costs.seconds(&chain.counts().rotate(level, level));
        let preset = BootstrapPreset::ALL[0];
        let preset = preset.build(KernelChoice::Auto, None).expect("a preset");
        let (_, work, _) = outlined(preset.scheme(), preset.literal()).expect("an outline");
        let units = costs.seconds(&work) / key_switch * 21f64.powf(1.5);
        let ratio = REFRESH_UNITS / units;
        assert!((0.7..1.4).contains(&ratio), "{units} units modelled");
    }
}
