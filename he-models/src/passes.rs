//! Passes: each makes a graph of the same plaintext meaning, nearer to what the encrypted run computes.

pub mod shapes;
