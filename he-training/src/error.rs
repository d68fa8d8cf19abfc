//! What can go wrong in training, with the numbers that disagree.

use ckks_scheme::{BootstrapError, EncodeError, EvalError, KeyError};
use he_layers::LayerError;
use thiserror::Error;

/// Training that cannot be set up or carried out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// A setting that does not fit.
    #[error("training: {what} is {found}, expected {expected}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// Value found.
        found: String,
        /// What would do.
        expected: String,
    },
    /// A number of things that does not fit the layout.
    #[error("training: {found} {what}, expected {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// Number found.
        found: usize,
        /// Number expected.
        expected: usize,
    },
    /// A feature vector that is longer than was declared.
    #[error(
        "training: the features of image {image} have norm {norm:.4}, expected at most the declared {bound}"
    )]
    Norm {
        /// Number of the image in its group.
        image: usize,
        /// Euclidean norm found.
        norm: f64,
        /// The declared bound.
        bound: f64,
    },
    /// Feature vectors that are longer altogether than was declared.
    #[error(
        "training: the norm of an image's features has the root mean square {found:.4}, expected at most the declared {bound:.4}"
    )]
    MeanSquare {
        /// Root mean square over the images of the Euclidean norm.
        found: f64,
        /// The declared bound.
        bound: f64,
    },
    /// From an operation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// From an encoding.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// From the key generation.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// From a layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// From a refresh.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

impl TrainingError {
    pub(crate) fn setting(
        what: &'static str,
        found: impl ToString,
        expected: impl ToString,
    ) -> Self {
        Self::Setting {
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}

/// Checks a setting.
pub(crate) fn check(
    ok: bool,
    what: &'static str,
    found: impl ToString,
    expected: impl ToString,
) -> Result<(), TrainingError> {
    if ok {
        return Ok(());
    }
    Err(TrainingError::setting(what, found, expected))
}
