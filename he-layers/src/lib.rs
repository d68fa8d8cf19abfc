//! Neural network layers on encrypted image batches, each with its plaintext reference.
#![forbid(unsafe_code)]

pub mod activation;
pub mod conv;
pub mod error;
pub mod layout;
pub mod linear_map;
pub mod residual;
mod rounding;
pub mod spec;
pub mod tensor;

pub use activation::SquareActivation;
pub use conv::Conv2d;
pub use error::LayerError;
pub use layout::{Grid, Layout, Packing, Place};
pub use linear_map::{LinearMap, ProductTask, TermWeight};
pub use residual::{Head, PreActBlock, Stem};
pub use spec::{ScaleChain, TensorSpec};
pub use tensor::{Chw, PlainTensor};
