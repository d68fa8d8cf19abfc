//! Tests of models as their users see them: files in, logits and programs out.

#![allow(clippy::unwrap_used)]

mod bundled;
mod conditioning;
mod corpus;
mod features;
mod network;
mod onnx;
mod passes;
mod ranges;
mod sizes;
mod tail;
mod targets;
