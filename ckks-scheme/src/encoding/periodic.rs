//! Plaintexts whose slots repeat with a period of G cells: slot j has the value of cell j mod G.
//!
//! They are the polynomials in X^(N/(2G)), so 2G coefficients hold one, and in bit-reversed Eval order it is constant
//! on blocks of N/(2G) words. A matrix of such plaintexts is therefore, limb by limb and block by block, a matrix of
//! scalars ([`PeriodicMatrix`]).

use crate::ciphertext::Scale;
use crate::counts::Work;
use crate::encoding::check_fits;
use crate::error::EncodeError;
use crate::noise::Tracked;
use ckks_math::{Embedding, WeightMatrix};
use num_complex::Complex64;

/// Least number of cells, and base-2 logarithm of the most: the slots of the largest ring.
const MIN_CELLS: usize = 2;
const MAX_LOG_CELLS: u32 = 16;

fn log_cells(cells: usize) -> Result<u32, EncodeError> {
    if !cells.is_power_of_two() || !(MIN_CELLS..=1 << MAX_LOG_CELLS).contains(&cells) {
        return Err(EncodeError::Period {
            found: cells,
            max: 1 << MAX_LOG_CELLS,
        });
    }
    Ok(cells.trailing_zeros())
}

/// Coefficients (2G, unrounded) of the periodic plaintext with these cells.
fn coefficients(cells: &[Complex64]) -> Result<Vec<f64>, EncodeError> {
    let log_g = log_cells(cells.len())?;
    for (slot, z) in cells.iter().enumerate() {
        if !(z.re.is_finite() && z.im.is_finite()) {
            return Err(EncodeError::NotFinite {
                slot,
                value: z.re + z.im,
            });
        }
    }
    let mut out = vec![0.0; 2 * cells.len()];
    Embedding::new(log_g + 1).slots_to_coeffs(cells, &mut out);
    Ok(out)
}

/// Rounded integer coefficients (2G) of a periodic plaintext at `scale`.
///
/// # Errors
/// [`EncodeError::Period`], [`EncodeError::NotFinite`], or [`EncodeError::TooLarge`] beyond 2^120.
pub fn encode_periodic(cells: &[Complex64], scale: f64) -> Result<Vec<i128>, EncodeError> {
    let coeffs = coefficients(cells)?;
    check_fits(&coeffs, scale, f64::INFINITY)?;
    Ok(coeffs.iter().map(|c| (c * scale).round() as i128).collect())
}

/// Rounded coefficients (2G) of real cells with p_k = -p_(2G-k) exactly, so that the rounded plaintext is real too.
///
/// # Errors
/// As [`encode_periodic`]; the limit is 2^62.
pub fn round_periodic_real(cells: &[f64], scale: f64) -> Result<Vec<i64>, EncodeError> {
    PeriodicCodec::new(cells.len())?.round_real(cells, scale)
}

/// The cells (G) that rounded coefficients (2G) stand for.
///
/// # Errors
/// [`EncodeError::Period`], [`EncodeError::SlotCount`] for an odd number of coefficients.
pub fn decode_periodic(coeffs: &[i64], scale: f64) -> Result<Vec<Complex64>, EncodeError> {
    let codec = PeriodicCodec::new(coeffs.len() / 2)?;
    if !coeffs.len().is_multiple_of(2) {
        return Err(EncodeError::SlotCount {
            found: coeffs.len(),
            expected: 2 * codec.cells,
        });
    }
    Ok(codec.decode(coeffs, scale))
}

/// The transform of one period, to encode many plaintexts of it.
#[derive(Clone, Debug)]
pub struct PeriodicCodec {
    cells: usize,
    embedding: Embedding,
}

impl PeriodicCodec {
    /// For periods of `cells` cells.
    ///
    /// # Errors
    /// [`EncodeError::Period`].
    pub fn new(cells: usize) -> Result<Self, EncodeError> {
        Ok(Self {
            cells,
            embedding: Embedding::new(log_cells(cells)? + 1),
        })
    }

