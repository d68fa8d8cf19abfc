//! The canonical embedding as a product of few sparse matrices.
//!
//! A polynomial of 2n coefficients has n slots; with `c_k = m_k + i m_(k+n)`, taken in bit-reversed order, the slots are
//! log2 n butterfly stages of c (see [`ckks_math::Embedding`]; slots at the powers of 5). A stage has two or three
//! diagonals; stages are merged into groups, and the bit reversal is left out on both ways (Chen, Chillotti, Song:
//! Improved bootstrapping for approximate homomorphic encryption, 2018, <https://eprint.iacr.org/2018/1043>; Cheon, Han,
//! Hhan: Faster homomorphic discrete Fourier transforms, 2018, <https://eprint.iacr.org/2018/1073>).

use super::{DiagonalMatrix, DiagonalPattern};
use num_complex::Complex64;
use std::f64::consts::PI;
use std::ops::RangeFrom;

/// What the transforms are made of: matrices, or their patterns alone.
pub(crate) trait Factor: Sized {
    /// Butterflies (x, y) -> (x + w y, x - w y) in blocks of `len`.
    fn stage(slots: usize, len: usize) -> Self;

    /// Butterflies (x, y) -> ((x + y) / 2, (x - y) / (2 w)).
    fn inverse_stage(slots: usize, len: usize) -> Self;

    /// Takes real parts followed by imaginary parts, `half` of each, to complex numbers, twice.
    fn join_halves(half: usize) -> Self;

    /// The product `self * first`: `first` is applied first.
    fn after(&self, first: &Self) -> Self;

    /// The matrix between two rotations: `rot_left(M rot_right(x))`, where `rot_k(x)_j = x_(j + k)`.
    fn turned(&self, left: i64, right: i64) -> Self;

    /// The same on twice as many entries, for vectors that repeat.
    fn repeated(&self) -> Self;

    /// All entries times `factor`.
    fn scale_assign(&mut self, factor: f64);

    /// The entries of some rows times `factor`, which has modulus 1.
    fn scale_rows_assign(&mut self, rows: RangeFrom<usize>, factor: Complex64);
}

/// Matrices, to be applied in order, that take the slots z of a polynomial to those of the polynomial whose coefficients
/// in bit-reversed order are z: values move from the slots into the coefficients.
///
/// # Panics
/// Unless `slots` is a power of two, at least 2, and `1 <= groups <= log2 slots`.
pub fn slots_to_coeffs(slots: usize, groups: usize) -> Vec<DiagonalMatrix> {
    let matrices = forward::<DiagonalMatrix>(slots, groups);
    matrices.into_iter().map(|(matrix, _)| matrix).collect()
}

/// The inverse of [`slots_to_coeffs`], again to be applied in order.
///
/// # Panics
/// As there.
pub fn coeffs_to_slots(slots: usize, groups: usize) -> Vec<DiagonalMatrix> {
    let matrices = backward::<DiagonalMatrix>(slots, groups);
    matrices.into_iter().map(|(matrix, _)| matrix).collect()
}

/// As [`slots_to_coeffs`], but for a rotation of the input that [`coeffs_to_slots_upwards`] makes up for: diagonals run
/// from 0 downwards instead of either way, so that giant steps at one distance reach them all and one baby step is free.
pub(crate) fn slots_to_coeffs_downwards<M: Factor>(slots: usize, groups: usize) -> Vec<M> {
    let matrices = forward::<M>(slots, groups);
    let mut turn: i64 = matrices.iter().map(|(_, reach)| reach).sum();
    let turned = matrices.into_iter().map(|(matrix, reach)| {
        let right = -turn;
        turn -= reach;
        matrix.turned(turn, right)
    });
    turned.collect()
}

/// As [`coeffs_to_slots`] with the output rotated, diagonals running from 0 upwards. Before or after
/// [`slots_to_coeffs_downwards`] it is the identity.
pub(crate) fn coeffs_to_slots_upwards<M: Factor>(slots: usize, groups: usize) -> Vec<M> {
    let mut turn = 0i64;
    let turned = backward::<M>(slots, groups)
        .into_iter()
        .map(|(matrix, reach)| {
            let right = -turn;
            turn += reach;
            matrix.turned(turn, right)
        });
    turned.collect()
}

fn forward<M: Factor>(slots: usize, groups: usize) -> Vec<(M, i64)> {
    merged(slots, groups, 1..slots.ilog2() + 1, M::stage)
}

