//! The scheme's operations against plain arithmetic, and the tracker against measured errors.

mod fixture;
mod operations;
mod periodic;
mod tracker;
