//! A literal checked against a parameter set.

use super::{
    BootstrapError, BootstrapLiteral, Content, FourierLiteral, FourierSeries, Order, Reduction,
    overflow_log2,
};
use crate::ciphertext::{Level, Scale};
use crate::params::{Parameters, max_log_qp_ephemeral_128};
use std::f64::consts::{PI, SQRT_2};

/// Largest admissible log2 of the failure probability of one refresh.
const FAILURE_LIMIT: f64 = -128.0;
/// Highest degree of a polynomial of EvalMod. Interpolation takes time by the square of the degree, and files name degrees.
const MAX_DEGREE: usize = 255;

/// A checked bootstrapping over a parameter set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BootstrapParams {
    scheme: Parameters,
    literal: BootstrapLiteral,
    failure_log2: f64,
}

impl BootstrapParams {
    /// Checks a literal against a parameter set.
    ///
    /// # Errors
    /// [`BootstrapError::Invalid`] for what does not fit the set (levels, slots, scales, security of the ephemeral
    /// secret), [`BootstrapError::Failure`] for a failure probability above 2^-128.
    pub fn new(scheme: &Parameters, literal: BootstrapLiteral) -> Result<Self, BootstrapError> {
        let lit = &literal;
        let log_n = scheme.log_n();
        let log_slots = lit.log_slots;
        check(
            (1..log_n).contains(&log_slots),
            "log2 of the slots",
            log_slots.to_string(),
            format!("1 to {}", log_n - 1),
        )?;
        for (what, levels) in [
            (
                "number of levels of SlotsToCoeffs",
                lit.slots_to_coeffs_levels,
            ),
            (
                "number of levels of CoeffsToSlots",
                lit.coeffs_to_slots_levels,
            ),
        ] {
            let fits = (1..=log_slots as usize).contains(&levels);
            check(fits, what, levels.to_string(), format!("1 to {log_slots}"))?;
        }
        let weight = lit.ephemeral_weight;
        check(
            (1..=scheme.degree()).contains(&(weight as usize)),
            "weight of the ephemeral secret",
            weight.to_string(),
            format!("1 to {}", scheme.degree()),
        )?;
        check_reduction(lit)?;
        for (what, value, from, to) in [
            (
                "log2 of the message ratio",
                lit.log_message_ratio,
                match lit.reduction {
                    Reduction::Cosine(_) => 3.0,
                    // The message may fill the base prime.
                    Reduction::Fourier(_) => 1.0,
                },
                40.0,
            ),
            ("largest value", lit.max_value, 1e-9, 1e9),
            ("log2 of the scale", lit.log_scale, 10.0, 60.0),
            ("cost of a giant step", lit.giant_cost, 0.1, 100.0),
            ("range of the cosine", lit.range.unwrap_or(1.0), 1.0, 1e4),
        ] {
            let fits = (from..=to).contains(&value);
            check(fits, what, value.to_string(), format!("{from} to {to}"))?;
        }
        if lit.pack_sparse {
            check(
                lit.content == Content::Complex && log_slots + 1 < log_n,
                "log2 of the slots that share one EvalMod",
                format!("{log_slots} ({:?})", lit.content),
                format!("{} or less, complex", log_n.saturating_sub(2)),
            )?;
        }
        let need = lit.depth() + lit.input_levels() + 1;
        check(
            scheme.max_level().limbs() >= need,
            "number of ciphertext primes",
            scheme.max_level().to_string(),
            format!("{need} or more"),
        )?;
        if scheme.security_bits() > 0 {
            let bottom = Level::new(1);
            let log_qp = scheme.log_q(bottom) + scheme.log_p(scheme.key_shape(bottom).specials);
            let bound = max_log_qp_ephemeral_128(log_n, weight);
            check(
                log_qp <= f64::from(bound),
                "log2 of the modulus of the ephemeral secret",
                format!("{log_qp:.1}"),
                format!("{bound} or less at N = 2^{log_n} and weight {weight}"),
            )?;
        }
        let mut this = Self {
            scheme: scheme.clone(),
            failure_log2: 0.0,
            literal,
        };
        if let Reduction::Fourier(lit) = &this.literal.reduction {
            let of_slots = this.literal.order == Order::SlotsToCoeffsFirst;
            check(
                of_slots || lit.function.is_identity(),
                "function of coefficients",
                format!("{:?}", lit.function),
                "the identity, or SlotsToCoeffs first".into(),
            )?;
            this.series(lit)?;
        }
        if this.literal.order == Order::CoeffsToSlotsFirst {
            // The literal's ratio is what there must be, the message's own what there is.
            let ratio = -this.largest_message().log2();
            check(
                ratio >= this.literal.log_message_ratio - 1e-9,
                "log2 of base prime over largest message",
                format!("{ratio:.2}"),
                format!("{:.2} or more", this.literal.log_message_ratio),
            )?;
        }
        this.failure_log2 = overflow_log2(weight, this.literal_range(), scheme.degree());
        if this.failure_log2 > FAILURE_LIMIT {
            return Err(BootstrapError::Failure {
                range: this.literal_range(),
                log2: this.failure_log2,
                limit: FAILURE_LIMIT,
            });
        }
        Ok(this)
    }

