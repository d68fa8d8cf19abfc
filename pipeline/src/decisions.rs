//! What is decided before a run, as pure data: a file that a run obeys to the letter.

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapLiteral, BootstrapParams, CosineBootstrapper, Level, Parameters, ParamsLiteral, Scale,
};
use he_layers::{
    Grid, LayerError, Layout, Packing, Preparation, PreparedProgram, Program, Refresher, Value,
};
use serde::{Deserialize, Serialize};

use crate::estimate;
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
    /// Images of the batch.
    pub batch: usize,
    /// Ring degree, bits of all primes, digits of a key switch.
    pub params: ParamsLiteral,
    /// The bootstrapping over these primes, if any value is refreshed.
    pub bootstrap: Option<BootstrapLiteral>,
    /// Names of the nodes whose sums are refreshed.
    pub refreshes: Vec<String>,
    /// Base-2 logarithm of the nominal scale S.
    pub log_scale: u32,
    /// One image in every slot, or two.
    pub packing: Packing,
    /// Cells that an image occupies in a ciphertext.
    pub grid: Grid,
    /// Levels that switching keys are made for.
    pub key_steps: KeySteps,
    /// Threads that compute.
    pub threads: usize,
    /// For each step of a run the channel blocks that it takes at a time.
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
        self.check(program)?;
        let params = Parameters::from_literal(&self.params, kernel.clone(), None)?;
        let named = |reason: LayerError| PlanError::Layout {
            model: self.model.clone(),
            reason,
        };
        let refreshed = self.refreshed(program)?;
        let (refresher, matrix_bytes) = match &self.bootstrap {
            None => (None, 0),
            Some(literal) => {
                let bootstrap = BootstrapParams::new(&params, literal.clone())?;
                let bootstrapper = CosineBootstrapper::new(&bootstrap)?;
                let bytes = bootstrapper.transform_bytes();
                let error = estimate::error::refresh(&bootstrap);
                (Some(Refresher::of(bootstrapper, error)), bytes)
            }
        };
        let prepared = self
            .prepare(&refreshed, &params, refresher.as_ref())
            .map_err(named)?;
        let (found, steps) = (self.blocks_at_a_time.len(), prepared.steps());
        if found != steps {
            return Err(foreign("steps", found, steps));
        }
        Ok(Instance {
            params,
            program: refreshed,
            prepared,
            matrix_bytes,
        })
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
            .map_err(|reason| PlanError::Layout {
                model: self.model.clone(),
                reason,
            })
    }

    pub(crate) fn prepare(
        &self,
        program: &Program,
        params: &Parameters,
        refresher: Option<&Refresher>,
    ) -> Result<PreparedProgram, LayerError> {
        let shape = program.shape(program.input());
        let layout = Layout::new(shape, self.grid, self.packing, params.slots())?;
        let scale = Scale::new(f64::from(self.log_scale).exp2());
        program.prepare(&Preparation {
            refresher,
            ..Preparation::new(params, scale, layout)
        })
    }

    /// Checks everything that can be checked without the ring.
    fn check(&self, program: &Program) -> Result<(), PlanError> {
        use crate::planner::{LOG_SCALES, MOST_BLOCKS};
        if self.format != FORMAT {
            return Err(foreign("format", self.format, FORMAT));
        }
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

fn foreign(what: &'static str, found: impl ToString, expected: impl ToString) -> PlanError {
    PlanError::Foreign {
        what,
        found: found.to_string(),
        expected: expected.to_string(),
    }
}
