//! What an operation has to do at least, counted from its algorithm, and how long that takes at least on a machine.
//!
//! **Multiply-adds.** The unit is a pair of 52-bit multiply-adds, one for the low and one for the high half of a product
//! of two words: what a sum of products of residues costs a term.
//! - A product by a constant with a full reduction ([`PRODUCT`]) is a high half by the constant, a low half by the
//!   constant's quotient, a high half by the modulus: three instructions, one and a half pairs.
//! - A reduction of a sum of products ([`REDUCTION`], Montgomery's) is a low and a high half: one pair.
//! - Additions, subtractions and permutations have none.
//!
//! **Bytes** are compulsory: every operand (keys and weights too) read once, every result written once, 8 bytes a word.
//! Tables of a transform are not counted, as many limbs can share them, nor what lies between the steps of an operation,
//! as it could be kept in a cache.

use std::ops::Mul;

use serde::Serialize;

use crate::probe::Limits;

/// Multiply-adds of a product by a constant, reduced.
pub const PRODUCT: f64 = 1.5;

/// Multiply-adds of the reduction of a sum of products.
pub const REDUCTION: f64 = 1.0;

/// Multiply-adds and compulsory bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Pairs of 52-bit multiply-adds on a word.
    pub multiply_adds: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

impl Mul<f64> for Work {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self {
            multiply_adds: self.multiply_adds * factor,
            bytes: self.bytes * factor,
        }
    }
}

/// Which limit decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum BoundBy {
    /// Arithmetic.
    #[serde(rename = "multiply-adds")]
    MultiplyAdds,
    /// Memory.
    #[serde(rename = "bytes")]
    Bytes,
}

/// A lower bound on the time of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// `max(multiply-adds / peak, bytes / bandwidth)`.
    #[serde(rename = "bound_seconds")]
    pub seconds: f64,
    /// Which of the two it is.
    #[serde(rename = "bound_by")]
    pub by: BoundBy,
}

impl Work {
    /// The lower bound on a machine; of memory alone where the kernel has no 52-bit multiply-adds.
    pub fn bound(&self, limits: &Limits) -> Bound {
        let memory = self.bytes / limits.bytes();
        let arithmetic = limits
            .multiply_adds
            .map_or(0.0, |peak| self.multiply_adds / peak);
        let by = if arithmetic > memory {
            BoundBy::MultiplyAdds
        } else {
            BoundBy::Bytes
        };
        Bound {
            seconds: arithmetic.max(memory),
            by,
        }
    }

    /// `words` multiply-adds on each of the N words, and whole limbs read or written.
    fn per_word(log_n: u32, multiply_adds: f64, limbs: usize) -> Self {
        let n = f64::from(log_n).exp2();
        Self {
            multiply_adds: multiply_adds * n,
            bytes: 8.0 * limbs as f64 * n,
        }
    }

    /// A transform or its inverse, of one limb: N/2 log2 N butterflies with a product by a constant each.
    pub fn ntt(log_n: u32) -> Self {
        Self::per_word(log_n, ntt(log_n), 2)
    }

    /// A base conversion from `sources` limbs to `targets`.
    pub fn conversion(log_n: u32, sources: usize, targets: usize) -> Self {
        Self::per_word(log_n, conversion(sources, targets), sources + targets)
    }

    /// The RNS matrix product of one limb: `rows x cols` weights that are constant on each of `blocks` blocks of words.
    pub fn matmul(
        log_n: u32,
        (rows, cols): (usize, usize),
        blocks: usize,
        accumulate: bool,
    ) -> Self {
        let (m, k) = (rows as f64, cols as f64);
        let outputs = if accumulate { 2 * rows } else { rows };
        let mut work = Self::per_word(log_n, m * k + m * REDUCTION, cols + outputs);
        work.bytes += 8.0 * m * k * blocks as f64;
        work
    }

