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

/// Primitive work of counted operations.
pub fn work(
    ops: &OpCounts,
    counts: &ckks_scheme::counts::Counts<'_>,
    key_level: &dyn Fn(Level) -> Level,
    cells: usize,
    refresh: ckks_scheme::counts::Work,
) -> ckks_scheme::counts::Work {
    let mut total = ckks_scheme::counts::Work::default();
    for ((op, level), count) in ops.iter() {
        let key = key_level(level);
        let one = match op {
            Op::Rescale => counts.rescale(level, 2),
            Op::ConjugateRescale => counts.conjugate_rescale(level, key),
            Op::Conjugate | Op::FoldRotation => counts.rotate(level, key),
            Op::AddPlane => counts.add_periodic(level, cells),
            Op::SquareReal => counts.square(level),
            Op::SquareComplex => counts.square_pair(level),
            Op::Relinearize => counts.relinearize(level, key),
            Op::Hoist => counts.mod_up(level, key),
            Op::HoistedRotation => counts.hoisted_rotation(level, key),
            Op::GiantRotation => counts.mod_up(level, key) + counts.inner_product(level, key),
            Op::GiantSum => counts.mod_down(level, key, 0) * 2,
            Op::PolynomialProduct => counts.mul(level) + counts.relinearize_rescale(level, key),
            Op::Refresh => refresh,
            Op::Lift => counts.lift(level),
            Op::ConstantTerm => counts.matmul(level, (1, 64), cells, 0),
            Op::MaskedTerm => counts.matmul(level, (1, 64), cells, 64),
            Op::AccumulatorPass => counts.add(level),
        };
        let one = match op {
            Op::ConstantTerm | Op::MaskedTerm => {
                let mut array = one.to_array();
                array.iter_mut().for_each(|a| *a /= 64);
                ckks_scheme::counts::Work::from_array(array)
            }
            _ => one,
        };
        total += one * count;
    }
    total
}

/// Most limbs that a thread holds during a counted operation beside the ciphertexts that programs count.
pub fn temporary_limbs(
    ops: &OpCounts,
    chain: &ckks_scheme::ModulusChain,
    key_level: &dyn Fn(Level) -> Level,
) -> usize {
    let one = |op: Op, level: Level| {
        let shape = chain.key_shape(key_level(level));
        let l = level.limbs();
        let extended = l + shape.specials;
        let digits = l.div_ceil(shape.digit_limbs) * extended;
        let inner_product = 2 * extended;
        match op {
            Op::Rescale => 2 * l,
            Op::ConjugateRescale | Op::Conjugate => 2 * l + digits + inner_product + l,
            Op::SquareReal => 5 * l,
            Op::SquareComplex => 7 * l,
            Op::Relinearize | Op::PolynomialProduct => 2 * l + digits + inner_product,
            Op::Hoist | Op::HoistedRotation | Op::FoldRotation => {
                2 * l + digits + inner_product + l
            }
            Op::GiantRotation => l + digits + 2 * inner_product,
            Op::GiantSum => 2 * l + inner_product + 2 * l,
            Op::AddPlane
            | Op::Lift
            | Op::ConstantTerm
            | Op::MaskedTerm
            | Op::AccumulatorPass
            | Op::Refresh => 2,
        }
    };
    ops.iter()
        .map(|((op, level), _)| one(op, level))
        .max()
        .unwrap_or(0)
}
