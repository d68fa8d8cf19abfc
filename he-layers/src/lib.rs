#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod checks;
pub mod client;
pub mod conformance;
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

/// The scheme underneath, so that one dependency is enough.
pub use ckks_scheme;
pub use ckks_scheme::{Chebyshev, Composite, EvaluationKeys, Evaluator, Level, Parameters, Scale};

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
    Circuit, Custom, Depth, Evaluation, Function, Operand, Pointwise, PolyOutput, Polynomial,
    Refresh, RefreshLimits, Refresher, Setting, Square, Wire,
};
pub use program::{
    CompiledMaps, Errors, Exchange, Layer, Missing, Node, Partial, Phase, Point, Preparation,
    PreparedProgram, Program, Rotating, Run, RunState, Share, Shortage, Term, Value, Weights,
};
pub use rounding::MeanError;
pub use spec::{Form, ScaleChain, TensorSpec};
pub use tensor::{Chw, PlainTensor};
