//! What a run is going to take: seconds, bytes, errors. Nothing is decided here.

pub mod error;
pub mod memory;
pub mod time;
