//! Planner, executor and inference as other crates call them.
#![allow(clippy::unwrap_used)]

mod checkpoint_targets;
mod checkpoints;
mod comparisons;
mod dealt;
// The same replay of other targets.
#[path = "../../../he-models/tests/suite/corpus.rs"]
mod corpus;
mod examples;
mod machines;
mod networks;
mod obeyed;
mod plans;
mod properties;
mod refreshes;
mod runs;
mod security;
mod shared;
mod sides;
mod specs;
mod spoiled;
mod targets;
mod training;
mod unequal;
