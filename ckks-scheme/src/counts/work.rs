//! What every operation consists of: amounts of primitive work.

use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

/// One number for each primitive that time is made of: amounts ([`Work`]), seconds of one unit
/// ([`PrimitiveCosts`](super::PrimitiveCosts)), or seconds.
///
/// Words are residues of 64 bits; a limb has N of them. Where a primitive has a fixed part, it is in the unit, so that
/// time is proportional to the amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Primitives<T> {
    /// Butterflies of forward transforms: `N/2 log2 N` for a limb.
    pub forward: T,
    /// Butterflies of inverse transforms.
    pub inverse: T,
    /// Multiply-adds of base conversions: from k limbs to t limbs `t (k + 2) + 2k` for a word. Each target sums up k digits
    /// and a quotient and reduces; each source gives a digit and its part of the quotient.
    pub conversion: T,
    /// Multiply-adds of sums of products of limbs, with keys or with the diagonals of a transform: the number of terms,
    /// and one for the reduction, for a word.
    pub inner_product: T,
    /// Multiply-adds of the RNS matrix product: the number of columns, and three for reduction and sum, for a word of a row.
    pub matrix_product: T,
    /// Residues of slot-periodic weights and plaintexts.
    pub residue: T,
    /// Products of two residues in passes over limbs.
    pub product: T,
    /// Words that passes over limbs, and the inputs and outputs of the matrix product, read and write.
    pub moved: T,
    /// Words permuted by automorphisms.
    pub permuted: T,
    /// Butterflies of the embedding, on complex numbers, rounding included: `G/2 log2 G` for G slots.
    pub embedding: T,
    /// Bytes of switching keys read.
    pub key_byte: T,
    /// Bytes of encoded diagonals read.
    pub diagonal_byte: T,
}

/// Amounts of primitive work. Amounts add up; they saturate instead of overflowing.
pub type Work = Primitives<u64>;

/// Number of primitives.
pub(crate) const PRIMITIVES: usize = 12;

impl<T: Copy> Primitives<T> {
    /// Names, in the order of [`Self::to_array`].
    pub const NAMES: [&'static str; PRIMITIVES] = [
        "forward butterflies",
        "inverse butterflies",
        "conversion multiply-adds",
        "inner product multiply-adds",
        "matrix product multiply-adds",
        "residues of weights",
        "pointwise products",
        "words moved",
        "words permuted",
        "embedding butterflies",
        "key bytes",
        "diagonal bytes",
    ];

    /// The numbers, in the order of the fields.
    pub fn to_array(&self) -> [T; PRIMITIVES] {
        [
            self.forward,
            self.inverse,
            self.conversion,
            self.inner_product,
            self.matrix_product,
            self.residue,
            self.product,
            self.moved,
            self.permuted,
            self.embedding,
            self.key_byte,
            self.diagonal_byte,
        ]
    }

    /// From numbers in the order of the fields.
    pub fn from_array(numbers: [T; PRIMITIVES]) -> Self {
        let [
            forward,
            inverse,
            conversion,
            inner_product,
            matrix_product,
            residue,
            product,
            moved,
            permuted,
            embedding,
            key_byte,
            diagonal_byte,
        ] = numbers;
        Self {
            forward,
            inverse,
            conversion,
            inner_product,
            matrix_product,
            residue,
            product,
            moved,
            permuted,
            embedding,
            key_byte,
            diagonal_byte,
        }
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let mut sum = self.to_array();
        for (a, b) in sum.iter_mut().zip(other.to_array()) {
            *a = a.saturating_add(b);
        }
        Self::from_array(sum)
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for Work {
    type Output = Self;

    fn mul(self, factor: u64) -> Self {
        Self::from_array(self.to_array().map(|a| a.saturating_mul(factor)))
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}

/// The primitives themselves. What runs and what is predicted count by these.
impl Work {
    /// A transform of `2^log_n` words.
    pub(crate) fn forward(log_n: u32) -> Self {
        Self {
            forward: butterflies(log_n),
            ..Self::default()
        }
    }

    /// An inverse transform.
    pub(crate) fn inverse(log_n: u32) -> Self {
        Self {
            inverse: butterflies(log_n),
            ..Self::default()
        }
    }

    /// A base conversion of `words` words of each limb.
    pub(crate) fn conversion(words: usize, sources: usize, targets: usize) -> Self {
        let multiply_adds = targets * (sources + 2) + 2 * sources;
        Self {
            conversion: words as u64 * multiply_adds as u64,
            ..Self::default()
        }
    }

    /// A sum of products with limbs of keys.
    pub(crate) fn dot_with_key(words: usize, terms: usize) -> Self {
        Self {
            key_byte: 8 * words as u64 * terms as u64,
            ..Self::dot(words, terms)
        }
    }

    /// A sum of products with limbs of encoded diagonals.
    pub(crate) fn dot_with_diagonals(words: usize, terms: usize) -> Self {
        Self {
            diagonal_byte: 8 * words as u64 * terms as u64,
            ..Self::dot(words, terms)
        }
    }

    fn dot(words: usize, terms: usize) -> Self {
        Self {
            inner_product: words as u64 * (terms as u64 + 1),
            ..Self::default()
        }
    }

    /// The matrix product of one limb.
    pub(crate) fn matrix_product(words: usize, rows: usize, cols: usize, accumulate: bool) -> Self {
        let outputs = if accumulate { 2 * rows } else { rows };
        Self {
            matrix_product: words as u64 * (rows * (cols + 3)) as u64,
            moved: words as u64 * (cols + outputs) as u64,
            ..Self::default()
        }
    }

    /// Residues of weights or of a periodic plaintext.
    pub(crate) fn residues(count: usize) -> Self {
        Self {
            residue: count as u64,
            ..Self::default()
        }
    }

    /// A pass over limbs: per word so many products, reads and writes.
    pub(crate) fn pass(words: usize, products: u64, moved: u64) -> Self {
        Self {
            product: words as u64 * products,
            moved: words as u64 * moved,
            ..Self::default()
        }
    }

    /// From slots to coefficients or back.
    pub(crate) fn embedding(slots: usize) -> Self {
        let log = slots.max(1).ilog2();
        Self {
            embedding: butterflies(log),
            ..Self::default()
        }
    }

    /// An automorphism of a limb.
    pub(crate) fn permuted(words: usize) -> Self {
        Self {
            permuted: words as u64,
            ..Self::default()
        }
    }
}

/// Butterflies of a transform of `2^log_n` words.
fn butterflies(log_n: u32) -> u64 {
    (1u64 << log_n) / 2 * u64::from(log_n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up_by_field_and_saturate() {
        let a = Work::forward(3) + Work::conversion(4, 2, 3) * 2 + Work::permuted(7);
        let expected = Work {
            forward: 12,
            conversion: 2 * 4 * (3 * 4 + 4),
            permuted: 7,
            ..Work::default()
        };
        assert_eq!(a, expected);
        assert_eq!((a * u64::MAX).permuted, u64::MAX);
        assert_eq!([a, a].into_iter().sum::<Work>(), a * 2);
    }

    #[test]
    fn arrays_keep_the_order_of_the_fields() {
        let numbers: [u64; PRIMITIVES] = std::array::from_fn(|i| i as u64 + 1);
        let work = Work::from_array(numbers);
        assert_eq!(work.to_array(), numbers);
        assert_eq!((work.forward, work.diagonal_byte), (1, 12));
        assert_eq!(Work::NAMES[7], "words moved");
        assert_eq!(work.moved, 8);
    }
}