    /// As [`round_periodic_real`].
    ///
    /// # Errors
    /// As there.
    pub fn round_real(&self, cells: &[f64], scale: f64) -> Result<Vec<i64>, EncodeError> {
        if cells.len() != self.cells {
            return Err(EncodeError::SlotCount {
                found: cells.len(),
                expected: self.cells,
            });
        }
        if let Some((slot, &value)) = cells.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(EncodeError::NotFinite { slot, value });
        }
        let slots: Vec<_> = cells.iter().map(|&c| Complex64::new(c, 0.0)).collect();
        let n = 2 * self.cells;
        let mut coeffs = vec![0.0; n];
        self.embedding.slots_to_coeffs(&slots, &mut coeffs);
        check_fits(&coeffs, scale, 62.0)?;
        let mut out = vec![0i64; n];
        out[0] = (coeffs[0] * scale).round() as i64;
        for k in 1..self.cells {
            out[k] = (coeffs[k] * scale).round() as i64;
            out[n - k] = -out[k];
        }
        Ok(out)
    }

    /// As [`decode_periodic`].
    ///
    /// # Panics
    /// Unless there are two coefficients a cell.
    pub fn decode(&self, coeffs: &[i64], scale: f64) -> Vec<Complex64> {
        let scaled: Vec<f64> = coeffs.iter().map(|&c| c as f64 / scale).collect();
        let mut slots = vec![Complex64::default(); self.cells];
        self.embedding.coeffs_to_slots(&scaled, &mut slots);
        slots
    }
}

/// One periodic plaintext at a scale, to be added to ciphertexts of any level.
#[derive(Clone, Debug)]
pub struct PeriodicPlain {
    pub(crate) coeffs: Vec<i128>,
    pub(crate) scale: Scale,
    pub(crate) tracked: Tracked,
}

impl PeriodicPlain {
    /// Encodes the cells of one period.
    ///
    /// # Errors
    /// As [`encode_periodic`].
    pub fn new(cells: &[Complex64], scale: Scale) -> Result<Self, EncodeError> {
        let coeffs = encode_periodic(cells, scale.value())?;
        let max = cells.iter().map(|z| z.norm()).fold(0.0, f64::max);
        let square: f64 = cells.iter().map(Complex64::norm_sqr).sum();
        let rms = (square / cells.len() as f64).sqrt();
        let rounding = (coeffs.len() as f64 / 24.0).sqrt() / scale.value();
        Ok(Self {
            coeffs,
            scale,
            tracked: Tracked::exact(max, rms).plus_error(rounding),
        })
    }
}

/// A matrix of real periodic plaintexts at one weight scale, rounded: the weights of an RNS matrix product.
#[derive(Debug)]
pub struct PeriodicMatrix {
    pub(crate) weights: WeightMatrix,
    pub(crate) scale: Scale,
    codec: PeriodicCodec,
    /// Mean over the cells of the squared weight, row-major.
    pub(crate) mean_square: Vec<f64>,
    /// Largest absolute weight, row-major.
    pub(crate) max_abs: Vec<f64>,
    /// For each row and cell the sum over the masked columns of the squared weight.
    cell_square: Vec<f64>,
    /// For each row the sum over the other columns of the squared weight.
    scalar_square: Vec<f64>,
    encoding: Work,
}

impl PeriodicMatrix {
    /// An all-zero matrix of `rows` x `cols` plaintexts of `cells` cells at weight scale `scale`.
    ///
    /// # Errors
    /// [`EncodeError::Period`].
    pub fn new(rows: usize, cols: usize, cells: usize, scale: Scale) -> Result<Self, EncodeError> {
        let codec = PeriodicCodec::new(cells)?;
        Ok(Self {
            weights: WeightMatrix::new(rows, cols, log_cells(cells)? + 1),
            scale,
            codec,
            mean_square: vec![0.0; rows * cols],
            max_abs: vec![0.0; rows * cols],
            cell_square: vec![0.0; rows * cells],
            scalar_square: vec![0.0; rows],
            encoding: Work::default(),
        })
    }

    /// Number of output ciphertexts.
    pub fn rows(&self) -> usize {
        self.weights.rows()
    }

