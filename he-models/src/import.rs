//! Networks of others: ONNX as PyTorch exports it, and safetensors of the reference work's networks.

mod reference;

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest, Sha256};

use crate::{
    Model, ModelError, ModelSpec, Provenance, files, onnx,
    spec::{FORMAT, InputSpec, NodeSpec, ReluApproximation, WeightsSpec},
    weights::{self, Tensor, hex},
};

/// What a file of others does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    /// The model's name; without one, that of the file.
    pub name: Option<String>,
    /// Channels, rows and columns of an image; needed where the file leaves them open.
    pub shape: Option<(usize, usize, usize)>,
    /// Mean of each channel of pixels in `[0, 1]`; one value stands for all channels, nothing for what the file says, or 0.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel; one value stands for all channels, nothing for what the file says, or 1.
    pub std: Vec<f64>,
    /// Names of the classes; nothing for `0`, `1`, ...
    pub classes: Vec<String>,
    /// What stands for ReLUs in the encrypted run; without one, a polynomial of degree 63.
    pub relu: Option<ReluApproximation>,
    /// What the network was trained on, e.g. `cifar10`; nothing for what the file says.
    pub dataset: String,
}

/// A network that was brought in. Its ranges are not measured yet.
#[derive(Clone, Debug)]
pub struct Imported {
    model: Model,
    weights: Vec<u8>,
    notes: Vec<String>,
}

/// A network as an importer finds it.
pub(crate) struct Found {
    pub shape: (usize, usize, usize),
    pub outputs: usize,
    pub nodes: Vec<NodeSpec>,
    pub tensors: BTreeMap<String, Tensor>,
    pub notes: Vec<String>,
    pub said: Said,
}

/// What a file says about the images of its network; empty where it says nothing.
#[derive(Default)]
pub(crate) struct Said {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
    pub dataset: String,
}

/// Reads `FILE.onnx` or `FILE.safetensors`.
///
/// # Errors
/// [`ModelError::File`] for another extension, [`ModelError::Read`]; everything that can be wrong in the file or the options.
pub fn import(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Imported, ModelError> {
    let path = path.as_ref();
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let name = options.name.clone().or(stem).unwrap_or_default();
    let relu = options
        .relu
        .clone()
        .unwrap_or(ReluApproximation::Polynomial { degree: 63 });
    let found = match path.extension().and_then(|e| e.to_str()) {
        Some("onnx") => onnx::read(path, options.shape, &relu)?,
        Some("safetensors") => {
            let bytes = files::read(path, files::MAX_WEIGHTS)?;
            reference::read(&name, &bytes, options.shape, &relu)?
        }
        _ => {
            return Err(ModelError::File {
                path: path.to_owned(),
                found: "of another kind".to_owned(),
                expected: "a .onnx or .safetensors file".to_owned(),
            });
        }
    };
    Imported::new(name, found, options)
}

impl Imported {
    fn new(name: String, found: Found, options: &ImportOptions) -> Result<Self, ModelError> {
        let weights = weights::serialize(&name, &found.tensors)?;
        let (channels, height, width) = found.shape;
        let per_channel = |asked: &[f64], said: &[f64], default: f64| match (asked, said) {
            ([], []) => vec![default; channels],
            ([], values) | (values, _) => match values {
                [all] => vec![*all; channels],
                several => several.to_vec(),
            },
        };
        let classes = match options.classes.as_slice() {
            [] => (0..found.outputs).map(|k| k.to_string()).collect(),
            names => names.to_vec(),
        };
        let spec = ModelSpec {
            format: FORMAT,
            weights: WeightsSpec {
                file: format!("{name}.safetensors"),
                sha256: Some(hex(&Sha256::digest(&weights))),
            },
            name,
            dataset: match options.dataset.is_empty() {
                true => found.said.dataset,
                false => options.dataset.clone(),
            },
            input: InputSpec {
                channels,
                height,
                width,
                mean: per_channel(&options.mean, &found.said.mean, 0.0),
                std: per_channel(&options.std, &found.said.std, 1.0),
                conditioning: None,
            },
            classes,
            nodes: found.nodes,
            activations: Vec::new(),
            provenance: Provenance::default(),
        };
        Ok(Self {
            model: Model::new(spec, &weights)?,
            weights,
            notes: found.notes,
        })
    }

    /// The model, without ranges.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What was left out or chosen, in sentences for the user.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same network with ranges, e.g. [`crate::Evaluation::statistics`] of [`Model::measure`].
    ///
    /// # Errors
    /// As [`Model::with_statistics`].
    pub fn with_statistics(
        mut self,
        statistics: Vec<crate::ActivationStatistics>,
    ) -> Result<Self, ModelError> {
        self.model = self.model.with_statistics(statistics)?;
        Ok(self)
    }

    /// The same network, of another origin.
    ///
    /// # Errors
    /// As [`Model::with_provenance`].
    pub fn with_provenance(mut self, provenance: Provenance) -> Result<Self, ModelError> {
        self.model = self.model.with_provenance(provenance)?;
        Ok(self)
    }

    /// Writes the model file and, beside it, the weights under the same name with the extension `safetensors`. Each appears
    /// only when it is whole, the model file last.
    ///
    /// # Errors
    /// [`ModelError::Write`]; [`ModelError::File`] for a path that is not `NAME.ron`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<Model, ModelError> {
        let path = path.as_ref();
        let stem = path.file_stem().and_then(|s| s.to_str());
        let (Some(stem), Some("ron")) = (stem, path.extension().and_then(|e| e.to_str())) else {
            return Err(ModelError::File {
                path: path.to_owned(),
                found: "of another kind".to_owned(),
                expected: "a .ron file".to_owned(),
            });
        };
        let mut spec = self.model.spec().clone();
        spec.weights.file = format!("{stem}.safetensors");
        let model = Model::new(spec, &self.weights)?;
        files::write(
            &path.with_file_name(&model.spec().weights.file),
            &self.weights,
        )?;
        model.write_spec(path)?;
        Ok(model)
    }
}
