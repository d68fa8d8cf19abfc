//! A network with its weights: where model file and tensors meet.

use std::{fs, path::Path};

use he_layers::Chw;
use sha2::{Digest, Sha256};

use crate::{
    ActivationStatistics, ModelError, ModelSpec, Provenance,
    graph::{LayerSpec, Shortcut},
    weights::{Weights, hex},
    zoo,
};

/// A validated model file and the weights that belong to it: a plaintext network, in f64, as it was exported.
#[derive(Clone, Debug)]
pub struct Model {
    spec: ModelSpec,
    layers: Layers,
    weights_sha256: [u8; 32],
    checksum: [u8; 32],
}

/// The layers of a pre-activation residual network, with their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// Normalised image to residual stream.
    pub stem: Convolution,
    /// The residual blocks in order.
    pub blocks: Vec<ResidualBlock>,
    /// Last activation, global average, dense layer.
    pub head: Classifier,
}

/// A convolution with an odd square kernel, zero padding `kernel / 2` and no bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Name of the layer; its tensor is `{name}.weight`.
    pub name: String,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Side of the kernel, odd.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// `[out][in][kernel row][kernel column]`.
    pub weight: Vec<f64>,
}

/// The activation `g (x + t)^2 + d`, with one `g`, `t`, `d` for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadratic {
    /// Name; the tensors are `{name}.g`, `{name}.t`, `{name}.d`.
    pub name: String,
    /// Gains, none of them zero.
    pub g: Vec<f64>,
    /// Offsets before the square.
    pub t: Vec<f64>,
    /// Offsets after it.
    pub d: Vec<f64>,
}

/// `h = act1(x)`, `x <- s + conv2(act2(conv1(h)))`, where `s` is `projection(h)` or, without one, `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResidualBlock {
    /// Name of the block.
    pub name: String,
    /// Activation of the stream.
    pub act1: Quadratic,
    /// First convolution, with the block's stride.
    pub conv1: Convolution,
    /// Activation between the convolutions.
    pub act2: Quadratic,
    /// Second convolution, stride 1.
    pub conv2: Convolution,
    /// 1x1 convolution of the activated input, with the block's stride.
    pub projection: Option<Convolution>,
}

/// Last activation, average over all pixels, dense layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    /// The last activation.
    pub activation: Quadratic,
    /// Name of the dense layer; its tensors are `{name}.weight` and `{name}.bias`.
    pub name: String,
    /// `[class][channel]`.
    pub weight: Vec<f64>,
    /// One a class.
    pub bias: Vec<f64>,
}

impl Model {
    /// A bundled model, by its name: see [`crate::bundled_names`].
    ///
    /// # Errors
    /// [`ModelError::UnknownModel`], listing the names that there are.
    pub fn bundled(name: &str) -> Result<Self, ModelError> {
        let files = zoo::find(name).ok_or_else(|| ModelError::UnknownModel {
            name: name.to_owned(),
            bundled: zoo::names().collect::<Vec<_>>().join(", "),
        })?;
        Self::new(
            ModelSpec::parse(files.spec, &format!("{name}.ron"))?,
            files.weights,
        )
    }

    /// A model of one's own: a model file, its weights beside it under the name that it gives.
    ///
    /// # Errors
    /// [`ModelError::Read`] where a file is missing, and everything that can be wrong in either file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::Read { path, source }
        };
        let text = fs::read_to_string(path).map_err(unreadable(path))?;
        let spec = ModelSpec::parse(&text, &path.display().to_string())?;
        let weights = path.with_file_name(&spec.weights.file);
        let bytes = fs::read(&weights).map_err(unreadable(&weights))?;
        Self::new(spec, &bytes)
    }

    /// What a user means by a model: the name of a bundled one, or the path of a `.ron` file.
    ///
    /// # Errors
    /// [`ModelError::UnknownModel`] for what is neither, else as [`Self::load`].
    pub fn open(name_or_path: &str) -> Result<Self, ModelError> {
        match Path::new(name_or_path).extension() {
            Some(extension) if extension == "ron" => Self::load(name_or_path),
            _ => Self::bundled(name_or_path),
        }
    }

    /// A model from the text of a model file and the bytes of a safetensors file.
    ///
    /// # Errors
    /// Everything that can be wrong in either.
    pub fn from_parts(model_file: &str, weights: &[u8]) -> Result<Self, ModelError> {
        Self::new(ModelSpec::parse(model_file, "(in memory)")?, weights)
    }

    /// A model from a specification and the bytes of a safetensors file with exactly the tensors that it names.
    ///
    /// # Errors
    /// What [`ModelSpec::validate`] finds; unreadable weights; missing, unused or misshapen tensors; values that are
    /// not finite; gains that are zero; another checksum than the specification's.
    pub fn new(spec: ModelSpec, weights: &[u8]) -> Result<Self, ModelError> {
        spec.validate()?;
        let mut tensors = Weights::parse(&spec.name, weights, spec.weights.sha256.as_deref())?;
        let layers = build(&spec, &mut tensors)?;
        tensors.finish()?;
        let weights_sha256 = Sha256::digest(weights).into();
        let checksum = checksum(&spec, &weights_sha256)?;
        Ok(Self {
            spec,
            layers,
            weights_sha256,
            checksum,
        })
    }

    /// The same network with other activation statistics, e.g. [`crate::Evaluation::statistics`].
    ///
    /// # Errors
    /// [`ModelError::Value`] where they do not fit the network.
    pub fn with_statistics(
        self,
        activations: Vec<ActivationStatistics>,
    ) -> Result<Self, ModelError> {
        let spec = ModelSpec {
            activations,
            ..self.spec
        };
        spec.validate()?;
        let checksum = checksum(&spec, &self.weights_sha256)?;
        Ok(Self {
            spec,
            checksum,
            ..self
        })
    }

    /// The model file's content.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The layers with their weights, as exported.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Names of the classes, in the order of the logits.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.spec.classes
    }

    /// Values of one image: channels x height x width.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.input_shape().volume()
    }

    /// SHA-256 over everything that an inference depends on: weights, topology, normalisation, class names and
    /// activation statistics, not the provenance. For the headers of files that belong to one model.
    #[must_use]
    pub fn checksum(&self) -> [u8; 32] {
        self.checksum
    }

    /// [`Self::checksum`] in hexadecimal.
    #[must_use]
    pub fn checksum_hex(&self) -> String {
        hex(&self.checksum)
    }

    /// Shape of an image.
    #[must_use]
    pub fn input_shape(&self) -> Chw {
        let input = &self.spec.input;
        Chw::new(input.channels, input.height, input.width)
    }
}

