//! What is decided before a run, as pure data: a file that a run obeys to the letter.

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapLiteral, BootstrapParams, CosineBootstrapper, KeyRequest, Level, Parameters,
    ParamsLiteral, Scale,
};
use he_layers::{
    Grid, LayerError, Layout, Packing, Preparation, PreparedProgram, Program, Refresher, Value,
};
use serde::{Deserialize, Serialize};

use crate::grouping::{GroupImages, Grouping};
use crate::planner::PlanError;

/// Version of the plan file in which all groups have one layout and all steps take all threads. It is read, and written where
/// nothing else is decided, so that older programs read such plans.
pub const FORMAT: u32 = 2;
/// Version of the plan file that may have a last group of a layout of its own, and threads of each step.
pub const FORMAT_UNEQUAL: u32 = 3;

/// The levels that have switching keys of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySteps(pub Vec<Level>);

impl KeySteps {
    /// The level of the key that an operation at `level` uses: the lowest step that is not below, else `top`.
    pub fn key_level(&self, level: Level, top: Level) -> Level {
        let steps = self.0.iter().copied();
        steps.filter(|s| *s >= level).min().unwrap_or(top)
    }
}

/// All choices of a planner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// [`FORMAT`]; [`FORMAT_UNEQUAL`] with [`Self::last`] or [`Self::threads_at_a_time`].
    pub format: u32,
    /// Name of the network.
    pub model: String,
    /// Checksum of the network in hexadecimal digits; empty for a program made in code.
    pub model_checksum: String,
    /// Images of the batch, at least 1.
    pub batch: usize,
    /// Ring degree, bits of all primes, digits of a key switch.
    pub params: ParamsLiteral,
    /// The bootstrapping over these primes, if any value is refreshed.
    pub bootstrap: Option<BootstrapLiteral>,
    /// Names of the nodes whose sums are refreshed.
    pub refreshes: Vec<String>,
    /// Base-2 logarithm of the nominal scale S, 20 to 40.
    pub log_scale: u32,
    /// Whether a slot holds pixels of one image or, in its real and imaginary part, of two.
    pub packing: Packing,
    /// Rows and columns of cells (slots) that an image occupies in a ciphertext.
    pub grid: Grid,
    /// Levels that switching keys are made for, besides the highest.
    pub key_steps: KeySteps,
    /// Threads that the plan was made for. A run takes those of its machine.
    pub threads: usize,
    /// For each step of a run the channel blocks that it reads at a time, 1 to 65536. More than there are means all.
    pub blocks_at_a_time: Vec<usize>,
    /// For each step of a run the most threads that it takes, at least 1; those of [`Self::threads`] and above mean all. Empty:
    /// all threads in all steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads_at_a_time: Vec<usize>,
    /// How a last group with fewer images is run, where that is not as the others are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastGroup>,
}

/// What is decided for the images that are left after full groups: over the same ring, with keys of the same levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastGroup {
    /// As [`Decisions::log_scale`].
    pub log_scale: u32,
    /// As [`Decisions::packing`].
    pub packing: Packing,
    /// As [`Decisions::grid`]. Such a group is run where its ciphertexts have room for what is left.
    pub grid: Grid,
    /// As [`Decisions::blocks_at_a_time`].
    pub blocks_at_a_time: Vec<usize>,
    /// As [`Decisions::threads_at_a_time`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads_at_a_time: Vec<usize>,
}

/// A program made ready for a run by [`Decisions::instantiate`]: the same for a run, a server, a reference and a test.
#[derive(Debug)]
pub struct Instance {
    /// Ring, primes and the limb pool.
    pub params: Parameters,
    /// The network, with its refreshes put in.
    pub program: Program,
    /// The network, prepared.
    pub prepared: PreparedProgram,
    /// The network, prepared for a last group of a layout of its own.
    pub last: Option<PreparedProgram>,
    /// Limb memory of encoded matrices, in bytes.
    pub matrix_bytes: u64,
}

impl Instance {
    /// How a batch falls into groups.
    pub fn grouping(&self) -> Grouping {
        Grouping::of_programs(&self.prepared, self.last.as_ref())
    }

    /// What runs a group.
    pub fn of_group(&self, group: &GroupImages) -> &PreparedProgram {
        match &self.last {
            Some(last) if group.is_last => last,
            _ => &self.prepared,
        }
    }

    /// All switching keys of a run.
    pub fn keys(&self, decisions: &Decisions) -> KeyRequest {
        let (levels, log_n) = (&decisions.key_steps.0, decisions.params.log_n);
        keys_of(&self.prepared, self.last.as_ref(), levels, log_n)
    }
}

