//! Planner, executor and the command polyphase
#![forbid(unsafe_code)]

pub mod progress;
pub mod report;
pub mod system;
