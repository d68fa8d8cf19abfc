//! The automorphisms `X -> X^g` in evaluation order: permutations of words.

use std::sync::Arc;

use crate::error::MathError;
use crate::kernel::{self, Kernel, KernelChoice};
use crate::ntt::LimbRing;

/// `X -> X^g` on limbs in evaluation order.
///
/// Word `j` of the result is word `pi(j)` of the source, where `2 brv(pi(j)) + 1 = g (2 brv(j) + 1)`
/// modulo `2N`. Aligned groups of eight words stay together: the group decides the source group and
/// one of eight orders within it.
#[derive(Clone, Debug)]
pub struct Automorphism {
    log_n: u32,
    element: u64,
    /// For each group, `8 * source group + order` if the degree is at least 8; else `pi`.
    table: Vec<u32>,
    /// The eight orders within a group.
    orders: [[u64; 8]; 8],
    kernel: Arc<dyn Kernel>,
}

/// Words of a group.
const GROUP: usize = 8;

fn reverse_bits(x: u64, bits: u32) -> u64 {
    if bits == 0 {
        0
    } else {
        x.reverse_bits() >> (u64::BITS - bits)
    }
}

impl Automorphism {
    /// The automorphism `X -> X^g` of the ring of degree `2^log_n`, on the fastest kernel; `g` is taken
    /// modulo `2N`.
    ///
    /// # Errors
    /// [`MathError::EvenGaloisElement`], [`MathError::DegreeOutOfRange`].
    pub fn new(log_n: u32, g: u64) -> Result<Self, MathError> {
        Self::with_kernel(log_n, g, &KernelChoice::Auto)
    }

    /// As [`Automorphism::new`], on a kernel of the caller's choice.
    ///
    /// # Errors
    /// As [`Automorphism::new`]; [`MathError::UnknownKernel`], [`MathError::KernelUnavailable`].
    pub fn with_kernel(log_n: u32, g: u64, kernel: &KernelChoice) -> Result<Self, MathError> {
        let kernel = kernel::available(kernel)?;
        if log_n > LimbRing::MAX_LOG_N {
            return Err(MathError::DegreeOutOfRange {
                log_n,
                min: 0,
                max: LimbRing::MAX_LOG_N,
            });
        }
        if g.is_multiple_of(2) {
            return Err(MathError::EvenGaloisElement { element: g });
        }
        let mask = (2u64 << log_n) - 1;
        let element = g & mask;
        let source = |j: u64| {
            let exponent = element.wrapping_mul(2 * reverse_bits(j, log_n) + 1) & mask;
            reverse_bits((exponent - 1) / 2, log_n)
        };
        let mut orders = [[0; GROUP]; 8];
        let n = 1u64 << log_n;
        let table = if n < GROUP as u64 {
            (0..n).map(|j| source(j) as u32).collect()
        } else {
            // Word t of a group differs from word 0 by brv3(t) in the top bits of the exponent, so the
            // order depends on the position of word 0 only.
            for (first, order) in orders.iter_mut().enumerate() {
                let shift = reverse_bits(first as u64, 3);
                for (t, to) in order.iter_mut().enumerate() {
                    *to = reverse_bits((element * reverse_bits(t as u64, 3) + shift) & 7, 3);
                }
            }
            (0..n).step_by(GROUP).map(|j| source(j) as u32).collect()
        };
        Ok(Self {
            log_n,
            element,
            table,
            orders,
            kernel,
        })
    }

    /// `g`, in `1..2N`.
    pub fn galois_element(&self) -> u64 {
        self.element
    }

    /// Base-2 logarithm of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    /// Applies it to a whole limb in evaluation order.
    ///
    /// # Panics
    /// If a slice is not a whole limb.
    pub fn apply_into(&self, out: &mut [u64], src: &[u64]) {
        let n = 1usize << self.log_n;
        assert!(
            out.len() == n && src.len() == n,
            "an automorphism needs whole limbs"
        );
        if n < GROUP {
            for (out, &j) in out.iter_mut().zip(&self.table) {
                *out = src[j as usize];
            }
            return;
        }
        self.kernel.permute_groups(
            out.as_chunks_mut().0,
            src.as_chunks().0,
            &self.table,
            &self.orders,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    #[test]
    fn automorphism_matches_coefficients() {
        for log_n in 0..=9 {
            let n = 1u64 << log_n;
            let prime = crate::primes::ntt_primes_below(1 << 40, log_n)
                .next()
                .unwrap();
            let ring = LimbRing::new(prime, log_n, &KernelChoice::Auto).unwrap();
            let a: Vec<u64> = (0..n).map(|j| ring.modulus().pow(3, j + 1)).collect();
            let mut transformed = a.clone();
            ring.ntt(&mut transformed);
            for g in [1, 3, 5, 25, 2 * n - 1, 2 * n + 5, 77, 1_000_003] {
                let mut expected = reference::automorphism(prime, g, &a);
                ring.ntt(&mut expected);
                for kernel in [KernelChoice::Auto, KernelChoice::Named("scalar")] {
                    let mut found = vec![u64::MAX; n as usize];
                    let map = Automorphism::with_kernel(log_n, g, &kernel).unwrap();
                    map.apply_into(&mut found, &transformed);
                    assert_eq!(found, expected, "log_n {log_n}, g {g}, {kernel:?}");
                    assert_eq!(map.galois_element(), g % (2 * n));
                }
            }
        }
    }

    #[test]
    fn automorphism_rejects_even_elements() {
        assert_eq!(
            Automorphism::new(4, 6).unwrap_err(),
            MathError::EvenGaloisElement { element: 6 }
        );
        assert!(matches!(
            Automorphism::new(21, 5),
            Err(MathError::DegreeOutOfRange { .. })
        ));
    }
}
