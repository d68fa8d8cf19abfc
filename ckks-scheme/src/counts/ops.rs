//! Operations without a key, and the matrix product.

use super::{Counts, Work};
use crate::ciphertext::Level;

/// Ciphertexts of two polynomials, where not said otherwise. The level is that of the operands.
impl Counts<'_> {
    /// [`Evaluator::zero`](crate::Evaluator::zero).
    pub fn zero(&self, level: Level) -> Work {
        self.pass(2 * level.limbs(), 0, 1)
    }

    /// [`Evaluator::copy_at_level`](crate::Evaluator::copy_at_level), to `level`.
    pub fn copy(&self, level: Level) -> Work {
        self.copied(2 * level.limbs())
    }

    /// [`Evaluator::add_assign`](crate::Evaluator::add_assign), and subtractions.
    pub fn add(&self, level: Level) -> Work {
        self.added(2 * level.limbs())
    }

    /// [`Evaluator::negate_assign`](crate::Evaluator::negate_assign).
    pub fn negate(&self, level: Level) -> Work {
        self.pass(2 * level.limbs(), 0, 2)
    }

    /// [`Evaluator::add_plain_assign`](crate::Evaluator::add_plain_assign), and subtractions.
    pub fn add_plain(&self, level: Level) -> Work {
        self.added(level.limbs())
    }

    /// [`Evaluator::add_const_assign`](crate::Evaluator::add_const_assign).
    pub fn add_const(&self, level: Level) -> Work {
        self.pass(level.limbs(), 0, 2)
    }

    /// [`Evaluator::add_periodic_assign`](crate::Evaluator::add_periodic_assign) of a plaintext of `cells` cells.
    pub fn add_periodic(&self, level: Level, cells: usize) -> Work {
        let words = 2 * cells;
        let limb = Work::residues(words)
            + Work::forward(words.max(1).ilog2())
            + Work::pass(self.words(), 0, 2);
        limb * level.limbs() as u64
    }

    /// [`Evaluator::add_scaled_assign`](crate::Evaluator::add_scaled_assign) of an addend of `parts` polynomials, at the
    /// level of the sum.
    pub fn add_scaled(&self, level: Level, parts: usize) -> Work {
        self.pass(parts * level.limbs(), 1, 3)
    }

    /// [`Evaluator::mul_const`](crate::Evaluator::mul_const).
    pub fn mul_const(&self, level: Level) -> Work {
        self.pass(2 * level.limbs(), 1, 2)
    }

    /// [`Evaluator::mul_i_assign`](crate::Evaluator::mul_i_assign).
    pub fn mul_i(&self, level: Level) -> Work {
        self.pass(2 * level.limbs(), 1, 2)
    }

    /// [`Evaluator::mul_plain`](crate::Evaluator::mul_plain).
    pub fn mul_plain(&self, level: Level) -> Work {
        self.pass(2 * level.limbs(), 1, 3)
    }

    /// [`Evaluator::mul`](crate::Evaluator::mul), not relinearised.
    pub fn mul(&self, level: Level) -> Work {
        self.pass(level.limbs(), 4, 7)
    }

    /// [`Evaluator::sum_of_products`](crate::Evaluator::sum_of_products) of `pairs` pairs, not relinearised.
    pub fn sum_of_products(&self, level: Level, pairs: usize) -> Work {
        let sums = self.added(3 * level.limbs()) * pairs.saturating_sub(1) as u64;
        self.mul(level) * pairs as u64 + sums
    }

    /// [`Evaluator::square`](crate::Evaluator::square), not relinearised.
    pub fn square(&self, level: Level) -> Work {
        self.pass(level.limbs(), 3, 5)
    }

    /// [`Evaluator::square_pair`](crate::Evaluator::square_pair), not relinearised.
    pub fn square_pair(&self, level: Level) -> Work {
        self.pass(level.limbs(), 8, 7)
    }

    /// [`Evaluator::rescale`](crate::Evaluator::rescale) of `parts` polynomials at `level`.
    pub fn rescale(&self, level: Level, parts: usize) -> Work {
        let below = level.limbs() - 1;
        let poly = self.inverse(1) + self.forward(below) + self.pass(below, 1, 3);
        poly * parts as u64
    }

    /// [`Evaluator::lift`](crate::Evaluator::lift) to `target`.
    pub fn lift(&self, target: Level) -> Work {
        self.pass(2 * (target.limbs() - 1), 1, 2) + self.pass(2, 0, 1)
    }

    /// [`Evaluator::matmul_accumulate`](crate::Evaluator::matmul_accumulate) of a [`crate::PeriodicMatrix`] of
    /// `rows x cols` weights of `cells` cells, `masked` of them not the same in all cells; `level` is that of the outputs.
    pub fn matmul(
        &self,
        level: Level,
        (rows, cols): (usize, usize),
        cells: usize,
        masked: usize,
    ) -> Work {
        if rows == 0 || cols == 0 {
            return Work::default();
        }
        let words = 2 * cells;
        let limb = Work::residues(rows * cols * words)
            + Work::forward(words.max(1).ilog2()) * masked as u64
            + Work::matrix_product(self.words(), rows, cols, true) * 2;
        limb * level.limbs() as u64
    }

    /// Encoding one weight of a [`crate::PeriodicMatrix`] that differs from cell to cell, and reading back what it was
    /// rounded to ([`crate::PeriodicMatrix::set_masked`]); not part of an evaluator's profile.
    pub fn encode_weight(&self, cells: usize) -> Work {
        Work::embedding(cells) * 2
    }

    pub(super) fn added(&self, limbs: usize) -> Work {
        self.pass(limbs, 0, 3)
    }

    pub(super) fn copied(&self, limbs: usize) -> Work {
        self.pass(limbs, 0, 2)
    }

    pub(super) fn permuted(&self, limbs: usize) -> Work {
        Work::permuted(self.words()) * limbs as u64
    }

    pub(super) fn pass(&self, limbs: usize, products: u64, moved: u64) -> Work {
        Work::pass(self.words(), products, moved) * limbs as u64
    }

    pub(super) fn forward(&self, limbs: usize) -> Work {
        Work::forward(self.chain().log_n()) * limbs as u64
    }

    pub(super) fn inverse(&self, limbs: usize) -> Work {
        Work::inverse(self.chain().log_n()) * limbs as u64
    }
}
