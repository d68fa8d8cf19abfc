//! Files: what is written is read again, by later versions too, and nothing that a file holds can do harm.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod atomic;
mod corpus;
mod damaged;
mod files;
mod fixture;
mod golden;
mod layout;
mod parcel;
mod roundtrip;
mod targets;
