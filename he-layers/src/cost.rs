//! What a program does, counted; and what that costs: primitive work, and temporaries in the limb pool.

use std::collections::BTreeMap;

use ckks_scheme::counts::{Counts, Work};
use ckks_scheme::{Chebyshev, Level, ModulusChain, PeriodicMatrix};

use crate::rounding::period;

/// An operation of an evaluator whose work depends on its level and the numbers that it holds. The level is that of the
/// operands, where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// A ciphertext of zeros.
    Zero,
    /// A copy; the level is that of the copy.
    Copy,
    /// A ciphertext added to another, or taken off.
    Add,
    /// A periodic plaintext added.
    AddPlane,
    /// A constant added.
    AddConst,
    /// A multiple of a ciphertext added to another; the level is that of the sum.
    AddScaled,
    /// A product with a constant.
    MulConst,
    /// A product with the imaginary unit.
    MulI,
    /// A ciphertext lifted to join sums; the level is that of the sums.
    Lift,
    /// The tensor of two ciphertexts.
    Multiply,
    /// The tensor of a ciphertext with itself.
    Square,
    /// The tensor of a complex packed square: two squares.
    SquareComplex,
    /// A rescale.
    Rescale,
    /// A relinearisation.
    Relinearize,
    /// A relinearisation merged with a rescale.
    RelinearizeRescale,
    /// A conjugation.
    Conjugate,
    /// A conjugation merged with a rescale.
    ConjugateRescale,
    /// The part of rotations that all rotations of one ciphertext share.
    Hoist,
    /// The rest of each rotation.
    HoistedRotation,
    /// A rotation of a dense layer's sum over cells, whole.
    FoldRotation,
    /// The sum of `rotated` rotations of ciphertexts and of `others` as they are, with one division by the special primes.
    RotatedSum {
        /// Ciphertexts that are rotated.
        rotated: usize,
        /// Ciphertexts that are not.
        others: usize,
    },
    /// A matrix product of ciphertexts with periodic weights, added to its outputs; the level is that of the outputs.
    Product {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
        /// Weights that differ from cell to cell.
        masked: usize,
    },
    /// A refresh; the level is the one after.
    Refresh,
}

/// Numbers of operations by kind and level.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpCounts {
    ops: BTreeMap<(Op, Level), u64>,
    /// Polynomials of ciphertexts, with the level of the argument.
    polynomials: Vec<(Chebyshev, Level, u64)>,
}

impl OpCounts {
    /// Adds `count` operations at `level`.
    pub fn add(&mut self, op: Op, level: Level, count: usize) {
        if count > 0 {
            *self.ops.entry((op, level)).or_default() += count as u64;
        }
    }

    /// Adds `count` evaluations of a polynomial on ciphertexts at `level`.
    pub fn add_polynomial(&mut self, p: &Chebyshev, level: Level, count: usize) {
        self.add_polynomials(p, level, count as u64);
    }

    fn add_polynomials(&mut self, p: &Chebyshev, level: Level, count: u64) {
        let same = |(q, at, _): &&mut (Chebyshev, Level, u64)| *at == level && q == p;
        match self.polynomials.iter_mut().find(same) {
            Some((_, _, sum)) => *sum += count,
            None if count > 0 => self.polynomials.push((p.clone(), level, count)),
            None => {}
        }
    }

    /// Adds all of another count.
    pub fn extend(&mut self, other: &OpCounts) {
        self.extend_times(other, 1);
    }

    /// Adds all of another count `times` times.
    pub fn extend_times(&mut self, other: &OpCounts, times: usize) {
        let times = times as u64;
        for ((op, level), count) in other.iter().filter(|_| times > 0) {
            *self.ops.entry((op, level)).or_default() += count * times;
        }
        for (p, level, count) in &other.polynomials {
            self.add_polynomials(p, *level, count * times);
        }
    }

    /// Adds `part` of `whole` equal parts of another count.
    pub(crate) fn extend_part(&mut self, other: &OpCounts, part: usize, whole: usize) {
        let of = |count: u64| (count * part as u64).div_ceil(whole as u64);
        for ((op, level), count) in other.iter().filter(|_| part > 0) {
            *self.ops.entry((op, level)).or_default() += of(count);
        }
        for (p, level, count) in &other.polynomials {
            self.add_polynomials(p, *level, of(*count));
        }
    }

    /// Every operation and level with its number.
    pub fn iter(&self) -> impl Iterator<Item = ((Op, Level), u64)> + '_ {
        self.ops.iter().map(|(key, count)| (*key, *count))
    }

    /// Every polynomial and the level of its argument, with its number.
    pub fn polynomials(&self) -> impl Iterator<Item = (&Chebyshev, Level, u64)> + '_ {
        self.polynomials.iter().map(|(p, level, n)| (p, *level, *n))
    }

    /// The number of operations of one kind over all levels.
    pub fn total(&self, op: Op) -> u64 {
        let of_kind = self.iter().filter(|((o, _), _)| *o == op);
        of_kind.map(|(_, count)| count).sum()
    }

    /// Rotations by other steps than zero, those of folds and of inner sums included.
    pub fn rotations(&self) -> u64 {
        let one = |op: Op| {
            if let Op::RotatedSum { rotated, .. } = op {
                rotated as u64
            } else {
                u64::from(matches!(op, Op::HoistedRotation | Op::FoldRotation))
            }
        };
        self.iter().map(|((op, _), count)| one(op) * count).sum()
    }
}

