#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod answers;
pub mod decisions;
pub mod estimate;
pub mod executor;
pub mod inference;
pub mod plan;
pub mod planner;
pub mod progress;
pub mod references;
pub mod report;
pub mod robustness;
pub mod screening;
pub mod system;
