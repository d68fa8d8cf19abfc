//! The matrices of both transforms, with what is merged into them; or their patterns.

use super::{BootstrapParams, Order};
use crate::linear::{Factor, coeffs_to_slots_upwards, slots_to_coeffs_downwards};
use num_complex::Complex64;

/// SlotsToCoeffs, to be applied in order; takes packed halves where they are not separated before.
pub(super) fn slots_to_coeffs<M: Factor>(params: &BootstrapParams) -> Vec<M> {
    let lit = params.literal();
    let mut matrices = slots_to_coeffs_downwards::<M>(params.slots(), lit.slots_to_coeffs_levels);
    if lit.pack_sparse && lit.order == Order::CoeffsToSlotsFirst {
        let first = &mut matrices[0];
        *first = first.repeated().after(&M::join_halves(params.slots()));
    }
    matrices
}

/// CoeffsToSlots, to be applied in order, for a sum with the conjugate afterwards. Packed, the imaginary parts come out
/// as real parts, next to the others.
pub(super) fn coeffs_to_slots<M: Factor>(params: &BootstrapParams) -> Vec<M> {
    let lit = params.literal();
    let mut matrices = coeffs_to_slots_upwards::<M>(params.slots(), lit.coeffs_to_slots_levels);
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
pub(super) fn separation<M: Factor>(params: &BootstrapParams) -> Option<M> {
    let lit = params.literal();
    let separate = lit.pack_sparse && lit.order == Order::SlotsToCoeffsFirst;
    separate.then(|| M::join_halves(params.slots()))
}