    /// Division of a ciphertext at `level` by its last prime: one inverse transform, `level - 1` transforms, a product by a
    /// constant for every word that stays; twice.
    pub fn rescale(log_n: u32, level: usize) -> Self {
        let below = level - 1;
        let adds = 2.0 * (ntt(log_n) * level as f64 + PRODUCT * below as f64);
        Self::per_word(log_n, adds, 2 * (level + below))
    }
}

/// Multiply-adds of a transform, a word.
fn ntt(log_n: u32) -> f64 {
    PRODUCT * f64::from(log_n) / 2.0
}

/// Multiply-adds of a base conversion, a word: for each source its digit (a product by a constant) and the digit's part of
/// the quotient (a high half); for each target a sum over digits and quotient.
fn conversion(sources: usize, targets: usize) -> f64 {
    let (k, t) = (sources as f64, targets as f64);
    k * (PRODUCT + 0.5) + t * (k + 1.0 + REDUCTION)
}

/// A hybrid key switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Ciphertext primes.
    pub level: usize,
    /// Ciphertext primes of a digit.
    pub digit_limbs: usize,
    /// Special primes.
    pub specials: usize,
}

impl Switch {
    fn digits(self) -> usize {
        self.level.div_ceil(self.digit_limbs)
    }

    fn extended(self) -> usize {
        self.level + self.specials
    }

    fn key_limbs(self) -> usize {
        2 * self.digits() * self.extended()
    }

    fn mod_up_adds(self) -> f64 {
        let of_digit = |digit: usize| {
            let sources = self.digit_limbs.min(self.level - digit * self.digit_limbs);
            let targets = self.extended() - sources;
            conversion(sources, targets) + ntt(self.log_n) * targets as f64
        };
        ntt(self.log_n) * self.level as f64 + (0..self.digits()).map(of_digit).sum::<f64>()
    }

    fn inner_adds(self) -> f64 {
        2.0 * self.extended() as f64 * (self.digits() as f64 + REDUCTION)
    }

    /// Both halves.
    fn mod_down_adds(self, dropped: usize) -> f64 {
        let (sources, kept) = (self.specials + dropped, self.level - dropped);
        let transforms = ntt(self.log_n) * (sources + kept) as f64;
        2.0 * (transforms + conversion(sources, kept) + PRODUCT * kept as f64)
    }

    /// Digits of one polynomial, extended to all primes: inverse transforms of its limbs, a conversion of each digit, and
    /// transforms of what that gives.
    pub fn mod_up(self) -> Work {
        let made = self.digits() * self.extended() - self.level;
        Work::per_word(self.log_n, self.mod_up_adds(), self.level + made)
    }

    /// Products of the digits and the two halves of the key.
    pub fn inner_product(self) -> Work {
        let limbs = self.digits() * self.extended() + self.key_limbs() + 2 * self.extended();
        Work::per_word(self.log_n, self.inner_adds(), limbs)
    }

    /// Division of both halves by the special primes and the last `dropped` primes: inverse transforms, a conversion, and
    /// transforms and a product by a constant for each prime that stays.
    pub fn mod_down(self, dropped: usize) -> Work {
        let limbs = 2 * (self.extended() + self.level - dropped);
        Work::per_word(self.log_n, self.mod_down_adds(dropped), limbs)
    }

    /// Three polynomials to two.
    pub fn relinearize(self) -> Work {
        let adds = self.mod_up_adds() + self.inner_adds() + self.mod_down_adds(0);
        Work::per_word(self.log_n, adds, 5 * self.level + self.key_limbs())
    }

    /// A number of rotations of one ciphertext: one ModUp; for each an inner product with the first polynomial as one more
    /// term, and a ModDown.
    pub fn rotations(self, count: usize) -> Work {
        let each = self.inner_adds() + self.level as f64 + self.mod_down_adds(0);
        let adds = self.mod_up_adds() + count as f64 * each;
        let limbs = 2 * self.level + count * (self.key_limbs() + 2 * self.level);
        Work::per_word(self.log_n, adds, limbs)
    }

