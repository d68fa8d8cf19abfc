#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod args;
pub mod machine;
pub mod measure;
pub mod naming;
pub mod probe;
pub mod record;
pub mod ring;
pub mod work;
