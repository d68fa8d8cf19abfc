//! What a layer does, counted.

use std::collections::BTreeMap;

use ckks_scheme::Level;
use serde::{Deserialize, Serialize};

/// An operation whose cost depends on nothing but the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Op {
    /// A rescale of a ciphertext; the level is the one before.
    Rescale,
    /// A conjugation merged with a rescale; the level is the one before.
    ConjugateRescale,
    /// A conjugation by itself.
    Conjugate,
    /// Addition of a periodic plaintext.
    AddPlane,
    /// The tensor of a real packed square.
    SquareReal,
    /// The tensor of a complex packed square: two squares.
    SquareComplex,
    /// A relinearisation.
    Relinearize,
    /// The part of rotations that all rotations of one ciphertext share.
    Hoist,
    /// The rest of each rotation.
    HoistedRotation,
    /// A rotated inner sum: all but its last part, which a [`Op::GiantSum`] shares.
    GiantRotation,
    /// The shared last part of the rotated inner sums of one output.
    GiantSum,
    /// A rotation of a dense layer's sum over cells, whole.
    FoldRotation,
    /// A product in a polynomial, with relinearisation and rescale; the level is that of the polynomial's argument.
    PolynomialProduct,
    /// A refresh; the level is the one after.
    Refresh,
    /// A ciphertext lifted to join sums.
    Lift,
    /// A ciphertext times one number, added to another.
    ConstantTerm,
    /// A ciphertext times a mask, added to another.
    MaskedTerm,
    /// An accumulator read and written once.
    AccumulatorPass,
}

/// Numbers of operations by kind and level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpCounts(BTreeMap<(Op, Level), u64>);

impl OpCounts {
    /// Adds `count` operations at `level`.
    pub fn add(&mut self, op: Op, level: Level, count: usize) {
        if count > 0 {
            *self.0.entry((op, level)).or_default() += count as u64;
        }
    }

    /// Adds all of another count.
    pub fn extend(&mut self, other: &OpCounts) {
        for ((op, level), count) in other.iter() {
            *self.0.entry((op, level)).or_default() += count;
        }
    }

    /// Every operation and level with its number.
    pub fn iter(&self) -> impl Iterator<Item = ((Op, Level), u64)> + '_ {
        self.0.iter().map(|(key, count)| (*key, *count))
    }

    /// The number of operations of one kind over all levels.
    pub fn total(&self, op: Op) -> u64 {
        self.iter()
            .filter(|((o, _), _)| *o == op)
            .map(|(_, count)| count)
            .sum()
    }
}
