//! The compiled map on plain slot vectors: what the encrypted kernel computes, without its noise.

use num_complex::Complex64;
use rayon::prelude::*;

use super::{LinearMap, ProductTask, TermWeight};
use crate::error::LayerError;
use crate::rounding::{round_constant, round_masked};

/// With which weights a reference computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightPrecision {
    /// The weights as they are.
    Exact,
    /// Weights rounded as the encrypted run rounds them at weight scale `scale`, and its mean correction.
    Rounded {
        /// Factor between weights and the integers that stand for them.
        scale: f64,
    },
}

/// Slots worked on at once: the accumulator of one chunk stays in the first-level cache.
const CHUNK: usize = 1024;

impl LinearMap {
    /// The map on plain slot vectors of the input layout, cyclic rotations over all slots included; parallel over outputs.
    ///
    /// With [`WeightPrecision::Rounded`] it differs from the encrypted run by noise alone: masks that leak a little of the
    /// neighbouring images leak here as well.
    ///
    /// # Errors
    /// [`LayerError::Count`] if `x` is not of the input layout.
    pub fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        precision: WeightPrecision,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        self.input.check_slots(x)?;
        let mut rows: Vec<Vec<(&ProductTask, usize)>> = vec![Vec::new(); self.output.ciphertexts()];
        for task in &self.tasks {
            for (row, output) in task.outputs.iter().enumerate() {
                rows[*output].push((task, row));
            }
        }
        let output = |(output, rows): (usize, Vec<(&ProductTask, usize)>)| {
            let mut y = vec![Complex64::default(); self.output.slots()];
            let mut plane = vec![0.0; self.output.grid().cells()];
            for (task, row) in rows {
                self.add_product(&mut y, &mut plane, x, (task, row), precision);
            }
            for &step in &self.fold {
                let mut turned = y.clone();
                turned.rotate_left(step as usize);
                y.iter_mut().zip(turned).for_each(|(a, b)| *a += b);
            }
            self.fold_plane(&mut plane);
            let unit = self.output.packing().unit();
            for (slot, value) in y.iter_mut().enumerate() {
                let cell = slot % plane.len();
                *value += unit * (self.bias[output][cell] - plane[cell]);
            }
            y
        };
        Ok(rows.into_par_iter().enumerate().map(output).collect())
    }

    /// Adds one row of a product, rotated by its giant step, to `y`, and its mean error to `plane`.
    fn add_product(
        &self,
        y: &mut [Complex64],
        plane: &mut [f64],
        x: &[Vec<Complex64>],
        (task, row): (&ProductTask, usize),
        precision: WeightPrecision,
    ) {
        let mut factors = Vec::with_capacity(task.inputs.len());
        for (col, &(ciphertext, baby)) in task.inputs.iter().enumerate() {
            let exact = self.weight(task, row, col);
            let weight = match (precision, &exact) {
                (WeightPrecision::Exact, _) | (_, TermWeight::Zero) => exact,
                (WeightPrecision::Rounded { scale }, TermWeight::Constant(w)) => {
                    let rounded = round_constant(*w, scale);
                    self.add_mean_error(plane, task, col, |_| rounded - w);
                    TermWeight::Constant(rounded)
                }
                (WeightPrecision::Rounded { scale }, TermWeight::Masked(w)) => {
                    let rounded = round_masked(w, scale);
                    self.add_mean_error(plane, task, col, |cell| rounded[cell] - w[cell]);
                    TermWeight::Masked(rounded)
                }
            };
            factors.push((&x[ciphertext], baby, weight));
        }
        let slots = y.len();
        let chunk = CHUNK.max(plane.len()).min(slots);
        let mut inner = vec![Complex64::default(); chunk];
        for start in (0..slots).step_by(chunk) {
            inner.fill(Complex64::default());
            for (x, baby, weight) in &factors {
                let from = (start as i64 + baby).rem_euclid(slots as i64) as usize;
                let first = chunk.min(slots - from);
                add_scaled(&mut inner[..first], &x[from..from + first], weight, 0);
                add_scaled(&mut inner[first..], &x[..chunk - first], weight, first);
            }
            let to = (start as i64 - task.giant).rem_euclid(slots as i64) as usize;
            let first = chunk.min(slots - to);
            add(&mut y[to..to + first], &inner[..first]);
            add(&mut y[..chunk - first], &inner[first..]);
        }
    }
}

fn add(a: &mut [Complex64], b: &[Complex64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

/// `out += weight * x`, where the first element of `out` stands at cell `cell` of a period.
fn add_scaled(out: &mut [Complex64], x: &[Complex64], weight: &TermWeight, cell: usize) {
    match weight {
        TermWeight::Zero => {}
        TermWeight::Constant(w) => out.iter_mut().zip(x).for_each(|(o, x)| *o += x * w),
        TermWeight::Masked(w) => {
            let cell = cell % w.len();
            let head = (w.len() - cell).min(out.len());
            let (out_head, out_rest) = out.split_at_mut(head);
            let (x_head, x_rest) = x.split_at(head);
            let product = |out: &mut [Complex64], x: &[Complex64], w: &[f64]| {
                out.iter_mut()
                    .zip(x)
                    .zip(w)
                    .for_each(|((o, x), w)| *o += x * w);
            };
            product(out_head, x_head, &w[cell..]);
            for (out, x) in out_rest.chunks_mut(w.len()).zip(x_rest.chunks(w.len())) {
                product(out, x, w);
            }
        }
    }
}
