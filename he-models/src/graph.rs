//! The model file: topology, input, classes, activation statistics and origin of a network, in RON.
//!
//! A [`ModelSpec`] is the file's content as it stands, public fields that anyone may fill in;
//! [`ModelSpec::validate`] is what makes it trustworthy, and [`Model`](crate::Model) holds only validated ones.

use std::collections::BTreeSet;

use he_layers::Chw;
use ron::extensions::Extensions;
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// The version of the model file that this library reads and writes.
pub const FORMAT: u32 = 1;

/// Largest number of channels, rows or columns that a model file may ask for.
const MAX_EXTENT: usize = 1 << 16;
/// Largest number of values in one feature map.
const MAX_MAP: usize = 1 << 26;

/// The content of a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// The model's name.
    pub name: String,
    /// The data that it was trained on, e.g. `cifar10`.
    pub dataset: String,
    /// Where the weights are.
    pub weights: WeightsSpec,
    /// What goes in.
    pub input: InputSpec,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// The layers in order: one stem, any number of blocks, one head.
    pub layers: Vec<LayerSpec>,
    /// One entry for each activation in order of evaluation, or none at all (then the network can be evaluated, not folded).
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

/// Shape and normalisation of the input: the network sees `(pixel / 255 - mean) / std`, zero-padded after that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Colour channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Mean of each channel, of pixels in `[0, 1]`.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, of pixels in `[0, 1]`.
    pub std: Vec<f64>,
}

/// One layer of a pre-activation residual network. Paddings are `kernel / 2`, zeros; convolutions have no bias of
/// their own (a constant that a convolution adds belongs into the `t` of the activations that read it).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum LayerSpec {
    /// The first convolution: normalised image to residual stream.
    Stem {
        /// Name, the prefix of its tensors.
        name: String,
        /// Output channels.
        channels: usize,
        /// Side of the kernel, odd.
        #[serde(default = "three")]
        kernel: usize,
        /// 1 or 2.
        #[serde(default = "one")]
        stride: usize,
    },
    /// `h = act1(x)`, `x <- shortcut + conv2(act2(conv1(h)))`, the shortcut being `x` or a 1x1 convolution of `h`.
    PreActBlock {
        /// Name, the prefix of its tensors.
        name: String,
        /// Output channels.
        channels: usize,
        /// Side of both kernels, odd.
        #[serde(default = "three")]
        kernel: usize,
        /// Stride of `conv1` and of the projection: 1 or 2.
        #[serde(default = "one")]
        stride: usize,
        /// What the residual branch is added to.
        shortcut: Shortcut,
    },
    /// A last activation, the average over all pixels, and a dense layer with one output for each class.
    Head {
        /// Name of the activation, the prefix of its tensors.
        activation: String,
        /// Name of the dense layer, the prefix of its tensors.
        dense: String,
    },
}

/// What a block adds its residual branch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shortcut {
    /// The block's input: needs stride 1 and equal channels.
    Identity,
    /// A 1x1 convolution of the activated input, with the block's stride.
    Projection,
}

/// What is known about the values `x + t` that an activation `g (x + t)^2 + d` squares, for each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationStatistics {
    /// The activation.
    pub name: String,
    /// Range that `|x + t|` is promised to stay in: twice the largest value over the training data.
    pub declared: Vec<f64>,
    /// Mean of `(x + t)^2` over the training data.
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

/// What a convolution with an odd kernel and padding `kernel / 2` makes of a map.
pub(crate) fn strided(input: Chw, channels: usize, stride: usize) -> Chw {
    Chw::new(
        channels,
        input.height.div_ceil(stride),
        input.width.div_ceil(stride),
    )
}

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

