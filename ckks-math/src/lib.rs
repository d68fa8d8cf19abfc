#![doc = include_str!("../README.md")]

pub mod automorphism;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedding;
mod error;
pub mod kernel;
pub mod matmul;
pub mod modulus;
pub mod ntt;
pub mod poly;
pub mod pool;
pub mod primes;
pub mod reference;
pub mod rns;
pub mod sample;

pub use automorphism::Automorphism;
pub use embedding::Embedding;
pub use error::MathError;
pub use kernel::{Kernel, KernelChoice, LimbOps};
pub use matmul::{ResidueMatrix, WeightMatrix};
pub use modulus::Modulus;
pub use ntt::LimbRing;
pub use num_complex::Complex64;
pub use poly::{Coeff, Domain, Eval, RnsPoly};
pub use pool::{Limb, Pool};
pub use rns::BaseConverter;
