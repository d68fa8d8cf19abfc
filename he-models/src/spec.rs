//! The model file: topology, input, classes, activation statistics and origin of a network, in RON.
//!
//! A [`ModelSpec`] is the file's content as it stands, public fields that anyone may fill in. [`Model`](crate::Model)
//! checks it and joins it with its weights.

mod format1;
mod input;
mod ops;
mod validate;

use ron::extensions::Extensions;
use serde::{Deserialize, Serialize};

pub use input::InputSpec;
pub use ops::{OpSpec, ReluApproximation};
pub(crate) use validate::{MAX_EXTENT, MAX_MAP};

use crate::ModelError;

/// The version of the model file that this library writes. It reads version 1 too.
pub const FORMAT: u32 = 2;

/// The name by which nodes read the input.
pub const INPUT: &str = "input";

/// The content of a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// The model's name.
    pub name: String,
    /// The data that it was trained on, e.g. `cifar10`.
    #[serde(default)]
    pub dataset: String,
    /// Where the weights are.
    pub weights: WeightsSpec,
    /// What goes in.
    pub input: InputSpec,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// The graph: every node after those that it reads. The last one gives the logits.
    pub nodes: Vec<NodeSpec>,
    /// One entry for each activation in the order of the nodes, or none at all: then the network can be evaluated, not lowered.
    #[serde(default)]
    pub activations: Vec<ActivationStatistics>,
    /// Where the network comes from.
    #[serde(default)]
    pub provenance: Provenance,
}

/// The safetensors file that belongs to a model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsSpec {
    /// Name of the file, in the folder of the model file.
    pub file: String,
    /// SHA-256 of the file, 64 hexadecimal digits; checked where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A node: what it computes, and of which earlier nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name, no other node's. What comes before the last dot is the stage that reports count it to.
    pub name: String,
    /// Names of the nodes that it reads, or [`INPUT`].
    pub inputs: Vec<String>,
    /// What it computes.
    pub op: OpSpec,
}

/// What is known about the values that an activation sees, for each channel: `x + t` for a quadratic `g (x + t)^2 + d`,
/// `x` for all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationStatistics {
    /// The activation.
    pub name: String,
    /// Range that the absolute value is promised to stay in: the largest value over the training data, times a margin.
    pub declared: Vec<f64>,
    /// Mean of the square over the training data.
    pub second_moment: Vec<f64>,
}

/// Where a network comes from; every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// What this checkpoint is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The training command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The training's random seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// SHA-256 of the training data, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_sha256: Option<String>,
    /// What the activation statistics were measured on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<String>,
    /// Accuracy on the test set, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Licence of the weights, an SPDX expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

impl ModelSpec {
    /// Reads and validates a model file of format 1 or 2; `file` names it in errors. Format 1 becomes the same graph in format 2.
    ///
    /// # Errors
    /// [`ModelError::Syntax`], [`ModelError::Format`] and what [`Self::validate`] finds.
    pub fn parse(text: &str, file: &str) -> Result<Self, ModelError> {
        /// What every version of the format has; all else is ignored.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let syntax = |e: ron::error::SpannedError| ModelError::Syntax {
            file: file.to_owned(),
            line: e.span.start.line,
            column: e.span.start.col,
            message: e.code.to_string(),
        };
        let version: Version = options().from_str(text).map_err(syntax)?;
        let spec = match version.format {
            1 => {
                let old: format1::ModelSpec = options().from_str(text).map_err(syntax)?;
                old.upgrade()?
            }
            FORMAT => options().from_str(text).map_err(syntax)?,
            found => {
                return Err(ModelError::Format {
                    file: file.to_owned(),
                    found,
                    expected: "1 or 2",
                });
            }
        };
        spec.validate()?;
        Ok(spec)
    }

    /// Writes the model file; [`Self::parse`] gives back an equal value.
    ///
    /// # Errors
    /// What [`Self::validate`] finds: a file that could not be read again is not written.
    pub fn to_ron(&self) -> Result<String, ModelError> {
        self.validate()?;
        let pretty = ron::ser::PrettyConfig::new()
            .new_line("\n")
            .indentor("    ")
            .extensions(Extensions::IMPLICIT_SOME)
            .depth_limit(2);
        let text = options()
            .to_string_pretty(self, pretty)
            .map_err(|e| self.value("the model file", e, "RON-serialisable"))?;
        // What is below the depth limit stands on one line, without spaces.
        Ok(text + "\n")
    }

    /// Names of the activations in the order of the nodes.
    pub fn activation_names(&self) -> impl Iterator<Item = &str> {
        let activations = self.nodes.iter().filter(|node| node.op.is_activation());
        activations.map(|node| node.name.as_str())
    }

    pub(crate) fn value(
        &self,
        field: &str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> ModelError {
        ModelError::Value {
            model: self.name.clone(),
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}
