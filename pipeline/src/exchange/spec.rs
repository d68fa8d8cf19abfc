//! The client spec: all that a client must know of a network and its plan.

use std::path::Path;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::serial::SerialError;
use ckks_scheme::{KeyKind, KeyRequest, Level, ParamError, Parameters, ParamsLiteral};
use he_layers::TensorSpec;
use he_models::{Conditioning, LogitBounds, Model, ModelError};
use serde::{Deserialize, Serialize};

use super::Holds;
use super::sealed::{Sealed, hex, of, value};
use crate::decisions::{Decisions, Instance};
use crate::grouping::Grouping;
use crate::planner::Planned;

/// The file.
const FILE: Sealed = Sealed {
    a: "a client spec",
    the: "the client spec",
    first_line: "the first line of a client spec",
    magic: "polyphase client spec ",
    format: 1,
    context: "polyphase pipeline 1 client spec file",
};
/// What is hashed for the identity, so that hashes of different things never meet.
const ID_CONTEXT: &str = "polyphase pipeline 1 client spec identity";

/// Longest name in bytes.
const MOST_NAME: usize = 256;
/// Largest number of channels, rows, columns, and of values of an image or of logits.
const MOST_EXTENT: usize = 1 << 16;
const MOST_VALUES: usize = 1 << 26;
/// Most ciphertexts of a group.
const MOST_CIPHERTEXTS: usize = 1 << 20;
/// Base-2 logarithms of ring degrees.
const RINGS: std::ops::RangeInclusive<u32> = 4..=17;
/// Most primes.
const MOST_PRIMES: usize = 1024;
/// Most keys.
const MOST_KEYS: usize = 1 << 16;

/// What a client must know of a network and its plan to make keys, encrypt images and decrypt logits. There are no weights
/// in it.
///
/// As a file it is one line with the format's version and a checksum, and RON after that. The checksum finds damage, not
/// forgery: a client takes its spec from somebody whom it trusts to name the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// Name of the network.
    pub model: String,
    /// Checksum of the network in hexadecimal digits; empty for a program made in code.
    pub model_checksum: String,
    /// Ring degree, bits of all primes, digits of a key switch.
    pub params: ParamsLiteral,
    /// The switching keys that the server needs, each with its level.
    pub keys: Vec<(KeyKind, Level)>,
    /// How images are encrypted.
    pub input: ClientInput,
    /// Layout, level and scale of the encrypted logits.
    pub output: TensorSpec,
    /// How a last group of images is encrypted and its logits are laid out, where that is not as in the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastTensors>,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Estimate of the largest error of a logit by noise, in the logits' unit; nothing if it was not made.
    pub logit_error: Option<f64>,
    /// Where logits can be if no value has left its range; nothing if the network's owner does not say.
    #[serde(default)]
    pub logit_bounds: Option<LogitBounds>,
}

/// The tensors of a last group, which holds what is left after full groups if it has room for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastTensors {
    /// As [`ClientInput::tensor`].
    pub input: TensorSpec,
    /// As [`ClientSpec::output`].
    pub output: TensorSpec,
}

/// How images become ciphertexts. A program that finds a field here which it does not know refuses the spec: what it would
/// leave out might matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientInput {
    /// Layout, packing, level and scale of a group of images.
    pub tensor: TensorSpec,
    /// What is done to pixels before they are packed.
    pub normalisation: Normalisation,
    /// What is done to pictures after that, if the network was trained for it.
    pub conditioning: Option<Conditioning>,
}

/// What is done to pixels before they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Normalisation {
    /// Pixels of 0 to 255 are divided by 255. The network's own means and deviations are in its first layer.
    Unit,
}

impl ClientSpec {
    /// The spec of a network that is ready for a run of `decisions`: with the names of its classes, the conditioning of its
    /// input, and an estimate of the largest error of a logit.
    pub fn new(
        decisions: &Decisions,
        instance: &Instance,
        classes: &[String],
        conditioning: Option<&Conditioning>,
        logit_error: Option<f64>,
    ) -> Self {
        let (prepared, request) = (&instance.prepared, instance.keys(decisions));
        Self {
            model: decisions.model.clone(),
            model_checksum: decisions.model_checksum.clone(),
            params: decisions.params.clone(),
            keys: request.iter().collect(),
            input: ClientInput {
                tensor: prepared.input().clone(),
                normalisation: Normalisation::Unit,
                conditioning: conditioning.cloned(),
            },
            output: prepared.output().clone(),
            last: instance.last.as_ref().map(|last| LastTensors {
                input: last.input().clone(),
                output: last.output().clone(),
            }),
            classes: classes.to_vec(),
            logit_error: logit_error.filter(|error| error.is_finite()),
            logit_bounds: None,
        }
    }

    /// The spec that a client of a network gets with its keys: with the plan's estimate of the errors, and with bounds of the logits.
    ///
    /// # Errors
    /// As [`Model::logit_bounds`].
    pub fn for_client(model: &Model, planned: &Planned) -> Result<Self, ModelError> {
        let (plan, instance) = (&planned.plan, &planned.instance);
        let noise = plan.forecast.errors.map(|errors| errors.noise);
        let conditioning = model.conditioning();
        let spec = Self::new(
            &plan.decisions,
            instance,
            model.classes(),
            conditioning,
            noise,
        );
        Ok(spec.with_logit_bounds(model.logit_bounds()?))
    }

    /// The same with bounds of the logits: a client gives no answers for groups with logits beyond them.
    #[must_use]
    pub fn with_logit_bounds(self, bounds: LogitBounds) -> Self {
        Self {
            logit_bounds: Some(bounds),
            ..self
        }
    }

