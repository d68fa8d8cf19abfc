//! A network with its weights: where model file and tensors meet.

use std::path::Path;

use he_layers::Chw;
use sha2::{Digest, Sha256};

use crate::{
    ActivationStatistics, Conditioning, Evaluation, Graph, ModelError, ModelSpec, Provenance,
    files, graph,
    weights::{Weights, hex},
    zoo,
};

/// A checked model file and the weights that belong to it: a plaintext network, in f64, as it was exported.
#[derive(Clone, Debug)]
pub struct Model {
    spec: ModelSpec,
    graph: Graph,
    weights_sha256: [u8; 32],
    checksum: [u8; 32],
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
    /// [`ModelError::Read`] or [`ModelError::File`] where a file is missing or no regular file, and everything that can be
    /// wrong in either file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let text = files::read_text(path)?;
        let spec = ModelSpec::parse(&text, &path.display().to_string())?;
        let weights = path.with_file_name(&spec.weights.file);
        Self::new(spec, &files::read(&weights, files::MAX_WEIGHTS)?)
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
    /// What [`ModelSpec::validate`] and [`Graph::shapes`] find; unreadable weights; missing, unused or misshapen tensors;
    /// values that are not finite; another checksum than the specification's.
    pub fn new(spec: ModelSpec, weights: &[u8]) -> Result<Self, ModelError> {
        spec.validate()?;
        let mut tensors = Weights::parse(&spec.name, weights, spec.weights.sha256.as_deref())?;
        let graph = graph::build(&spec, &mut tensors)?;
        tensors.finish()?;
        let weights_sha256 = Sha256::digest(weights).into();
        let checksum = checksum(&spec, &weights_sha256)?;
        Ok(Self {
            spec,
            graph,
            weights_sha256,
            checksum,
        })
    }

    /// The same network with other activation statistics, e.g. [`crate::Evaluation::statistics`].
    ///
    /// # Errors
    /// [`ModelError::Value`] or [`ModelError::Node`] where they do not fit the network.
    pub fn with_statistics(
        mut self,
        activations: Vec<ActivationStatistics>,
    ) -> Result<Self, ModelError> {
        self.spec.activations = activations;
        self.spec.validate()?;
        self.graph.set_statistics(&self.spec.activations)?;
        self.checksum = checksum(&self.spec, &self.weights_sha256)?;
        Ok(self)
    }

    /// The same network, of another origin.
    ///
    /// # Errors
    /// [`ModelError::Value`] for an accuracy that is none.
    pub fn with_provenance(mut self, provenance: Provenance) -> Result<Self, ModelError> {
        self.spec.provenance = provenance;
        self.spec.validate()?;
        Ok(self)
    }

    /// Evaluates the network on images: conditioned as the model's input says, then [`Graph::evaluate`].
    ///
    /// # Shapes and ranges
    /// `images`: `[image][channel][row][column]`, pixels divided by 255, hence in `[0, 1]`.
    /// # Errors
    /// [`ModelError::ImageShape`] where `images` is not a whole number of images.
    pub fn evaluate(&self, images: &[f64]) -> Result<Evaluation, ModelError> {
        if self.spec.input.conditioning.is_none() {
            return self.graph.evaluate(images);
        }
        let mut images = images.to_vec();
        self.spec.input.condition(&mut images);
        self.graph.evaluate(&images)
    }

    /// The logits alone: `[image][class]`, as [`Self::evaluate`].
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn logits(&self, images: &[f64]) -> Result<Vec<f64>, ModelError> {
        Ok(self.evaluate(images)?.logits)
    }

    /// Evaluates part after part of a set of images, which need not be in memory together. Gives the evaluation of all.
    ///
    /// `parts` gives pixels divided by 255 as [`Self::evaluate`] takes them; `progress` is told the number of images so far.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and those of `parts`.
    pub fn measure<E: From<ModelError>>(
        &self,
        parts: impl IntoIterator<Item = Result<Vec<f64>, E>>,
        mut progress: impl FnMut(usize),
    ) -> Result<Evaluation, E> {
        let mut whole = self.evaluate(&[])?;
        for part in parts {
            whole.append(self.evaluate(&part?)?);
            progress(whole.images());
        }
        Ok(whole)
    }

    /// Writes the model file; it appears under its name only when it is whole. The weights are not written.
    ///
    /// # Errors
    /// [`ModelError::Write`].
    pub fn write_spec(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        files::write(path.as_ref(), self.spec.to_ron()?.as_bytes())
    }

    /// The model file's content.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The network as a graph, as exported.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Names of the classes, in the order of the logits.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.spec.classes
    }

    /// What is done to a picture in the clear before it is normalised and encrypted, if anything.
    #[must_use]
    pub fn conditioning(&self) -> Option<&Conditioning> {
        self.spec.input.conditioning.as_ref()
    }

    /// Values of one image: channels x height x width.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.input_shape().volume()
    }

    /// SHA-256 over everything that an inference depends on: weights, topology, conditioning, normalisation, class names and
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
        self.graph.input
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
