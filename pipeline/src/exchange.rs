//! What client and server tell each other: the client spec, and files of encrypted images and encrypted logits. Nothing here
//! can hold a secret key.

mod content;
mod error;
mod groups;
pub(crate) mod sealed;
mod spec;

pub use content::{Content, Holds};
pub use error::ExchangeError;
pub(crate) use groups::{GroupReader, GroupWriter, read_group};
pub use spec::{ClientInput, ClientSpec, LastTensors, Normalisation};

/// Name of the plan's file in the folder that a client gives to a server.
pub const PLAN_FILE: &str = "plan.ron";
