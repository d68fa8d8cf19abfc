//! Kernels: the vector operations on one limb, in versions for different processors.
//!
//! A [`Kernel`] is asked once per modulus and degree ([`Kernel::plan`]); what it returns keeps its
//! own tables, so code and constants cannot mismatch. Which kernel is decided here and nowhere
//! else, by a [`KernelChoice`].

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::MathError;
use crate::modulus::Modulus;

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512ifma;
#[cfg(target_arch = "x86_64")]
pub(crate) mod float_mode;
pub mod scalar;

/// A version of the limb operations for one kind of processor.
pub trait Kernel: Send + Sync + Debug {
    /// Name for people and for [`KernelChoice::Named`].
    fn name(&self) -> &'static str;

    /// Whether this processor is within reach.
    fn is_available(&self) -> bool {
        true
    }

    /// Whether this processor, modulus and degree are within reach.
    fn supports(&self, modulus: Modulus, log_n: u32) -> bool;

    /// Builds the operations for one modulus and degree `2^log_n`. `psi` is a primitive root of
    /// unity of order `2^(log_n + 1)`.
    ///
    /// # Errors
    /// [`MathError::KernelUnsupported`] unless [`Kernel::supports`].
    fn plan(&self, modulus: Modulus, log_n: u32, psi: u64) -> Result<Arc<dyn LimbOps>, MathError>;

    /// Permutes words in groups of eight: group `j` of `out` is group `table[j] / 8` of `src`, its words
    /// in the order `orders[table[j] % 8]`. Only called if [`Kernel::is_available`].
    ///
    /// # Panics
    /// If the table points outside `src`, or an order outside the group.
    fn permute_groups(
        &self,
        out: &mut [[u64; 8]],
        src: &[[u64; 8]],
        table: &[u32],
        orders: &[[u64; 8]; 8],
    ) {
        scalar::pointwise::permute_groups(out, src, table, orders);
    }
}

/// Operations on words modulo one prime.
///
/// Unless said otherwise words are in `[0, q)` before and after, all slices of a call have the same
/// length and every length is good. The methods that are given here are the portable ones; a kernel
/// overrides those that it does faster, with the same results to the last bit.
pub trait LimbOps: Send + Sync + Debug {
    /// Name of the kernel.
    fn kernel_name(&self) -> &'static str;

    /// The modulus.
    fn modulus(&self) -> Modulus;

    /// Negacyclic transform of `2^log_n` words, natural to bit-reversed order.
    fn ntt(&self, a: &mut [u64]);

    /// Inverse of [`LimbOps::ntt`].
    fn intt(&self, a: &mut [u64]);

    /// [`LimbOps::intt`] of `a`, which stays as it is.
    fn intt_into(&self, out: &mut [u64], a: &[u64]) {
        out.copy_from_slice(a);
        self.intt(out);
    }

    /// `a = (minuend - NTT(a)) s`.
    fn ntt_sub_mul_scalar(&self, a: &mut [u64], minuend: &[u64], s: u64) {
        self.ntt(a);
        scalar::pointwise::sub_from_mul_scalar(self.modulus(), a, minuend, s);
    }

    /// `a += b`.
    fn add_assign(&self, a: &mut [u64], b: &[u64]) {
        scalar::pointwise::add_assign(self.modulus(), a, b);
    }

    /// `a -= b`.
    fn sub_assign(&self, a: &mut [u64], b: &[u64]) {
        scalar::pointwise::sub_assign(self.modulus(), a, b);
    }

    /// `a = -a`.
    fn neg_assign(&self, a: &mut [u64]) {
        scalar::pointwise::neg_assign(self.modulus(), a);
    }

    /// `a *= b`.
    fn mul_assign(&self, a: &mut [u64], b: &[u64]) {
        scalar::pointwise::mul_assign(self.modulus(), a, b);
    }

    /// `out = a b`.
    fn mul_into(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        scalar::pointwise::mul_into(self.modulus(), out, a, b);
    }

    /// `acc += a b`.
    fn mul_add_assign(&self, acc: &mut [u64], a: &[u64], b: &[u64]) {
        scalar::pointwise::mul_add_assign(self.modulus(), acc, a, b);
    }

