#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod client;
pub mod cost;
pub mod executor;
pub mod inference;
pub mod memory;
pub mod network;
pub mod noise;
pub mod plan;
pub mod planner;
pub mod progress;
pub mod references;
pub mod report;
pub mod system;