/// All switching keys of a network that is prepared for its groups, and for a last one.
pub(crate) fn keys_of(
    prepared: &PreparedProgram,
    last: Option<&PreparedProgram>,
    levels: &[Level],
    log_n: u32,
) -> KeyRequest {
    let mut keys = prepared.keys_at(levels, log_n);
    if let Some(last) = last {
        for (kind, level) in last.keys_at(levels, log_n).iter() {
            keys.add(kind, level);
        }
    }
    keys
}

impl Decisions {
    /// Most threads of a step of its groups, or of a last one, on a machine with so many.
    pub(crate) fn threads_of(&self, step: usize, is_last: bool, machine: usize) -> usize {
        let steps = match &self.last {
            Some(last) if is_last => &last.threads_at_a_time,
            _ => &self.threads_at_a_time,
        };
        let limit = steps.get(step).filter(|threads| **threads < self.threads);
        limit.map_or(machine, |limit| machine.min(*limit))
    }

    /// Makes a program ready: builds the ring, puts the refreshes in, prepares. `program` is the network without refreshes.
    ///
    /// # Errors
    /// [`PlanError::Foreign`] if the decisions are for another network, [`PlanError::Params`], [`PlanError::Bootstrap`],
    /// [`PlanError::Layout`].
    pub fn instantiate(
        &self,
        program: &Program,
        kernel: &KernelChoice,
    ) -> Result<Instance, PlanError> {
        let params = Parameters::from_literal(&self.params, kernel.clone(), None)?;
        self.instantiate_over(program, &params)
    }

    /// As [`Self::instantiate`], over a ring that is there already.
    ///
    /// # Errors
    /// As [`Self::instantiate`]; [`PlanError::Foreign`] if the ring is not the one that was decided.
    pub fn instantiate_over(
        &self,
        program: &Program,
        params: &Parameters,
    ) -> Result<Instance, PlanError> {
        self.check(program)?;
        let (decided, found) = (&self.params, params.chain().literal());
        if decided != found {
            let words =
                |p: &ParamsLiteral| format!("N = 2^{}, log QP = {}", p.log_n, total_bits(p));
            return Err(foreign("ring", words(decided), words(found)));
        }
        let named = |reason: LayerError| PlanError::layout(&self.model, reason);
        let refreshed = self.refreshed(program)?;
        let (refreshers, matrix_bytes) = match &self.bootstrap {
            None => (Vec::new(), 0),
            Some(literal) => {
                let bootstrap = BootstrapParams::new(params, literal.clone())?;
                let bootstrapper = CosineBootstrapper::new(&bootstrap)?;
                let bytes = bootstrapper.transform_bytes();
                (vec![Refresher::of(bootstrapper)?], bytes)
            }
        };
        let ready = |layout: (u32, Packing, Grid), blocks: &[usize], threads: &[usize]| {
            let prepared = prepare(&refreshed, params, &refreshers, layout).map_err(named)?;
            let (found, steps) = (blocks.len(), prepared.steps());
            if found != steps {
                return Err(foreign("steps", found, steps));
            }
            match threads.len() == steps || threads.is_empty() {
                true => Ok(prepared),
                false => Err(foreign("steps with threads", threads.len(), steps)),
            }
        };
        let layout = (self.log_scale, self.packing, self.grid);
        let prepared = ready(layout, &self.blocks_at_a_time, &self.threads_at_a_time)?;
        let last = self.last.as_ref().map(|last| {
            let layout = (last.log_scale, last.packing, last.grid);
            ready(layout, &last.blocks_at_a_time, &last.threads_at_a_time)
        });
        let last = last.transpose()?;
        Ok(Instance {
            params: params.clone(),
            program: refreshed,
            prepared,
            last,
            matrix_bytes,
        })
    }

    /// Checks that the decisions are for the network of this name and checksum, in hexadecimal digits.
    ///
    /// # Errors
    /// [`PlanError::Foreign`].
    pub fn check_model(&self, name: &str, checksum: &str) -> Result<(), PlanError> {
        if self.model != name {
            return Err(foreign("model", &self.model, name));
        }
        match self.model_checksum == checksum {
            true => Ok(()),
            false => Err(foreign("model checksum", &self.model_checksum, checksum)),
        }
    }

