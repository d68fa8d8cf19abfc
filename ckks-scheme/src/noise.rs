//! The noise and range tracker: predicted error and declared value range of every ciphertext.
//!
//! Errors are standard deviations of one real component of a slot, over the slots, in units of the encrypted values. They
//! are propagated as independent random variables. Systematic errors, functions of the values as those of a polynomial in
//! the place of another function, are the same in slots of the same values and add up linearly.
//! [`Tracked::error_bound`] is [`BOUND_SIGMAS`] standard deviations and what is systematic. Twelve deviations are far
//! beyond the largest of many Gaussian errors (5.3 deviations of 10^7), because two kinds of error have longer tails:
//! * A polynomial times the secret: a Gaussian whose size is the secret's at that slot, together a Laplace distribution.
//!   12 deviations are exceeded by 4 in 10^8.
//! * Products: a slot's error is proportional to its values, of which the root mean square is taken. That covers values
//!   with the tails of a Gaussian. If single slots stand out further than that, declare a larger root mean square.
//!
//! With coefficients of variance `v`, a slot's real component is a sum of N coefficients times cosines: variance
//! `v N / 2`. A term `u s` with `u` of variance `v` and a uniform ternary `s` (variance 2/3) has variance `2 N v / 3`.
//!
//! Everything here describes the average case. Nobody's security may rest on it.

/// Standard deviations in an error bound.
pub const BOUND_SIGMAS: f64 = 12.0;

/// Standard deviation of the error distribution.
pub const SIGMA: f64 = ckks_math::sample::SIGMA;

/// Predicted error and declared bounds of the values in one ciphertext or plaintext.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    /// Standard deviation of the error of one real slot component.
    pub error_std: f64,
    /// Bound on the systematic part of the error of one real slot component.
    pub systematic: f64,
    /// Bound on the modulus of every slot value.
    pub max: f64,
    /// Root mean square of the slot values' modulus.
    pub rms: f64,
}

impl Tracked {
    /// Values of the given bounds, exact but for the double precision that they are transformed in.
    pub fn exact(max: f64, rms: f64) -> Self {
        Self {
            error_std: max * 2f64.powi(-53),
            systematic: 0.0,
            max,
            rms,
        }
    }

    /// Predicted bound on the largest error of a real slot component.
    pub fn error_bound(&self) -> f64 {
        BOUND_SIGMAS * self.error_std + self.systematic
    }

    /// All values and errors times `factor >= 0`.
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            error_std: self.error_std * factor,
            systematic: self.systematic * factor,
            max: self.max * factor,
            rms: self.rms * factor,
        }
    }

    /// Adds an independent error.
    pub fn plus_error(mut self, std: f64) -> Self {
        self.error_std = self.error_std.hypot(std);
        self
    }

    /// Adds an error of at most `bound`, which need not be random. It enters with twice its size, so that the predicted
    /// bound covers it on top of a random error: `hypot(12 s, 2 b) >= 5 s + b`.
    pub fn plus_bounded_error(self, bound: f64) -> Self {
        self.plus_error(2.0 * bound / BOUND_SIGMAS)
    }

    /// Of a sum (or difference) of two independent operands.
    pub fn sum(&self, other: &Self) -> Self {
        Self {
            error_std: self.error_std.hypot(other.error_std),
            systematic: self.systematic + other.systematic,
            max: self.max + other.max,
            rms: self.rms + other.rms,
        }
    }

    /// Of a slot-wise product of two independent operands. What is systematic is counted as random from then on, with
    /// twice its size: bounds that multiply would foretell errors of polynomials that never occur.
    pub fn product(&self, other: &Self) -> Self {
        let (a, b) = (self.all_random(), other.all_random());
        let cross = a.error_std * b.error_std;
        Self {
            error_std: ((a.rms * b.error_std).powi(2)
                + (b.rms * a.error_std).powi(2)
                + 2.0 * cross * cross)
                .sqrt(),
            systematic: 0.0,
            max: self.max * other.max,
            rms: self.rms * other.rms,
        }
    }

    /// Of a slot-wise square, as [`Self::product`].
    pub fn square(&self) -> Self {
        let v = self.all_random().error_std;
        Self {
            error_std: 2.0 * v * self.rms.hypot(v),
            systematic: 0.0,
            max: self.max * self.max,
            rms: self.max * self.rms,
        }
    }

    fn all_random(mut self) -> Self {
        let systematic = std::mem::take(&mut self.systematic);
        self.plus_bounded_error(systematic)
    }
}

/// The errors that the scheme's own operations add, for one ring degree.
#[derive(Clone, Copy, Debug)]
pub struct NoiseModel {
    degree: f64,
}

impl NoiseModel {
    /// The model for ring degree `2^log_n` and a uniform ternary secret.
    pub fn new(log_n: u32) -> Self {
        Self {
            degree: f64::from(log_n).exp2(),
        }
    }

    /// Slot deviation of independent coefficients of variance `variance`.
    pub fn slots(&self, variance: f64) -> f64 {
        (variance * self.degree / 2.0).sqrt()
    }

    /// Rounding of the two polynomials by a rescale or a ModDown, in units of the last place.
    pub fn rounding(&self) -> f64 {
        self.rounding_of(2)
    }

    /// Rounding of `parts` polynomials (2 or 3), in units of the last place. The third is multiplied by s^2, whose slots
    /// differ so much that the largest, of modulus about (2N/3) ln(N/2), stands for all.
    pub fn rounding_of(&self, parts: usize) -> f64 {
        let secret = 2.0 * self.degree / 3.0;
        let square = if parts > 2 {
            (secret * (self.degree / 2.0).ln()).powi(2)
        } else {
            0.0
        };
        self.slots((1.0 + secret + square) / 12.0)
    }

    /// Rounding of an encoded plaintext, in units of the last place.
    pub fn encoding(&self) -> f64 {
        self.slots(1.0 / 12.0)
    }

    /// Fresh encryption under the secret key, in units of the last place.
    pub fn fresh_secret(&self) -> f64 {
        self.slots(SIGMA * SIGMA)
    }

    /// Fresh encryption under the public key (`v e + e0 + e1 s`), in units of the last place.
    pub fn fresh_public(&self) -> f64 {
        self.slots(SIGMA * SIGMA * (1.0 + 4.0 * self.degree / 3.0))
    }

    /// A key switch of `digits` digits of at most `2^digit_bits`, divided by `2^divisor_bits`, in units of the last
    /// place before any division but that; the final rounding is [`Self::rounding`].
    pub fn key_switch(&self, digits: usize, digit_bits: f64, divisor_bits: f64) -> f64 {
        let digit = (digit_bits - divisor_bits).exp2();
        self.slots(digits as f64 * self.degree * digit * digit / 12.0 * SIGMA * SIGMA)
    }
}
