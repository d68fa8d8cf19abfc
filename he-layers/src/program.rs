//! Networks in the normal form of this crate: `y = sum_k L_k(v_k) + sum_j v_j`, node by node.
//!
//! A [`Program`] says what is computed. [`Program::prepare`] fixes it for a ring, a layout and levels. The
//! [`PreparedProgram`] is walked for everything else: keys, operations, memory, plain slots and the encrypted [`Run`].

mod accumulator;
mod compiled;
mod counts;
mod description;
mod levels;
mod meeting;
mod memory;
mod order;
mod plain;
mod preparation;
mod prepare;
mod prepared;
mod product;
mod reader;
mod refreshed;
mod run;
mod share;
mod shared;
mod simulate;
mod slots;
mod state;
mod sums;

pub use compiled::CompiledMaps;
pub use counts::Phase;
pub use description::{Layer, Node, Program, Term, Value};
pub use levels::Shortage;
pub use plain::Point;
pub use preparation::Preparation;
pub use prepared::{PreparedNode, PreparedProgram};
pub use run::Run;
pub use share::{Exchange, Missing, Partial, Rotating, Share};
pub use simulate::Errors;
pub use slots::Weights;
pub use state::RunState;
