//! Weights as integers: what the encrypted products really multiply with.

use std::ops::AddAssign;

use ckks_scheme::encoding::periodic::PeriodicCodec;
use ckks_scheme::{EncodeError, Scale};

use crate::linear::TermWeight;

/// Rounds weights of one period as [`ckks_scheme::PeriodicMatrix`] does.
#[derive(Debug)]
pub(crate) struct Rounding {
    codec: PeriodicCodec,
    scale: Scale,
}

impl Rounding {
    /// For weights of `cells` cells at weight scale `scale`.
    pub(crate) fn new(cells: usize, scale: Scale) -> Result<Self, EncodeError> {
        Ok(Self {
            codec: PeriodicCodec::new(period(cells))?,
            scale,
        })
    }

    /// The values that the rounded weight really has.
    pub(crate) fn apply(&self, weight: &TermWeight) -> Result<TermWeight, EncodeError> {
        let scale = self.scale.value();
        Ok(match weight {
            TermWeight::Zero => TermWeight::Zero,
            TermWeight::Constant(w) => TermWeight::Constant((w * scale).round() / scale),
            TermWeight::Masked(cells) => {
                let coefficients = self.codec.round_real(cells, scale)?;
                TermWeight::Masked(
                    self.codec
                        .decode(&coefficients, scale)
                        .iter()
                        .map(|z| z.re)
                        .collect(),
                )
            }
        })
    }
}

/// What rounded weights do to the mean of an output, in units of `2^-80`. Sums are exact, in whatever order and by however many
/// processes they are made; beyond `2^47` they stay there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeanError(i128);

impl MeanError {
    /// Units in one.
    const ONE: f64 = (1u128 << 80) as f64;

    /// An error, cut off to whole units.
    pub fn new(error: f64) -> Self {
        // The product is exact. The conversion ends at the limits of an `i128`.
        Self((error * Self::ONE) as i128)
    }

    /// The error as a number.
    pub fn value(self) -> f64 {
        self.0 as f64 / Self::ONE
    }

    /// The number of units, in 16 bytes, the lowest first.
    pub fn to_le_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// From what [`Self::to_le_bytes`] gives.
    pub fn from_le_bytes(bytes: [u8; 16]) -> Self {
        Self(i128::from_le_bytes(bytes))
    }
}

impl AddAssign for MeanError {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

/// What terms of mean errors are rounded to, so that sums of them are exact as floating-point numbers too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grain {
    /// Added and taken off again, it leaves multiples of the grain.
    shift: f64,
}

impl Grain {
    /// For sums whose terms, and all of them together, are at most `most`.
    pub(crate) fn new(most: f64) -> Self {
        let grain = (most.log2().ceil() - 51.0).exp2().max(1.0 / MeanError::ONE);
        Self {
            shift: 1.5 * 2f64.powi(52) * grain,
        }
    }

    /// The multiple of the grain nearest to a term.
    pub(crate) fn round(self, term: f64) -> f64 {
        (term + self.shift) - self.shift
    }
}

/// The period that stands for a grid of `cells` cells: periodic plaintexts have two cells at least.
pub(crate) fn period(cells: usize) -> usize {
    cells.max(2)
}

/// A plane of one cell as one of two equal cells, which is the shortest period that can be encoded.
pub(crate) fn periodic(plane: Vec<f64>) -> Vec<f64> {
    let period = period(plane.len());
    plane.iter().copied().cycle().take(period).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_errors_add_up_to_the_same_in_any_order() {
        let errors: Vec<MeanError> = (1..200i32)
            .map(|n| MeanError::new(f64::from(n).sin() / f64::from(n).powi(3)))
            .collect();
        let sum = |order: &mut dyn Iterator<Item = &MeanError>| {
            let mut sum = MeanError::default();
            order.for_each(|error| sum += *error);
            sum
        };
        let expected = sum(&mut errors.iter());
        assert_eq!(sum(&mut errors.iter().rev()), expected);
        let (even, odd): (Vec<_>, Vec<_>) =
            errors.chunks(2).map(|two| (two[0], two.get(1))).unzip();
        let mut parts = sum(&mut even.iter());
        parts += sum(&mut odd.into_iter().flatten());
        assert_eq!(parts, expected);
        let of_numbers: f64 = errors.iter().map(|error| error.value()).sum();
        assert!((expected.value() - of_numbers).abs() < 1e-15);
        assert_eq!(MeanError::from_le_bytes(expected.to_le_bytes()), expected);
    }

    #[test]
    fn rounded_terms_add_up_to_the_same_in_any_order() {
        for most in [1e-30, 1e-12, 1.0, 3e5] {
            let grain = Grain::new(most);
            let terms: Vec<f64> = (1..1000i32)
                .map(|n| grain.round((f64::from(n) * 0.7).sin() * most / 1000.0))
                .collect();
            let exact = terms.iter().fold(MeanError::default(), |mut sum, term| {
                sum += MeanError::new(*term);
                sum
            });
            let sums = [
                terms.iter().sum(),
                terms.iter().rev().sum(),
                terms.chunks(7).map(|c| c.iter().sum::<f64>()).sum::<f64>(),
            ];
            assert_eq!(sums.map(MeanError::new), [exact; 3], "{most}");
            let unrounded: f64 = (1..1000i32)
                .map(|n| (f64::from(n) * 0.7).sin() * most / 1000.0)
                .sum();
            let off = (exact.value() - unrounded).abs();
            assert!(
                off <= 1000.0 * (most * 2f64.powi(-51)).max(2f64.powi(-80)),
                "{off} of {most}"
            );
        }
    }

    #[test]
    fn mean_errors_keep_what_numbers_say_and_end_at_their_limits() {
        for error in [0.0, 1.0, -0.375, 1e-10, -3.0e12] {
            let found = MeanError::new(error).value();
            assert!(
                (found - error).abs() <= 2f64.powi(-80),
                "{found} for {error}"
            );
        }
        let mut most = MeanError::new(f64::INFINITY);
        assert_eq!(most.value(), 2f64.powi(47));
        most += MeanError::new(1.0);
        assert_eq!(most.value(), 2f64.powi(47));
        assert_eq!(MeanError::new(f64::NAN), MeanError::default());
    }
}
