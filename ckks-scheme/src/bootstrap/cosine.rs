//! The bootstrapping of this crate.

use super::stages::StageClock;
use super::{
    BootstrapError, BootstrapOutline, BootstrapParams, Bootstrapper, Order, Stage, matrices,
};
use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::EvalError;
use crate::evaluator::{Evaluator, Raised};
use crate::keys::KeyRequest;
use crate::linear::{DiagonalMatrix, LinearTransform, TransformPlan};

const ONE_TRANSFORM: &str = "at least one transform";

/// The bootstrapping of this crate, with its transforms encoded.
#[derive(Debug)]
pub struct CosineBootstrapper {
    outline: BootstrapOutline,
    slots_to_coeffs: Vec<LinearTransform>,
    coeffs_to_slots: Vec<LinearTransform>,
    separation: Option<LinearTransform>,
    clock: StageClock,
}

impl CosineBootstrapper {
    /// Encodes the transforms and interpolates the cosine.
    ///
    /// # Errors
    /// As [`LinearTransform::new`] and [`crate::Chebyshev::interpolate`].
    pub fn new(params: &BootstrapParams) -> Result<Self, BootstrapError> {
        let base = params.scheme();
        let down_gain = match params.literal().order {
            Order::SlotsToCoeffsFirst => params.message_scale() / params.output_scale().value(),
            Order::CoeffsToSlotsFirst => 1.0,
        };
        let mut coeffs_to_slots = encode(
            params,
            matrices::coeffs_to_slots(params),
            base.max_level(),
            params.eval_mod_scale() / params.raised_scale(),
        )?;
        if let Some(first) = coeffs_to_slots.first_mut() {
            first.plan.ephemeral = params.raised_weight();
        }
        let separation = matrices::separation(params)
            .map(|matrix| encode(params, vec![matrix], params.sine_level(), 1.0))
            .transpose()?;
        Ok(Self {
            slots_to_coeffs: encode(
                params,
                matrices::slots_to_coeffs(params),
                params.slots_to_coeffs_level(),
                down_gain,
            )?,
            coeffs_to_slots,
            separation: separation.and_then(|mut list| list.pop()),
            outline: BootstrapOutline::new(params)?,
            clock: StageClock::default(),
        })
    }

    /// The parameters.
    pub fn params(&self) -> &BootstrapParams {
        self.outline.params()
    }

    /// What a refresh does, without the numbers of its matrices.
    pub fn outline(&self) -> &BootstrapOutline {
        &self.outline
    }

    /// Bytes of the encoded transforms.
    pub fn transform_bytes(&self) -> u64 {
        self.transforms().map(LinearTransform::bytes).sum()
    }

    /// Seconds of every stage so far, added up over refreshes and threads.
    pub fn stage_seconds(&self) -> [(Stage, f64); 4] {
        self.clock.seconds()
    }

    /// What the encoded transforms do, in the order of [`BootstrapOutline::plans`].
    pub fn plans(&self) -> impl Iterator<Item = &TransformPlan> {
        self.transforms().map(LinearTransform::plan)
    }

    fn transforms(&self) -> impl Iterator<Item = &LinearTransform> {
        let down = self.slots_to_coeffs.iter().chain(&self.coeffs_to_slots);
        down.chain(&self.separation)
    }

    /// See [`BootstrapOutline::function`].
    pub fn function(&self, v: f64) -> f64 {
        self.outline.function(v)
    }

    fn to_coeffs(&self, eval: &Evaluator, mut x: Ciphertext) -> Result<Ciphertext, EvalError> {
        self.clock.time(Stage::SlotsToCoeffs, || {
            for t in &self.slots_to_coeffs {
                x = eval.linear_transform_rescale(&x, t)?;
            }
            Ok(x)
        })
    }

    /// The first matrix of CoeffsToSlots, and with it the way back from the ephemeral secret.
    fn leave_ephemeral(
        &self,
        eval: &Evaluator,
        raised: Raised,
    ) -> Result<Ciphertext, BootstrapError> {
        let first = self.coeffs_to_slots.first().expect(ONE_TRANSFORM);
        let dropped = usize::from(self.coeffs_to_slots.len() > 1);
        if first.plan().ephemeral().is_some() {
            return Ok(self.clock.time(Stage::CoeffsToSlots, || {
                eval.transform_raised(&raised, first, dropped)
            })?);
        }
        let mut u = self
            .clock
            .time(Stage::ModRaise, || eval.switch_back(&raised))?;
        drop(raised);
        Ok(self.clock.time(Stage::CoeffsToSlots, || {
            for log in self.outline.repetitions() {
                let rotated = eval.rotate(&u, 1 << log)?;
                eval.add_assign(&mut u, &rotated)?;
            }
            eval.transform(&u, first, dropped)
        })?)
    }

