//! Errors of trainings.

use ckks_scheme::{BootstrapError, EvalError, KeyError};
use datasets::DataError;
use he_layers::LayerError;
use he_training::TrainingError;
use thiserror::Error;

use crate::exchange::ExchangeError;
use crate::inference::InferenceError;
use crate::planner::PlanError;
use crate::units::{flag_up, gb, gb_up};

/// What went wrong in a training.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// In the head's training.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// In the network, on either side.
    #[error(transparent)]
    Inference(Box<InferenceError>),
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// In the refreshes.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// Images without labels.
    #[error("{data}: {found}, expected {expected}")]
    Labels {
        /// Name of the data.
        data: String,
        /// What is the matter.
        found: String,
        /// What would do.
        expected: String,
    },
    /// No image is left.
    #[error(
        "{data}: all {images} images leave a range that the network declares, or their features the norm {norm_bound:.3} (`--norm-bound`), expected at least one that does not"
    )]
    LeftOut {
        /// Name of the data.
        data: String,
        /// Number of images.
        images: usize,
        /// Declared bound of the norm of an image's features.
        norm_bound: f64,
    },
    /// No plan makes features precise enough.
    #[error(
        "{model}: the largest error of a feature would be about {found:.4} deviations, expected at most {expected:?} (`--max-feature-error`)"
    )]
    Precision {
        /// Name of the network.
        model: String,
        /// Least error found, in deviations of the features.
        found: f64,
        /// Largest error allowed.
        expected: f64,
    },
    /// Too little memory for the training itself.
    #[error(
        "memory of {:.2} GB is not enough for the {loss} training: at least {:.2} GB are needed (`--memory-gib {:.2}`)",
        gb(*budget_bytes),
        gb_up(*needed_bytes),
        flag_up(*needed_bytes)
    )]
    Memory {
        /// Name of the loss.
        loss: &'static str,
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes allowed.
        budget_bytes: u64,
    },
}

impl TrainError {
    /// From the planning of the network up to its features, which knows them as logits.
    pub(super) fn of_plan(error: PlanError) -> Self {
        if let PlanError::Precision {
            model,
            found,
            expected,
            needed_bytes: None,
        } = error
        {
            return Self::Precision {
                model,
                found,
                expected,
            };
        }
        Self::Plan(error)
    }

    /// Whether settings or data are at fault.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Labels { .. } | Self::LeftOut { .. } => true,
            Self::Training(error) => matches!(
                error,
                TrainingError::Setting { .. }
                    | TrainingError::Count { .. }
                    | TrainingError::Norm { .. }
                    | TrainingError::MeanSquare { .. }
            ),
            Self::Inference(error) => error.is_bad_input(),
            Self::Plan(_) | Self::Bootstrap(_) | Self::Precision { .. } | Self::Memory { .. } => {
                false
            }
        }
    }

    /// Whether there is too little memory.
    pub fn is_not_feasible(&self) -> bool {
        match self {
            Self::Memory { .. } | Self::Precision { .. } | Self::Plan(_) => true,
            Self::Training(TrainingError::Eval(error)) => error.out_of_memory(),
            Self::Training(TrainingError::Encode(error)) => error.out_of_memory(),
            Self::Training(TrainingError::Key(error)) => error.out_of_memory(),
            Self::Inference(error) => error.out_of_memory(),
            Self::Training(_) | Self::Bootstrap(_) | Self::Labels { .. } | Self::LeftOut { .. } => {
                false
            }
        }
    }
}

impl From<InferenceError> for TrainError {
    fn from(error: InferenceError) -> Self {
        Self::Inference(Box::new(error))
    }
}

impl From<LayerError> for TrainError {
    fn from(error: LayerError) -> Self {
        InferenceError::from(error).into()
    }
}

impl From<KeyError> for TrainError {
    fn from(error: KeyError) -> Self {
        InferenceError::from(error).into()
    }
}

impl From<ExchangeError> for TrainError {
    fn from(error: ExchangeError) -> Self {
        InferenceError::from(error).into()
    }
}

impl From<EvalError> for TrainError {
    fn from(error: EvalError) -> Self {
        InferenceError::from(error).into()
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        InferenceError::from(error).into()
    }
}