fn backward<M: Factor>(slots: usize, groups: usize) -> Vec<(M, i64)> {
    merged(
        slots,
        groups,
        (1..slots.ilog2() + 1).rev(),
        M::inverse_stage,
    )
}

/// Products of consecutive stages, in `groups` groups as even as possible, larger ones first; and how far the diagonals
/// of each reach to either side.
fn merged<M: Factor>(
    slots: usize,
    groups: usize,
    mut logs: impl ExactSizeIterator<Item = u32>,
    stage: fn(usize, usize) -> M,
) -> Vec<(M, i64)> {
    let count = logs.len();
    assert!(
        slots >= 2 && slots.is_power_of_two() && (1..=count).contains(&groups),
        "{groups} groups of the transform of {slots} slots"
    );
    (0..groups)
        .map(|g| {
            let size = count / groups + usize::from(g < count % groups);
            let group = logs.by_ref().take(size).map(|log| {
                let len = 1 << log;
                (stage(slots, len), len as i64 / 2)
            });
            group
                .reduce(|(product, reach), (stage, half)| (stage.after(&product), reach + half))
                .expect("a group has a stage")
        })
        .collect()
}

/// `zeta^(5^j)` for j < len/2, zeta of order 4 len.
fn factors(len: usize) -> impl Iterator<Item = Complex64> {
    let order = 4 * len;
    let exponents = std::iter::successors(Some(1), move |e| Some(e * 5 % order));
    exponents
        .take(len / 2)
        .map(move |e| Complex64::from_polar(1.0, 2.0 * PI * e as f64 / order as f64))
}

impl Factor for DiagonalMatrix {
    fn stage(slots: usize, len: usize) -> Self {
        butterflies(slots, len, |w| [[1.0.into(), w], [1.0.into(), -w]])
    }

    fn inverse_stage(slots: usize, len: usize) -> Self {
        butterflies(slots, len, |w| {
            let w = 0.5 * w.conj();
            [[0.5.into(), 0.5.into()], [w, -w]]
        })
    }

    fn join_halves(half: usize) -> Self {
        let mut out = Self::new(2 * half);
        for (d, entries) in [
            (0, [Complex64::ONE, Complex64::I]),
            (half, [Complex64::I, Complex64::ONE]),
        ] {
            let diagonal = out.diagonal_mut(d as i64);
            for (part, entry) in diagonal.chunks_exact_mut(half).zip(entries) {
                part.fill(entry);
            }
        }
        out
    }

    fn after(&self, first: &Self) -> Self {
        self.after(first)
    }

    fn turned(&self, left: i64, right: i64) -> Self {
        self.turned(left, right)
    }

    fn repeated(&self) -> Self {
        self.repeated()
    }

    fn scale_assign(&mut self, factor: f64) {
        self.scale_assign(factor);
    }

    fn scale_rows_assign(&mut self, rows: RangeFrom<usize>, factor: Complex64) {
        self.scale_rows_assign(rows, factor);
    }
}

/// The pattern of products is the product of patterns, because no diagonal of the transforms vanishes.
impl Factor for DiagonalPattern {
    fn stage(slots: usize, len: usize) -> Self {
        let half = len / 2;
        Self {
            dim: slots,
            diagonals: [0, half, slots - half].into(),
            period: len,
        }
    }

    fn inverse_stage(slots: usize, len: usize) -> Self {
        Self::stage(slots, len)
    }

    fn join_halves(half: usize) -> Self {
        Self {
            dim: 2 * half,
            diagonals: [0, half].into(),
            period: 2 * half,
        }
    }

    fn after(&self, first: &Self) -> Self {
        let products = self
            .diagonals
            .iter()
            .flat_map(|a| first.diagonals.iter().map(move |b| (a + b) % self.dim));
        Self {
            dim: self.dim,
            diagonals: products.collect(),
            period: self.period.max(first.period),
        }
    }

    fn turned(&self, left: i64, right: i64) -> Self {
        let dim = self.dim as i64;
        let turned = |d: &usize| (*d as i64 + left + right).rem_euclid(dim) as usize;
        Self {
            diagonals: self.diagonals.iter().map(turned).collect(),
            ..*self
        }
    }

    fn repeated(&self) -> Self {
        let backwards = |d: usize| if 2 * d > self.dim { d + self.dim } else { d };
        Self {
            dim: 2 * self.dim,
            diagonals: self.diagonals.iter().map(|d| backwards(*d)).collect(),
            period: self.period,
        }
    }

