//! Tests of models as their users see them: files in, logits and folded layers out.

#![allow(clippy::unwrap_used)]

mod bundled;
mod files;
mod fold;
mod network;
mod plain;
mod relu;
mod weights;
