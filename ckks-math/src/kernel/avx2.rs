//! The kernel for processors with AVX2 and FMA: multiply-adds of floating-point numbers, four words at a time.
//!
//! Residues of at most 50 bits are exact as floating-point numbers, and so are both halves of a product by a multiply-add that
//! rounds once. The units that multiply numbers are twice as fast as those that multiply integers of 32 bits, and take
//! 53 bits at a time. FLINT's `fft_small` works like this.
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

use sums::Capacity;
use transform::Transform;
use vector::{Constants, LANES};

/// Proof that the processor has the features that this kernel uses.
#[derive(Clone, Copy, Debug)]
struct Proof(());

impl Proof {
    /// Asks the processor.
    fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// The AVX2 kernel. Supports odd moduli of 14 to 50 bits and every degree, on processors that have the instructions.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(Option<Proof>);

impl Avx2 {
    /// What [`Kernel::name`] gives and [`KernelChoice::Named`](super::KernelChoice::Named) takes.
    pub const NAME: &'static str = "avx2";

    /// Asks the processor; where it has not got the instructions, the kernel supports nothing.
    pub fn detect() -> Self {
        Self(Proof::detect())
    }
}

impl Kernel for Avx2 {
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
        // Quotients in the tables are rounded to the nearest.
        let _mode = StandardMode::set();
        let constants = Constants::new(modulus);
        let tables = if log_n < Transform::MIN_LOG_N {
            Tables::Small(ScalarTransform::new(modulus, log_n, psi))
        } else {
            Tables::Vector(Transform::new(constants, log_n, psi))
        };
        Ok(Arc::new(Avx2Ops {
            proof,
            constants,
            residues: Capacity::new(&constants, modulus.bits()),
            words: Capacity::new(&constants, WORD_BITS),
            fraction: scalar::pointwise::fraction_constant(modulus),
            tables,
        }))
    }
}

/// Words of linear combinations are below `2^52`.
const WORD_BITS: u32 = 52;

/// Constants and tables for one modulus and degree.
#[derive(Debug)]
struct Avx2Ops {
    /// That it exists is what the calls below rely on.
    proof: Proof,
    constants: Constants,
    /// How many products of two residues a sum takes.
    residues: Capacity,
    /// How many products of a word of a linear combination and a residue a sum takes.
    words: Capacity,
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

impl LimbOps for Avx2Ops {
    fn kernel_name(&self) -> &'static str {
        Avx2::NAME
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
        call!(self, sums::dot_into, out, terms, self.residues);
    }

    fn prefetch(&self, words: &[u64]) {
        let _proof: &Proof = &self.proof;
        // SAFETY: the function only needs processor features, which the proof was made from.
        unsafe { sums::prefetch_words(words) }
    }

    /// Floating-point numbers.
    fn prepare_weights(&self, weights: &mut [u64]) {
        for w in weights {
            *w = (*w as f64).to_bits();
        }
    }

    fn linear_combination_into(&self, out: &mut [u64], xs: &[&[u64]], w: &[u64], accumulate: bool) {
        let capacity = self.words;
        call!(
            self,
            sums::linear_combination_into,
            out,
            xs,
            w,
            accumulate,
            capacity
        );
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
        let capacity = self.residues;
        if (len / blocks).is_multiple_of(LANES) {
            call!(
                self,
                sums::block_matmul,
                out,
                x,
                w,
                blocks,
                accumulate,
                capacity
            );
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
        if from.bits() > WORD_BITS {
            return scalar::pointwise::change_modulus_centered_into(self.modulus(), out, a, from);
        }
        call!(self, pointwise::change_modulus_centered_into, out, a, from);
    }

    fn digit_into(&self, y: &mut [u64], fraction: &mut [u64], x: &[u64], s: u64) {
        let mu = self.fraction;
        call!(self, pointwise::digit_into, y, fraction, x, s, mu);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::primes;

    /// Pairs of words below `2^bits` and residues whose products leave the largest rests that were found, all of one sign, in a
    /// sum of as many terms as fit.
    fn worst_terms(c: &Constants, bits: u32, capacity: Capacity, sign: f64) -> Vec<[u64; 2]> {
        const TRIES: usize = 400;
        let mut rng = ChaCha8Rng::seed_from_u64(bits.into());
        let q = c.modulus.value();
        let bound = if bits == WORD_BITS { 1 << WORD_BITS } else { q };
        let mut high = capacity.start();
        (0..capacity.terms())
            .map(|_| {
                let tries = (0..TRIES).map(|_| {
                    let [x, w] = [bound, q].map(|below| below - 1 - rng.next_u64() % (1 << 12));
                    let sum = (x as f64).mul_add(w as f64, high);
                    (sign * (x as f64).mul_add(w as f64, high - sum), sum, [x, w])
                });
                let (_, sum, pair) = tries.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
                high = sum;
                pair
            })
            .collect()
    }

    #[test]
    fn sums_of_as_many_terms_as_fit_are_exact() {
        let Some(_) = Proof::detect() else {
            return;
        };
        for bits in [30, 48, 49, 50] {
            let q = primes::ntt_primes_below(1 << bits, 4).next().unwrap();
            let modulus = Modulus::new(q).unwrap();
            let psi = primes::primitive_root(modulus, 4).unwrap();
            let ops = Avx2::detect().plan(modulus, 4, psi).unwrap();
            let c = Constants::new(modulus);
            for (word_bits, sign) in [
                (bits, 1.0),
                (bits, -1.0),
                (WORD_BITS, 1.0),
                (WORD_BITS, -1.0),
            ] {
                let capacity = Capacity::new(&c, word_bits);
                if bits == 50 {
                    // Nine taps of a convolution, and the limbs of a base conversion in two or three parts.
                    assert!(capacity.terms() >= if word_bits == 50 { 9 } else { 4 });
                }
                let terms = worst_terms(&c, word_bits, capacity, sign);
                let terms = &terms[..terms.len().min(super::super::MAX_DOT_TERMS)];
                let expected = terms.iter().fold(q - 1, |sum, &[x, w]| {
                    modulus.reduce_u128(u128::from(sum) + u128::from(x) * u128::from(w))
                });
                let columns: Vec<[u64; 4]> = terms.iter().map(|&[x, _]| [x; 4]).collect();
                let xs: Vec<&[u64]> = columns.iter().map(|x| &x[..]).collect();
                let mut weights: Vec<u64> = terms.iter().map(|&[_, w]| w).collect();
                ops.prepare_weights(&mut weights);
                let mut out = [q - 1; 4];
                if word_bits == WORD_BITS {
                    ops.linear_combination_into(&mut out, &xs, &weights, true);
                } else {
                    ops.block_matmul(&mut [&mut out[..]], &xs, &weights, 1, true);
                }
                assert_eq!(out, [expected; 4], "{bits} bits by {word_bits}");
            }
        }
    }
}