    /// The literal.
    pub fn literal(&self) -> &BootstrapLiteral {
        &self.literal
    }

    /// The parameter set.
    pub fn scheme(&self) -> &Parameters {
        &self.scheme
    }

    /// Slots in use.
    pub fn slots(&self) -> usize {
        1 << self.literal.log_slots
    }

    /// Lowest level of a ciphertext that can be refreshed.
    pub fn input_level(&self) -> Level {
        Level::new(self.literal.input_levels() + 1)
    }

    /// Level of a refreshed ciphertext.
    pub fn output_level(&self) -> Level {
        Level::new(self.scheme.max_level().limbs() - self.literal.depth())
    }

    /// Scale of a refreshed ciphertext, if the one before the refresh had this scale too; any other is carried over, as
    /// is its ratio to this one.
    pub fn output_scale(&self) -> Scale {
        Scale::new(self.literal.log_scale.exp2())
    }

    /// Level of the first transform of SlotsToCoeffs.
    pub(super) fn slots_to_coeffs_level(&self) -> Level {
        match self.literal.order {
            Order::SlotsToCoeffsFirst => self.input_level(),
            Order::CoeffsToSlotsFirst => self.sine_level(),
        }
    }

    /// Level of the sine, which the refreshed ciphertext follows from.
    pub(super) fn sine_level(&self) -> Level {
        Level::new(self.output_level().limbs() + self.literal.levels_after_sine())
    }

    /// Base-2 logarithm of the probability that a refresh gives a wrong result, computed from the parameters; minus
    /// infinity where that cannot happen.
    pub fn failure_log2(&self) -> f64 {
        self.failure_log2
    }

    /// Bits of modulus that a refreshed ciphertext has left above what the next refresh takes: the base prime and, where
    /// it comes first, SlotsToCoeffs.
    pub fn residual_bits(&self) -> f64 {
        self.scheme.log_q(self.output_level()) - self.scheme.log_q(self.input_level())
    }

    /// Levels that a refreshed ciphertext has above those that the next refresh takes.
    pub fn residual_levels(&self) -> usize {
        self.output_level().limbs() - self.input_level().limbs()
    }

    pub(super) fn base_prime(&self) -> f64 {
        self.scheme.prime(Level::new(1)) as f64
    }

    /// The plain refresh by a sine over the same primes, which leaves as many levels or more: what one that applies a function is
    /// compared with.
    ///
    /// # Errors
    /// [`BootstrapError`] where the primes do not do for it.
    pub fn plain(&self) -> Result<Self, BootstrapError> {
        let full = BootstrapLiteral::full_complex(self.scheme.log_n());
        let literal = BootstrapLiteral {
            log_message_ratio: full.log_message_ratio,
            reduction: full.reduction,
            ..self.literal.clone()
        };
        Self::new(&self.scheme, literal)
    }

    /// Weight of the ephemeral secret that the first matrix of CoeffsToSlots is applied under. `None` where it is not: sums
    /// over repeated slots come first.
    pub(super) fn raised_weight(&self) -> Option<u32> {
        let full = self.literal.log_slots + 1 == self.scheme.log_n();
        full.then_some(self.literal.ephemeral_weight)
    }

    /// What a giant step is worth in baby steps, in a transform at `level`. Baby steps from the ephemeral secret have keys
    /// of one digit and no ModUp.
    pub(super) fn giant_cost(&self, level: Level) -> f64 {
        let top = self.scheme.max_level();
        let factor = match self.raised_weight() {
            Some(_) if level == top => self.scheme.key_shape(top).digits(top) + 1,
            _ => 1,
        };
        self.literal.giant_cost * factor as f64
    }

    /// Level of the cosine's input.
    pub(super) fn eval_mod_level(&self) -> Level {
        Level::new(self.scheme.max_level().limbs() - self.literal.coeffs_to_slots_levels)
    }

    /// Scale of the cosine's input, brought to [-1, 1]: the prime that its first product is divided by.
    pub(super) fn eval_mod_scale(&self) -> f64 {
        self.scheme.prime(self.eval_mod_level()) as f64
    }

    /// Largest |x| that the cosine covers.
    pub(super) fn literal_range(&self) -> f64 {
        let largest = (f64::from(self.literal.ephemeral_weight) + 1.0) / 2.0;
        self.literal.range.unwrap_or(largest)
    }

    /// Half the interval of the polynomial: the range, for a cosine and a quarter turn.
    pub(super) fn half_interval(&self) -> f64 {
        let shift = match self.literal.reduction {
            Reduction::Cosine(_) => 0.25,
            Reduction::Fourier(_) => 0.0,
        };
        self.literal_range() + shift
    }