fn checksum(spec: &ModelSpec, weights_sha256: &[u8; 32]) -> Result<[u8; 32], ModelError> {
    let canonical = ModelSpec {
        provenance: Provenance::default(),
        ..spec.clone()
    }
    .to_ron()?;
    Ok(Sha256::new()
        .chain_update(weights_sha256)
        .chain_update(canonical)
        .finalize()
        .into())
}

/// Builds the layers of a validated specification.
fn build(spec: &ModelSpec, tensors: &mut Weights) -> Result<Layers, ModelError> {
    let [
        LayerSpec::Stem {
            name,
            channels,
            kernel,
            stride,
        },
        blocks @ ..,
        LayerSpec::Head { activation, dense },
    ] = spec.layers.as_slice()
    else {
        unreachable!("a validated model begins with a stem and ends with a head");
    };
    let stem = convolution(
        tensors,
        name,
        spec.input.channels,
        *channels,
        *kernel,
        *stride,
    )?;
    let mut stream = *channels;
    let mut residual = Vec::with_capacity(blocks.len());
    for block in blocks {
        let LayerSpec::PreActBlock {
            name,
            channels,
            kernel,
            stride,
            shortcut,
        } = block
        else {
            unreachable!(
                "between the stem and the head of a validated model there are only blocks"
            );
        };
        let (c, k) = (*channels, *kernel);
        residual.push(ResidualBlock {
            name: name.clone(),
            act1: quadratic(tensors, &format!("{name}.act1"), stream)?,
            conv1: convolution(tensors, &format!("{name}.conv1"), stream, c, k, *stride)?,
            act2: quadratic(tensors, &format!("{name}.act2"), c)?,
            conv2: convolution(tensors, &format!("{name}.conv2"), c, c, k, 1)?,
            projection: match shortcut {
                Shortcut::Identity => None,
                Shortcut::Projection => Some(convolution(
                    tensors,
                    &format!("{name}.shortcut"),
                    stream,
                    c,
                    1,
                    *stride,
                )?),
            },
        });
        stream = c;
    }
    let classes = spec.classes.len();
    let head = Classifier {
        name: dense.clone(),
        activation: quadratic(tensors, activation, stream)?,
        weight: tensors.take(&format!("{dense}.weight"), &[classes, stream])?,
        bias: tensors.take(&format!("{dense}.bias"), &[classes])?,
    };
    Ok(Layers {
        stem,
        blocks: residual,
        head,
    })
}

fn convolution(
    tensors: &mut Weights,
    name: &str,
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    stride: usize,
) -> Result<Convolution, ModelError> {
    let weight = tensors.take(
        &format!("{name}.weight"),
        &[out_channels, in_channels, kernel, kernel],
    )?;
    Ok(Convolution {
        name: name.to_owned(),
        in_channels,
        out_channels,
        kernel,
        stride,
        weight,
    })
}

fn quadratic(tensors: &mut Weights, name: &str, channels: usize) -> Result<Quadratic, ModelError> {
    Ok(Quadratic {
        name: name.to_owned(),
        g: tensors.take_nonzero(&format!("{name}.g"), &[channels])?,
        t: tensors.take(&format!("{name}.t"), &[channels])?,
        d: tensors.take(&format!("{name}.d"), &[channels])?,
    })
}
