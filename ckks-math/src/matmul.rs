//! Weights of the RNS matrix product: integer matrices whose entries are constants or periodic
//! polynomials, and their residues modulo one prime.

use std::sync::Arc;

use crate::kernel::LimbOps;
use crate::ntt::LimbRing;

/// One entry of a [`WeightMatrix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Zero,
    Scalar(i64),
    /// Index of a polynomial among those of the matrix.
    Poly(usize),
}

/// A matrix of integer weights. An entry is zero, one integer, or a polynomial in `X^(N/n)` of
/// `n = 2^log_block_degree` integer coefficients, that is, in evaluation order, a vector that is
/// constant on `n` blocks of `N/n` words. Independent of ring degree and modulus.
#[derive(Clone, Debug)]
pub struct WeightMatrix {
    rows: usize,
    cols: usize,
    log_block_degree: u32,
    entries: Vec<Entry>,
    coefficients: Vec<i64>,
}

impl WeightMatrix {
    /// A zero matrix; its polynomials will have `2^log_block_degree` coefficients.
    pub fn new(rows: usize, cols: usize, log_block_degree: u32) -> Self {
        Self {
            rows,
            cols,
            log_block_degree,
            entries: vec![Entry::Zero; rows * cols],
            coefficients: Vec::new(),
        }
    }

    fn index(&self, row: usize, col: usize) -> usize {
        assert!(
            row < self.rows && col < self.cols,
            "entry ({row}, {col}) of a {} x {} matrix",
            self.rows,
            self.cols
        );
        row * self.cols + col
    }

    /// Sets an entry to one integer.
    pub fn set_scalar(&mut self, row: usize, col: usize, value: i64) {
        let index = self.index(row, col);
        self.entries[index] = if value == 0 {
            Entry::Zero
        } else {
            Entry::Scalar(value)
        };
    }

    /// Sets an entry to a polynomial of `2^log_block_degree` coefficients.
    pub fn set_poly(&mut self, row: usize, col: usize, coefficients: &[i64]) {
        let n = 1usize << self.log_block_degree;
        assert_eq!(
            coefficients.len(),
            n,
            "coefficients of a periodic polynomial"
        );
        let index = self.index(row, col);
        let slot = if let Entry::Poly(slot) = self.entries[index] {
            slot
        } else {
            let slot = self.coefficients.len() / n;
            self.coefficients.resize(self.coefficients.len() + n, 0);
            self.entries[index] = Entry::Poly(slot);
            slot
        };
        self.coefficients[slot * n..][..n].copy_from_slice(coefficients);
    }

    /// Number of rows: outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Base-2 logarithm of the number of blocks.
    pub fn log_block_degree(&self) -> u32 {
        self.log_block_degree
    }

    /// Number of entries that are not zero.
    pub fn nonzeros(&self) -> usize {
        self.entries
            .iter()
            .filter(|&&entry| entry != Entry::Zero)
            .count()
    }

    /// Number of entries that are polynomials.
    pub fn polys(&self) -> usize {
        let poly = |entry: &&Entry| matches!(entry, Entry::Poly(_));
        self.entries.iter().filter(poly).count()
    }

    /// Bytes on the heap of a matrix with `polys` polynomials that was [shrunk](Self::shrink_to_fit).
    pub fn bytes_of(rows: usize, cols: usize, log_block_degree: u32, polys: usize) -> usize {
        rows * cols * size_of::<Entry>() + (polys << log_block_degree) * size_of::<i64>()
    }

    /// Gives memory back that is not in use.
    pub fn shrink_to_fit(&mut self) {
        self.entries.shrink_to_fit();
        self.coefficients.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.coefficients.capacity() * size_of::<i64>()
    }
}

/// The residues of a [`WeightMatrix`] modulo one prime, `[block][row][column]`, in the form that the
/// ring's kernel reads. Made to be generated limb by limb into the same buffer.
#[derive(Clone, Debug, Default)]
pub struct ResidueMatrix {
    rows: usize,
    cols: usize,
    blocks: usize,
    weights: Vec<u64>,
    scratch: Vec<u64>,
    made_for: Option<Arc<dyn LimbOps>>,
}

/// Entries whose residues are generated together: a cache line of every block.
const TOGETHER: usize = 8;

impl ResidueMatrix {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills the buffer with the residues of `weights` for `ring`; `sub` is
    /// `ring.subring(weights.log_block_degree())`.
    ///
    /// # Panics
    /// If `sub` is not that ring.
    pub fn generate(&mut self, ring: &LimbRing, sub: &LimbRing, weights: &WeightMatrix) {
        let q = ring.modulus();
        assert!(
            sub.log_n() == weights.log_block_degree && sub.log_n() <= ring.log_n(),
            "degree of the subring"
        );
        let root = q.pow(ring.psi(), 1 << (ring.log_n() - sub.log_n()));
        assert!(
            sub.modulus() == q && sub.psi() == root,
            "a ring and its subring"
        );

        let n = sub.degree();
        (self.rows, self.cols, self.blocks) = (weights.rows, weights.cols, n);
        let stride = weights.rows * weights.cols;
        self.weights.resize(stride * n, 0);
        self.scratch.resize(TOGETHER * n, 0);
        for (group, entries) in weights.entries.chunks(TOGETHER).enumerate() {
            for (residues, &entry) in self.scratch.chunks_exact_mut(n).zip(entries) {
                match entry {
                    Entry::Zero => residues.fill(0),
                    Entry::Scalar(value) => residues.fill(q.from_i64(value)),
                    Entry::Poly(slot) => {
                        sub.reduce_signed_into(residues, &weights.coefficients[slot * n..][..n]);
                        sub.ntt(residues);
                    }
                }
            }
            ring.ops()
                .prepare_weights(&mut self.scratch[..entries.len() * n]);
            let first = group * TOGETHER;
            for (block, row) in self.weights.chunks_exact_mut(stride).enumerate() {
                for (word, residues) in row[first..]
                    .iter_mut()
                    .zip(self.scratch[..entries.len() * n].chunks_exact(n))
                {
                    *word = residues[block];
                }
            }
        }
        self.made_for = Some(ring.ops().clone());
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        (self.weights.capacity() + self.scratch.capacity()) * size_of::<u64>()
    }

    pub(crate) fn weights(&self) -> &[u64] {
        &self.weights
    }

    pub(crate) fn assert_made_for(&self, ring: &LimbRing) {
        let same = self.made_for.as_ref().is_some_and(|ops| {
            ops.modulus() == ring.modulus() && ops.kernel_name() == ring.kernel_name()
        });
        assert!(
            same && self.blocks <= ring.degree(),
            "residues generated for another ring"
        );
    }
}
