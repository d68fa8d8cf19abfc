//! Linear transforms and polynomials.

use super::{Counts, Work};
use crate::ciphertext::Level;
use crate::linear::TransformPlan;
use crate::poly_eval::{Basis, Chebyshev, Composite, PolyStep, visit_steps};
use ckks_math::kernel::MAX_DOT_TERMS;
use num_complex::Complex64;

/// # Panics
/// Unless the chain has the levels.
impl Counts<'_> {
    /// [`Evaluator::linear_transform`](crate::Evaluator::linear_transform), or with a rescale at the end
    /// [`Evaluator::linear_transform_rescale`](crate::Evaluator::linear_transform_rescale); the same of a raised ciphertext.
    pub fn linear_transform(&self, t: &TransformPlan, rescale: bool) -> Work {
        let (level, shape) = (t.level(), self.chain().key_shape(t.level()));
        let (limbs, extended) = (level.limbs(), level.limbs() + shape.specials);
        let slots = self.chain().slots() as i64;
        let rotated = t.babies().iter().filter(|s| *s % slots != 0).count();
        let unrotated = (t.babies().len() - rotated) as u64;
        let mut work = Work::default();
        // Baby steps, times the special primes.
        work += self.permuted(2 * extended) * rotated as u64;
        if t.ephemeral().is_some() {
            let shape = shape.of_one_digit(level);
            let switched = self.inner_product_for(level, shape) + self.times_specials(limbs);
            work += switched * t.babies().len() as u64;
        } else {
            if rotated > 0 {
                work += self.mod_up_for(level, shape);
            }
            let switched = self.inner_product_for(level, shape) + self.times_specials(limbs);
            work += switched * rotated as u64;
            let copied = self.pass(2 * limbs, 1, 2) + self.pass(2 * shape.specials, 0, 1);
            work += copied * unrotated;
        }
        // Sums of diagonals times baby steps, both halves.
        let sums = match t.period() {
            Some(period) => {
                let (rows, cols, blocks) = (t.rows().len(), t.babies().len(), 2 * period);
                Work::residues(rows * cols * blocks)
                    + Work::forward(blocks.ilog2()) * t.diagonals() as u64
                    + Work::matrix_product(self.words(), rows, cols, false) * 2
            }
            None => t.rows().iter().map(|n| self.diagonal_sum(*n)).sum::<Work>() * 2,
        };
        work += sums * extended as u64;
        // Giant steps.
        let giant = self.mod_down_for(level, shape, 0)
            + self.mod_up_for(level, shape)
            + self.inner_product_for(level, shape)
            + self.added(3 * extended)
            + self.permuted(2 * extended);
        work += giant * t.giants().len() as u64;
        work + self.mod_down_for(level, shape, usize::from(rescale)) * 2
    }

    /// A product that is doubled while it is formed.
    pub(crate) fn double(&self, product: Work, level: Level) -> Work {
        product + self.pass(3 * level.limbs(), 1, 2)
    }

    /// One limb of a sum of products with whole diagonals: as many at once as the kernels sum up.
    fn diagonal_sum(&self, terms: usize) -> Work {
        let mut work = Work::default();
        for first in (0..terms).step_by(MAX_DOT_TERMS) {
            let count = MAX_DOT_TERMS.min(terms - first);
            work += Work::dot_with_diagonals(self.words(), count);
            if first > 0 {
                work += self.added(1);
            }
        }
        work
    }

    /// [`Evaluator::polynomial`](crate::Evaluator::polynomial) of a ciphertext at `level`; `key` gives the level of the
    /// relinearisation key that serves a level.
    pub fn polynomial(&self, p: &Chebyshev, level: Level, key: impl Fn(Level) -> Level) -> Work {
        let mut work = self.copy(level);
        if p.is_shifted() {
            work += self.add_const(level);
        }
        let coeffs = p.complex_coeffs();
        let (sum, _) = self.combination(Basis::Chebyshev, &coeffs, level, key);
        work + sum
    }

    /// A combination of the members of a basis, and the level of the result.
    pub(crate) fn combination(
        &self,
        basis: Basis,
        coeffs: &[Complex64],
        level: Level,
        key: impl Fn(Level) -> Level,
    ) -> (Work, Level) {
        let mut work = Work::default();
        let level = visit_steps(basis, coeffs, level, |step| {
            work += match step {
                PolyStep::Zero(at) => self.zero(at),
                PolyStep::AddScaled(at, parts) => self.add_scaled(at, parts),
                PolyStep::AddConst(at) => self.add_const(at),
                PolyStep::Product { at, same, doubled } => {
                    let product = if same { self.square(at) } else { self.mul(at) };
                    if doubled {
                        self.double(product, at)
                    } else {
                        product
                    }
                }
                PolyStep::RelinearizeRescale(at) => self.relinearize_rescale(at, key(at)),
                PolyStep::Rescale(at) => self.rescale(at, 2),
            };
        });
        (work, level)
    }

    /// [`Evaluator::composite`](crate::Evaluator::composite).
    pub fn composite(&self, p: &Composite, level: Level, key: impl Fn(Level) -> Level) -> Work {
        let mut level = level.limbs();
        let mut work = Work::default();
        for component in p.components() {
            work += self.polynomial(component, Level::new(level), &key);
            level -= component.depth();
        }
        work
    }
}
