#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod ciphertext;
pub mod counts;
pub mod decrypt;
pub mod encoding;
pub mod encrypt;
pub mod error;
pub mod evaluator;
pub mod keygen;
pub mod keys;
pub mod linear;
pub mod noise;
pub mod params;
pub mod poly_eval;
pub mod profile;
mod secret;
mod seeded;
mod seeds;
pub mod serial;

#[cfg(test)]
mod known_answers;

/// What runs the arithmetic, and where its words live.
pub mod exec {
    pub use crate::params::LimbPool;
    pub use ckks_math::{Kernel, KernelChoice};
}

pub use bootstrap::{
    BootstrapError, BootstrapLiteral, BootstrapOutline, BootstrapParams, BootstrapPreset,
    BootstrapWork, Bootstrapper, Content, CosineBootstrapper, CosineLiteral, FourierLiteral,
    FourierSeries, Order, PrecisionStats, Reduction, RefreshFunction,
};
pub use ciphertext::{Ciphertext, Level, Plaintext, Scale};
pub use decrypt::Decryptor;
pub use encoding::Encoder;
pub use encoding::periodic::{
    PeriodicMatrix, PeriodicPlain, decode_periodic, encode_periodic, round_periodic_real,
};
pub use encrypt::{Encryptor, SecretEncryptor};
pub use error::{ArithmeticError, EncodeError, EvalError, KeyError, ParamError};
pub use evaluator::Evaluator;
pub use exec::{KernelChoice, LimbPool};
pub use keygen::KeyGenerator;
pub use keys::{
    EvaluationKeys, Galois, KeyId, KeyKind, KeyRequest, KeySource, PublicKey, SecretKey,
};
pub use linear::{DiagonalMatrix, DiagonalPattern, LinearTransform, TransformPlan};
pub use noise::{NoiseModel, Tracked};
pub use num_complex::Complex64;
pub use params::{
    Fingerprint, KeyShape, ModulusChain, Parameters, ParametersBuilder, ParamsLiteral,
};
pub use poly_eval::{Chebyshev, Composite, PolyError};
pub use profile::{Operation, Profile, Span, Trace};
pub use seeded::SeededCiphertext;
