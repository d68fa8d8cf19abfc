//! Bootstrapping: a ciphertext of few primes becomes one of many, of the same values.
//!
//! SlotsToCoeffs at the bottom moves the values into the coefficients; ModRaise, under a sparse ephemeral secret, adds
//! multiples of the base prime to them; CoeffsToSlots moves coefficients into slots; EvalMod takes the multiples away by
//! a sine, or by a Fourier series that applies a function on the way ([`Reduction`]). SlotsToCoeffs may come last instead
//! ([`Order`]). Why these parameters and what precision they give: docs/notes/bootstrapping.md.
//!
//! Cheon, Han, Kim, Kim, Song: Bootstrapping for approximate homomorphic encryption, 2018,
//! <https://eprint.iacr.org/2018/153>; Han, Ki: Better bootstrapping for approximate homomorphic encryption, 2019,
//! <https://eprint.iacr.org/2019/688> (cosine and double angles); Bossuat et al., 2021,
//! <https://eprint.iacr.org/2020/1203>, and 2022, <https://eprint.iacr.org/2022/024>.

mod chain;
mod cosine;
mod counts;
mod eval_mod;
mod failure;
mod forecast;
mod function;
mod literal;
mod matrices;
mod measure;
mod memory;
mod params;
mod precision;
mod presets;
mod series;
mod stages;

pub use cosine::CosineBootstrapper;
pub use counts::{BootstrapOutline, BootstrapWork};
pub use failure::overflow_log2;
pub use function::RefreshFunction;
pub use literal::{BootstrapLiteral, Content, CosineLiteral, FourierLiteral, Order, Reduction};
pub use measure::{MeasureProgress, PrecisionReport, measure_precision};
pub use params::BootstrapParams;
pub use precision::PrecisionStats;
pub use presets::BootstrapPreset;
pub use series::FourierSeries;
pub use stages::Stage;

use crate::ciphertext::{Ciphertext, Level};
use crate::error::{EvalError, KeyError, ParamError};
use crate::evaluator::Evaluator;
use crate::keys::KeyRequest;
use crate::poly_eval::PolyError;
use rayon::prelude::*;
use std::fmt;
use thiserror::Error;

/// A bootstrapping that cannot be set up or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// A parameter that does not fit.
    #[error("bootstrapping: {what} is {found}, expected {expected}")]
    Invalid {
        /// The parameter.
        what: &'static str,
        /// Value found.
        found: String,
        /// What would do.
        expected: String,
    },
    /// The chance that a coefficient leaves the range of the cosine is too large.
    #[error(
        "bootstrapping with a cosine for up to {range} base primes fails with probability 2^{log2:.1}, the limit is 2^{limit}"
    )]
    Failure {
        /// Range of the cosine, in base primes.
        range: f64,
        /// Base-2 logarithm of the probability.
        log2: f64,
        /// Largest admissible logarithm.
        limit: f64,
    },
    /// The declared values are larger than what the parameters are made for.
    #[error(
        "values up to {max} in a bootstrapping for values up to {limit} at scale 2^{scale_log2:.2}"
    )]
    Range {
        /// Declared bound of the values' modulus.
        max: f64,
        /// Largest admissible at that scale.
        limit: f64,
        /// Base-2 logarithm of the ciphertext's scale.
        scale_log2: f64,
    },
    /// From the parameter set.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// From the key generation.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// From a polynomial.
    #[error(transparent)]
    Poly(#[from] PolyError),
    /// From an operation.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// Something that refreshes ciphertexts.
pub trait Bootstrapper: Send + Sync + fmt::Debug {
    /// A ciphertext of the same values at [`Self::output_level`].
    ///
    /// # Errors
    /// [`BootstrapError::Range`] for declared values beyond the parameters' range, [`BootstrapError::Eval`] below
    /// [`Self::input_level`] or without the keys of [`Self::request`].
    fn bootstrap(&self, eval: &Evaluator, ct: &Ciphertext) -> Result<Ciphertext, BootstrapError>;

    /// Refreshes many ciphertexts, in parallel on the current rayon pool.
    ///
    /// # Errors
    /// As [`Self::bootstrap`].
    fn bootstrap_many(
        &self,
        eval: &Evaluator,
        cts: &[&Ciphertext],
    ) -> Result<Vec<Ciphertext>, BootstrapError> {
        cts.par_iter().map(|ct| self.bootstrap(eval, ct)).collect()
    }

    /// Lowest level of a ciphertext that can be refreshed.
    fn input_level(&self) -> Level;

    /// Level of a refreshed ciphertext.
    fn output_level(&self) -> Level;

    /// The switching keys that a refresh needs.
    fn request(&self) -> KeyRequest;

    /// Bytes of the limb pool that one refresh needs at most, its result included, its input, keys and matrices not:
    /// [`Self::bootstrap_many`] needs that for every thread.
    fn working_bytes(&self) -> u64;
}
