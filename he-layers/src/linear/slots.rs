//! The compiled map on plain slot vectors: what the encrypted kernel computes, without its noise.

use ckks_scheme::{EncodeError, Scale};
use num_complex::Complex64;
use rayon::prelude::*;

use super::map::{LinearMap, TermWeight};
use super::product::ProductTask;
use crate::error::LayerError;
use crate::rounding::{Grain, Rounding};

/// Slots worked on at once: the accumulator of one chunk stays in the first-level cache.
const CHUNK: usize = 1024;

impl LinearMap {
    /// The map on plain slot vectors of the input layout, cyclic rotations over all slots included; parallel over outputs.
    ///
    /// With weights rounded at weight scale `rounded`, their mean error corrected, it differs from the encrypted run by noise
    /// alone: masks that leak a little of the neighbouring images leak here as well. Without, weights are exact.
    ///
    /// # Errors
    /// [`LayerError::Count`] if `x` is not of the input layout, [`LayerError::Eval`] if weights do not fit at the scale.
    pub fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        rounded: Option<Scale>,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        self.input.check_slots(x)?;
        let cells = self.input.grid().cells();
        let rounding =
            |scale| Rounding::new(cells, scale).map(|rounding| (rounding, self.grain(scale)));
        let rounding = rounded.map(rounding).transpose();
        let rounding = rounding.map_err(LayerError::eval(self.name()))?;
        let mut rows: Vec<Vec<(&ProductTask, usize)>> = vec![Vec::new(); self.output.ciphertexts()];
        for task in self.tasks() {
            for (row, output) in task.outputs.iter().enumerate() {
                rows[*output].push((task, row));
            }
        }
        let output = |(output, rows): (usize, Vec<(&ProductTask, usize)>)| {
            let mut y = vec![Complex64::default(); self.output.slots()];
            let mut correction = vec![0.0; self.output.grid().cells()];
            for row in rows {
                self.add_product(&mut y, &mut correction, x, row, rounding.as_ref())?;
            }
            for &step in self.fold() {
                let mut turned = y.clone();
                turned.rotate_left(step as usize);
                add(&mut y, &turned);
            }
            let bias = self.bias_plane(output, correction);
            let unit = self.output.packing().unit();
            for cells in y.chunks_exact_mut(bias.len()) {
                cells
                    .iter_mut()
                    .zip(&bias)
                    .for_each(|(y, b)| *y += unit * b);
            }
            Ok(y)
        };
        let outputs: Result<_, EncodeError> =
            rows.into_par_iter().enumerate().map(output).collect();
        outputs.map_err(LayerError::eval(self.name()))
    }

    /// Adds one row of a product, rotated by its giant step, to `y`, and its mean error to `correction`.
    fn add_product(
        &self,
        y: &mut [Complex64],
        correction: &mut [f64],
        x: &[Vec<Complex64>],
        (task, row): (&ProductTask, usize),
        rounding: Option<&(Rounding, Grain)>,
    ) -> Result<(), EncodeError> {
        let mut factors = Vec::with_capacity(task.inputs.len());
        for (col, &(ciphertext, baby)) in task.inputs.iter().enumerate() {
            let column = self.column(task, col);
            let mut weight = column.weight(row);
            if let Some((rounding, grain)) = rounding {
                let rounded = rounding.apply(&weight)?;
                column.add_mean_error(correction, &weight, &rounded, *grain);
                weight = rounded;
            }
            factors.push((&x[ciphertext], baby, weight));
        }
        let slots = y.len();
        let chunk = CHUNK.max(correction.len()).min(slots);
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
        Ok(())
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
