//! A plan: decisions and what they are forecast to take, as data that people read, files keep and runs obey.

mod svg;
mod table;

use std::path::Path;

pub(crate) use svg::Escaped;

use ckks_scheme::Level;
use he_layers::Chw;
use serde::{Deserialize, Serialize};

use crate::decisions::Decisions;
use crate::estimate::error::LogitErrors;
use crate::text_file::{self, TextFileError};

/// How a batch will be run, and what that is going to take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What a run obeys.
    pub decisions: Decisions,
    /// What a run is going to take on the machine that the plan was made for.
    pub forecast: Forecast,
}

/// What a run is going to take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// Images that one set of ciphertexts holds: a group.
    pub images_per_group: usize,
    /// Groups of images, run one after another.
    pub groups: usize,
    /// The steps of a run, in order.
    pub steps: Vec<StepForecast>,
    /// A last group of a layout of its own; it is one of [`Self::groups`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastForecast>,
    /// Ciphertexts refreshed in the whole run.
    pub bootstraps: usize,
    /// Number of switching keys.
    pub keys: usize,
    /// Size of the switching keys in bytes.
    pub key_bytes: u64,
    /// Size of the bootstrapping's encoded matrices in bytes.
    pub matrix_bytes: u64,
    /// Upper bound of the limb pool's high-water mark in bytes, keys and matrices included.
    pub pool_bytes: u64,
    /// Upper bound of the process's peak resident memory in bytes.
    pub predicted_peak_bytes: u64,
    /// Estimate of the inference's wall time in seconds, all groups.
    pub predicted_seconds_infer: f64,
    /// Estimates of the logits' errors; nothing where they were not predicted.
    pub errors: Option<LogitErrors>,
}

/// What a last group of a layout of its own is going to take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastForecast {
    /// Images that are left for it.
    pub images: usize,
    /// The steps of its run, in order.
    pub steps: Vec<StepForecast>,
}

/// One step: a tensor is read by all its readers, and the nodes that wait for nothing else are finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepForecast {
    /// Part of the network that the step belongs to: stem, block or head.
    pub stage: String,
    /// Shape of one image's maps in what the step finishes; of what it reads, if it finishes nothing.
    pub shape: Chw,
    /// Ciphertexts that the step reads.
    pub ciphertexts_in: usize,
    /// Ciphertexts that the step finishes.
    pub ciphertexts_out: usize,
    /// Level of what the step reads.
    pub level_in: Level,
    /// Level of what the step finishes; of what it reads, if it finishes nothing.
    pub level_out: Level,
    /// Channel blocks that are read at a time.
    pub blocks: usize,
    /// How many threads compute, where these are not all of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fewer_threads: Option<FewerThreads>,
    /// Rotations of inputs and inner sums.
    pub rotations: u64,
    /// Upper bound of the limb pool's high-water mark during the step in bytes, keys and matrices included.
    pub pool_bytes: u64,
    /// Estimate of the step's wall time in seconds, for one group.
    pub seconds: f64,
}

/// Number of the threads of a step, and why it takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FewerThreads {
    /// The memory has room for the temporaries of so many; more would be faster.
    ThatFit(usize),
    /// So many have something to do; more would take memory and no time off.
    ThatHelp(usize),
}

impl StepForecast {
    /// Threads that compute on a machine of so many.
    pub fn threads(&self, of_machine: usize) -> usize {
        match self.fewer_threads {
            Some(FewerThreads::ThatFit(threads) | FewerThreads::ThatHelp(threads)) => threads,
            None => of_machine,
        }
    }
}

/// The steps of one part of the network together.
#[derive(Clone, Debug, PartialEq)]
pub struct StageForecast {
    /// Name of the stem, the block or the head.
    pub name: String,
    /// The first step.
    pub first: StepForecast,
    /// The last step.
    pub last: StepForecast,
    /// Rotations of all steps.
    pub rotations: u64,
    /// Largest bound of the limb pool in bytes.
    pub pool_bytes: u64,
    /// Estimate of the wall time in seconds, for one group.
    pub seconds: f64,
}

impl Forecast {
    /// The parts of the network, in order.
    pub fn stages(&self) -> Vec<StageForecast> {
        stages(&self.steps)
    }

    /// The steps of a group.
    pub fn steps_of(&self, is_last: bool) -> &[StepForecast] {
        match &self.last {
            Some(last) if is_last => &last.steps,
            _ => &self.steps,
        }
    }
}

impl LastForecast {
    /// The parts of the network, in order.
    pub fn stages(&self) -> Vec<StageForecast> {
        stages(&self.steps)
    }
}

fn stages(steps: &[StepForecast]) -> Vec<StageForecast> {
    let mut stages: Vec<StageForecast> = Vec::new();
    for step in steps {
        match stages.last_mut() {
            Some(stage) if stage.name == step.stage => {
                stage.last = step.clone();
                stage.rotations += step.rotations;
                stage.pool_bytes = stage.pool_bytes.max(step.pool_bytes);
                stage.seconds += step.seconds;
            }
            _ => stages.push(StageForecast {
                name: step.stage.clone(),
                first: step.clone(),
                last: step.clone(),
                rotations: step.rotations,
                pool_bytes: step.pool_bytes,
                seconds: step.seconds,
            }),
        }
    }
    stages
}

impl Plan {
    /// Reads a plan from a file.
    ///
    /// # Errors
    /// [`TextFileError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TextFileError> {
        text_file::read_ron("plan file", path.as_ref())
    }

    /// The plan as the text of a file.
    #[must_use]
    pub fn to_ron(&self) -> String {
        let pretty = ron::ser::PrettyConfig::new().depth_limit(4);
        let text = ron::ser::to_string_pretty(self, pretty);
        text.expect("a plan has nothing that RON cannot write") + "\n"
    }
}
