//! What can be wrong with a model, its files or the images given to it.

use std::{io, path::PathBuf};

use he_layers::Chw;
use thiserror::Error;

/// A model that cannot be used, and why: the thing, what was found, what was expected.
///
/// Messages escape the control characters of texts that come from files, and shorten long ones.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No bundled model has this name, and it is not a path to a model file either.
    #[error("unknown model `{}`; bundled: {bundled}, or a path to a .ron file", shown(.name))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The names of the bundled models, separated by commas.
        bundled: String,
    },
    /// A file of the model could not be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of the model could not be written.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something is not a file that can be read as a whole: a folder, a device, or too large.
    #[error("cannot read `{path}`: it is {found}, expected {expected}")]
    File {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The model file is not RON of the expected structure.
    #[error("model file `{}`, line {line}, column {column}: {}", shown(.file), shown(.message))]
    Syntax {
        /// The file, or `(in memory)`.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What the parser found and expected.
        message: String,
    },
    /// The model file is of another version of the format.
    #[error("model file `{}`: format {found}, expected {expected}", shown(.file))]
    Format {
        /// The file, or `(in memory)`.
        file: String,
        /// The version in the file.
        found: u32,
        /// The versions that this library reads.
        expected: &'static str,
    },
    /// A field of the model file, or a number that an importer found, has a value that it cannot have.
    #[error("model `{}`: {} is {}, expected {expected}", shown(.model), shown(.field), shown(.found))]
    Value {
        /// The model's name.
        model: String,
        /// The field, as a path into the model file.
        field: String,
        /// Its value, or what is remarkable about it.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A node of the graph does not take what it is given.
    #[error("node `{}`: {what} is {}, expected {expected}", shown(.node), shown(.found))]
    Node {
        /// The node.
        node: String,
        /// What is wrong about it.
        what: String,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The inputs of a node have shapes that cannot be joined.
    #[error("node `{}`: an input has shape {found}, expected {expected} as its first one", shown(.node))]
    JoinedShapes {
        /// The node.
        node: String,
        /// Shape of the input that does not fit.
        found: Chw,
        /// Shape of the first input.
        expected: Chw,
    },
    /// The weights are not those that the model file was written for.
    #[error("weights of model `{}`: SHA-256 is {found}, expected {expected}", shown(.model))]
    WeightsChecksum {
        /// The model's name.
        model: String,
        /// Checksum of the weights that were found, hexadecimal.
        found: String,
        /// Checksum in the model file, hexadecimal.
        expected: String,
    },
    /// The weights are not a readable safetensors file.
    #[error("weights of model `{}`: not a whole safetensors file ({source})", shown(.model))]
    WeightsFormat {
        /// The model's name.
        model: String,
        /// The reader's reason.
        source: safetensors::SafeTensorError,
    },
    /// A tensor that the graph needs is not in the weights.
    #[error(
        "weights of model `{}`: tensor `{}` is missing, expected shape {expected:?}",
        shown(.model), shown(.tensor)
    )]
    MissingTensor {
        /// The model's name.
        model: String,
        /// The tensor.
        tensor: String,
        /// The shape that the graph gives it.
        expected: Vec<usize>,
    },
    /// The weights hold tensors that the graph does not use.
    #[error(
        "weights of model `{}`: {count} tensors that the graph does not use, the first is `{}`",
        shown(.model), shown(.tensor)
    )]
    UnusedTensors {
        /// The model's name.
        model: String,
        /// How many there are.
        count: usize,
        /// The first of them in alphabetical order.
        tensor: String,
    },
    /// A tensor has another shape than the graph gives it.
    #[error(
        "weights of model `{}`: tensor `{}` has shape {found:?}, expected {expected:?}",
        shown(.model), shown(.tensor)
    )]
    TensorShape {
        /// The model's name.
        model: String,
        /// The tensor.
        tensor: String,
        /// Its shape in the weights.
        found: Vec<usize>,
        /// The shape that the graph gives it.
        expected: Vec<usize>,
    },
    /// A tensor is of a type that is not read.
    #[error(
        "weights of model `{}`: tensor `{}` is of type {found}, expected BF16, F16, F32 or F64",
        shown(.model), shown(.tensor)
    )]
    TensorType {
        /// The model's name.
        model: String,
        /// The tensor.
        tensor: String,
        /// Its type in the weights.
        found: String,
    },
    /// A tensor holds a value that it cannot hold.
    #[error(
        "weights of model `{}`: tensor `{}` holds {found} at index {index}, expected {expected}",
        shown(.model), shown(.tensor)
    )]
    TensorValue {
        /// The model's name.
        model: String,
        /// The tensor.
        tensor: String,
        /// Position of the value, row by row.
        index: usize,
        /// The value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// Pixels that do not make up whole images of the model's input shape.
    #[error(
        "input of model `{}`: {found} values, expected a multiple of {expected} (channels x height x width)",
        shown(.model)
    )]
    ImageShape {
        /// The model's name.
        model: String,
        /// Values given.
        found: usize,
        /// Values of one image.
        expected: usize,
    },
    /// Lowering needs the activations' statistics, and an activation has none.
    #[error(
        "model `{}`: activation `{}` has no declared ranges, expected some for each activation (measure them on training images: polyphase ranges)",
        shown(.model), shown(.activation)
    )]
    NoStatistics {
        /// The model's name.
        model: String,
        /// The first activation without.
        activation: String,
    },
    /// An ONNX file that cannot be decoded.
    #[error("ONNX file `{}`: {what}", shown(.file))]
    OnnxFormat {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// An ONNX file has an operator that is not read.
    #[error(
        "ONNX node `{}`: operator {} is not supported; supported: {supported}",
        shown(.node), shown(.operator)
    )]
    UnknownOperator {
        /// The node's name.
        node: String,
        /// Its operator, with its domain where that is not the standard one.
        operator: String,
        /// The operators that are read.
        supported: &'static str,
    },
    /// An operator of an ONNX file is used in a way that is not read.
    #[error(
        "ONNX node `{}` ({}): {what} is {}, expected {expected}",
        shown(.node), shown(.operator), shown(.found)
    )]
    OnnxNode {
        /// The node's name.
        node: String,
        /// Its operator.
        operator: String,
        /// The input or attribute that is wrong.
        what: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A layer does not take its parameters or its input.
    #[error(transparent)]
    Layer(#[from] he_layers::LayerError),
}

/// Text from a file as a message may show it: control characters escaped, at most 200 characters.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let mut out = String::new();
    for c in text.chars().take(MOST) {
        if c.is_control() || ('\u{202a}'..='\u{2069}').contains(&c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    if text.chars().nth(MOST).is_some() {
        out.push_str("...");
    }
    out
}

impl ModelError {
    /// A node that does not take what it is given.
    pub(crate) fn node(
        node: &str,
        what: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Node {
            node: node.to_owned(),
            what: what.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}