    /// A conjugation and a rescale with one ModDown.
    pub fn conjugate_rescale(self) -> Work {
        let adds =
            self.mod_up_adds() + self.inner_adds() + self.level as f64 + self.mod_down_adds(1);
        let limbs = 2 * self.level + self.key_limbs() + 2 * (self.level - 1);
        Work::per_word(self.log_n, adds, limbs)
    }

    /// A product of two ciphertexts, relinearised and rescaled with one ModDown: the tensor has four products and three
    /// reductions a word, and two of its polynomials are a term more of the inner products.
    pub fn multiply(self) -> Work {
        let l = self.level as f64;
        let adds = (4.0 + 3.0 * REDUCTION) * l
            + self.mod_up_adds()
            + self.inner_adds()
            + 2.0 * l
            + self.mod_down_adds(1);
        let limbs = 4 * self.level + self.key_limbs() + 2 * (self.level - 1);
        Work::per_word(self.log_n, adds, limbs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        threads: 1,
        multiply_adds: Some(10e9),
        read: 12e9,
        write: 5e9,
        copy: 10e9,
    };

    #[test]
    fn bound_is_the_larger_of_arithmetic_and_memory() {
        let work = Work {
            multiply_adds: 10e9,
            bytes: 6e9,
        };
        let bound = work.bound(&LIMITS);
        assert_eq!((bound.seconds, bound.by), (1.0, BoundBy::MultiplyAdds));
        let portable = Limits {
            multiply_adds: None,
            ..LIMITS
        };
        let bound = work.bound(&portable);
        assert_eq!((bound.seconds, bound.by), (0.5, BoundBy::Bytes));
        assert_eq!((work * 0.5).bytes, 3e9);
    }

    #[test]
    fn small_cases_counted_by_hand() {
        // N = 4: 4 butterflies.
        let work = Work::ntt(2);
        assert_eq!((work.multiply_adds, work.bytes), (6.0, 64.0));
        // N = 2: 2 digits with their parts of the quotient, 3 targets of 3 terms and a reduction.
        let work = Work::conversion(1, 2, 3);
        assert_eq!((work.multiply_adds, work.bytes), (2.0 * 16.0, 80.0));
        let work = Work::matmul(3, (2, 3), 4, true);
        assert_eq!(work.multiply_adds, 8.0 * (6.0 + 2.0));
        assert_eq!(work.bytes, 8.0 * (8.0 * (3.0 + 4.0) + 24.0));
    }

    #[test]
    fn key_switch_is_the_sum_of_its_steps_without_what_lies_between() {
        let switch = Switch {
            log_n: 10,
            level: 5,
            digit_limbs: 3,
            specials: 3,
        };
        let steps = [switch.mod_up(), switch.inner_product(), switch.mod_down(0)];
        let adds: f64 = steps.iter().map(|s| s.multiply_adds).sum();
        let bytes: f64 = steps.iter().map(|s| s.bytes).sum();
        let whole = switch.relinearize();
        assert_eq!(whole.multiply_adds, adds);
        assert!(whole.bytes < bytes);
        // 2 digits of 8 limbs, 5 of them the polynomial's own.
        assert_eq!(steps[0].bytes, 8192.0 * (5.0 + 11.0));
        assert_eq!(steps[1].bytes, 8192.0 * (16.0 + 32.0 + 16.0));
        assert_eq!(steps[2].bytes, 8192.0 * 2.0 * (8.0 + 5.0));
    }

    #[test]
    fn hoisting_shares_the_mod_up() {
        let switch = Switch {
            log_n: 10,
            level: 4,
            digit_limbs: 2,
            specials: 2,
        };
        let (one, three) = (switch.rotations(1), switch.rotations(3));
        let shared = 3.0 * one.multiply_adds - three.multiply_adds;
        assert!((shared - 2.0 * switch.mod_up().multiply_adds).abs() < 1e-6);
        assert!(switch.multiply().multiply_adds > switch.relinearize().multiply_adds);
        assert!(switch.conjugate_rescale().multiply_adds < one.multiply_adds);
    }
}
