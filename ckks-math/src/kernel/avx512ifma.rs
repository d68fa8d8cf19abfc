//! The kernel for processors with AVX-512 IFMA: 52-bit multiply-adds, eight words at a time.
//!
//! Everything in the modules below is a safe function that needs the processor features to be
//! there; the calls in this file are the only places where that has to be argued. They also see to it that the
//! floating-point mode of the host program does not matter.

use std::sync::Arc;

use super::float_mode::StandardMode;
use super::scalar::{self, ScalarTransform};
use super::{Kernel, LimbOps};
use crate::error::MathError;
use crate::modulus::Modulus;

mod pointwise;
mod sums;
mod transform;
mod vector;

use transform::Transform;
use vector::{Constants, LANES, RADIX_BITS};

/// Proof that the processor has the features that this kernel uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof(());

impl Proof {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma"))
            .then_some(Self(()))
    }
}

/// The AVX-512 IFMA kernel. Supports odd moduli of 14 to 50 bits and every degree, on processors that
/// have the instructions.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Ifma(Option<Proof>);

impl Avx512Ifma {
    /// What [`Kernel::name`] gives and [`KernelChoice::Named`](super::KernelChoice::Named) takes.
    pub const NAME: &'static str = "avx512ifma";

    /// Asks the processor; where it has not got the instructions, the kernel supports nothing.
    pub fn detect() -> Self {
        Self(Proof::detect())
    }

    /// See [`kernel::multiply_add_pairs`](super::multiply_add_pairs).
    pub(super) fn multiply_add_pairs(self, rounds: u64) -> Option<u64> {
        let _proof: Proof = self.0?;
        // SAFETY: the function only needs processor features, which the proof was made from.
        Some(unsafe { sums::multiply_add_pairs(rounds) })
    }
}

impl Kernel for Avx512Ifma {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn is_available(&self) -> bool {
        self.0.is_some()
    }

    fn supports(&self, modulus: Modulus, _log_n: u32) -> bool {
        let bits = Constants::MIN_BITS..=Constants::MAX_BITS;
        self.is_available() && bits.contains(&modulus.bits()) && modulus.value() % 2 == 1
    }

    fn plan(&self, modulus: Modulus, log_n: u32, psi: u64) -> Result<Arc<dyn LimbOps>, MathError> {
        let unsupported = MathError::KernelUnsupported {
            kernel: Self::NAME,
            modulus: modulus.value(),
            log_n,
        };
        let proof = self
            .0
            .filter(|_| self.supports(modulus, log_n))
            .ok_or(unsupported)?;
        let constants = Constants::new(modulus);
        let tables = if log_n < Transform::MIN_LOG_N {
            Tables::Small(ScalarTransform::new(modulus, log_n, psi))
        } else {
            Tables::Vector(Transform::new(constants, log_n, psi))
        };
        Ok(Arc::new(IfmaOps {
            proof,
            constants,
            fraction: scalar::pointwise::fraction_constant(modulus),
            tables,
        }))
    }

    fn permute_groups(
        &self,
        out: &mut [[u64; 8]],
        src: &[[u64; 8]],
        table: &[u32],
        orders: &[[u64; 8]; 8],
    ) {
        let _proof: Proof = self.0.expect("only called on an available kernel");
        // SAFETY: the function only needs processor features, which the proof was made from.
        unsafe { pointwise::permute_groups(out, src, table, orders) }
    }
}

/// Constants and tables for one modulus and degree.
#[derive(Debug)]
struct IfmaOps {
    /// That it exists is what the calls below rely on.
    proof: Proof,
    constants: Constants,
    /// Constant of the quotient estimate of base conversions.
    fraction: u64,
    tables: Tables,
}

#[derive(Debug)]
enum Tables {
    /// Transforms shorter than a block of registers.
    Small(ScalarTransform),
    Vector(Transform),
}

/// Calls a function that needs the processor features which `$self.proof` proves.
macro_rules! call {
    ($self:ident, $function:path $(, $argument:expr)*) => {{
        let _proof: &Proof = &$self.proof;
        let _mode = StandardMode::set();
        // SAFETY: the function only needs processor features, and a `Proof` is only made by
        // `Proof::detect` after finding them.
        unsafe { $function(&$self.constants $(, $argument)*) }
    }};
}

