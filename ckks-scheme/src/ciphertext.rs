//! Levels, scales, plaintexts and ciphertexts.

use crate::error::EvalError;
use crate::noise::{BOUND_SIGMAS, Tracked};
use ckks_math::{Eval, RnsPoly};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroize;

/// Number of ciphertext primes that a ciphertext still has: 1 to [`crate::Parameters::max_level`]. What takes a level
/// refuses any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Level(u32);

impl Level {
    /// The level with `limbs` primes left (below 2^32).
    pub const fn new(limbs: usize) -> Self {
        Self(limbs as u32)
    }

    /// Primes left.
    pub const fn limbs(self) -> usize {
        self.0 as usize
    }

    /// The level `by` primes below, if it has at least one prime.
    pub const fn below(self, by: usize) -> Option<Self> {
        match self.limbs().checked_sub(by) {
            None | Some(0) => None,
            Some(l) => Some(Self::new(l)),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Factor between slot values and the encoded integers, positive and finite; tracked exactly (every operation multiplies
/// or divides it).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Scale(f64);

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Scale")]
        struct Unchecked(f64);
        let Unchecked(value) = Unchecked::deserialize(deserializer)?;
        Self::checked(value).ok_or_else(|| {
            D::Error::custom(format_args!(
                "scale {value}, expected a positive finite number"
            ))
        })
    }
}

impl Scale {
    /// A scale; `value` is positive and finite.
    ///
    /// # Panics
    /// If it is not: scales come from the caller's constants, never from data.
    pub fn new(value: f64) -> Self {
        Self::checked(value).unwrap_or_else(|| panic!("scale {value}"))
    }

    /// A scale, if `value` is positive and finite.
    pub fn checked(value: f64) -> Option<Self> {
        (value.is_finite() && value > 0.0).then_some(Self(value))
    }

    /// The factor.
    pub const fn value(self) -> f64 {
        self.0
    }

    /// Its base-2 logarithm.
    pub fn log2(self) -> f64 {
        self.0.log2()
    }

    /// Equal up to the rounding of a few floating-point operations (relative 2^-44).
    pub fn matches(self, other: Self) -> bool {
        (self.0 / other.0 - 1.0).abs() < 2f64.powi(-44)
    }
}

/// An encoded message: one polynomial in Eval order, `[level][N]`. Wiped when dropped.
pub struct Plaintext {
    pub(crate) poly: RnsPoly<Eval>,
    pub(crate) scale: Scale,
    pub(crate) tracked: Tracked,
}

impl Plaintext {
    /// Number of primes.
    pub fn level(&self) -> Level {
        Level::new(self.poly.limbs())
    }

    /// Scale of the encoding.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Value bounds and encoding error.
    pub fn tracked(&self) -> &Tracked {
        &self.tracked
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.poly.iter_mut().for_each(|limb| limb[..].zeroize());
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plaintext")
            .field("level", &self.level())
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

/// An RLWE ciphertext: two polynomials (three between a product and its relinearisation) in Eval order,
/// `[level][N]` each; it decrypts as `c0 + c1 s (+ c2 s^2)`.
pub struct Ciphertext {
    pub(crate) parts: Vec<RnsPoly<Eval>>,
    pub(crate) scale: Scale,
    pub(crate) tracked: Tracked,
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ciphertext")
            .field("parts", &self.parts())
            .field("level", &self.level())
            .field("scale", &self.scale)
            .field("tracked", &self.tracked)
            .finish_non_exhaustive()
    }
}

impl Ciphertext {
    /// Number of ciphertext primes left.
    pub fn level(&self) -> Level {
        Level::new(self.parts[0].limbs())
    }

    /// Scale of the encrypted values.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Number of polynomials (2 or 3).
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Predicted error and declared value bounds.
    pub fn tracked(&self) -> &Tracked {
        &self.tracked
    }

    /// Replaces the declared value bounds by better knowledge (a layer's declared range, say); the error stays.
    /// `max` bounds the modulus of every slot value, `rms` is its root mean square: neither is negative. What is not a
    /// number declares nothing, and operations that check ranges will refuse the ciphertext.
    pub fn declare_values(&mut self, max: f64, rms: f64) {
        let or_unbounded = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
        self.tracked.max = or_unbounded(max);
        self.tracked.rms = or_unbounded(rms);
    }

    /// Lowers the predicted error to better knowledge: operations one by one do not know, for instance, that the polynomial
    /// which they make up is nowhere steep. `std` and `systematic` as in [`Tracked`]; what is larger than the prediction, or no
    /// number, changes nothing.
    pub fn declare_error(&mut self, std: f64, systematic: f64) {
        let predicted = &mut self.tracked;
        if BOUND_SIGMAS * std + systematic < predicted.error_bound() {
            (predicted.error_std, predicted.systematic) = (std, systematic);
        }
    }

    /// Declares that the encrypted values are `factor` times what they were held to be: a free multiplication.
    ///
    /// # Panics
    /// Unless `factor` is positive and the scale divided by it remains a finite number above 0: factors come from the
    /// caller's constants, never from data.
    pub fn reinterpret(&mut self, factor: f64) {
        self.scale = Scale::new(self.scale.value() / factor);
        self.tracked = self.tracked.scaled(factor);
    }

    /// The declared values and the error, at the scale, must not wrap around the modulus of `level`, of `have_bits` bits.
    pub(crate) fn check_fits(
        &self,
        op: &'static str,
        level: Level,
        have_bits: f64,
    ) -> Result<(), EvalError> {
        let largest = self.tracked.max + self.tracked.error_bound();
        let need_bits = largest.log2() + self.scale.log2() + 1.0;
        // All zero (minus infinity) fits, what is not a number does not.
        if need_bits < have_bits {
            return Ok(());
        }
        Err(EvalError::Range {
            op,
            max: self.tracked.max,
            scale_log2: self.scale.log2(),
            need_bits,
            have_bits,
            level,
        })
    }

    /// Bytes of limb memory held.
    pub fn bytes(&self) -> u64 {
        self.parts
            .iter()
            .map(|p| (p.iter().map(|l| l.len() * 8).sum::<usize>()) as u64)
            .sum()
    }

    /// A copy.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn try_clone(&self) -> Result<Self, EvalError> {
        Ok(Self {
            parts: self
                .parts
                .iter()
                .map(RnsPoly::try_clone)
                .collect::<Result<_, _>>()?,
            scale: self.scale,
            tracked: self.tracked,
        })
    }
}
