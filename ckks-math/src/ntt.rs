//! One limb's ring: modulus, degree, root of unity, tables and the chosen kernel.

use std::sync::Arc;

use crate::error::MathError;
use crate::kernel::{self, KernelChoice, LimbOps};
use crate::matmul::ResidueMatrix;
use crate::modulus::Modulus;
use crate::primes;

/// `Z_q[X] / (X^N + 1)` for one prime `q = 1 mod 2N`, with the operations on its limbs.
///
/// A limb is `N` words in `[0, q)`. In *coefficient order* word `j` belongs to `X^j`; in *evaluation
/// order* word `j` is the value at `psi^(2 brv(j) + 1)`, `brv` reversing `log2 N` bits and `psi` being
/// [`LimbRing::psi`]. Pointwise operations take slices of any one length, also parts of limbs; those
/// that say so need whole limbs. Cloning shares the tables.
///
/// # Panics
/// Every method panics if the lengths of its slices do not fit: that is a bug of the caller.
#[derive(Clone, Debug)]
pub struct LimbRing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    modulus: Modulus,
    log_n: u32,
    psi: u64,
    imaginary_unit: u64,
    kernel: KernelChoice,
    ops: Arc<dyn LimbOps>,
}

impl LimbRing {
    /// Largest supported base-2 logarithm of the degree.
    pub const MAX_LOG_N: u32 = 20;

    /// The ring of degree `2^log_n` modulo the prime `q`, with the root of unity
    /// `g^((q-1)/2N)` of the smallest `g >= 2` that gives a primitive one.
    ///
    /// # Errors
    /// [`MathError::ModulusOutOfRange`], [`MathError::ModulusNotPrime`],
    /// [`MathError::NoRootOfUnity`], [`MathError::DegreeOutOfRange`],
    /// [`MathError::UnknownKernel`], [`MathError::KernelUnavailable`], [`MathError::KernelUnsupported`].
    pub fn new(q: u64, log_n: u32, kernel: &KernelChoice) -> Result<Self, MathError> {
        let modulus = Self::check(q, log_n)?;
        let psi = primes::primitive_root(modulus, log_n)
            .ok_or(MathError::NoRootOfUnity { modulus: q, log_n })?;
        Self::build(modulus, log_n, psi, kernel)
    }

    /// As [`LimbRing::new`], with a root of the caller's choice.
    ///
    /// # Errors
    /// As [`LimbRing::new`]; [`MathError::NotPrimitiveRoot`] if `psi^N != -1`.
    pub fn with_root(
        q: u64,
        log_n: u32,
        psi: u64,
        kernel: &KernelChoice,
    ) -> Result<Self, MathError> {
        let modulus = Self::check(q, log_n)?;
        if psi >= q || !primes::is_primitive_root(modulus, log_n, psi) {
            return Err(MathError::NotPrimitiveRoot {
                root: psi,
                modulus: q,
                log_n,
            });
        }
        Self::build(modulus, log_n, psi, kernel)
    }

    fn check(q: u64, log_n: u32) -> Result<Modulus, MathError> {
        if log_n > Self::MAX_LOG_N {
            return Err(MathError::DegreeOutOfRange {
                log_n,
                min: 0,
                max: Self::MAX_LOG_N,
            });
        }
        let modulus = Modulus::new(q)?;
        if primes::is_prime(q) {
            Ok(modulus)
        } else {
            Err(MathError::ModulusNotPrime { modulus: q })
        }
    }

    fn build(
        modulus: Modulus,
        log_n: u32,
        psi: u64,
        kernel: &KernelChoice,
    ) -> Result<Self, MathError> {
        let ops = kernel::plan(kernel, modulus, log_n, psi)?;
        // psi^(N/2); in degree 1 there is no X^(1/2), and nothing asks for it.
        let imaginary_unit = modulus.pow(psi, (1 << log_n) / 2);
        Ok(Self(Arc::new(Inner {
            modulus,
            log_n,
            psi,
            imaginary_unit,
            kernel: kernel.clone(),
            ops,
        })))
    }

    /// The ring of degree `2^log_n` below this one, with the root `psi^(N/n)`: a polynomial in
    /// `X^(N/n)` transforms, in the big ring, to `n` blocks of `N/n` equal words, block `b` being
    /// word `b` of the small transform.
    ///
    /// # Errors
    /// [`MathError::DegreeOutOfRange`] if `log_n` is larger than this ring's; kernel errors if the
    /// ring's kernel was named and does not support the degree.
    pub fn subring(&self, log_n: u32) -> Result<Self, MathError> {
        if log_n > self.log_n() {
            return Err(MathError::DegreeOutOfRange {
                log_n,
                min: 0,
                max: self.log_n(),
            });
        }
        let psi = self.modulus().pow(self.psi(), 1 << (self.log_n() - log_n));
        Self::build(self.modulus(), log_n, psi, &self.0.kernel)
    }

    /// The modulus.
    pub fn modulus(&self) -> Modulus {
        self.0.modulus
    }

