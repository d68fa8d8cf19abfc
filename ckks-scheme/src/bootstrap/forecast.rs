//! What comes out of a refresh: the function's bounds, and the error that is to be expected.

use super::{BootstrapOutline, Content, FourierSeries, Order};
use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::f64::consts::{SQRT_2, TAU};

/// Values that the circuit of EvalMod is tried with.
const TRIALS: usize = 2000;

/// Errors of rescales in a circuit in double precision: complex numbers, each component of deviation 1.
pub(super) struct Noise(ChaCha20Rng);

impl Noise {
    /// A sample, of deviation `std` in each component (Box, Muller).
    pub(super) fn next(&mut self, std: f64) -> Complex64 {
        let uniform: f64 = 1.0 - self.0.random::<f64>();
        let angle = TAU * self.0.random::<f64>();
        Complex64::from_polar(std * (-2.0 * uniform.ln()).sqrt(), angle)
    }

    /// Whole turns of a coefficient under a secret of that weight.
    fn turns(&mut self, weight: u32) -> f64 {
        let terms = (0..=weight).map(|_| self.0.random::<f64>() - 0.5);
        terms.sum::<f64>().round()
    }
}

impl BootstrapOutline {
    /// What becomes of a real component `v` of a ciphertext at the output's scale, up to the encrypted circuit's own error:
    /// the reference that results are compared with. A series goes on periodically beyond the largest admissible value.
    pub fn function(&self, v: f64) -> f64 {
        self.applied().map_or(v, |series| series.evaluate(v))
    }

    /// The largest distance of [`Self::function`] from the function that it stands for, within the range of values; 0 for
    /// the identity and for a series that stands for itself.
    pub fn function_error(&self) -> f64 {
        let literal = self.params().literal();
        let exact = |v| literal.function().exact(v).unwrap_or_default();
        match self.applied() {
            Some(series) if literal.function().exact(0.0).is_some() => {
                series.distance(exact, literal.max_value)
            }
            _ => 0.0,
        }
    }

    /// Largest absolute value of a refreshed real component at the output's scale, wherever its argument may have been: a
    /// sine and a Fourier series are bounded. `None` with CoeffsToSlots first, where values are sums of refreshed
    /// coefficients.
    pub fn largest_result(&self) -> Option<f64> {
        let slots = self.params().literal().order == Order::SlotsToCoeffsFirst;
        slots.then(|| self.eval_mod().largest_result())
    }

    /// The largest slope of the function: what an error of the input is multiplied by at most.
    pub fn slope(&self) -> f64 {
        self.applied().map_or(1.0, FourierSeries::lipschitz)
    }

    /// Bound on the error that the approximation of the modular reduction by polynomials makes, for values of the largest
    /// admissible size, in units of the values (with CoeffsToSlots first, of coefficients): from evaluating the
    /// polynomials in double precision all over their range. For a function other than the identity it is the distance from
    /// [`Self::function`].
    pub fn approximation_error(&self) -> f64 {
        self.eval_mod().approximation_error()
    }

    /// The deviation to expect of the error that a refresh adds to a real component at the output's scale, for values uniform
    /// over the range. Neither the input's error is in it nor [`Self::approximation_error`]. The rounding by EvalMod and by
    /// the transforms is followed through the circuit in double precision, for whole turns as they occur.
    pub fn error_std(&self) -> f64 {
        let params = self.params();
        let (scheme, lit) = (params.scheme(), params.literal());
        let unit = scheme.noise().rounding();
        let slots = (scheme.degree() as f64 / 2.0).sqrt();

        // SlotsToCoeffs: an error after the first matrix is spread over as many coefficients as that sums up.
        let levels = lit.slots_to_coeffs_levels as f64;
        let gain = params.message_scale() / params.output_scale().value();
        let first = params.output_scale().value() * gain.powf(1.0 / levels);
        let down = unit / first / (f64::from(lit.log_slots) / levels / 2.0).exp2();
        // To the ephemeral secret and back, in coefficients.
        let raise = SQRT_2 * unit / slots / params.message_scale();

        let mut noise = Noise(ChaCha20Rng::seed_from_u64(0));
        let rounding = unit / params.eval_mod_scale();
        // The sum of the last matrix' result and its conjugate.
        let incoming = (SQRT_2 * rounding).hypot(self.matrices_error());
        let mut squares = 0.0;
        for _ in 0..TRIALS {
            let message = params.largest_message() * (2.0 * noise.0.random::<f64>() - 1.0);
            let t = (noise.turns(lit.ephemeral_weight) + message) / params.half_interval();
            let off = noise.next(incoming);
            let exact = self.eval_mod().plain(t.into(), &mut noise, 0.0);
            let found = self.eval_mod().plain(t + off, &mut noise, rounding);
            let error = found - exact;
            squares += error.re * error.re + error.im * error.im;
        }
        let reduced = (squares / TRIALS as f64).sqrt();
        let last = self.eval_mod().last_rescales() * unit / params.output_scale().value();
        match lit.order {
            Order::SlotsToCoeffsFirst => reduced.hypot(last).hypot(down).hypot(raise),
            // A slot is a sum of all coefficients.
            Order::CoeffsToSlotsFirst => reduced.hypot(last).hypot(raise) * slots,
        }
    }

    /// The error that the rounded entries of CoeffsToSlots make, in units of EvalMod's interval.
    fn matrices_error(&self) -> f64 {
        let params = self.params();
        let (scheme, lit) = (params.scheme(), params.literal());
        let levels = lit.coeffs_to_slots_levels as f64;
        let gain = (params.eval_mod_scale() / params.raised_scale()).powf(1.0 / levels);
        // The mean square of a sum of weight + 1 numbers below 1/2.
        let turns = ((f64::from(lit.ephemeral_weight) + 1.0) / 12.0).sqrt();
        let values = SQRT_2 * turns / params.half_interval();
        // A matrix takes the mean of so many values, and half comes back by the conjugate.
        let shrinks = (f64::from(lit.log_slots) / levels / 2.0 + 1.0 / levels).exp2();
        let errors = self.coeffs_to_slots().iter().map(|plan| {
            let cells = plan.period().unwrap_or(scheme.slots()) as f64;
            let scale = scheme.prime(plan.level()) as f64 * gain;
            (cells * plan.diagonals() as f64 / 12.0).sqrt() / scale * shrinks * values
        });
        errors.fold(0.0, f64::hypot)
    }

    /// The declared bound and mean of the function's values, given those of its arguments; `ratio` is the nominal scale over
    /// the ciphertext's.
    pub(super) fn declared(&self, max: f64, rms: f64, ratio: f64) -> (f64, f64) {
        let Some(bound) = self.applied().map(FourierSeries::bound) else {
            return (max, rms);
        };
        let components = match self.params().literal().content {
            Content::Real => 1.0,
            Content::Complex => SQRT_2,
        };
        let max = components * bound * ratio;
        let zero = components * self.function(0.0).abs() * ratio;
        (max, (self.slope() * rms + zero).min(max))
    }

    /// The series that is applied, unless it is the identity's.
    fn applied(&self) -> Option<&FourierSeries> {
        let identity = self.params().literal().function().is_identity();
        self.eval_mod().series().filter(|_| !identity)
    }
}