    /// The real and, if need be, the imaginary parts of the coefficients' slots, in units of the cosine's range, after the
    /// first matrix.
    fn raised_parts(
        &self,
        eval: &Evaluator,
        mut u: Ciphertext,
    ) -> Result<Vec<Ciphertext>, BootstrapError> {
        let count = self.coeffs_to_slots.len();
        for (i, t) in self.coeffs_to_slots.iter().enumerate().skip(1) {
            u = eval.transform(&u, t, usize::from(i + 1 < count))?;
        }
        let conjugate = eval.conjugate_rescale(&u)?;
        let mut real = eval.rescale(&u)?;
        drop(u);
        let imaginary = if self.outline.parts() == 2 {
            // conj(a + ib) - (a + ib) = -2ib.
            let mut imaginary = eval.copy(&conjugate)?;
            eval.sub_assign(&mut imaginary, &real)?;
            eval.mul_i_assign(&mut imaginary);
            Some(imaginary)
        } else {
            None
        };
        eval.add_assign(&mut real, &conjugate)?;
        Ok(std::iter::once(real).chain(imaginary).collect())
    }
}

/// Encodes matrices for consecutive levels, so that all together multiply the scale by `gain`.
fn encode(
    params: &BootstrapParams,
    matrices: Vec<DiagonalMatrix>,
    top: Level,
    gain: f64,
) -> Result<Vec<LinearTransform>, EvalError> {
    let each = gain.powf(1.0 / matrices.len() as f64);
    let scheme = params.scheme();
    matrices
        .into_iter()
        .enumerate()
        .map(|(i, matrix)| {
            let level = Level::new(top.limbs() - i);
            let scale = Scale::new(scheme.prime(level) as f64 * each);
            LinearTransform::new(scheme, &matrix, level, scale, params.giant_cost(level))
        })
        .collect()
}

impl Bootstrapper for CosineBootstrapper {
    fn bootstrap(&self, eval: &Evaluator, ct: &Ciphertext) -> Result<Ciphertext, BootstrapError> {
        let params = self.params();
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
        let mut x = eval.copy_at_level(ct, params.input_level())?;
        // The transforms undo each other, and the error goes through as the function lets it.
        let incoming = std::mem::take(&mut x.tracked.systematic) * self.outline.slope();
        if lit.order == Order::SlotsToCoeffsFirst {
            x = self.to_coeffs(eval, x)?;
        }
        let message_scale = x.scale().value();
        let top = params.scheme().max_level();
        let specials = params.scheme().key_shape(top).specials;
        let mut raised = self.clock.time(Stage::ModRaise, || {
            eval.raise(&x, lit.ephemeral_weight, top, specials)
        })?;
        drop(x);
        raised.reinterpret(message_scale / params.raised_scale());
        let u = self.leave_ephemeral(eval, raised)?;
        let parts = self
            .clock
            .time(Stage::CoeffsToSlots, || self.raised_parts(eval, u))?;
        let mut out = self.clock.time(Stage::EvalMod, || {
            self.outline.eval_mod().reduce(eval, parts)
        })?;

        // Values were taken to be at the nominal scale.
        let ratio = params.message_scale() / message_scale;
        out.reinterpret(ratio);
        let approximation = self.outline.approximation_error() * ratio;
        let (max, rms) = self.outline.declared(declared.max, declared.rms, ratio);
        match lit.order {
            Order::SlotsToCoeffsFirst => out.tracked.systematic = approximation,
            // Here it depends on coefficients, and is spread over the slots as a random error is.
            Order::CoeffsToSlotsFirst => {
                out.tracked = out.tracked.plus_bounded_error(approximation);
            }
        }
        out.declare_values(max, rms);
        if let Some(separation) = &self.separation {
            out = eval.linear_transform_rescale(&out, separation)?;
        }
        if lit.order == Order::CoeffsToSlotsFirst {
            out = self.to_coeffs(eval, out)?;
        }
        out.tracked.systematic += incoming;
        if let Some(bound) = self.outline.largest_result() {
            // Wherever errors took the argument to, the value and what it should be are within the bound. Without this the errors
            // that are possible grow from refresh to refresh, until no modulus has room for them.
            let apart = 2.0 * bound * ratio + approximation;
            out.tracked.systematic = out.tracked.systematic.min(apart);
            out.tracked.error_std = out.tracked.error_std.min(apart);
        }
        out.declare_values(max, rms);
        Ok(out)
    }

    fn input_level(&self) -> Level {
        self.params().input_level()
    }

    fn output_level(&self) -> Level {
        self.params().output_level()
    }

    fn request(&self) -> KeyRequest {
        self.outline.request()
    }

    fn working_bytes(&self) -> u64 {
        self.outline.working_bytes()
    }
}
