#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod client;
pub mod cost;
pub mod encrypted;
pub mod error;
pub mod layers;
pub mod layout;
pub mod linear;
pub mod noise;
pub mod pointwise;
pub mod program;
mod rounding;
pub mod spec;
pub mod tensor;

/// What polynomial activations are made of.
pub use ckks_scheme::{Chebyshev, Composite};

pub use client::Client;
pub use cost::{Op, OpCounts};
pub use encrypted::{ClientCodec, EncryptedTensor};
pub use error::LayerError;
pub use layers::{PostActBlock, PreActBlock};
pub use layout::{Grid, Layout, Packing, Place, Spacing};
pub use linear::{
    Conv2d, Dense, Linear, LinearMap, Padding, ProductTask, RotationCosts, TermWeight,
};
pub use pointwise::{
    Circuit, Custom, Depth, Function, Operand, Pointwise, PolyOutput, Polynomial, Refresh,
    RefreshLimits, Refresher, Setting, Square, Wire,
};
pub use program::{
    CompiledMaps, Errors, Layer, Node, Point, Preparation, PreparedProgram, Program, Run, Shortage,
    Term, Value, Weights,
};
pub use spec::{Form, ScaleChain, TensorSpec};
pub use tensor::{Chw, PlainTensor};