    /// What client and server compare: a hash of everything but estimate and bounds of the logits, in hexadecimal digits.
    pub fn id(&self) -> String {
        let settled = Self {
            logit_error: None,
            logit_bounds: None,
            ..self.clone()
        };
        let bytes = serde_json::to_vec(&settled).expect("numbers and words are JSON");
        hex(&blake3::derive_key(ID_CONTEXT, &bytes))
    }

    /// The switching keys that the server needs.
    pub fn key_request(&self) -> KeyRequest {
        let mut request = KeyRequest::new();
        for (kind, level) in &self.keys {
            request.add(*kind, *level);
        }
        request
    }

    /// Builds the parameters, with the check of their security.
    ///
    /// # Errors
    /// [`ParamError`].
    pub fn parameters(&self, kernel: KernelChoice) -> Result<Parameters, ParamError> {
        Parameters::from_literal(&self.params, kernel, None)
    }

    /// Images of a group.
    pub fn images_per_group(&self) -> usize {
        self.input.tensor.layout.images()
    }

    /// How a batch falls into groups.
    pub fn grouping(&self) -> Grouping {
        let last = self.last.as_ref();
        Grouping {
            images: self.images_per_group(),
            last: last.map(|last| last.input.layout.images()),
        }
    }

    /// Layout, level and scale of a group.
    pub(crate) fn tensor(&self, holds: Holds, is_last: bool) -> &TensorSpec {
        match (holds, self.last.as_ref().filter(|_| is_last)) {
            (Holds::Images, Some(last)) => &last.input,
            (Holds::Images, None) => &self.input.tensor,
            (Holds::Logits, Some(last)) => &last.output,
            (Holds::Logits, None) => &self.output,
        }
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn save(&self, path: &Path) -> Result<(), SerialError> {
        FILE.save(self, path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn load(path: &Path) -> Result<Self, SerialError> {
        let spec: Self = FILE.load(path)?;
        spec.check().map_err(|error| of(path, error))?;
        Ok(spec)
    }

    /// The content of a file.
    pub fn to_text(&self) -> String {
        FILE.to_text(self)
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`SerialError`] for what is no client spec, is damaged, or cannot be.
    pub fn from_text(text: &[u8]) -> Result<Self, SerialError> {
        let spec: Self = FILE.parse(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// Checks everything that later code relies on.
    fn check(&self) -> Result<(), SerialError> {
        let within = |what, found: usize, least: usize, most: usize| {
            let ok = (least..=most).contains(&found);
            let error = || value(what, found, format!("{least} to {most}"));
            ok.then_some(()).ok_or_else(error)
        };
        let names = [&self.model, &self.model_checksum];
        for name in names.into_iter().chain(&self.classes) {
            within("the length of a name", name.len(), 0, MOST_NAME)?;
        }
        if !RINGS.contains(&self.params.log_n) {
            let expected = format!("{} to {}", RINGS.start(), RINGS.end());
            return Err(value(
                "log2 of the ring degree",
                self.params.log_n,
                expected,
            ));
        }
        let levels = self.params.q_bits.len();
        within("number of primes", levels, 1, MOST_PRIMES)?;
        within("number of keys", self.keys.len(), 0, MOST_KEYS)?;
        for (_, level) in &self.keys {
            within("level of a key", level.limbs(), 1, levels)?;
        }
        let last = self
            .last
            .iter()
            .flat_map(|last| [&last.input, &last.output]);
        for tensor in [&self.input.tensor, &self.output].into_iter().chain(last) {
            let shape = tensor.layout.shape();
            for extent in [shape.channels, shape.height, shape.width] {
                within("a size of images or logits", extent, 1, MOST_EXTENT)?;
            }
            within("values of an image", shape.volume(), 1, MOST_VALUES)?;
            within("level of a tensor", tensor.level.limbs(), 1, levels)?;
            let slots = 1 << (self.params.log_n - 1);
            within("slots of a layout", tensor.layout.slots(), slots, slots)?;
            let ciphertexts = tensor.layout.ciphertexts();
            within("ciphertexts of a group", ciphertexts, 1, MOST_CIPHERTEXTS)?;
        }
        let channels = self.input.tensor.layout.shape().channels;
        if let Some(conditioning) = &self.input.conditioning
            && !conditioning.is_for(channels)
        {
            let expected = format!("limits for {channels} channels");
            return Err(value("conditioning", "of another kind", expected));
        }
        for is_last in [false, true] {
            let [input, output] =
                [Holds::Images, Holds::Logits].map(|holds| &self.tensor(holds, is_last).layout);
            let (found, needed) = (output.images(), input.images());
            within("images of a group of logits", found, needed, needed)?;
            let shapes = [self.input.tensor.layout.shape(), self.output.layout.shape()];
            if [input.shape(), output.shape()] != shapes {
                let what = "the shape of a last group";
                return Err(value(what, "another one", "that of the other groups"));
            }
        }
        let classes = self.output.layout.shape().volume();
        within("number of classes", self.classes.len(), classes, classes)?;
        if let Some(LogitBounds { least, most }) = &self.logit_bounds {
            within("number of lower bounds", least.len(), classes, classes)?;
            within("number of upper bounds", most.len(), classes, classes)?;
            let wrong = least
                .iter()
                .zip(most)
                .find(|(a, b)| a.is_nan() || b.is_nan() || a > b);
            if let Some((least, most)) = wrong {
                let found = format!("{least} to {most}");
                let expected = "a lower one and an upper one that is not less";
                return Err(value("bounds of a logit", found, expected));
            }
        }
        let error = self.logit_error.unwrap_or(0.0);
        if !(error.is_finite() && error >= 0.0) {
            let expected = "a finite number, 0 or more";
            return Err(value("error of a logit", error, expected));
        }
        Ok(())
    }
}
