//! The canonical embedding as a product of few sparse matrices.
//!
//! A polynomial of 2n coefficients has n slots; with `c_k = m_k + i m_(k+n)`, taken in bit-reversed order, the slots are
//! log2 n butterfly stages of c (see [`ckks_math::Embedding`]; slots at the powers of 5). A stage has two or three
//! diagonals; stages are merged into groups, and the bit reversal is left out on both ways (Chen, Chillotti, Song:
//! Improved bootstrapping for approximate homomorphic encryption, 2018, <https://eprint.iacr.org/2018/1043>; Cheon, Han,
//! Hhan: Faster homomorphic discrete Fourier transforms, 2018, <https://eprint.iacr.org/2018/1073>).

use super::DiagonalMatrix;
use num_complex::Complex64;
use std::f64::consts::PI;

/// Matrices, to be applied in order, that take the slots z of a polynomial to those of the polynomial whose coefficients
/// in bit-reversed order are z: values move from the slots into the coefficients.
///
/// # Panics
/// Unless `slots` is a power of two, at least 2, and `1 <= groups <= log2 slots`.
pub fn slots_to_coeffs(slots: usize, groups: usize) -> Vec<DiagonalMatrix> {
    let matrices = forward(slots, groups);
    matrices.into_iter().map(|(matrix, _)| matrix).collect()
}

/// The inverse of [`slots_to_coeffs`], again to be applied in order.
///
/// # Panics
/// As there.
pub fn coeffs_to_slots(slots: usize, groups: usize) -> Vec<DiagonalMatrix> {
    let matrices = backward(slots, groups);
    matrices.into_iter().map(|(matrix, _)| matrix).collect()
}

/// As [`slots_to_coeffs`], but for a rotation of the input that [`coeffs_to_slots_upwards`] makes up for: diagonals run
/// from 0 downwards instead of either way, so that giant steps at one distance reach them all and one baby step is free.
pub(crate) fn slots_to_coeffs_downwards(slots: usize, groups: usize) -> Vec<DiagonalMatrix> {
    let matrices = forward(slots, groups);
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
pub(crate) fn coeffs_to_slots_upwards(slots: usize, groups: usize) -> Vec<DiagonalMatrix> {
    let mut turn = 0i64;
    let turned = backward(slots, groups).into_iter().map(|(matrix, reach)| {
        let right = -turn;
        turn += reach;
        matrix.turned(turn, right)
    });
    turned.collect()
}

fn forward(slots: usize, groups: usize) -> Vec<(DiagonalMatrix, i64)> {
    merged(slots, groups, 1..slots.ilog2() + 1, stage)
}

fn backward(slots: usize, groups: usize) -> Vec<(DiagonalMatrix, i64)> {
    merged(slots, groups, (1..slots.ilog2() + 1).rev(), inverse_stage)
}

/// Products of consecutive stages, in `groups` groups as even as possible, larger ones first; and how far the diagonals
/// of each reach to either side.
fn merged(
    slots: usize,
    groups: usize,
    mut logs: impl ExactSizeIterator<Item = u32>,
    stage: fn(usize, usize) -> DiagonalMatrix,
) -> Vec<(DiagonalMatrix, i64)> {
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

/// Butterflies (x, y) -> (x + w y, x - w y) in blocks of `len`.
fn stage(slots: usize, len: usize) -> DiagonalMatrix {
    butterflies(slots, len, |w| [[1.0.into(), w], [1.0.into(), -w]])
}

/// Butterflies (x, y) -> ((x + y) / 2, (x - y) / (2 w)).
fn inverse_stage(slots: usize, len: usize) -> DiagonalMatrix {
    butterflies(slots, len, |w| {
        let w = 0.5 * w.conj();
        [[0.5.into(), 0.5.into()], [w, -w]]
    })
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
            let down = slots_to_coeffs_downwards(n, down);
            let up = coeffs_to_slots_upwards(n, up);
            for (first, second) in [(&down, &up), (&up, &down)] {
                let y = first
                    .iter()
                    .chain(second)
                    .fold(x.clone(), |x, m| m.apply(&x));
                assert!(x.iter().zip(&y).all(|(x, y)| (x - y).norm() < 1e-10));
            }
        }
        // Diagonals on one side of 0.
        let [first, second, _] = &slots_to_coeffs_downwards(n, 3)[..] else {
            panic!("three matrices")
        };
        assert!(first.iter().all(|(d, _)| d == 0 || d >= n - 14));
        assert!(second.iter().all(|(d, _)| d == 0 || d >= n - 14 * 8));
        let [_, second, third] = &coeffs_to_slots_upwards(n, 3)[..] else {
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