    /// Number of input ciphertexts.
    pub fn cols(&self) -> usize {
        self.weights.cols()
    }

    /// Cells of the period.
    pub fn cells(&self) -> usize {
        self.codec.cells
    }

    /// The weight scale.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Number of weights that were set cell by cell.
    pub fn masked(&self) -> usize {
        self.weights.polys()
    }

    /// The work of all encodings so far.
    pub fn encoding(&self) -> Work {
        self.encoding
    }

    /// Bytes of the rounded weights.
    pub fn bytes(&self) -> u64 {
        self.weights.bytes() as u64
    }

    /// Bytes of a matrix of `rows x cols` weights of `cells` cells, `masked` of them not the same in all cells, tables of
    /// their sizes included.
    pub fn bytes_of(rows: usize, cols: usize, cells: usize, masked: usize) -> usize {
        let weights = WeightMatrix::bytes_of(rows, cols, (2 * cells).ilog2(), masked);
        weights + (2 * rows * cols + rows * cells + rows) * size_of::<f64>()
    }

    /// Bytes of the residues that a product makes of such a matrix, one prime at a time.
    pub fn residue_bytes_of(rows: usize, cols: usize, cells: usize) -> usize {
        rows * cols * 2 * cells * size_of::<u64>()
    }

    /// Sets one weight that is the same in all cells; returns the value that the rounded weight really has.
    ///
    /// # Errors
    /// [`EncodeError::NotFinite`] or [`EncodeError::TooLarge`].
    pub fn set_scalar(&mut self, row: usize, col: usize, value: f64) -> Result<f64, EncodeError> {
        if !value.is_finite() {
            return Err(EncodeError::NotFinite { slot: 0, value });
        }
        check_fits(&[value], self.scale.value(), 62.0)?;
        let rounded = (value * self.scale.value()).round();
        self.weights.set_scalar(row, col, rounded as i64);
        let effective = rounded / self.scale.value();
        let square = effective * effective;
        self.note(row, col, square, effective.abs());
        self.scalar_square[row] += square;
        Ok(effective)
    }

    /// Sets one weight that differs from cell to cell; returns the cells that the rounded weight really has.
    ///
    /// # Errors
    /// [`EncodeError::SlotCount`], [`EncodeError::NotFinite`] or [`EncodeError::TooLarge`].
    pub fn set_masked(
        &mut self,
        row: usize,
        col: usize,
        cells: &[f64],
    ) -> Result<Vec<f64>, EncodeError> {
        let coeffs = self.codec.round_real(cells, self.scale.value())?;
        // There and back.
        self.encoding += Work::embedding(cells.len()) * 2;
        self.weights.set_poly(row, col, &coeffs);
        let effective: Vec<f64> = self
            .codec
            .decode(&coeffs, self.scale.value())
            .iter()
            .map(|z| z.re)
            .collect();
        let square = effective.iter().map(|x| x * x).sum::<f64>() / effective.len() as f64;
        self.note(
            row,
            col,
            square,
            effective.iter().fold(0f64, |m, x| m.max(x.abs())),
        );
        let sums = self.cell_square[row * cells.len()..].iter_mut();
        sums.zip(&effective).for_each(|(sum, x)| *sum += x * x);
        Ok(effective)
    }

    /// How much more of the errors of equally wrong inputs the worst cell of a row gets than the mean over its cells: factor
    /// between variances, at least 1.
    pub(crate) fn concentration(&self, row: usize) -> f64 {
        let cells = &self.cell_square[row * self.cells()..(row + 1) * self.cells()];
        let mean = cells.iter().sum::<f64>() / cells.len() as f64;
        let worst = cells.iter().fold(mean, |m, sum| m.max(*sum));
        let scalars = self.scalar_square[row];
        if mean > 0.0 {
            (worst + scalars) / (mean + scalars)
        } else {
            1.0
        }
    }

    fn note(&mut self, row: usize, col: usize, mean_square: f64, max_abs: f64) {
        let at = row * self.cols() + col;
        self.mean_square[at] = mean_square;
        self.max_abs[at] = max_abs;
    }
}
