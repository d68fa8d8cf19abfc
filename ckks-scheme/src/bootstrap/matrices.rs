//! The matrices of both transforms, with what is merged into them.

use super::{BootstrapParams, Order};
use crate::linear::{DiagonalMatrix, coeffs_to_slots_upwards, slots_to_coeffs_downwards};
use num_complex::Complex64;

/// SlotsToCoeffs, to be applied in order; takes packed halves where they are not separated before.
pub(super) fn slots_to_coeffs(params: &BootstrapParams) -> Vec<DiagonalMatrix> {
    let lit = params.literal();
    let mut matrices = slots_to_coeffs_downwards(params.slots(), lit.slots_to_coeffs_levels);
    if lit.pack_sparse && lit.order == Order::CoeffsToSlotsFirst {
        let first = &mut matrices[0];
        *first = first.repeated().after(&join_halves(params.slots()));
    }
    matrices
}

/// CoeffsToSlots, to be applied in order, for a sum with the conjugate afterwards. Packed, the imaginary parts come out
/// as real parts, next to the others.
pub(super) fn coeffs_to_slots(params: &BootstrapParams) -> Vec<DiagonalMatrix> {
    let lit = params.literal();
    let mut matrices = coeffs_to_slots_upwards(params.slots(), lit.coeffs_to_slots_levels);
    // Half for the sum with the conjugate; and sparse slots come multiplied by the number of their repetitions.
    let repetitions = (params.scheme().slots() / params.slots()) as f64;
    let factor = (0.5 / repetitions).powf(1.0 / matrices.len() as f64);
    for matrix in &mut matrices {
        matrix.scale_assign(factor);
    }
    if lit.pack_sparse {
        let last = matrices.last_mut().expect("at least one matrix");
        *last = last.repeated();
        last.scale_rows_assign(params.slots().., -Complex64::I);
    }
    matrices
}

/// What separates packed halves after the sine, if SlotsToCoeffs does not.
pub(super) fn separation(params: &BootstrapParams) -> Option<DiagonalMatrix> {
    let lit = params.literal();
    let separate = lit.pack_sparse && lit.order == Order::SlotsToCoeffsFirst;
    separate.then(|| join_halves(params.slots()))
}

/// Takes real parts followed by imaginary parts, `half` of each, to complex numbers, twice.
fn join_halves(half: usize) -> DiagonalMatrix {
    let mut out = DiagonalMatrix::new(2 * half);
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
