//! Tests of programs through the public interface of the crate.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod counts;
mod declared;
mod errors;
mod examples;
mod lab;
mod networks;
mod random;
mod relus;
mod resumed;
mod shared;
mod stages;