    /// The network with the refreshes that were decided.
    ///
    /// # Errors
    /// [`PlanError::Foreign`] for a node that the network does not have.
    pub fn refreshed(&self, program: &Program) -> Result<Program, PlanError> {
        let at = self
            .refreshes
            .iter()
            .map(|name| {
                let node = program.nodes().iter().find(|node| node.name() == name);
                node.map(|node| node.value()).ok_or_else(|| {
                    foreign("refreshed node", name, "the name of a node of the network")
                })
            })
            .collect::<Result<Vec<Value>, PlanError>>()?;
        program
            .with_refreshes(&at)
            .map_err(|reason| PlanError::layout(&self.model, reason))
    }

    /// The same, in the oldest version that has everything that is decided.
    pub(crate) fn in_least_format(self) -> Self {
        let format = self.least_format();
        Self { format, ..self }
    }

    fn least_format(&self) -> u32 {
        let last = self.last.iter().flat_map(|last| &last.threads_at_a_time);
        let has_threads = self.threads_at_a_time.iter().chain(last).next().is_some();
        match self.last.is_some() || has_threads {
            true => FORMAT_UNEQUAL,
            false => FORMAT,
        }
    }

    pub(crate) fn check_format(&self) -> Result<(), PlanError> {
        match self.format {
            FORMAT | FORMAT_UNEQUAL if self.format >= self.least_format() => Ok(()),
            FORMAT => Err(foreign("format", FORMAT, FORMAT_UNEQUAL)),
            found => Err(foreign(
                "format",
                found,
                format!("{FORMAT} or {FORMAT_UNEQUAL}"),
            )),
        }
    }

    /// Checks everything that can be checked without the ring.
    fn check(&self, program: &Program) -> Result<(), PlanError> {
        use crate::planner::{LOG_SCALES, MOST_BLOCKS};
        self.check_format()?;
        if self.model != program.name() {
            return Err(foreign("model", &self.model, program.name()));
        }
        let last = self.last.iter();
        let log_scales = std::iter::once(self.log_scale).chain(last.map(|last| last.log_scale));
        let mut outside = log_scales.filter(|log_scale| !LOG_SCALES.contains(log_scale));
        if let Some(log_scale) = outside.next() {
            let expected = format!("{} to {}", LOG_SCALES.start(), LOG_SCALES.end());
            return Err(foreign("log_scale", log_scale, expected));
        }
        let last = self.last.iter().flat_map(|last| &last.threads_at_a_time);
        if self
            .threads_at_a_time
            .iter()
            .chain(last)
            .any(|threads| *threads == 0)
        {
            return Err(foreign("threads of a step", 0, "1 or more"));
        }
        let levels = self.params.q_bits.len();
        let outside = |level: &&Level| !(1..=levels).contains(&level.limbs());
        if let Some(level) = self.key_steps.0.iter().find(outside) {
            return Err(foreign("level of keys", level, format!("1 to {levels}")));
        }
        let most = MOST_BLOCKS as usize;
        let outside = |blocks: &&usize| !(1..=most).contains(*blocks);
        let last = self.last.iter().flat_map(|last| &last.blocks_at_a_time);
        if let Some(blocks) = self.blocks_at_a_time.iter().chain(last).find(outside) {
            return Err(foreign(
                "channel blocks at a time",
                blocks,
                format!("1 to {most}"),
            ));
        }
        Ok(())
    }
}

/// A network over a ring in a layout, with a nominal scale.
fn prepare(
    program: &Program,
    params: &Parameters,
    refreshers: &[Refresher],
    (log_scale, packing, grid): (u32, Packing, Grid),
) -> Result<PreparedProgram, LayerError> {
    let shape = program.shape(program.input());
    let layout = Layout::new(shape, grid, packing, params.slots())?;
    let scale = Scale::new(f64::from(log_scale).exp2());
    program.prepare(&Preparation {
        refreshers,
        ..Preparation::new(params, scale, layout)
    })
}

fn total_bits(params: &ParamsLiteral) -> u32 {
    params.q_bits.iter().chain(&params.p_bits).sum()
}

pub(crate) fn foreign(
    what: &'static str,
    found: impl ToString,
    expected: impl ToString,
) -> PlanError {
    PlanError::Foreign {
        what,
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_uses_the_lowest_key_that_is_not_below_it() {
        let steps = KeySteps([12, 7, 3].map(Level::new).to_vec());
        let top = Level::new(20);
        let key = |level| steps.key_level(Level::new(level), top).limbs();
        assert_eq!(
            [1, 3, 4, 7, 8, 12, 13, 20].map(key),
            [3, 3, 7, 7, 12, 12, 20, 20]
        );
        let none = KeySteps::default();
        assert_eq!(none.key_level(Level::new(2), top), top);
    }
}