impl ModelSpec {
    /// Reads and validates a model file; `file` names it in errors.
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
        if version.format != FORMAT {
            return Err(ModelError::Format {
                file: file.to_owned(),
                found: version.format,
                expected: FORMAT,
            });
        }
        let spec: Self = options().from_str(text).map_err(syntax)?;
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
            .map_err(|e| self.value("the model file", e.to_string(), "RON-serialisable"))?;
        Ok(text + "\n")
    }

    /// Names of the activations in order of evaluation, with their channels.
    #[must_use]
    pub fn activation_channels(&self) -> Vec<(String, usize)> {
        let mut stream = self.input.channels;
        let mut out = Vec::new();
        for layer in &self.layers {
            match layer {
                LayerSpec::Stem { channels, .. } => stream = *channels,
                LayerSpec::PreActBlock { name, channels, .. } => {
                    out.push((format!("{name}.act1"), stream));
                    out.push((format!("{name}.act2"), *channels));
                    stream = *channels;
                }
                LayerSpec::Head { activation, .. } => out.push((activation.clone(), stream)),
            }
        }
        out
    }

    /// Checks everything that can be checked without the weights.
    ///
    /// # Errors
    /// [`ModelError::Format`] for another version, else [`ModelError::Value`], naming the first field that is wrong.
    pub fn validate(&self) -> Result<(), ModelError> {
        if self.format != FORMAT {
            return Err(ModelError::Format {
                file: self.name.clone(),
                found: self.format,
                expected: FORMAT,
            });
        }
        if self.name.trim().is_empty() {
            return Err(self.value("name", "empty", "a name"));
        }
        self.validate_weights_file()?;
        self.validate_input()?;
        if self.classes.is_empty() {
            return Err(self.value("classes", "empty", "at least one class name"));
        }
        self.validate_layers()?;
        self.validate_statistics()?;
        if let Some(accuracy) = self.provenance.accuracy
            && !(0.0..=1.0).contains(&accuracy)
        {
            return Err(self.value("provenance.accuracy", accuracy, "a fraction from 0 to 1"));
        }
        Ok(())
    }

    fn validate_weights_file(&self) -> Result<(), ModelError> {
        let file = &self.weights.file;
        if file.is_empty() || file.contains(['/', '\\']) || file == ".." {
            return Err(self.value(
                "weights.file",
                format!("`{file}`"),
                "the name of a file beside the model file",
            ));
        }
        if let Some(sum) = &self.weights.sha256
            && (sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(self.value(
                "weights.sha256",
                format!("`{sum}`"),
                "64 hexadecimal digits",
            ));
        }
        Ok(())
    }

    fn validate_input(&self) -> Result<(), ModelError> {
        let InputSpec {
            channels,
            height,
            width,
            ref mean,
            ref std,
        } = self.input;
        for (field, extent) in [
            ("input.channels", channels),
            ("input.height", height),
            ("input.width", width),
        ] {
            self.validate_extent(field, extent)?;
        }
        self.validate_map("input", Chw::new(channels, height, width))?;
        for (field, values) in [("input.mean", mean), ("input.std", std)] {
            if values.len() != channels {
                return Err(self.value(
                    field,
                    format!("{} values", values.len()),
                    format!("{channels}, one a channel"),
                ));
            }
        }
        if let Some(bad) = mean.iter().find(|m| !m.is_finite()) {
            return Err(self.value("input.mean", bad, "finite values"));
        }
        if let Some(bad) = std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(self.value("input.std", bad, "finite values above 0"));
        }
        Ok(())
    }

    fn validate_layers(&self) -> Result<(), ModelError> {
        let last = self.layers.len().saturating_sub(1);
        if last == 0 {
            let found = format!("{} layers", self.layers.len());
            return Err(self.value("layers", found, "a stem, blocks and a head"));
        }
        let InputSpec {
            channels,
            height,
            width,
            ..
        } = self.input;
        let mut stream = Chw::new(channels, height, width);
        let mut names = BTreeSet::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let at = |field: &str| format!("layers[{i}].{field}");
            let expected = match i {
                0 => "Stem",
                _ if i == last => "Head",
                _ => "PreActBlock",
            };
            if layer.kind() != expected {
                return Err(self.value(&format!("layers[{i}]"), layer.kind(), expected));
            }
            for (field, name) in layer.names() {
                if name.is_empty() || !names.insert(name.to_owned()) {
                    return Err(self.value(
                        &at(field),
                        format!("`{name}`"),
                        "a name that no other layer has",
                    ));
                }
            }
            match *layer {
                LayerSpec::Stem {
                    channels,
                    kernel,
                    stride,
                    ..
                } => {
                    stream = self.validate_convolution(i, stream, channels, kernel, stride)?;
                }
                LayerSpec::PreActBlock {
                    channels,
                    kernel,
                    stride,
                    shortcut,
                    ..
                } => {
                    let out = self.validate_convolution(i, stream, channels, kernel, stride)?;
                    if shortcut == Shortcut::Identity && out != stream {
                        let found = format!("Identity from {stream} to {out}");
                        return Err(self.value(
                            &at("shortcut"),
                            found,
                            "Projection where the shape changes",
                        ));
                    }
                    stream = out;
                }
                LayerSpec::Head { .. } => {}
            }
        }
        Ok(())
    }

    fn validate_convolution(
        &self,
        layer: usize,
        input: Chw,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<Chw, ModelError> {
        let at = |field: &str| format!("layers[{layer}].{field}");
        self.validate_extent(&at("channels"), channels)?;
        if kernel.is_multiple_of(2) {
            return Err(self.value(&at("kernel"), kernel, "an odd number"));
        }
        if !matches!(stride, 1 | 2) {
            return Err(self.value(&at("stride"), stride, "1 or 2"));
        }
        let out = strided(input, channels, stride);
        self.validate_map(&format!("the output of layers[{layer}]"), out)?;
        Ok(out)
    }

    fn validate_extent(&self, field: &str, extent: usize) -> Result<(), ModelError> {
        if extent == 0 || extent > MAX_EXTENT {
            return Err(self.value(field, extent, format!("1 to {MAX_EXTENT}")));
        }
        Ok(())
    }

    fn validate_map(&self, field: &str, map: Chw) -> Result<(), ModelError> {
        let values = map
            .channels
            .saturating_mul(map.height)
            .saturating_mul(map.width);
        if values > MAX_MAP {
            return Err(self.value(
                field,
                format!("{values} values ({map})"),
                format!("at most {MAX_MAP}"),
            ));
        }
        Ok(())
    }

    fn validate_statistics(&self) -> Result<(), ModelError> {
        if self.activations.is_empty() {
            return Ok(());
        }
        let expected = self.activation_channels();
        if self.activations.len() != expected.len() {
            let found = format!("{} entries", self.activations.len());
            return Err(self.value(
                "activations",
                found,
                format!("{}, one an activation, or none", expected.len()),
            ));
        }
        for (i, (found, (name, channels))) in self.activations.iter().zip(&expected).enumerate() {
            let at = |field: &str| format!("activations[{i}].{field}");
            if found.name != *name {
                return Err(self.value(
                    &at("name"),
                    format!("`{}`", found.name),
                    format!("`{name}`"),
                ));
            }
            for (field, values) in [
                ("declared", &found.declared),
                ("second_moment", &found.second_moment),
            ] {
                if values.len() != *channels {
                    let count = format!("{} values", values.len());
                    return Err(self.value(
                        &at(field),
                        count,
                        format!("{channels}, one a channel of `{name}`"),
                    ));
                }
                if let Some(bad) = values.iter().find(|v| !(v.is_finite() && **v > 0.0)) {
                    return Err(self.value(&at(field), bad, "finite values above 0"));
                }
            }
            for (c, (range, moment)) in found.declared.iter().zip(&found.second_moment).enumerate()
            {
                if *moment > range * range {
                    let field = format!("{}[{c}]", at("second_moment"));
                    return Err(self.value(
                        &field,
                        moment,
                        format!("at most the square of declared[{c}] = {range}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn value(&self, field: &str, found: impl ToString, expected: impl Into<String>) -> ModelError {
        ModelError::Value {
            model: self.name.clone(),
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}

impl LayerSpec {
    fn kind(&self) -> &'static str {
        match self {
            Self::Stem { .. } => "Stem",
            Self::PreActBlock { .. } => "PreActBlock",
            Self::Head { .. } => "Head",
        }
    }

    /// The fields that name tensors, with their values.
    fn names(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Stem { name, .. } | Self::PreActBlock { name, .. } => vec![("name", name)],
            Self::Head { activation, dense } => vec![("activation", activation), ("dense", dense)],
        }
    }
}
