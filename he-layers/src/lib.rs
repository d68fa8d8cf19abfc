#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod activation;
mod conv;
pub mod cost;
pub mod dense;
pub mod encrypted;
pub mod error;
pub mod layer;
pub mod layout;
pub mod linear;
pub mod linear_map;
pub mod noise;
pub mod poly_activation;
pub mod pool;
pub mod post_act;
mod prepared;
pub mod refresh;
pub mod residual;
mod rounding;
pub mod spec;
pub mod tensor;

/// What polynomial activations are made of.
pub use ckks_scheme::{Chebyshev, Composite};

pub use activation::SquareActivation;
pub use cost::{Op, OpCounts};
pub use dense::PooledDense;
pub use encrypted::{ClientCodec, EncryptedTensor};
pub use error::LayerError;
pub use layer::{Layer, LayerRun, PreparedLayer, Weights};
pub use layout::{Grid, Layout, Packing, Place, Spacing};
pub use linear::Linear;
pub use linear::conv::{Conv2d, Padding};
pub use linear::dense::Dense;
pub use linear_map::{LinearMap, ProductTask, TermWeight};
pub use poly_activation::{PolyActivation, PolyOutput};
pub use pool::AvgPool;
pub use post_act::PostActBlock;
pub use refresh::{Refresh, RefreshLimits};
pub use residual::{Head, PreActBlock, Stem};
pub use spec::{ScaleChain, TensorSpec};
pub use tensor::{Chw, PlainTensor};
