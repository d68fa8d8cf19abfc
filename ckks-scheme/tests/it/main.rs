//! The scheme's operations against plain arithmetic, and the tracker against measured errors.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bad_input;
mod corners;
mod counts;
mod fixture;
mod operations;
mod periodic;
mod properties;
mod spread;
mod tracker;
