#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
pub mod fold;
pub mod graph;
mod model;
mod plain;
mod weights;
mod zoo;

pub use error::ModelError;
pub use fold::FoldedModel;
pub use graph::{ActivationStatistics, ModelSpec, Provenance};
pub use model::{Classifier, Convolution, Layers, Model, Quadratic, ResidualBlock};
pub use plain::{ActivationRecord, Evaluation};
pub use zoo::names as bundled_names;