/// Primitive work of counted operations, for weights and planes of `cells` cells: what an evaluator's
/// [`Profile`](ckks_scheme::Profile) counts while a program runs. `key_level` gives the level of the key that serves an
/// operation at a level, `refresh` is the work of one refresh by the level that it gives.
///
/// The numbers are equal where a step takes at least half as many ciphertexts at a time as there are threads. With more
/// threads, rotations of one ciphertext are shared out, and each share takes an [`Op::Hoist`] of its own. Copies that a stage
/// makes of a ciphertext that other readers need are counted neither here nor there. Sparse weights that happen to be the same
/// number in all cells count as weights that differ: a transform too much each.
pub fn work(
    ops: &OpCounts,
    counts: &Counts<'_>,
    key_level: &dyn Fn(Level) -> Level,
    cells: usize,
    refresh: &dyn Fn(Level) -> Work,
) -> Work {
    let cells = period(cells);
    let one = |op: Op, level: Level| {
        let key = key_level(level);
        match op {
            Op::Zero => counts.zero(level),
            Op::Copy => counts.copy(level),
            Op::Add => counts.add(level),
            Op::AddPlane => counts.add_periodic(level, cells),
            Op::AddConst => counts.add_const(level),
            Op::AddScaled => counts.add_scaled(level, 2),
            Op::MulConst => counts.mul_const(level),
            Op::MulI => counts.mul_i(level),
            Op::Lift => counts.lift(level),
            Op::Multiply => counts.mul(level),
            Op::Square => counts.square(level),
            Op::SquareComplex => counts.square_pair(level),
            Op::Rescale => counts.rescale(level, 2),
            Op::Relinearize => counts.relinearize(level, key),
            Op::RelinearizeRescale => counts.relinearize_rescale(level, key),
            Op::Conjugate | Op::FoldRotation => counts.rotate(level, key),
            Op::ConjugateRescale => counts.conjugate_rescale(level, key),
            Op::Hoist => counts.mod_up(level, key),
            Op::HoistedRotation => counts.hoisted_rotation(level, key),
            Op::RotatedSum { rotated, others } => {
                counts.rotate_sum(level, key, rotated as u64, others as u64)
            }
            Op::Product { rows, cols, masked } => counts.matmul(level, (rows, cols), cells, masked),
            Op::Refresh => refresh(level),
        }
    };
    let ops_work: Work = ops.iter().map(|((op, level), n)| one(op, level) * n).sum();
    let polynomials = ops.polynomials();
    let polynomials: Work = polynomials
        .map(|(p, level, n)| counts.polynomial(p, level, key_level) * n)
        .sum();
    ops_work + polynomials
}

/// Work of rounding the weights of counted products, which no evaluator's profile has: two embeddings for each weight that
/// differs from cell to cell.
pub fn encoding_work(ops: &OpCounts, counts: &Counts<'_>, cells: usize) -> Work {
    let masked = |op: Op| {
        if let Op::Product { masked, .. } = op {
            masked as u64
        } else {
            0
        }
    };
    let weights: u64 = ops.iter().map(|((op, _), n)| masked(op) * n).sum();
    counts.encode_weight(period(cells)) * weights
}

/// Most limbs that a thread holds during a counted operation beside the ciphertexts that programs and stages count.
pub fn temporary_limbs(
    ops: &OpCounts,
    chain: &ModulusChain,
    key_level: &dyn Fn(Level) -> Level,
) -> usize {
    let polynomial = |(_, level, _): (&Chebyshev, Level, u64)| {
        // Products in a polynomial are relinearised and rescaled.
        one_temporary(Op::RelinearizeRescale, level, chain, key_level)
    };
    let polynomials = ops.polynomials().map(polynomial);
    ops.iter()
        .map(|((op, level), _)| one_temporary(op, level, chain, key_level))
        .chain(polynomials)
        .max()
        .unwrap_or(0)
}

/// Most bytes that the weights of counted products take beside the limb pool, in `threads` threads and for `cells` cells: a
/// thread makes residues for one product at a time, and while it waits for another one it can begin a second product.
pub fn weight_bytes(ops: &OpCounts, cells: usize, threads: usize) -> usize {
    let cells = period(cells);
    let of_thread = |((op, _), _): ((Op, Level), u64)| {
        let Op::Product { rows, cols, masked } = op else {
            return 0;
        };
        let weights = PeriodicMatrix::bytes_of(rows, cols, cells, masked);
        2 * weights + PeriodicMatrix::residue_bytes_of(rows, cols, cells)
    };
    let most = ops.iter().map(of_thread).max().unwrap_or(0);
    threads.saturating_mul(most)
}

fn one_temporary(
    op: Op,
    level: Level,
    chain: &ModulusChain,
    key_level: &dyn Fn(Level) -> Level,
) -> usize {
    let shape = chain.key_shape(key_level(level));
    let l = level.limbs();
    let extended = l + shape.specials;
    // The limbs of a digit that are the polynomial's own are not stored again; while a digit is made its coefficients are.
    let digits = l.div_ceil(shape.digit_limbs) * extended - l + shape.digit_limbs.min(l);
    let inner_product = 2 * extended;
    match op {
        Op::Square | Op::Multiply => 3 * l,
        Op::SquareComplex => 3 * l,
        Op::Rescale => 2 * l,
        // The tensor, and the result.
        Op::Relinearize | Op::RelinearizeRescale => 3 * l + digits + inner_product,
        Op::Conjugate | Op::ConjugateRescale | Op::FoldRotation => 2 * l + digits + inner_product,
        Op::Hoist | Op::HoistedRotation => l + digits + inner_product,
        // The result, the sum of the rotations before, and the one in work.
        Op::RotatedSum { .. } => 2 * l + digits + 2 * inner_product,
        Op::Zero | Op::Copy | Op::MulConst => 2 * l,
        Op::Add
        | Op::AddPlane
        | Op::AddConst
        | Op::AddScaled
        | Op::MulI
        | Op::Lift
        | Op::Product { .. }
        | Op::Refresh => 2,
    }
}
