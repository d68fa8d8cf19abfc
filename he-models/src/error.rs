//! What can be wrong with a model, its weights or the images given to it.

use std::{io, path::PathBuf};

use thiserror::Error;

/// A model that cannot be used, and why: the thing, what was found, what was expected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No bundled model has this name, and it is not a path to a model file either.
    #[error("unknown model `{name}`; bundled: {bundled}, or a path to a .ron file")]
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
    /// The model file is not RON of the expected structure.
    #[error("model file `{file}`, line {line}, column {column}: {message}")]
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
    #[error("model file `{file}`: format {found}, expected {expected}")]
    Format {
        /// The file, or `(in memory)`.
        file: String,
        /// The version in the file.
        found: u32,
        /// The version that this library reads.
        expected: u32,
    },
    /// A field of the model file has a value that it cannot have.
    #[error("model `{model}`: {field} is {found}, expected {expected}")]
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
    /// The weights are not those that the model file was written for.
    #[error("weights of model `{model}`: SHA-256 is {found}, expected {expected}")]
    WeightsChecksum {
        /// The model's name.
        model: String,
        /// Checksum of the weights that were found, hexadecimal.
        found: String,
        /// Checksum in the model file, hexadecimal.
        expected: String,
    },
    /// The weights are not a readable safetensors file.
    #[error("weights of model `{model}`: not a whole safetensors file ({source})")]
    WeightsFormat {
        /// The model's name.
        model: String,
        /// The reader's reason.
        source: safetensors::SafeTensorError,
    },
    /// A tensor that the graph needs is not in the weights.
    #[error(
        "weights of model `{model}`: tensor `{tensor}` is missing, expected shape {expected:?}"
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
        "weights of model `{model}`: {count} tensors that the graph does not use, the first is `{tensor}`"
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
        "weights of model `{model}`: tensor `{tensor}` has shape {found:?}, expected {expected:?}"
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
        "weights of model `{model}`: tensor `{tensor}` is of type {found}, expected F16 or F32"
    )]
    TensorType {
        /// The model's name.
        model: String,
        /// The tensor.
        tensor: String,
        /// Its type in the weights.
        found: String,
    },
    /// A tensor holds a value that it cannot hold: not finite, or a zero gain.
    #[error(
        "weights of model `{model}`: tensor `{tensor}` holds {found} at index {index}, expected {expected}"
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
        "input of model `{model}`: {found} values, expected a multiple of {expected} (channels x height x width)"
    )]
    ImageShape {
        /// The model's name.
        model: String,
        /// Values given.
        found: usize,
        /// Values of one image.
        expected: usize,
    },
    /// Folding needs the activations' statistics, and the model file has none.
    #[error(
        "model `{model}`: no activation statistics, expected one entry for each of {expected} activations (measure them on training images)"
    )]
    NoStatistics {
        /// The model's name.
        model: String,
        /// How many activations the network has.
        expected: usize,
    },
    /// A layer does not take its parameters or its input.
    #[error(transparent)]
    Layer(#[from] he_layers::LayerError),
}
