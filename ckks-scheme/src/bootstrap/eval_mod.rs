//! EvalMod: reduction modulo the base prime, and the function that is applied with it.

mod cosine;
mod fourier;

use super::forecast::Noise;
use super::{BootstrapError, BootstrapParams, FourierSeries, Reduction};
use crate::ciphertext::{Ciphertext, Level};
use crate::counts::{Counts, Work};
use crate::error::KeyError;
use crate::evaluator::Evaluator;
use crate::keys::{KeyKind, KeyRequest};
use cosine::Cosine;
use fourier::Fourier;
use num_complex::Complex64;
use std::f64::consts::SQRT_2;

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

    /// Largest absolute value of the result, wherever the argument is, in units of the values.
    pub(super) fn largest_result(&self) -> f64 {
        match self {
            Self::Cosine(cosine) => cosine.largest_result(),
            Self::Fourier(fourier) => fourier.series().bound(),
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

    /// The circuit in double precision, in units of the values, where every rescale but the last has an error of deviation
    /// `rounding`.
    pub(super) fn plain(&self, t: Complex64, noise: &mut Noise, rounding: f64) -> Complex64 {
        match self {
            Self::Cosine(cosine) => cosine.noisy(t, noise, rounding),
            Self::Fourier(fourier) => fourier.noisy(t, noise, rounding),
        }
    }

    /// The deviation of the last roundings of both parts, in units of one at the output's scale.
    pub(super) fn last_rescales(&self) -> f64 {
        match self {
            // Either part's error is a complex number.
            Self::Cosine(_) => SQRT_2,
            // One at half the scale, and half of that of the conjugation.
            Self::Fourier(_) => 5f64.sqrt(),
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
