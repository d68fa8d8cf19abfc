#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bounds;
mod conditioning;
mod error;
mod evaluate;
mod features;
mod files;
mod front;
pub mod graph;
mod import;
mod lower;
mod model;
mod onnx;
pub mod passes;
pub mod spec;
mod tail;
mod weights;
mod zoo;

/// The crate underneath, so that one dependency is enough.
pub use he_layers;

pub use bounds::LogitBounds;
pub use conditioning::{Conditioning, Strength};
pub use error::ModelError;
pub use evaluate::{ActivationRecord, Evaluation, Excess};
pub use features::{FeatureUnits, features, model_files};
pub use front::front;
pub use graph::Graph;
pub use import::{ImportOptions, Imported, import};
pub use lower::Lowered;
pub use model::Model;
pub use spec::{ActivationStatistics, ModelSpec, Provenance};
pub use tail::LastBlock;
pub use zoo::names as bundled_names;
