//! The portable kernel: Harvey's butterflies with 64-bit words. Reference and fallback.

use std::sync::Arc;

use super::{Kernel, LimbOps};
use crate::error::MathError;
use crate::modulus::{Modulus, Shoup};

pub mod pointwise;

/// The portable kernel. Supports every modulus below `2^62` and every degree.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

impl Scalar {
    /// Its name.
    pub const NAME: &'static str = "scalar";
}

impl Kernel for Scalar {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn supports(&self, _modulus: Modulus, _log_n: u32) -> bool {
        true
    }

    fn plan(&self, modulus: Modulus, log_n: u32, psi: u64) -> Result<Arc<dyn LimbOps>, MathError> {
        Ok(Arc::new(ScalarOps(ScalarTransform::new(
            modulus, log_n, psi,
        ))))
    }
}

/// Powers `psi^(brv(k))` for `k` in `0..2^log_n`, `brv` reversing `log_n` bits: the root of node `k`
/// in the heap of a Cooley-Tukey transform.
pub(crate) fn bit_reversed_powers(modulus: Modulus, log_n: u32, psi: u64) -> Vec<u64> {
    let mut table = vec![1 % modulus.value(); 1 << log_n];
    // psi^(2^(log_n - 1 - s)) for the s-th bit of k.
    let mut half = 1;
    for s in 0..log_n {
        let step = modulus.shoup(modulus.pow(psi, 1 << (log_n - 1 - s)));
        for k in 0..half {
            table[half + k] = modulus.mul_shoup(table[k], step);
        }
        half *= 2;
    }
    table
}

/// The portable operations for one modulus and degree.
#[derive(Debug)]
struct ScalarOps(ScalarTransform);

impl LimbOps for ScalarOps {
    fn kernel_name(&self) -> &'static str {
        Scalar::NAME
    }

    fn modulus(&self) -> Modulus {
        self.0.modulus
    }

    fn ntt(&self, a: &mut [u64]) {
        self.0.forward(a);
    }

    fn intt(&self, a: &mut [u64]) {
        self.0.inverse(a);
    }
}

/// Tables of the portable transform for one modulus and degree.
#[derive(Debug)]
pub(crate) struct ScalarTransform {
    modulus: Modulus,
    roots: Vec<Shoup>,
    inverse_roots: Vec<Shoup>,
    inverse_degree: Shoup,
}

impl ScalarTransform {
    pub(crate) fn new(modulus: Modulus, log_n: u32, psi: u64) -> Self {
        let shoup = |powers: Vec<u64>| powers.into_iter().map(|w| modulus.shoup(w)).collect();
        Self {
            modulus,
            roots: shoup(bit_reversed_powers(modulus, log_n, psi)),
            inverse_roots: shoup(bit_reversed_powers(modulus, log_n, modulus.inv(psi))),
            inverse_degree: modulus.shoup(modulus.inv(modulus.reduce(1 << log_n))),
        }
    }

    /// Cooley-Tukey with lazy butterflies: words stay below `4q` between the stages.
    pub(crate) fn forward(&self, a: &mut [u64]) {
        let (q, n) = (self.modulus.value(), a.len());
        assert_eq!(n, self.roots.len(), "length of a limb");
        let mut nodes = 1;
        while nodes < n {
            let span = n / nodes;
            for (block, root) in a.chunks_exact_mut(span).zip(&self.roots[nodes..]) {
                let (upper, lower) = block.split_at_mut(span / 2);
                for (x, y) in upper.iter_mut().zip(lower) {
                    let u = if *x >= 2 * q { *x - 2 * q } else { *x };
                    let v = self.modulus.mul_shoup_lazy(*y, *root);
                    *x = u + v;
                    *y = u + 2 * q - v;
                }
            }
            nodes *= 2;
        }
        for x in a {
            let u = if *x >= 2 * q { *x - 2 * q } else { *x };
            *x = if u >= q { u - q } else { u };
        }
    }

    /// Gentleman-Sande with lazy butterflies: words stay below `2q` between the stages.
    pub(crate) fn inverse(&self, a: &mut [u64]) {
        let (q, n) = (self.modulus.value(), a.len());
        assert_eq!(n, self.roots.len(), "length of a limb");
        let mut nodes = n / 2;
        while nodes > 0 {
            let span = n / nodes;
            for (block, root) in a.chunks_exact_mut(span).zip(&self.inverse_roots[nodes..]) {
                let (upper, lower) = block.split_at_mut(span / 2);
                for (x, y) in upper.iter_mut().zip(lower) {
                    let (u, v) = (*x, *y);
                    *x = if u + v >= 2 * q { u + v - 2 * q } else { u + v };
                    *y = self.modulus.mul_shoup_lazy(u + 2 * q - v, *root);
                }
            }
            nodes /= 2;
        }
        for x in a {
            *x = self.modulus.mul_shoup(*x, self.inverse_degree);
        }
    }
}
