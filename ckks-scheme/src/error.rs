//! Errors, one enum per topic; every variant carries the numbers that its sentence names.

use crate::ciphertext::Level;
use crate::keys::KeyKind;
use crate::serial::SerialError;
use ckks_math::MathError;
use thiserror::Error;

/// A failure of the arithmetic below: memory that ran out, or a kernel that this machine has not got.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct ArithmeticError(MathError);

impl ArithmeticError {
    /// Whether memory ran out: the limb pool's budget, or the system's.
    pub fn out_of_memory(&self) -> bool {
        self.0.out_of_memory()
    }
}

macro_rules! from_arithmetic {
    ($($error:ident),*) => {$(
        #[doc(hidden)]
        impl From<MathError> for $error {
            fn from(error: MathError) -> Self {
                Self::Arithmetic(ArithmeticError(error))
            }
        }
    )*};
}

from_arithmetic!(ParamError, KeyError, EncodeError, EvalError, SerialError);

#[doc(hidden)]
impl From<MathError> for ArithmeticError {
    fn from(error: MathError) -> Self {
        Self(error)
    }
}

/// A parameter set that cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParamError {
    /// The modulus is too large for 128-bit security at this ring degree.
    #[error("log QP is {log_qp:.1} bits at N = 2^{log_n}, the 128-bit bound is {bound} bits")]
    Insecure {
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
        /// Bits of the product of all ciphertext and special primes.
        log_qp: f64,
        /// Largest admissible `log_qp` (0: no 128-bit set is known at this degree).
        bound: u32,
    },
    /// The ring degree is outside what the arithmetic supports.
    #[error("N = 2^{log_n} is not supported, expected 2^{min} to 2^{max}")]
    Degree {
        /// Base-2 logarithm found.
        log_n: u32,
        /// Least admissible.
        min: u32,
        /// Greatest admissible.
        max: u32,
    },
    /// A prime size is outside what the kernels support.
    #[error("a prime of {bits} bits is not supported, expected {min} to {max} bits")]
    PrimeBits {
        /// Bits asked for.
        bits: u32,
        /// Least admissible.
        min: u32,
        /// Greatest admissible.
        max: u32,
    },
    /// Not enough NTT primes of the size exist.
    #[error("only {found} NTT primes of {bits} bits exist for N = 2^{log_n}, {wanted} wanted")]
    NotEnoughPrimes {
        /// Bits of each prime.
        bits: u32,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
        /// Primes found.
        found: usize,
        /// Primes wanted.
        wanted: usize,
    },
    /// The special primes do not cover a key-switching digit.
    #[error(
        "the special primes have {p_bits:.1} bits, a key-switching digit at level {level} needs {digit_bits:.1}"
    )]
    SpecialsTooSmall {
        /// Bits of all special primes together.
        p_bits: f64,
        /// Bits of the largest digit.
        digit_bits: f64,
        /// Level whose digit is not covered.
        level: Level,
    },
    /// A count is zero or otherwise unusable.
    #[error("{what} is {found}, expected {expected}")]
    Invalid {
        /// The thing.
        what: &'static str,
        /// Value found.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// From the arithmetic below.
    #[error(transparent)]
    Arithmetic(#[from] ArithmeticError),
}

/// A switching key that is missing or does not fit.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No key of the kind covers the level.
    #[error("no {kind} key for level {level}; present: {present}")]
    Missing {
        /// What was asked for.
        kind: KeyKind,
        /// Level of the ciphertext.
        level: Level,
        /// The levels at which a key of this kind is present.
        present: String,
    },
    /// A key was requested for a level that the parameter set does not have.
    #[error("key requested for level {level}, the parameter set has levels 1 to {max}")]
    LevelTooHigh {
        /// Level requested.
        level: Level,
        /// Highest level.
        max: Level,
    },
    /// A key that was made for another parameter set, or a key source that gave a key for a lower level than asked for.
    #[error(
        "the {kind} key given for level {level} belongs to other parameters or to a lower level"
    )]
    Foreign {
        /// What was asked for.
        kind: KeyKind,
        /// Level of the ciphertext.
        level: Level,
    },
    /// A key under a sparse ephemeral secret whose modulus is too large for 128-bit security, or unknown to be secure.
    #[error(
        "an ephemeral secret of weight {weight} under a modulus of {log_qp:.1} bits at level {level}: the 128-bit bound is {bound} bits, at level 1"
    )]
    EphemeralInsecure {
        /// Hamming weight of the ephemeral secret.
        weight: u32,
        /// Level of the key.
        level: Level,
        /// Bits of the key's modulus.
        log_qp: f64,
        /// Largest admissible (0: no bound is known at this ring degree and weight).
        bound: u32,
    },
    /// An ephemeral secret of more nonzero coefficients than the ring has, or of none.
    #[error("an ephemeral secret of weight {weight} in a ring of degree {degree}")]
    EphemeralWeight {
        /// Hamming weight asked for.
        weight: u32,
        /// Ring degree.
        degree: usize,
    },
    /// From the arithmetic below.
    #[error(transparent)]
    Arithmetic(#[from] ArithmeticError),
}

