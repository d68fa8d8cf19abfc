//! Polynomials, linear transforms and bootstrapping at small, insecure rings.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod counts;
mod fixture;
mod function;
mod measure;
mod polynomials;
mod refresh;
mod transforms;
