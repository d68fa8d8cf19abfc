#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod evaluate;
mod files;
pub mod graph;
mod lower;
mod model;
pub mod passes;
pub mod spec;
mod weights;
mod zoo;

pub use error::ModelError;
pub use evaluate::{ActivationRecord, Evaluation};
pub use graph::Graph;
pub use lower::Lowered;
pub use model::Model;
pub use spec::{ActivationStatistics, ModelSpec, Provenance};
pub use zoo::names as bundled_names;
