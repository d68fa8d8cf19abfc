//! What is decided before a run, as pure data: a file that a run obeys to the letter.

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapLiteral, BootstrapParams, CosineBootstrapper, Level, Parameters, ParamsLiteral, Scale,
};
use he_layers::{
    Grid, LayerError, Layout, Packing, Preparation, PreparedProgram, Program, Refresher, Value,
};
use serde::{Deserialize, Serialize};

use crate::planner::PlanError;

/// Version of the plan file that this library reads and writes.
pub const FORMAT: u32 = 2;

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
    /// [`FORMAT`].
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
    /// Limb memory of encoded matrices, in bytes.
    pub matrix_bytes: u64,
}

impl Decisions {
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
        let prepared = self
            .prepare(&refreshed, params, &refreshers)
            .map_err(named)?;
        let (found, steps) = (self.blocks_at_a_time.len(), prepared.steps());
        if found != steps {
            return Err(foreign("steps", found, steps));
        }
        Ok(Instance {
            params: params.clone(),
            program: refreshed,
            prepared,
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

    pub(crate) fn prepare(
        &self,
        program: &Program,
        params: &Parameters,
        refreshers: &[Refresher],
    ) -> Result<PreparedProgram, LayerError> {
        let shape = program.shape(program.input());
        let layout = Layout::new(shape, self.grid, self.packing, params.slots())?;
        let scale = Scale::new(f64::from(self.log_scale).exp2());
        program.prepare(&Preparation {
            refreshers,
            ..Preparation::new(params, scale, layout)
        })
    }

    pub(crate) fn check_format(&self) -> Result<(), PlanError> {
        match self.format {
            FORMAT => Ok(()),
            found => Err(foreign("format", found, FORMAT)),
        }
    }

    /// Checks everything that can be checked without the ring.
    fn check(&self, program: &Program) -> Result<(), PlanError> {
        use crate::planner::{LOG_SCALES, MOST_BLOCKS};
        self.check_format()?;
        if self.model != program.name() {
            return Err(foreign("model", &self.model, program.name()));
        }
        if !LOG_SCALES.contains(&self.log_scale) {
            let expected = format!("{} to {}", LOG_SCALES.start(), LOG_SCALES.end());
            return Err(foreign("log_scale", self.log_scale, expected));
        }
        let levels = self.params.q_bits.len();
        let outside = |level: &&Level| !(1..=levels).contains(&level.limbs());
        if let Some(level) = self.key_steps.0.iter().find(outside) {
            return Err(foreign("level of keys", level, format!("1 to {levels}")));
        }
        let most = MOST_BLOCKS as usize;
        let outside = |blocks: &&usize| !(1..=most).contains(*blocks);
        if let Some(blocks) = self.blocks_at_a_time.iter().find(outside) {
            return Err(foreign(
                "channel blocks at a time",
                blocks,
                format!("1 to {most}"),
            ));
        }
        Ok(())
    }
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