    /// `a *= s`.
    fn mul_scalar_assign(&self, a: &mut [u64], s: u64) {
        scalar::pointwise::mul_scalar_assign(self.modulus(), a, s);
    }

    /// `out = a s`.
    fn mul_scalar_into(&self, out: &mut [u64], a: &[u64], s: u64) {
        scalar::pointwise::mul_scalar_into(self.modulus(), out, a, s);
    }

    /// `acc += a s`.
    fn mul_scalar_add_assign(&self, acc: &mut [u64], a: &[u64], s: u64) {
        scalar::pointwise::mul_scalar_add_assign(self.modulus(), acc, a, s);
    }

    /// `a += s`.
    fn add_scalar_assign(&self, a: &mut [u64], s: u64) {
        scalar::pointwise::add_scalar_assign(self.modulus(), a, s);
    }

    /// `out = sum a b` over the terms, at most [`MAX_DOT_TERMS`] of them.
    fn dot_into(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        scalar::pointwise::dot_into(self.modulus(), out, terms);
    }

    /// Asks for memory that will be used soon. A hint.
    fn prefetch(&self, _words: &[u64]) {}

    /// Brings weights (in `[0, q)`) into the form that [`LimbOps::linear_combination_into`] and
    /// [`LimbOps::block_matmul`] of this kernel read.
    fn prepare_weights(&self, _weights: &mut [u64]) {}

    /// `out = sum_k w[k] xs[k]`, or `out +=` if `accumulate`; the words of `xs` are below `2^52`
    /// and need not be below `q`, `w` is prepared by [`LimbOps::prepare_weights`]; at most
    /// [`MAX_SUM_TERMS`] terms.
    fn linear_combination_into(&self, out: &mut [u64], xs: &[&[u64]], w: &[u64], accumulate: bool) {
        scalar::pointwise::linear_combination_into(self.modulus(), out, xs, w, accumulate);
    }

    /// `out[r] = sum_c w[block][r][c] x[c]` on every block of words, or `out[r] +=` if `accumulate`.
    ///
    /// `w` holds `blocks * out.len() * x.len()` weights, prepared by
    /// [`LimbOps::prepare_weights`]; the limbs are cut into `blocks` equal blocks; at most
    /// [`MAX_SUM_TERMS`] columns.
    fn block_matmul(
        &self,
        out: &mut [&mut [u64]],
        x: &[&[u64]],
        w: &[u64],
        blocks: usize,
        accumulate: bool,
    ) {
        scalar::pointwise::block_matmul(self.modulus(), out, x, w, blocks, accumulate);
    }

    /// The tensor square of `(z0, z1)`: `d0 = z0^2`, `d1 = 2 z0 z1`, `d2 = z1^2`.
    fn square_real_into(&self, d: [&mut [u64]; 3], z: [&[u64]; 2]) {
        scalar::pointwise::square_real_into(self.modulus(), d, z);
    }

    /// The tensor square of `z + y` less `i` times that of `z - y`, `i` being a scalar.
    fn square_complex_into(&self, d: [&mut [u64]; 3], z: [&[u64]; 2], y: [&[u64]; 2], i: u64) {
        scalar::pointwise::square_complex_into(self.modulus(), d, z, y, i);
    }

    /// The tensor product of `a` and `b`: `d0 = a0 b0`, `d1 = a0 b1 + a1 b0`, `d2 = a1 b1`.
    fn tensor_into(&self, d: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2]) {
        scalar::pointwise::tensor_into(self.modulus(), d, a, b);
    }

    /// Residues of signed words.
    fn reduce_signed_into(&self, out: &mut [u64], a: &[i64]) {
        scalar::pointwise::reduce_signed_into(self.modulus(), out, a);
    }

    /// Residues of the centred representatives of `a`, residues of the modulus `from`.
    fn change_modulus_centered_into(&self, out: &mut [u64], a: &[u64], from: Modulus) {
        scalar::pointwise::change_modulus_centered_into(self.modulus(), out, a, from);
    }

    /// First half of a base conversion: `y = x s`, and `fraction += y / q` in units of `2^-51`,
    /// rounded as [`scalar::pointwise::fraction`] says.
    fn digit_into(&self, y: &mut [u64], fraction: &mut [u64], x: &[u64], s: u64) {
        scalar::pointwise::digit_into(self.modulus(), y, fraction, x, s);
    }
}