    fn scale_assign(&mut self, _factor: f64) {}

    fn scale_rows_assign(&mut self, rows: RangeFrom<usize>, _factor: Complex64) {
        // From the middle on: what repeats does so no more.
        assert_eq!(2 * rows.start, self.dim, "rows of a second half");
        self.period = self.dim;
    }
}

fn butterflies(
    slots: usize,
    len: usize,
    entries: impl Fn(Complex64) -> [[Complex64; 2]; 2],
) -> DiagonalMatrix {
    let half = len / 2;
    let mut out = DiagonalMatrix::new(slots);
    for (k, w) in factors(len).enumerate() {
        let [upper, lower] = entries(w);
        for j in (k..slots).step_by(len) {
            out.diagonal_mut(0)[j] = upper[0];
            out.diagonal_mut(half as i64)[j] = upper[1];
            out.diagonal_mut(-(half as i64))[j + half] = lower[0];
            out.diagonal_mut(0)[j + half] = lower[1];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ckks_math::Embedding;

    #[test]
    fn factored_transforms_match_the_plain_transform() {
        for log in [1u32, 2, 5, 8] {
            let n = 1usize << log;
            let c: Vec<_> = (0..n)
                .map(|k| Complex64::new((k * 7 % 11) as f64 - 5.0, (k * 5 % 13) as f64))
                .collect();
            let mut coeffs = vec![0.0; 2 * n];
            for (j, z) in c.iter().enumerate() {
                let k = j.reverse_bits() >> (usize::BITS - log);
                (coeffs[k], coeffs[k + n]) = (z.re, z.im);
            }
            let mut slots = vec![Complex64::ZERO; n];
            Embedding::new(log + 1).coeffs_to_slots(&coeffs, &mut slots);
            for groups in 1..=log as usize {
                let apply = |matrices: Vec<DiagonalMatrix>, x: &[Complex64]| {
                    matrices.iter().fold(x.to_vec(), |x, m| m.apply(&x))
                };
                let close = |a: &[Complex64], b: &[Complex64]| {
                    a.iter().zip(b).all(|(x, y)| (x - y).norm() < 1e-11)
                };
                assert!(close(&apply(slots_to_coeffs(n, groups), &c), &slots));
                assert!(close(&apply(coeffs_to_slots(n, groups), &slots), &c));
            }
        }
    }

    #[test]
    fn one_sided_transforms_make_up_for_each_other() {
        let n = 256;
        let x: Vec<_> = (0..n)
            .map(|k| Complex64::new((k * 7 % 11) as f64 - 5.0, (k * 5 % 13) as f64))
            .collect();
        for (down, up) in [(1, 1), (2, 3), (3, 2), (8, 3)] {
            let down = slots_to_coeffs_downwards::<DiagonalMatrix>(n, down);
            let up = coeffs_to_slots_upwards::<DiagonalMatrix>(n, up);
            for (first, second) in [(&down, &up), (&up, &down)] {
                let y = first
                    .iter()
                    .chain(second)
                    .fold(x.clone(), |x, m| m.apply(&x));
                assert!(x.iter().zip(&y).all(|(x, y)| (x - y).norm() < 1e-10));
            }
        }
        // Diagonals on one side of 0.
        let [first, second, _] = &slots_to_coeffs_downwards::<DiagonalMatrix>(n, 3)[..] else {
            panic!("three matrices")
        };
        assert!(first.iter().all(|(d, _)| d == 0 || d >= n - 14));
        assert!(second.iter().all(|(d, _)| d == 0 || d >= n - 14 * 8));
        let [_, second, third] = &coeffs_to_slots_upwards::<DiagonalMatrix>(n, 3)[..] else {
            panic!("three matrices")
        };
        assert!(second.iter().all(|(d, _)| d <= 14 * 4));
        assert!(third.iter().all(|(d, _)| d <= 6));
    }

    #[test]
    fn groups_of_stages_have_few_diagonals() {
        let count =
            |m: &[DiagonalMatrix]| m.iter().map(DiagonalMatrix::diagonals).collect::<Vec<_>>();
        assert_eq!(count(&slots_to_coeffs(512, 3)), [15, 15, 8]);
        assert_eq!(count(&coeffs_to_slots(512, 3)), [8, 15, 15]);
    }
}
