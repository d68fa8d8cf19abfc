//! Complex matrices given by their diagonals.

use super::Norms;
use num_complex::Complex64;
use std::collections::BTreeMap;
use std::ops::RangeFrom;

/// A square matrix by its diagonals: `(M x)_j = sum_d diagonal_d[j] x_((j + d) mod dim)`.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalMatrix {
    dim: usize,
    diagonals: BTreeMap<usize, Vec<Complex64>>,
}

impl DiagonalMatrix {
    /// The zero matrix.
    ///
    /// # Panics
    /// Unless `dim` is a power of two and at least 2.
    pub fn new(dim: usize) -> Self {
        assert!(dim.is_power_of_two() && dim >= 2, "dimension {dim}");
        Self {
            dim,
            diagonals: BTreeMap::new(),
        }
    }

    /// The matrix whose entry in row j and column k is `entry(j, k)`; diagonals of zeros are left out.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn from_entries(dim: usize, entry: impl Fn(usize, usize) -> Complex64) -> Self {
        let mut out = Self::new(dim);
        for d in 0..dim {
            let diagonal: Vec<_> = (0..dim).map(|j| entry(j, (j + d) % dim)).collect();
            if diagonal.iter().any(|z| *z != Complex64::ZERO) {
                out.diagonals.insert(d, diagonal);
            }
        }
        out
    }

    /// Number of rows and of columns.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of diagonals.
    pub fn diagonals(&self) -> usize {
        self.diagonals.len()
    }

    /// The diagonals, by their index in `0..dim`.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[Complex64])> {
        self.diagonals.iter().map(|(d, v)| (*d, v.as_slice()))
    }

    /// Diagonal `d` (modulo the dimension), to be written; zeros where it was absent.
    pub fn diagonal_mut(&mut self, d: i64) -> &mut [Complex64] {
        let (dim, d) = (self.dim, d.rem_euclid(self.dim as i64) as usize);
        self.diagonals
            .entry(d)
            .or_insert_with(|| vec![Complex64::ZERO; dim])
    }

    /// The matrix-vector product.
    ///
    /// # Panics
    /// Unless `x` has as many entries as the matrix has columns.
    pub fn apply(&self, x: &[Complex64]) -> Vec<Complex64> {
        assert_eq!(x.len(), self.dim, "entries of a vector");
        let mut out = vec![Complex64::ZERO; self.dim];
        for (d, diagonal) in self.iter() {
            let rotated = x[d..].iter().chain(&x[..d]);
            for ((o, w), x) in out.iter_mut().zip(diagonal).zip(rotated) {
                *o += w * x;
            }
        }
        out
    }

    /// The product `self * first`: `first` is applied first.
    ///
    /// # Panics
    /// If the dimensions differ.
    pub fn after(&self, first: &Self) -> Self {
        assert_eq!(self.dim, first.dim, "dimensions of a matrix product");
        let mut out = Self::new(self.dim);
        for (a, left) in self.iter() {
            for (b, right) in first.iter() {
                let rotated = right[a..].iter().chain(&right[..a]);
                let target = out.diagonal_mut((a + b) as i64);
                for ((o, l), r) in target.iter_mut().zip(left).zip(rotated) {
                    *o += l * r;
                }
            }
        }
        out
    }

    /// The matrix between two rotations: `rot_left(M rot_right(x))`, where `rot_k(x)_j = x_(j + k)`.
    pub(super) fn turned(&self, left: i64, right: i64) -> Self {
        let dim = self.dim as i64;
        let mut out = Self::new(self.dim);
        for (d, diagonal) in self.iter() {
            let target = out.diagonal_mut(d as i64 + left + right);
            target.copy_from_slice(diagonal);
            target.rotate_left(left.rem_euclid(dim) as usize);
        }
        out
    }

    /// The same on twice as many entries, for vectors that repeat.
    pub(crate) fn repeated(&self) -> Self {
        let mut out = Self::new(2 * self.dim);
        for (d, diagonal) in self.iter() {
            // What runs backwards goes on to do so.
            let d = d as i64;
            let signed = if 2 * d > self.dim as i64 {
                d - self.dim as i64
            } else {
                d
            };
            let target = out.diagonal_mut(signed);
            let (left, right) = target.split_at_mut(self.dim);
            left.copy_from_slice(diagonal);
            right.copy_from_slice(diagonal);
        }
        out
    }

    /// The entries of some rows times `factor`.
    pub(crate) fn scale_rows_assign(&mut self, rows: RangeFrom<usize>, factor: Complex64) {
        for diagonal in self.diagonals.values_mut() {
            diagonal[rows.clone()].iter_mut().for_each(|z| *z *= factor);
        }
    }

    /// All entries times `factor`.
    pub fn scale_assign(&mut self, factor: f64) {
        let entries = self.diagonals.values_mut().flatten();
        entries.for_each(|z| *z *= factor);
    }

    pub(super) fn norms(&self) -> Norms {
        let (mut l1, mut squares) = (vec![0.0; self.dim], vec![0.0; self.dim]);
        for (_, diagonal) in self.iter() {
            for ((l1, square), z) in l1.iter_mut().zip(&mut squares).zip(diagonal) {
                *l1 += z.norm();
                *square += z.norm_sqr();
            }
        }
        let largest = |v: &[f64]| v.iter().fold(0f64, |m, x| m.max(*x));
        Norms {
            l1: largest(&l1),
            l2: largest(&squares).sqrt(),
            mean_l2: (squares.iter().sum::<f64>() / self.dim as f64).sqrt(),
            diagonals: self.diagonals(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(dim: usize, shift: f64) -> DiagonalMatrix {
        DiagonalMatrix::from_entries(dim, |j, k| {
            Complex64::new((j * 3 + k) as f64 % 5.0 - shift, (j + 7 * k) as f64 % 3.0)
        })
    }

    #[test]
    fn products_match_entries() {
        let (a, b) = (example(8, 1.0), example(8, 2.0));
        let x: Vec<_> = (0..8).map(|j| Complex64::new(f64::from(j), 1.0)).collect();
        let once = a.apply(&b.apply(&x));
        for (p, q) in a.after(&b).apply(&x).iter().zip(&once) {
            assert!((p - q).norm() < 1e-9);
        }
        let row: Complex64 = (0..8)
            .map(|k| Complex64::new((9 + k) as f64 % 5.0 - 1.0, (3 + 7 * k) as f64 % 3.0) * x[k])
            .sum();
        assert!((a.apply(&x)[3] - row).norm() < 1e-12);
    }

    #[test]
    fn sparse_matrices_keep_few_diagonals() {
        let mut m = DiagonalMatrix::new(16);
        m.diagonal_mut(-1).fill(Complex64::ONE);
        m.diagonal_mut(17).fill(Complex64::I);
        assert_eq!(m.diagonals(), 2);
        let x: Vec<_> = (0..16).map(|j| Complex64::from(f64::from(j))).collect();
        assert_eq!(m.apply(&x)[0], Complex64::new(15.0, 1.0));
        m.scale_assign(0.5);
        assert_eq!(m.apply(&x)[0], Complex64::new(7.5, 0.5));
        assert!((m.norms().l2 - 0.5f64.sqrt()).abs() < 1e-12);
    }
}
