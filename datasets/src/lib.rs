#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arrays;
mod cifar;
mod dataset;
#[cfg(feature = "download")]
pub mod download;
mod error;
pub mod families;
mod folder;
mod images;
mod open;
mod picture;
mod regular;
mod synthetic;
mod text;

pub use arrays::Arrays;
pub use cifar::{Cifar, CifarVariant, Split};
pub use dataset::Dataset;
pub use error::DataError;
pub use folder::ImageFolder;
pub use images::{Batch, Images, Pixels, Shape};
pub use open::{Fit, Layout, Limits, OpenOptions, open};
pub use synthetic::Synthetic;