/// Slots that cannot be encoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A level that the parameter set does not have.
    #[error("level {level} does not exist, the parameter set has levels 1 to {max}")]
    NoSuchLevel {
        /// Level found.
        level: Level,
        /// Highest level.
        max: Level,
    },
    /// Wrong number of slots (or of a periodic plaintext's coefficients).
    #[error("{found} slot values, expected {expected}")]
    SlotCount {
        /// Values given.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// A value is not a number or infinite.
    #[error("slot {slot} is {value}, expected a finite number")]
    NotFinite {
        /// Index of the slot.
        slot: usize,
        /// Value found (real or imaginary part).
        value: f64,
    },
    /// The scaled value does not fit.
    #[error(
        "largest coefficient has {bits:.1} bits at scale 2^{scale_log2:.1}, the limit is {limit:.1} bits"
    )]
    TooLarge {
        /// Bits of the largest coefficient.
        bits: f64,
        /// Bits available.
        limit: f64,
        /// Scale of the encoding.
        scale_log2: f64,
    },
    /// A period that is no power of two or does not divide the slots.
    #[error("period of {found} cells, expected a power of two from 2 to {max}")]
    Period {
        /// Cells given.
        found: usize,
        /// Most cells that the ring has.
        max: usize,
    },
    /// From the arithmetic below.
    #[error(transparent)]
    Arithmetic(#[from] ArithmeticError),
}

