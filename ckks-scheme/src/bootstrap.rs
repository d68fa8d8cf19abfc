//! Bootstrapping: a ciphertext of few primes becomes one of many, of the same values.
//!
//! SlotsToCoeffs at the bottom moves the values into the coefficients; ModRaise, under a sparse ephemeral secret, adds
//! multiples of the base prime to them; CoeffsToSlots moves coefficients into slots; EvalMod takes the multiples away by
//! a sine. Why these parameters and what precision they give: docs/notes/bootstrapping.md.
//!
//! Cheon, Han, Kim, Kim, Song: Bootstrapping for approximate homomorphic encryption, 2018,
//! <https://eprint.iacr.org/2018/153>; Han, Ki: Better bootstrapping for approximate homomorphic encryption, 2019,
//! <https://eprint.iacr.org/2019/688> (cosine and double angles); Bossuat et al., 2021,
//! <https://eprint.iacr.org/2020/1203>, and 2022, <https://eprint.iacr.org/2022/024>.

mod eval_mod;
mod failure;
mod measure;
mod params;
mod precision;
mod stages;

pub use failure::overflow_log2;
pub use measure::{MeasureProgress, PrecisionReport, measure_precision};
pub use params::{BootstrapLiteral, BootstrapParams, Content};
pub use precision::PrecisionStats;
pub use stages::Stage;

use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::{EvalError, KeyError, ParamError};
use crate::evaluator::Evaluator;
use crate::keys::KeyRequest;
use crate::linear::{
    DiagonalMatrix, LinearTransform, coeffs_to_slots_upwards, slots_to_coeffs_downwards,
};
use crate::noise::BOUND_SIGMAS;
use crate::params::Parameters;
use crate::poly_eval::PolyError;
use eval_mod::EvalMod;
use rayon::prelude::*;
use stages::StageClock;
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
}

/// The bootstrapping of this crate, with its transforms encoded.
#[derive(Debug)]
pub struct CosineBootstrapper {
    params: BootstrapParams,
    slots_to_coeffs: Vec<LinearTransform>,
    coeffs_to_slots: Vec<LinearTransform>,
    eval_mod: EvalMod,
    clock: StageClock,
}

impl CosineBootstrapper {
    /// Encodes the transforms and interpolates the cosine.
    ///
    /// # Errors
    /// As [`LinearTransform::new`] and [`crate::Chebyshev::interpolate`].
    pub fn new(params: &BootstrapParams) -> Result<Self, BootstrapError> {
        let lit = params.literal();
        let base = params.scheme();
        let slots = 1usize << lit.log_slots;
        let encode = |matrices: Vec<DiagonalMatrix>, top: Level, gain: f64| {
            encode(base, matrices, top, gain, lit.giant_cost)
        };
        let down = slots_to_coeffs_downwards(slots, lit.slots_to_coeffs_levels);
        let slots_to_coeffs = encode(
            down,
            params.input_level(),
            params.message_scale() / params.output_scale().value(),
        )?;
        let mut up = coeffs_to_slots_upwards(slots, lit.coeffs_to_slots_levels);
        // Half for the sum with the conjugate; and sparse slots come multiplied by the number of their repetitions.
        let repetitions = (base.slots() / slots) as f64;
        let factor = (0.5 / repetitions).powf(1.0 / up.len() as f64);
        up.iter_mut().for_each(|m| m.scale_assign(factor));
        let coeffs_to_slots = encode(
            up,
            base.max_level(),
            params.eval_mod_scale() / params.raised_scale(),
        )?;
        Ok(Self {
            eval_mod: EvalMod::new(params)?,
            params: params.clone(),
            slots_to_coeffs,
            coeffs_to_slots,
            clock: StageClock::default(),
        })
    }

    /// The parameters.
    pub fn params(&self) -> &BootstrapParams {
        &self.params
    }

    /// Bytes of the encoded transforms.
    pub fn transform_bytes(&self) -> u64 {
        self.transforms().map(LinearTransform::bytes).sum()
    }

    /// Bound on the error that the approximation of the modular reduction by polynomials makes, for values of the largest
    /// admissible size, in units of the values: from evaluating the polynomials in double precision all over their range.
    pub fn approximation_error(&self) -> f64 {
        self.eval_mod.approximation_error()
    }

    /// Seconds of every stage so far, added up over refreshes and threads.
    pub fn stage_seconds(&self) -> [(Stage, f64); 4] {
        self.clock.seconds()
    }

    fn transforms(&self) -> impl Iterator<Item = &LinearTransform> {
        self.slots_to_coeffs.iter().chain(&self.coeffs_to_slots)
    }

