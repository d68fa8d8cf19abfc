//! Planner, executor and inference as other crates call them.
#![allow(clippy::unwrap_used)]

mod networks;
mod obeyed;
mod plans;
mod refreshes;
mod runs;
mod spoiled;
