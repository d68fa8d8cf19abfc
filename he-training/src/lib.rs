#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod arrange;
pub mod block;
pub mod clear;
pub mod client;
pub mod error;
mod forecast;
mod group;
pub mod head;
mod keys;
pub mod layout;
pub mod ridge;
pub mod rule;
pub mod softmax;
pub mod trainer;

/// The crates underneath, so that one dependency is enough.
pub use ckks_scheme;
pub use he_layers;

pub use arrange::{Arrangement, Cells, Origin, Transposition};
pub use block::{
    Block, BlockBatch, BlockClient, BlockForecast, BlockLayout, BlockLevels, BlockPlan,
    BlockSettings, BlockStep, BlockTrace, BlockTrainer, BlockWeights, EncryptedWeights, Range,
    Ranges, Rates,
};
pub use clear::{Examples, Weights, accuracy};
pub use client::Client;
pub use error::TrainingError;
pub use forecast::Forecast;
pub use group::Group;
pub use head::Head;
pub use keys::{ridge_keys, softmax_keys, step_levels};
pub use layout::{FeatureLayout, WeightForm};
pub use ridge::{Moments, Ridge};
pub use rule::{Declared, Given};
pub use softmax::encrypted::SoftmaxRun;
pub use softmax::levels::StepLevels;
pub use softmax::{Softmax, cross_entropy, logistic_regression};
pub use trainer::{Trainer, scale_of};