/// Largest number of terms of [`LimbOps::dot_into`].
pub const MAX_DOT_TERMS: usize = 64;

/// Largest number of terms of [`LimbOps::linear_combination_into`] and of columns of
/// [`LimbOps::block_matmul`]: so many 52-bit halves fit a word.
pub const MAX_SUM_TERMS: usize = 4095;

/// Which kernel a ring uses.
#[derive(Clone, Debug, Default)]
pub enum KernelChoice {
    /// The fastest that supports processor, modulus and degree.
    #[default]
    Auto,
    /// The built-in one of that name: `"scalar"`, `"avx2"` or `"avx512ifma"`.
    Named(&'static str),
    /// One of the caller's own.
    Custom(Arc<dyn Kernel>),
}

impl KernelChoice {
    /// Name of the kernel that is used on this processor for moduli that it supports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Auto => {
                let available = built_in().into_iter().find(|k| k.is_available());
                available.map_or("scalar", |k| k.name())
            }
            Self::Named(name) => name,
            Self::Custom(kernel) => kernel.name(),
        }
    }
}

/// `auto`, or the name of a built-in kernel.
impl FromStr for KernelChoice {
    type Err = MathError;

    fn from_str(name: &str) -> Result<Self, MathError> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        named(name).map(|kernel| Self::Named(kernel.name()))
    }
}

/// The built-in kernels, fastest first.
pub fn built_in() -> Vec<Arc<dyn Kernel>> {
    vec![
        #[cfg(target_arch = "x86_64")]
        Arc::new(avx512ifma::Avx512Ifma::detect()),
        #[cfg(target_arch = "x86_64")]
        Arc::new(avx2::Avx2::detect()),
        Arc::new(scalar::Scalar),
    ]
}

/// The kernels that a choice leaves, best first.
fn candidates(choice: &KernelChoice) -> Result<Vec<Arc<dyn Kernel>>, MathError> {
    match choice {
        KernelChoice::Auto => Ok(built_in()),
        KernelChoice::Custom(kernel) => Ok(vec![kernel.clone()]),
        KernelChoice::Named(name) => Ok(vec![named(name)?]),
    }
}

fn named(name: &str) -> Result<Arc<dyn Kernel>, MathError> {
    let kernel = built_in().into_iter().find(|k| k.name() == name);
    kernel.ok_or_else(|| MathError::UnknownKernel {
        name: name.to_owned(),
    })
}

/// Chooses a kernel for one modulus and degree and builds its operations.
pub(crate) fn plan(
    choice: &KernelChoice,
    modulus: Modulus,
    log_n: u32,
    psi: u64,
) -> Result<Arc<dyn LimbOps>, MathError> {
    let kernels = candidates(choice)?;
    // The portable kernel supports everything, so only a single named or custom one can fail.
    let kernel = kernels
        .iter()
        .find(|k| k.supports(modulus, log_n))
        .unwrap_or(&kernels[0]);
    if !kernel.supports(modulus, log_n) {
        let name = kernel.name();
        return Err(match kernel.is_available() {
            false => MathError::KernelUnavailable { kernel: name },
            true => MathError::KernelUnsupported {
                kernel: name,
                modulus: modulus.value(),
                log_n,
            },
        });
    }
    kernel.plan(modulus, log_n, psi)
}

/// Chooses a kernel for what does not depend on a modulus.
pub(crate) fn available(choice: &KernelChoice) -> Result<Arc<dyn Kernel>, MathError> {
    let kernels = candidates(choice)?;
    let name = kernels[0].name();
    kernels
        .into_iter()
        .find(|k| k.is_available())
        .ok_or(MathError::KernelUnavailable { kernel: name })
}

/// A yardstick: runs `rounds` rounds of independent 52-bit multiply-adds in registers, and returns how
/// many pairs of a low and a high one on single words a round has; `None` where the processor has none.
pub fn multiply_add_pairs(rounds: u64) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    return avx512ifma::Avx512Ifma::detect().multiply_add_pairs(rounds);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = rounds;
        None
    }
}