impl LimbOps for IfmaOps {
    fn kernel_name(&self) -> &'static str {
        Avx512Ifma::NAME
    }

    fn modulus(&self) -> Modulus {
        self.constants.modulus
    }

    fn ntt(&self, a: &mut [u64]) {
        match &self.tables {
            Tables::Small(transform) => transform.forward(a),
            Tables::Vector(transform) => {
                let _mode = StandardMode::set();
                // SAFETY: `self.proof` was made by `Proof::detect`, so the processor has the features.
                unsafe { transform.forward(a) }
            }
        }
    }

    fn intt(&self, a: &mut [u64]) {
        match &self.tables {
            Tables::Small(transform) => transform.inverse(a),
            Tables::Vector(transform) => {
                let _mode = StandardMode::set();
                // SAFETY: `self.proof` was made by `Proof::detect`, so the processor has the features.
                unsafe { transform.inverse(a) }
            }
        }
    }

    fn intt_into(&self, out: &mut [u64], a: &[u64]) {
        match &self.tables {
            Tables::Small(transform) => {
                out.copy_from_slice(a);
                transform.inverse(out);
            }
            Tables::Vector(transform) => {
                let _mode = StandardMode::set();
                // SAFETY: `self.proof` was made by `Proof::detect`, so the processor has the features.
                unsafe { transform.inverse_into(out, a) }
            }
        }
    }

    fn ntt_sub_mul_scalar(&self, a: &mut [u64], minuend: &[u64], s: u64) {
        match &self.tables {
            Tables::Small(transform) => {
                transform.forward(a);
                scalar::pointwise::sub_from_mul_scalar(self.modulus(), a, minuend, s);
            }
            Tables::Vector(transform) => {
                let _mode = StandardMode::set();
                // SAFETY: `self.proof` was made by `Proof::detect`, so the processor has the features.
                unsafe { transform.forward_sub_mul(a, minuend, s) }
            }
        }
    }

    fn add_assign(&self, a: &mut [u64], b: &[u64]) {
        call!(self, pointwise::add_assign, a, b);
    }

    fn sub_assign(&self, a: &mut [u64], b: &[u64]) {
        call!(self, pointwise::sub_assign, a, b);
    }

    fn neg_assign(&self, a: &mut [u64]) {
        call!(self, pointwise::neg_assign, a);
    }

    fn mul_assign(&self, a: &mut [u64], b: &[u64]) {
        call!(self, pointwise::mul_assign, a, b);
    }

    fn mul_into(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        call!(self, pointwise::mul_into, out, a, b);
    }

    fn mul_add_assign(&self, acc: &mut [u64], a: &[u64], b: &[u64]) {
        call!(self, pointwise::mul_add_assign, acc, a, b);
    }

    fn mul_scalar_assign(&self, a: &mut [u64], s: u64) {
        call!(self, pointwise::mul_scalar_assign, a, s);
    }

    fn mul_scalar_into(&self, out: &mut [u64], a: &[u64], s: u64) {
        call!(self, pointwise::mul_scalar_into, out, a, s);
    }

    fn mul_scalar_add_assign(&self, acc: &mut [u64], a: &[u64], s: u64) {
        call!(self, pointwise::mul_scalar_add_assign, acc, a, s);
    }

    fn add_scalar_assign(&self, a: &mut [u64], s: u64) {
        call!(self, pointwise::add_scalar_assign, a, s);
    }

    fn dot_into(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        assert!(
            terms.len() <= super::MAX_DOT_TERMS,
            "{} terms in one dot product",
            terms.len()
        );
        call!(self, sums::dot_into, out, terms);
    }

    fn prefetch(&self, words: &[u64]) {
        let _proof: &Proof = &self.proof;
        // SAFETY: the function only needs processor features, which the proof was made from.
        unsafe { sums::prefetch_words(words) }
    }

    /// Montgomery form.
    fn prepare_weights(&self, weights: &mut [u64]) {
        let radix = self.constants.to_montgomery(1);
        self.mul_scalar_assign(weights, radix);
    }

    fn linear_combination_into(&self, out: &mut [u64], xs: &[&[u64]], w: &[u64], accumulate: bool) {
        call!(self, sums::linear_combination_into, out, xs, w, accumulate);
    }

    fn block_matmul(
        &self,
        out: &mut [&mut [u64]],
        x: &[&[u64]],
        w: &[u64],
        blocks: usize,
        accumulate: bool,
    ) {
        assert_eq!(w.len(), blocks * out.len() * x.len(), "number of weights");
        let Some(len) = x.first().map(|x| x.len()).filter(|_| !out.is_empty()) else {
            return scalar::pointwise::block_matmul(self.modulus(), out, x, w, blocks, accumulate);
        };
        if (len / blocks).is_multiple_of(LANES) {
            call!(self, sums::block_matmul, out, x, w, blocks, accumulate);
            return;
        }
        // Blocks shorter than a vector: only at toy sizes.
        let rows = w.chunks_exact(x.len()).enumerate();
        for (index, w) in rows {
            let (block, row) = (index / out.len(), index % out.len());
            let range = block * (len / blocks)..(block + 1) * (len / blocks);
            let xs: Vec<&[u64]> = x.iter().map(|x| &x[range.clone()]).collect();
            self.linear_combination_into(&mut out[row][range], &xs, w, accumulate);
        }
    }

    fn square_real_into(&self, d: [&mut [u64]; 3], z: [&[u64]; 2]) {
        call!(self, pointwise::square_real_into, d, z);
    }

    fn square_complex_into(&self, d: [&mut [u64]; 3], z: [&[u64]; 2], y: [&[u64]; 2], i: u64) {
        call!(self, pointwise::square_complex_into, d, z, y, i);
    }

    fn tensor_into(&self, d: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2]) {
        call!(self, pointwise::tensor_into, d, a, b);
    }

    fn reduce_signed_into(&self, out: &mut [u64], a: &[i64]) {
        call!(self, pointwise::reduce_signed_into, out, a);
    }

    fn change_modulus_centered_into(&self, out: &mut [u64], a: &[u64], from: Modulus) {
        if from.bits() > RADIX_BITS {
            return scalar::pointwise::change_modulus_centered_into(self.modulus(), out, a, from);
        }
        call!(self, pointwise::change_modulus_centered_into, out, a, from);
    }

    fn digit_into(&self, y: &mut [u64], fraction: &mut [u64], x: &[u64], s: u64) {
        call!(
            self,
            pointwise::digit_into,
            y,
            fraction,
            x,
            s,
            self.fraction
        );
    }
}
