#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cifar;
mod dataset;
#[cfg(feature = "download")]
pub mod download;
mod error;
mod images;
mod synthetic;

pub use cifar::{Cifar, CifarVariant, Split};
pub use dataset::Dataset;
pub use error::DataError;
pub use images::{Batch, Images, Shape};
pub use synthetic::Synthetic;