    /// Base-2 logarithm of the degree.
    pub fn log_n(&self) -> u32 {
        self.0.log_n
    }

    /// The degree `N`: the words of a limb.
    pub fn degree(&self) -> usize {
        1 << self.0.log_n
    }

    /// The root of unity, of order `2N`.
    pub fn psi(&self) -> u64 {
        self.0.psi
    }

    /// Name of the kernel in use.
    pub fn kernel_name(&self) -> &'static str {
        self.0.ops.kernel_name()
    }

    /// `I = psi^(N/2)`: in evaluation order `X^(N/2)` is `I` on the first half of the words and `-I`
    /// on the second.
    pub fn imaginary_unit(&self) -> u64 {
        self.0.imaginary_unit
    }

    pub(crate) fn ops(&self) -> &Arc<dyn LimbOps> {
        &self.0.ops
    }

    fn assert_limb(&self, a: &[u64]) {
        assert_eq!(a.len(), self.degree(), "a whole limb is needed");
    }

    /// Coefficient to evaluation order, in place, on a whole limb.
    pub fn ntt(&self, a: &mut [u64]) {
        self.assert_limb(a);
        self.0.ops.ntt(a);
    }

    /// Evaluation to coefficient order, in place, on a whole limb.
    pub fn intt(&self, a: &mut [u64]) {
        self.assert_limb(a);
        self.0.ops.intt(a);
    }

    /// [`Self::intt`] of `a`, which stays as it is; what `out` held does not matter.
    pub fn intt_into(&self, out: &mut [u64], a: &[u64]) {
        self.assert_limb(a);
        self.assert_limb(out);
        self.0.ops.intt_into(out, a);
    }

    /// `a = (minuend - NTT(a)) s` on whole limbs, `s` in `[0, q)`: the end of a rescale or ModDown.
    pub fn ntt_sub_mul_scalar(&self, a: &mut [u64], minuend: &[u64], s: u64) {
        self.assert_limb(a);
        self.assert_limb(minuend);
        self.0.ops.ntt_sub_mul_scalar(a, minuend, s);
    }

    /// `a += b`.
    pub fn add_assign(&self, a: &mut [u64], b: &[u64]) {
        self.0.ops.add_assign(a, b);
    }

    /// `a -= b`.
    pub fn sub_assign(&self, a: &mut [u64], b: &[u64]) {
        self.0.ops.sub_assign(a, b);
    }

    /// `a = -a`.
    pub fn neg_assign(&self, a: &mut [u64]) {
        self.0.ops.neg_assign(a);
    }

    /// `a *= b`, word by word.
    pub fn mul_assign(&self, a: &mut [u64], b: &[u64]) {
        self.0.ops.mul_assign(a, b);
    }

    /// `out = a b`, word by word.
    pub fn mul_into(&self, out: &mut [u64], a: &[u64], b: &[u64]) {
        self.0.ops.mul_into(out, a, b);
    }

    /// `acc += a b`, word by word.
    pub fn mul_add_assign(&self, acc: &mut [u64], a: &[u64], b: &[u64]) {
        self.0.ops.mul_add_assign(acc, a, b);
    }

    /// `a *= s` for one residue `s`.
    pub fn mul_scalar_assign(&self, a: &mut [u64], s: u64) {
        self.0.ops.mul_scalar_assign(a, s);
    }

    /// `out = a s` for one residue `s`.
    pub fn mul_scalar_into(&self, out: &mut [u64], a: &[u64], s: u64) {
        self.0.ops.mul_scalar_into(out, a, s);
    }

    /// `acc += a s` for one residue `s`.
    pub fn mul_scalar_add_assign(&self, acc: &mut [u64], a: &[u64], s: u64) {
        self.0.ops.mul_scalar_add_assign(acc, a, s);
    }

    /// `a += s` on every word: in evaluation order, adds the constant polynomial `s`.
    pub fn add_scalar_assign(&self, a: &mut [u64], s: u64) {
        self.0.ops.add_scalar_assign(a, s);
    }

    /// Multiplies a whole limb in evaluation order by `X^(N/2)`.
    pub fn mul_i_assign(&self, a: &mut [u64]) {
        self.assert_limb(a);
        let i = self.imaginary_unit();
        let (first, second) = a.split_at_mut(self.degree() / 2);
        self.0.ops.mul_scalar_assign(first, i);
        self.0.ops.mul_scalar_assign(second, self.modulus().neg(i));
    }

    /// Adds `re + im X^(N/2)` to a whole limb in evaluation order.
    pub fn add_i_scalar_assign(&self, a: &mut [u64], re: u64, im: u64) {
        self.assert_limb(a);
        let q = self.modulus();
        let im = q.mul(im, self.imaginary_unit());
        let (first, second) = a.split_at_mut(self.degree() / 2);
        self.0.ops.add_scalar_assign(first, q.add(re, im));
        self.0.ops.add_scalar_assign(second, q.sub(re, im));
    }

    /// `out = sum a b` over at most [`MAX_DOT_TERMS`](kernel::MAX_DOT_TERMS) terms, word by word,
    /// with one reduction at the end.
    pub fn dot_into(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        self.0.ops.dot_into(out, terms);
    }

    /// `out = sum_k w[k] xs[k]`, or `out +=` if `accumulate`, with one reduction at the end.
    ///
    /// The words of `xs` are below `2^52`, not necessarily below `q`; `w` in `[0, q)`; at most
    /// [`MAX_SUM_TERMS`](kernel::MAX_SUM_TERMS) vectors.
    pub fn linear_combination_into(
        &self,
        out: &mut [u64],
        xs: &[&[u64]],
        w: &[u64],
        accumulate: bool,
    ) {
        assert!(
            xs.len() <= kernel::MAX_SUM_TERMS,
            "{} vectors in one combination",
            xs.len()
        );
        let mut prepared = w.to_vec();
        self.0.ops.prepare_weights(&mut prepared);
        self.0
            .ops
            .linear_combination_into(out, xs, &prepared, accumulate);
    }

    /// The tensor square of `(z0, z1)`: `d0 = z0^2`, `d1 = 2 z0 z1`, `d2 = z1^2`.
    pub fn square_real_into(
        &self,
        d0: &mut [u64],
        d1: &mut [u64],
        d2: &mut [u64],
        z0: &[u64],
        z1: &[u64],
    ) {
        self.0.ops.square_real_into([d0, d1, d2], [z0, z1]);
    }

    /// With `u = z + y`, `v = z - y` and `i = X^(N/2)`, the tensor square of `u` less `i` times that
    /// of `v`: `d0 = u0^2 - i v0^2`, `d1 = 2 (u0 u1 - i v0 v1)`, `d2 = u1^2 - i v1^2`. Whole limbs in
    /// evaluation order.
    ///
    /// If `y` is the conjugate of `z = a + i b`, this is `4 (a^2 + i b^2)`.
    #[rustfmt::skip]
    pub fn square_complex_into(
        &self, d0: &mut [u64], d1: &mut [u64], d2: &mut [u64], z0: &[u64], z1: &[u64], y0: &[u64], y1: &[u64],
    ) {
        self.assert_limb(d0);
        let half = self.degree() / 2;
        let [(d0a, d0b), (d1a, d1b), (d2a, d2b)] = [d0, d1, d2].map(|d| d.split_at_mut(half));
        let [(z0a, z0b), (z1a, z1b), (y0a, y0b), (y1a, y1b)] = [z0, z1, y0, y1].map(|z| z.split_at(half));
        let i = self.imaginary_unit();
        self.0.ops.square_complex_into([d0a, d1a, d2a], [z0a, z1a], [y0a, y1a], i);
        self.0.ops.square_complex_into([d0b, d1b, d2b], [z0b, z1b], [y0b, y1b], self.modulus().neg(i));
    }

    /// The tensor product: `d0 = a0 b0`, `d1 = a0 b1 + a1 b0`, `d2 = a1 b1`.
    #[rustfmt::skip]
    pub fn tensor_into(
        &self, d0: &mut [u64], d1: &mut [u64], d2: &mut [u64], a0: &[u64], a1: &[u64], b0: &[u64], b1: &[u64],
    ) {
        self.0.ops.tensor_into([d0, d1, d2], [a0, a1], [b0, b1]);
    }

    /// The RNS matrix product: `out[r] = sum_c W[r, c] x[c]`, or `out[r] +=` if `accumulate`, on whole
    /// limbs in evaluation order; `w` was generated for this ring.
    ///
    /// # Panics
    /// If the shapes do not fit, or `w` was generated for another modulus or kernel.
    pub fn block_matmul(
        &self,
        out: &mut [&mut [u64]],
        x: &[&[u64]],
        w: &ResidueMatrix,
        accumulate: bool,
    ) {
        assert_eq!(
            (out.len(), x.len()),
            (w.rows(), w.cols()),
            "rows and columns of the product"
        );
        out.iter().for_each(|out| self.assert_limb(out));
        x.iter().for_each(|x| self.assert_limb(x));
        assert!(
            x.len() <= kernel::MAX_SUM_TERMS,
            "{} columns in one product",
            x.len()
        );
        w.assert_made_for(self);
        self.0
            .ops
            .block_matmul(out, x, w.weights(), w.blocks(), accumulate);
    }

    /// Residues of signed words.
    pub fn reduce_signed_into(&self, out: &mut [u64], a: &[i64]) {
        self.0.ops.reduce_signed_into(out, a);
    }

    /// Residues modulo `q` of the centred representatives, in `(-from/2, from/2]`, of residues
    /// modulo `from`.
    pub fn change_modulus_centered_into(&self, out: &mut [u64], a: &[u64], from: Modulus) {
        self.0.ops.change_modulus_centered_into(out, a, from);
    }
}
