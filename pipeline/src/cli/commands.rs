//! The commands: each takes its arguments, says how far it is, and reports.

pub mod calibrate;
pub mod decrypt;
pub mod encrypt;
pub mod eval;
#[cfg(feature = "download")]
pub mod fetch_data;
pub mod import;
pub mod infer;
pub mod keygen;
pub mod plan;
pub mod precision;
pub mod ranges;
pub mod run;
pub mod sweep;
pub mod train;
