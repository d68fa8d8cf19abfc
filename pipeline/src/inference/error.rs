//! Why an inference fails.

use ckks_scheme::{EvalError, KeyError};
use datasets::DataError;
use he_layers::LayerError;
use he_models::ModelError;
use thiserror::Error;

use crate::exchange::ExchangeError;

/// What went wrong in a run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// In a layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// In key generation.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// In memory.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// In the plaintext reference.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// In the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Between the two sides.
    #[error(transparent)]
    Exchange(Box<ExchangeError>),
    /// Between the client and servers elsewhere.
    #[error("servers: {source}")]
    Servers {
        /// What is said by what connects them.
        source: super::ServersError,
    },
    /// Images that leave a declared range, and are not to be encrypted.
    #[error(
        "{leaving} of {images} images leave a declared range of {model} and would spoil the others in their ciphertexts: {named} ({way_out})"
    )]
    OutOfRange {
        /// Name of the network.
        model: String,
        /// Images of the batch.
        images: usize,
        /// Those that leave a range.
        leaving: usize,
        /// The first of them, in words.
        named: String,
        /// What else could be done.
        way_out: &'static str,
    },
    /// A picture that stands where there is none leaves a declared range itself.
    #[error(
        "model {model}: {what} leaves the declared range of {activation}, expected one that spoils nothing (`--out-of-range allow` goes on)"
    )]
    Filler {
        /// Name of the network.
        model: String,
        /// The picture.
        what: &'static str,
        /// The first activation whose range it leaves.
        activation: String,
    },
}

impl From<ExchangeError> for InferenceError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(Box::new(error))
    }
}

impl InferenceError {
    /// Whether model or data are at fault.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Data(_) | Self::Model(_) => true,
            Self::Exchange(error) => error.is_bad_input(),
            Self::OutOfRange { .. } | Self::Filler { .. } => true,
            Self::Layer(_) | Self::Key(_) | Self::Eval(_) | Self::Servers { .. } => false,
        }
    }

    /// Whether the memory bound was reached.
    pub fn out_of_memory(&self) -> bool {
        match self {
            Self::Layer(LayerError::Eval { source, .. }) | Self::Eval(source) => {
                source.out_of_memory()
            }
            Self::Layer(LayerError::Encode(error)) => error.out_of_memory(),
            Self::Key(error) => error.out_of_memory(),
            Self::Exchange(error) => error.is_not_feasible(),
            Self::Layer(_) | Self::Model(_) | Self::Data(_) => false,
            Self::OutOfRange { .. } | Self::Filler { .. } | Self::Servers { .. } => false,
        }
    }
}