    /// The series of a reduction by one: of values, their period the base prime.
    pub(super) fn series(&self, lit: &FourierLiteral) -> Result<FourierSeries, BootstrapError> {
        let period = self.base_prime() / self.message_scale();
        let range = self.largest_message() * period;
        lit.function.series(lit.harmonics, range, period)
    }

    /// Scale of the raised coefficients in units of the cosine's interval.
    pub(super) fn raised_scale(&self) -> f64 {
        self.base_prime() * self.half_interval()
    }

    /// Largest message, in base primes.
    pub(super) fn largest_message(&self) -> f64 {
        match self.literal.order {
            Order::SlotsToCoeffsFirst => (-self.literal.log_message_ratio).exp2(),
            // A coefficient is a mean of slots times numbers of modulus 1.
            Order::CoeffsToSlotsFirst => {
                self.largest_modulus(self.output_scale()) * self.output_scale().value()
                    / self.base_prime()
            }
        }
    }

    /// Scale of the message in the coefficients, for a ciphertext of the nominal scale.
    pub(super) fn message_scale(&self) -> f64 {
        match self.literal.order {
            Order::SlotsToCoeffsFirst => {
                self.base_prime() * self.largest_message() / self.literal.max_value
            }
            Order::CoeffsToSlotsFirst => self.output_scale().value(),
        }
    }

    /// Scale at which the sine comes out, to stand for values at the output scale.
    pub(super) fn sine_scale(&self) -> f64 {
        self.output_scale().value() * self.base_prime() / (2.0 * PI * self.message_scale())
    }

    /// Largest sine that the arcsine takes, with a little room for errors.
    pub(super) fn largest_sine(&self) -> f64 {
        1.01 * (2.0 * PI * self.largest_message()).sin()
    }

    /// Largest modulus of a slot that a ciphertext at `scale` may declare.
    pub(super) fn largest_modulus(&self, scale: Scale) -> f64 {
        let components = match self.literal.content {
            Content::Real => 1.0,
            Content::Complex => SQRT_2,
        };
        components * self.literal.max_value * self.output_scale().value() / scale.value()
    }
}

fn check(
    ok: bool,
    what: &'static str,
    found: String,
    expected: String,
) -> Result<(), BootstrapError> {
    if ok {
        return Ok(());
    }
    Err(BootstrapError::Invalid {
        what,
        found,
        expected,
    })
}

fn check_reduction(lit: &BootstrapLiteral) -> Result<(), BootstrapError> {
    match &lit.reduction {
        Reduction::Cosine(lit) => {
            check(
                (2..=MAX_DEGREE).contains(&lit.degree) && lit.degree.is_multiple_of(2),
                "degree of the cosine",
                lit.degree.to_string(),
                format!("even, 2 to {MAX_DEGREE}"),
            )?;
            let arcsine = lit.arcsine_degree;
            check(
                arcsine == 0 || arcsine % 2 == 1 && arcsine <= MAX_DEGREE,
                "degree of the arcsine",
                arcsine.to_string(),
                format!("odd, up to {MAX_DEGREE}, or 0 for none"),
            )?;
            check(
                lit.double_angles <= 16,
                "number of double angles",
                lit.double_angles.to_string(),
                "16 or fewer".into(),
            )
        }
        Reduction::Fourier(lit) => {
            check(
                (2..=MAX_DEGREE).contains(&lit.degree),
                "degree of the exponential",
                lit.degree.to_string(),
                format!("2 to {MAX_DEGREE}"),
            )?;
            check(
                lit.squarings <= 16,
                "number of squarings",
                lit.squarings.to_string(),
                "16 or fewer".into(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::CosineLiteral;

    /// On a chain that has levels for them.
    #[test]
    fn degrees_that_would_take_for_ever_are_refused() {
        let scheme = crate::params::insecure_log_n(8, 60);
        let build = |degree, arcsine_degree| {
            let literal = BootstrapLiteral {
                reduction: Reduction::Cosine(CosineLiteral {
                    degree,
                    double_angles: 3,
                    arcsine_degree,
                }),
                ..BootstrapLiteral::full_complex(8)
            };
            BootstrapParams::new(&scheme, literal).map(drop)
        };
        assert!(build(254, 255).is_ok());
        for (degree, arcsine, what) in [
            (256, 0, "degree of the cosine"),
            (1 << 40, 0, "degree of the cosine"),
            (usize::MAX - 1, 0, "degree of the cosine"),
            (30, 257, "degree of the arcsine"),
            (30, usize::MAX, "degree of the arcsine"),
        ] {
            let refused = build(degree, arcsine).unwrap_err();
            let BootstrapError::Invalid { what: found, .. } = &refused else {
                panic!("{refused}");
            };
            assert_eq!(*found, what);
        }
    }
}
