#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// The crates underneath, so that one dependency is enough.
pub use {ckks_scheme, datasets, he_layers, he_models, he_training};

pub mod answers;
pub mod arguments;
pub mod calibration;
pub mod chart;
pub mod checkpoint;
pub mod client;
pub mod decisions;
pub mod estimate;
pub mod exchange;
pub mod executor;
pub mod grouping;
pub mod inference;
pub mod plan;
pub mod planner;
pub mod progress;
pub mod references;
pub mod report;
pub mod robustness;
pub mod screening;
pub mod server;
pub mod sweep;
pub mod system;
pub mod text_file;
pub mod timeline;
pub mod training;
pub mod units;