/// A homomorphic operation that cannot be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Operands of different scale.
    #[error("scale mismatch in {op}: left 2^{left_log2:.6}, right 2^{right_log2:.6}")]
    ScaleMismatch {
        /// Operation.
        op: &'static str,
        /// Base-2 logarithm of the left operand's scale.
        left_log2: f64,
        /// Base-2 logarithm of the right operand's scale.
        right_log2: f64,
    },
    /// Operands of different level.
    #[error("level mismatch in {op}: left {left}, right {right}")]
    LevelMismatch {
        /// Operation.
        op: &'static str,
        /// Level of the left operand.
        left: Level,
        /// Level of the right operand.
        right: Level,
    },
    /// A ciphertext or plaintext has too few primes left.
    #[error("{op} needs level {need} or more, found level {have}")]
    LevelTooLow {
        /// Operation.
        op: &'static str,
        /// Level needed.
        need: Level,
        /// Level found.
        have: Level,
    },
    /// A level that the parameter set does not have.
    #[error("{op}: level {level} does not exist, the parameter set has levels 1 to {max}")]
    NoSuchLevel {
        /// Operation.
        op: &'static str,
        /// Level asked for.
        level: Level,
        /// Highest level.
        max: Level,
    },
    /// A scale that leaves the range of double precision.
    #[error("{op} gives a scale of 2^{log2:.1}, beyond double precision")]
    ScaleRange {
        /// Operation.
        op: &'static str,
        /// Base-2 logarithm of the scale.
        log2: f64,
    },
    /// Noise to hide an error that is no deviation, or that has no room beside the message.
    #[error(
        "noise of deviation {deviation:e} (2^{units_log2:.1} units of the last place) cannot be added, expected 0 to 2^{max_log2} units"
    )]
    Flooding {
        /// Deviation asked for, in units of the encrypted values.
        deviation: f64,
        /// Base-2 logarithm of the deviation of one coefficient.
        units_log2: f64,
        /// Most that there is room for.
        max_log2: f64,
    },
    /// A ciphertext of another number of polynomials than the operation takes.
    #[error("{op} takes a ciphertext of {expected} polynomials, found {found}")]
    Parts {
        /// Operation.
        op: &'static str,
        /// Polynomials expected.
        expected: usize,
        /// Polynomials found.
        found: usize,
    },
    /// Values at this scale would wrap around the modulus.
    #[error(
        "{op}: values up to {max:.3e} at scale 2^{scale_log2:.2} need {need_bits:.1} bits, there is room for {have_bits:.1} at level {level}"
    )]
    Range {
        /// Operation.
        op: &'static str,
        /// Largest declared value.
        max: f64,
        /// Base-2 logarithm of the scale.
        scale_log2: f64,
        /// Bits needed.
        need_bits: f64,
        /// Bits of the modulus, or what a decryption can tell if that is less.
        have_bits: f64,
        /// Level of that modulus.
        level: Level,
    },
    /// A matrix product whose shapes do not fit.
    #[error("{op}: {what} is {found}, expected {expected}")]
    Shape {
        /// Operation.
        op: &'static str,
        /// The dimension.
        what: &'static str,
        /// Found.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// A switching key is missing.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A constant or plaintext cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// From the arithmetic below.
    #[error(transparent)]
    Arithmetic(#[from] ArithmeticError),
}

impl KeyError {
    pub(crate) fn missing<'a>(
        kind: KeyKind,
        level: Level,
        present: impl Iterator<Item = &'a Level>,
    ) -> Self {
        let present: Vec<_> = present.map(Level::to_string).collect();
        Self::Missing {
            kind,
            level,
            present: if present.is_empty() {
                "none".into()
            } else {
                present.join(", ")
            },
        }
    }

    /// Whether memory ran out: the limb pool's budget, or the system's.
    pub fn out_of_memory(&self) -> bool {
        matches!(self, Self::Arithmetic(error) if error.out_of_memory())
    }
}

impl ParamError {
    /// Whether memory ran out: the limb pool's budget, or the system's.
    pub fn out_of_memory(&self) -> bool {
        matches!(self, Self::Arithmetic(error) if error.out_of_memory())
    }
}

impl EncodeError {
    /// Whether memory ran out: the limb pool's budget, or the system's.
    pub fn out_of_memory(&self) -> bool {
        matches!(self, Self::Arithmetic(error) if error.out_of_memory())
    }
}

impl EvalError {
    /// Whether memory ran out: the limb pool's budget, or the system's.
    pub fn out_of_memory(&self) -> bool {
        match self {
            Self::Arithmetic(error) => error.out_of_memory(),
            Self::Key(error) => error.out_of_memory(),
            Self::Encode(error) => error.out_of_memory(),
            Self::ScaleMismatch { .. }
            | Self::LevelMismatch { .. }
            | Self::LevelTooLow { .. }
            | Self::NoSuchLevel { .. }
            | Self::ScaleRange { .. }
            | Self::Flooding { .. }
            | Self::Parts { .. }
            | Self::Range { .. }
            | Self::Shape { .. } => false,
        }
    }
}
