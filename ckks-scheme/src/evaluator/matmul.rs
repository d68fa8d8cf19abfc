//! The RNS matrix product: plaintext weights that repeat over the slots, times ciphertexts.

use super::Evaluator;
use crate::ciphertext::Ciphertext;
use crate::encoding::periodic::PeriodicMatrix;
use crate::error::EvalError;
use crate::profile::Operation;
use rayon::prelude::*;

impl Evaluator {
    /// `out[r] += sum_c W[r, c] x[c]`, limb by limb; weight residues are made for one limb at a time and not kept.
    ///
    /// # Shapes
    /// `out`: as many ciphertexts as the matrix has rows, all at one level and at scale `x.scale * W.scale`; `x`: as
    /// many as it has columns, all at one scale, each at the level of `out` or above.
    /// # Effect on metadata
    /// Errors add up as independent; declared values likewise (the layer knows better and declares its own).
    /// # Errors
    /// [`EvalError::Shape`], [`EvalError::LevelMismatch`], [`EvalError::LevelTooLow`], [`EvalError::ScaleMismatch`],
    /// [`EvalError::Parts`], [`EvalError::ScaleRange`].
    pub fn matmul_accumulate(
        &self,
        out: &mut [&mut Ciphertext],
        x: &[&Ciphertext],
        w: &PeriodicMatrix,
    ) -> Result<(), EvalError> {
        let op = "matrix product";
        let shape = |what, found, expected| {
            if found == expected {
                Ok(())
            } else {
                Err(EvalError::Shape {
                    op,
                    what,
                    found,
                    expected,
                })
            }
        };
        shape("number of outputs", out.len(), w.rows())?;
        shape("number of inputs", x.len(), w.cols())?;
        let (Some(o), Some(first)) = (out.first(), x.first()) else {
            return Ok(());
        };
        if 2 * w.cells() > self.params.degree() {
            return shape("period", w.cells(), self.params.slots());
        }
        let (level, scale) = (o.level(), o.scale);
        let product = Self::scale(op, first.scale.value() * w.scale.value())?;
        Self::check_scale(op, scale, product)?;
        for c in x {
            Self::check_parts(op, c, 2)?;
            Self::check_scale(op, first.scale, c.scale)?;
            if c.level() < level {
                return Err(EvalError::LevelTooLow {
                    op,
                    need: level,
                    have: c.level(),
                });
            }
        }
        for o in out.iter() {
            Self::check_parts(op, o, 2)?;
            Self::check_same(op, (level, scale), (o.level(), o.scale))?;
        }

        let subrings = self.params.subrings((2 * w.cells()).trailing_zeros())?;
        self.track_product(out, x, w);
        // Transpose the outputs: limb by limb, for each of the two polynomials, one slice a row.
        let limbs = level.limbs();
        let mut rows: Vec<[Vec<&mut [u64]>; 2]> =
            (0..limbs).map(|_| [Vec::new(), Vec::new()]).collect();
        for o in out.iter_mut() {
            for (part, poly) in o.parts.iter_mut().enumerate() {
                for (row, limb) in rows.iter_mut().zip(poly.iter_mut()) {
                    row[part].push(limb);
                }
            }
        }
        rows.par_iter_mut().enumerate().for_each(|(i, parts)| {
            let ring = self.ring(i);
            self.params.with_residues(|residues| {
                {
                    let _timer = self.time(Operation::WeightResidues);
                    ring.generate(residues, &subrings[i], &w.weights);
                }
                let _timer = self.time(Operation::MatrixProduct);
                for (part, out) in parts.iter_mut().enumerate() {
                    let x: Vec<&[u64]> = x.iter().map(|c| &c.parts[part].limb(i)[..]).collect();
                    ring.block_matmul(out, &x, residues, true);
                }
            });
        });
        Ok(())
    }

    fn track_product(&self, out: &mut [&mut Ciphertext], x: &[&Ciphertext], w: &PeriodicMatrix) {
        for (r, o) in out.iter_mut().enumerate() {
            let (mut error, mut systematic, mut max, mut square) = (0.0, 0.0, 0.0, 0.0);
            for (c, ct) in x.iter().enumerate() {
                let at = r * w.cols() + c;
                error += w.mean_square[at] * ct.tracked.error_std.powi(2);
                square += w.mean_square[at] * ct.tracked.rms.powi(2);
                max += w.max_abs[at] * ct.tracked.max;
                systematic += w.max_abs[at] * ct.tracked.systematic;
            }
            // The deviation that is tracked is that of the worst slot.
            let error = error * w.concentration(r);
            o.tracked.error_std = o.tracked.error_std.hypot(error.sqrt());
            o.tracked.systematic += systematic;
            o.tracked.rms = o.tracked.rms.hypot(square.sqrt());
            o.tracked.max += max;
        }
    }
}
