#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod activation;
pub mod conv;
pub mod cost;
pub mod encrypted;
pub mod error;
pub mod layer;
pub mod layout;
pub mod linear_map;
pub mod noise;
pub mod pool;
mod prepared;
pub mod residual;
mod rounding;
pub mod spec;
pub mod tensor;

pub use activation::SquareActivation;
pub use conv::Conv2d;
pub use cost::{Op, OpCounts};
pub use encrypted::{ClientCodec, EncryptedTensor};
pub use error::LayerError;
pub use layer::{Layer, LayerRun, PreparedLayer, Weights};
pub use layout::{Grid, Layout, Packing, Place};
pub use linear_map::{LinearMap, ProductTask, TermWeight};
pub use pool::AvgPool;
pub use residual::{Head, PreActBlock, Stem};
pub use spec::{ScaleChain, TensorSpec};
pub use tensor::{Chw, PlainTensor};
