//! EvalMod: reduction modulo the base prime, and the function that is applied with it.

mod cosine;
mod fourier;

use super::{BootstrapError, BootstrapParams, FourierSeries, Reduction};
use crate::ciphertext::{Ciphertext, Level};
use crate::counts::{Counts, Work};
use crate::error::KeyError;
use crate::evaluator::Evaluator;
use crate::keys::{KeyKind, KeyRequest};
use cosine::Cosine;
use fourier::Fourier;

/// Takes the raised coefficients, x in units of the interval that is covered, to values at the output's scale.
#[derive(Debug)]
pub(super) enum EvalMod {
    Cosine(Cosine),
    Fourier(Fourier),
}

impl EvalMod {
    pub(super) fn new(params: &BootstrapParams) -> Result<Self, BootstrapError> {
        Ok(match &params.literal().reduction {
            Reduction::Cosine(lit) => Self::Cosine(Cosine::new(params, lit)?),
            Reduction::Fourier(lit) => Self::Fourier(Fourier::new(params, lit)?),
        })
    }

    /// The series that is applied, if any.
    pub(super) fn series(&self) -> Option<&FourierSeries> {
        match self {
            Self::Cosine(_) => None,
            Self::Fourier(fourier) => Some(fourier.series()),
        }
    }

    /// Largest difference between the circuit in double precision and what it stands for, over all whole turns and the
    /// admissible values, in units of the values.
    pub(super) fn approximation_error(&self) -> f64 {
        match self {
            Self::Cosine(cosine) => cosine.approximation_error(),
            Self::Fourier(fourier) => fourier.approximation_error(),
        }
    }

    /// For each polynomial that is evaluated, how many members of its basis are computed, and how many products are under
    /// way at most.
    pub(super) fn polynomials(&self) -> Vec<(usize, usize)> {
        match self {
            Self::Cosine(cosine) => cosine.polynomials(),
            Self::Fourier(fourier) => fourier.polynomials(),
        }
    }

    /// Work of the reduction of so many parts at `level`; `keys` are there.
    pub(super) fn work(
        &self,
        counts: &Counts<'_>,
        level: Level,
        parts: usize,
        keys: &KeyRequest,
    ) -> Result<Work, KeyError> {
        let relin = |level| keys.serving(KeyKind::Relinearization, level);
        // What serves a level serves those below.
        relin(level)?;
        let key = |level| relin(level).unwrap_or(level);
        match self {
            Self::Cosine(cosine) => Ok(cosine.work(counts, level, parts, key)),
            Self::Fourier(fourier) => fourier.work(counts, level, parts, keys, key),
        }
    }

    /// The reduced real parts and i times the reduced imaginary parts, if there are two.
    pub(super) fn reduce(
        &self,
        eval: &Evaluator,
        parts: Vec<Ciphertext>,
    ) -> Result<Ciphertext, BootstrapError> {
        match self {
            Self::Cosine(cosine) => cosine.reduce(eval, parts),
            Self::Fourier(fourier) => fourier.reduce(eval, parts),
        }
    }
}