    /// The real and, for complex content, the imaginary parts of the coefficients' slots, in units of the cosine's range.
    fn raised_parts(
        &self,
        eval: &Evaluator,
        raised: Ciphertext,
    ) -> Result<Vec<Ciphertext>, BootstrapError> {
        let mut u = raised;
        for log in self.params.literal().log_slots..eval.params().log_n() - 1 {
            let rotated = eval.rotate(&u, 1 << log)?;
            eval.add_assign(&mut u, &rotated)?;
        }
        let (last, others) = self
            .coeffs_to_slots
            .split_last()
            .expect("at least one transform");
        for t in others {
            u = eval.linear_transform_rescale(&u, t)?;
        }
        let u = eval.linear_transform(&u, last)?;
        let conjugate = eval.conjugate_rescale(&u)?;
        let u = eval.rescale(&u)?;
        let mut parts = Vec::with_capacity(2);
        if self.params.literal().content == Content::Complex {
            // conj(a + ib) - (a + ib) = -2ib.
            let mut imaginary = conjugate.try_clone().map_err(EvalError::from)?;
            eval.sub_assign(&mut imaginary, &u)?;
            eval.mul_i_assign(&mut imaginary);
            parts.push(imaginary);
        }
        let mut real = u;
        eval.add_assign(&mut real, &conjugate)?;
        parts.push(real);
        parts.reverse();
        Ok(parts)
    }

    /// The sines of the real and, if there are, i times those of the imaginary parts.
    fn reduced(
        &self,
        eval: &Evaluator,
        parts: Vec<Ciphertext>,
    ) -> Result<Ciphertext, BootstrapError> {
        let mut out: Option<Ciphertext> = None;
        for part in parts {
            let mut reduced = self.eval_mod.evaluate(eval, part)?;
            match &mut out {
                None => out = Some(reduced),
                Some(real) => {
                    eval.mul_i_assign(&mut reduced);
                    eval.add_assign(real, &reduced)?;
                }
            }
        }
        Ok(out.expect("a real part"))
    }
}

/// Encodes matrices for consecutive levels, so that all together multiply the scale by `gain`.
fn encode(
    params: &Parameters,
    matrices: Vec<DiagonalMatrix>,
    top: Level,
    gain: f64,
    giant_cost: f64,
) -> Result<Vec<LinearTransform>, EvalError> {
    let each = gain.powf(1.0 / matrices.len() as f64);
    matrices
        .into_iter()
        .enumerate()
        .map(|(i, matrix)| {
            let level = Level::new(top.limbs() - i);
            let scale = Scale::new(params.prime(level) as f64 * each);
            LinearTransform::new(params, &matrix, level, scale, giant_cost)
        })
        .collect()
}

impl Bootstrapper for CosineBootstrapper {
    fn bootstrap(&self, eval: &Evaluator, ct: &Ciphertext) -> Result<Ciphertext, BootstrapError> {
        let params = &self.params;
        let lit = params.literal();
        let declared = *ct.tracked();
        let limit = params.largest_modulus(ct.scale());
        if declared.max > limit * (1.0 + 1e-9) {
            return Err(BootstrapError::Range {
                max: declared.max,
                limit,
                scale_log2: ct.scale().log2(),
            });
        }
        let x = self.clock.time(Stage::SlotsToCoeffs, || {
            let mut x = eval.copy_at_level(ct, params.input_level())?;
            for t in &self.slots_to_coeffs {
                x = eval.linear_transform_rescale(&x, t)?;
            }
            Ok::<_, EvalError>(x)
        })?;
        let message_scale = x.scale().value();
        let base_prime = params.base_prime();
        let top = params.scheme().max_level();
        let mut raised = self.clock.time(Stage::ModRaise, || {
            eval.mod_raise(&x, lit.ephemeral_weight, top)
        })?;
        raised.reinterpret(message_scale / params.raised_scale());
        let parts = self
            .clock
            .time(Stage::CoeffsToSlots, || self.raised_parts(eval, raised))?;
        let mut out = self
            .clock
            .time(Stage::EvalMod, || self.reduced(eval, parts))?;
        // The sine of 2 pi m / q stands for m.
        out.reinterpret(base_prime / (2.0 * std::f64::consts::PI * message_scale));
        let approximation = self.approximation_error() * params.message_scale() / message_scale;
        // It depends on the value alone, so that it adds up from refresh to refresh: linearly, and with twice its size as
        // in `plus_bounded_error`.
        out.tracked.error_std += 2.0 * approximation / BOUND_SIGMAS;
        out.declare_values(declared.max, declared.rms);
        Ok(out)
    }

    fn input_level(&self) -> Level {
        self.params.input_level()
    }

    fn output_level(&self) -> Level {
        self.params.output_level()
    }

    fn request(&self) -> KeyRequest {
        let params = &self.params;
        let lit = params.literal();
        let top = params.scheme().max_level();
        let mut request = KeyRequest::new();
        request.encapsulation(lit.ephemeral_weight, top);
        for t in self.transforms() {
            t.request(&mut request);
        }
        for log in lit.log_slots..params.scheme().log_n() - 1 {
            request.rotation(1 << log, top);
        }
        let last = self.coeffs_to_slots.last().expect("at least one transform");
        request.conjugation(last.level());
        request.relin(params.eval_mod_level());
        request
    }
}
