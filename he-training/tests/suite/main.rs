//! Trainings end to end on small, insecure rings.

#![allow(clippy::unwrap_used)]

mod block;
mod heads;
mod lab;
