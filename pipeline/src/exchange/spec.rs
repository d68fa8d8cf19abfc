//! The client spec: all that a client must know of a network and its plan.

use std::io::{Read, Write};
use std::path::Path;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::serial::{AtomicFile, SerialError, open_regular};
use ckks_scheme::{KeyKind, KeyRequest, Level, ParamError, Parameters, ParamsLiteral};
use he_layers::{PreparedProgram, TensorSpec};
use he_models::{Conditioning, LogitBounds, Model, ModelError};
use serde::{Deserialize, Serialize};

use crate::decisions::Decisions;
use crate::planner::Planned;

/// Version of the file that is written and read.
const FORMAT: u16 = 1;
/// How the file begins.
const MAGIC: &str = "polyphase client spec ";
/// What is hashed, so that hashes of different things never meet.
const FILE_CONTEXT: &str = "polyphase pipeline 1 client spec file";
const ID_CONTEXT: &str = "polyphase pipeline 1 client spec identity";

/// Largest file in bytes.
const MOST_BYTES: u64 = 16 << 20;
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
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Estimate of the largest error of a logit by noise, in the logits' unit; nothing if it was not made.
    pub logit_error: Option<f64>,
    /// Where logits can be if no value has left its range; nothing if the network's owner does not say.
    #[serde(default)]
    pub logit_bounds: Option<LogitBounds>,
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
        prepared: &PreparedProgram,
        classes: &[String],
        conditioning: Option<&Conditioning>,
        logit_error: Option<f64>,
    ) -> Self {
        let request = prepared.keys_at(&decisions.key_steps.0, decisions.params.log_n);
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
        let (plan, prepared) = (&planned.plan, &planned.instance.prepared);
        let noise = plan.forecast.errors.map(|errors| errors.noise);
        let conditioning = model.conditioning();
        let spec = Self::new(
            &plan.decisions,
            prepared,
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
        let hash = blake3::derive_key(ID_CONTEXT, &bytes);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
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

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn save(&self, path: &Path) -> Result<(), SerialError> {
        let mut file = AtomicFile::create(path)?;
        let written = file.write_all(self.to_text().as_bytes());
        written.map_err(|source| {
            let what = "writing";
            of(path, SerialError::Io { what, source })
        })?;
        file.commit()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn load(path: &Path) -> Result<Self, SerialError> {
        let mut text = Vec::new();
        open_regular(path)?
            .take(MOST_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(|source| {
                let what = "reading";
                of(path, SerialError::Io { what, source })
            })?;
        Self::from_text(&text).map_err(|error| of(path, error))
    }

    /// The content of a file.
    pub fn to_text(&self) -> String {
        let pretty = ron::ser::PrettyConfig::new().new_line("\n").depth_limit(2);
        let body = ron::ser::to_string_pretty(self, pretty);
        let body = body.expect("a client spec has nothing that RON cannot write") + "\n";
        format!("{MAGIC}{FORMAT} {}\n{body}", checksum(body.as_bytes()))
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`SerialError`] for what is no client spec, is damaged, or cannot be.
    pub fn from_text(text: &[u8]) -> Result<Self, SerialError> {
        let found = text.len() as u64;
        if found > MOST_BYTES {
            return Err(SerialError::TooLarge {
                what: "a client spec",
                found,
                limit: MOST_BYTES,
            });
        }
        let what = "the first line of a client spec";
        let expected = || format!("`{MAGIC}{FORMAT}` and a checksum");
        let no_spec = || value(what, "something else", expected());
        let rest = text.strip_prefix(MAGIC.as_bytes()).ok_or_else(no_spec)?;
        let end = rest.iter().position(|&byte| byte == b'\n');
        let (line, body) = rest.split_at(end.ok_or_else(no_spec)?);
        let body = &body[1..];
        let line = str::from_utf8(line).map_err(|_| no_spec())?;
        let (version, stored) = line.split_once(' ').ok_or_else(no_spec)?;
        let found: u16 = version.parse().map_err(|_| no_spec())?;
        if found != FORMAT {
            let newest = FORMAT;
            return Err(SerialError::Version { found, newest });
        }
        if stored != checksum(body) {
            let what = "the client spec";
            return Err(SerialError::Checksum { what });
        }
        let what = "the client spec";
        let expected = "one that this program writes";
        let body = str::from_utf8(body).map_err(|_| value(what, "no text", expected))?;
        let spec: Self = ron::from_str(body).map_err(|e| {
            // The words of the reader may be those of the file.
            let (line, column) = (e.span.start.line + 1, e.span.start.col);
            let found = format!("not understood in line {line}, column {column}");
            value(what, found, expected)
        })?;
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
        for tensor in [&self.input.tensor, &self.output] {
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
        let (found, needed) = (
            self.output.layout.images(),
            self.input.tensor.layout.images(),
        );
        within("images of a group of logits", found, needed, needed)?;
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

fn checksum(body: &[u8]) -> String {
    let hash = blake3::derive_key(FILE_CONTEXT, body);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(what: &'static str, found: impl ToString, expected: impl Into<String>) -> SerialError {
    SerialError::Value {
        what,
        found: found.to_string(),
        expected: expected.into(),
    }
}

fn of(path: &Path, source: SerialError) -> SerialError {
    SerialError::File {
        path: path.to_owned(),
        source: Box::new(source),
    }
}
