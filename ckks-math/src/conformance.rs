//! Tests that every kernel has to pass: each operation against the portable kernel, bit for bit.
//!
//! For kernels of one's own, behind the feature `conformance`:
//!
//! ```
//! use ckks_math::{conformance, kernel::scalar::Scalar};
//! let compared = conformance::check_kernel(std::sync::Arc::new(Scalar), 6..=7, 45..=45, 1);
//! assert!(compared > 0);
//! ```

use std::ops::RangeInclusive;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::kernel::scalar::Scalar;
use crate::{
    BaseConverter, Kernel, KernelChoice, LimbRing, Modulus, ResidueMatrix, WeightMatrix, primes,
};

/// Smallest, largest and `random` random primes of exactly `bits` bits that are `1 mod 2^(log_n + 1)`.
pub fn sample_primes(bits: u32, log_n: u32, random: usize, seed: u64) -> Vec<u64> {
    let (low, high) = (1u64 << (bits - 1), 1u64 << bits);
    let mut found: Vec<u64> = primes::ntt_primes_above(low, log_n)
        .take_while(|&q| q < high)
        .take(1)
        .collect();
    found.extend(
        primes::ntt_primes_below(high, log_n)
            .take_while(|&q| q > low)
            .take(1),
    );
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(bits) << 32);
    for _ in 0..random {
        let bound = low + rng.next_u64() % low;
        found.extend(
            primes::ntt_primes_below(bound, log_n)
                .take_while(|&q| q > low)
                .take(1),
        );
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Compares all operations of `kernel` with the portable kernel, for every degree `2^log_n` and primes
/// of every size, where it supports them; returns how many pairs of degree and prime were compared.
///
/// # Panics
/// At the first difference, with its circumstances.
pub fn check_kernel(
    kernel: Arc<dyn Kernel>,
    log_n: RangeInclusive<u32>,
    bits: RangeInclusive<u32>,
    random: usize,
) -> usize {
    let mut compared = 0;
    for log_n in log_n {
        for bits in bits.clone() {
            let primes = sample_primes(bits, log_n, random, u64::from(log_n));
            for (i, &q) in primes.iter().enumerate() {
                if kernel.supports(Modulus::new(q).expect("primes below 2^62"), log_n) {
                    let ring =
                        |choice| LimbRing::new(q, log_n, &choice).expect("a prime for this degree");
                    let other = primes[(i + 1) % primes.len()];
                    Comparison {
                        fast: ring(KernelChoice::Custom(kernel.clone())),
                        slow: ring(KernelChoice::Custom(Arc::new(Scalar))),
                        rng: ChaCha8Rng::seed_from_u64(q),
                    }
                    .all(other);
                    compared += 1;
                }
            }
        }
    }
    compared
}

/// One modulus and degree on both kernels.
struct Comparison {
    fast: LimbRing,
    slow: LimbRing,
    rng: ChaCha8Rng,
}

/// Ways to fill a slice.
const FILLINGS: u64 = 5;

impl Comparison {
    /// Words below `bound`: zeros, ones, the largest, extremes mixed, random.
    fn words(&mut self, len: usize, bound: u64, filling: u64) -> Vec<u64> {
        let rng = &mut self.rng;
        let mut word = || match filling % FILLINGS {
            0 => rng.next_u64() % bound,
            1 => bound - 1,
            2 => {
                [0, 1, bound - 1, bound - 2, bound / 2, bound / 2 + 1][rng.next_u64() as usize % 6]
            }
            3 => 0,
            _ => 1,
        };
        (0..len).map(|_| word()).collect()
    }

    fn residues(&mut self, len: usize, filling: u64) -> Vec<u64> {
        let q = self.fast.modulus().value();
        self.words(len, q, filling)
    }

    /// Runs `f` on both rings with equal outputs of arbitrary contents.
    fn same(&self, what: &str, outputs: &[Vec<u64>], f: impl Fn(&LimbRing, &mut [Vec<u64>])) {
        let (mut found, mut expected) = (outputs.to_vec(), outputs.to_vec());
        f(&self.fast, &mut found);
        f(&self.slow, &mut expected);
        for (o, (found, expected)) in found.iter().zip(&expected).enumerate() {
            if let Some(j) = (0..found.len()).find(|&j| found[j] != expected[j]) {
                let (q, log_n, len) = (self.fast.modulus().value(), self.fast.log_n(), found.len());
                panic!(
                    "{what} on {}: q = {q}, log_n = {log_n}, output {o}, word {j} of {len}: {} instead of {}",
                    self.fast.kernel_name(),
                    found[j],
                    expected[j]
                );
            }
        }
    }

    fn all(&mut self, other_prime: u64) {
        let n = self.fast.degree();
        for filling in 0..FILLINGS {
            self.transforms(n, filling);
            self.whole_limbs(n, filling);
            self.matrix_products(n, filling);
        }
        for len in [n, 1, 7, 8, 45] {
            for filling in 0..FILLINGS {
                self.pointwise(len, filling);
                self.sums(len, filling);
                self.conversions(len, filling, other_prime);
            }
        }
        self.base_conversion(n, other_prime);
    }

    fn transforms(&mut self, n: usize, filling: u64) {
        let a = [self.residues(n, filling)];
        self.same("ntt", &a, |ring, x| ring.ntt(&mut x[0]));
        self.same("intt", &a, |ring, x| ring.intt(&mut x[0]));
        let minuend = self.residues(n, filling + 1);
        let s = self.residues(1, filling)[0];
        self.same("ntt_sub_mul_scalar", &a, |ring, x| {
            ring.ntt_sub_mul_scalar(&mut x[0], &minuend, s)
        });
        let garbage = [self.words(n, u64::MAX, 0)];
        self.same("intt_into", &garbage, |ring, x| {
            ring.intt_into(&mut x[0], &a[0])
        });
        self.same("round trip", &a, |ring, x| {
            ring.ntt(&mut x[0]);
            ring.intt(&mut x[0]);
            assert_eq!(x[0], a[0], "round trip");
        });
    }

    fn whole_limbs(&mut self, n: usize, filling: u64) {
        let garbage = [1, 2, 3].map(|_| self.words(n, u64::MAX, 0));
        let [z0, z1, y0, y1] = [0, 1, 2, 3].map(|i| self.residues(n, filling + i * filling));
        let [s, t] = [0, 1].map(|i| self.residues(1, filling + i)[0]);
        self.same("mul_i_assign", std::slice::from_ref(&z0), |ring, x| {
            ring.mul_i_assign(&mut x[0])
        });
        self.same(
            "add_i_scalar_assign",
            std::slice::from_ref(&z0),
            |ring, x| ring.add_i_scalar_assign(&mut x[0], s, t),
        );
        self.same("square_complex_into", &garbage, |ring, d| {
            let [d0, d1, d2] = d.get_disjoint_mut([0, 1, 2]).expect("three outputs");
            ring.square_complex_into(d0, d1, d2, &z0, &z1, &y0, &y1);
        });
    }

    fn pointwise(&mut self, len: usize, filling: u64) {
        let garbage = [1, 2, 3].map(|_| self.words(len, u64::MAX, 0));
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.residues(len, filling + i * filling));
        let s = self.residues(1, filling)[0];
        let signed: Vec<i64> = self
            .words(len, u64::MAX, filling)
            .into_iter()
            .map(|w| w as i64)
            .collect();
        let start = [a.clone()];
        self.same("add_assign", &start, |ring, x| {
            ring.add_assign(&mut x[0], &b)
        });
        self.same("sub_assign", &start, |ring, x| {
            ring.sub_assign(&mut x[0], &b)
        });
        self.same("neg_assign", &start, |ring, x| ring.neg_assign(&mut x[0]));
        self.same("mul_assign", &start, |ring, x| {
            ring.mul_assign(&mut x[0], &b)
        });
        self.same("mul_add_assign", &start, |ring, x| {
            ring.mul_add_assign(&mut x[0], &b, &c)
        });
        self.same("mul_scalar_assign", &start, |ring, x| {
            ring.mul_scalar_assign(&mut x[0], s)
        });
        self.same("mul_scalar_add_assign", &start, |ring, x| {
            ring.mul_scalar_add_assign(&mut x[0], &b, s)
        });
        self.same("add_scalar_assign", &start, |ring, x| {
            ring.add_scalar_assign(&mut x[0], s)
        });
        self.same("mul_into", &garbage, |ring, x| {
            ring.mul_into(&mut x[0], &a, &b)
        });
        self.same("mul_scalar_into", &garbage, |ring, x| {
            ring.mul_scalar_into(&mut x[0], &a, s)
        });
        self.same("reduce_signed_into", &garbage, |ring, x| {
            ring.reduce_signed_into(&mut x[0], &signed)
        });
        self.same("square_real_into", &garbage, |ring, x| {
            let [d0, d1, d2] = x.get_disjoint_mut([0, 1, 2]).expect("three outputs");
            ring.square_real_into(d0, d1, d2, &a, &b);
        });
        self.same("tensor_into", &garbage, |ring, x| {
            let [d0, d1, d2] = x.get_disjoint_mut([0, 1, 2]).expect("three outputs");
            ring.tensor_into(d0, d1, d2, &a, &b, &c, &d);
        });
    }

    fn sums(&mut self, len: usize, filling: u64) {
        for terms in [0, 1, 3, 13, 64] {
            // Largest words in all terms, or different ways in each.
            let step = if filling == 1 { 0 } else { filling };
            let garbage = [self.words(len, u64::MAX, 0)];
            let start = [self.residues(len, filling)];
            let a: Vec<Vec<u64>> = (0..terms)
                .map(|i| self.residues(len, filling + i * step))
                .collect();
            let b: Vec<Vec<u64>> = (0..terms)
                .map(|i| self.residues(len, filling + i * step))
                .collect();
            let wide: Vec<Vec<u64>> = (0..terms)
                .map(|i| self.words(len, 1 << 52, filling + i * step))
                .collect();
            let weights = self.residues(terms as usize, filling);
            let pairs: Vec<(&[u64], &[u64])> =
                a.iter().zip(&b).map(|(a, b)| (&a[..], &b[..])).collect();
            let xs: Vec<&[u64]> = wide.iter().map(|x| &x[..]).collect();
            self.same("dot_into", &garbage, |ring, x| {
                ring.dot_into(&mut x[0], &pairs)
            });
            let combine = |accumulate| {
                let xs = &xs;
                let weights = &weights;
                move |ring: &LimbRing, out: &mut [Vec<u64>]| {
                    ring.linear_combination_into(&mut out[0], xs, weights, accumulate)
                }
            };
            self.same("linear_combination_into", &garbage, combine(false));
            self.same(
                "linear_combination_into, accumulating",
                &start,
                combine(true),
            );
        }
    }

    fn conversions(&mut self, len: usize, filling: u64, other_prime: u64) {
        let garbage = [self.words(len, u64::MAX, 0)];
        for from in [3, 97, other_prime, (1 << 52) - 47, (1 << 61) - 1] {
            let a = self.words(len, from, filling);
            let from = Modulus::new(from).expect("a modulus");
            self.same("change_modulus_centered_into", &garbage, |ring, x| {
                ring.change_modulus_centered_into(&mut x[0], &a, from)
            });
        }
    }

    fn matrix_products(&mut self, n: usize, filling: u64) {
        let log_n = self.fast.log_n();
        for (rows, cols, log_2g) in [
            (1, 1, 0),
            (4, 3, log_n.min(1)),
            (5, 9, log_n.saturating_sub(3)),
            (7, 20, log_n.min(5)),
            (3, 2, log_n),
        ] {
            let block_degree = 1usize << log_2g;
            let mut weights = WeightMatrix::new(rows, cols, log_2g);
            for r in 0..rows {
                for c in 0..cols {
                    match self.rng.next_u64() % 4 {
                        0 => {}
                        1 => weights.set_scalar(r, c, self.rng.next_u64() as i64 >> 30),
                        _ => {
                            let poly: Vec<i64> = (0..block_degree)
                                .map(|_| self.rng.next_u64() as i64 >> 40)
                                .collect();
                            weights.set_poly(r, c, &poly);
                        }
                    }
                }
            }
            let x: Vec<Vec<u64>> = (0..cols).map(|_| self.residues(n, filling)).collect();
            let x: Vec<&[u64]> = x.iter().map(|x| &x[..]).collect();
            let garbage: Vec<Vec<u64>> = (0..rows).map(|_| self.words(n, u64::MAX, 0)).collect();
            let start: Vec<Vec<u64>> = (0..rows).map(|_| self.residues(n, filling)).collect();
            let product = |accumulate| {
                let (x, weights) = (&x, &weights);
                move |ring: &LimbRing, out: &mut [Vec<u64>]| {
                    let mut residues = ResidueMatrix::new();
                    residues.generate(ring, &ring.subring(log_2g).expect("a subring"), weights);
                    let mut out: Vec<&mut [u64]> = out.iter_mut().map(|out| &mut out[..]).collect();
                    ring.block_matmul(&mut out, x, &residues, accumulate);
                }
            };
            self.same("block_matmul", &garbage, product(false));
            self.same("block_matmul, accumulating", &start, product(true));
        }
    }

    /// From this modulus and another to both kernels' versions of this modulus' neighbours.
    fn base_conversion(&mut self, n: usize, other_prime: u64) {
        let (q, log_n) = (self.fast.modulus().value(), self.fast.log_n());
        let choice = |ring: &LimbRing| {
            KernelChoice::Custom(if ring.kernel_name() == Scalar::NAME {
                Arc::new(Scalar)
            } else {
                crate::kernel::built_in()
                    .into_iter()
                    .find(|k| k.name() == ring.kernel_name())
                    .unwrap_or(Arc::new(Scalar))
            })
        };
        let mut moduli = vec![q];
        if other_prime != q {
            moduli.push(other_prime);
        }
        let source: Vec<Vec<u64>> = moduli.iter().map(|&q| self.words(n, q, 2)).collect();
        let garbage = [self.words(n, u64::MAX, 0), self.words(n, u64::MAX, 0)];
        self.same("base conversion", &garbage, |ring, out| {
            let other = |prime: u64| {
                LimbRing::new(prime, log_n, &choice(ring))
                    .or_else(|_| LimbRing::new(prime, log_n, &KernelChoice::Auto))
            };
            let sources: Vec<LimbRing> = moduli
                .iter()
                .map(|&prime| other(prime).expect("a ring"))
                .collect();
            let converter = BaseConverter::new(&sources, &[ring.clone(), sources[0].clone()])
                .expect("a converter");
            let mut out: Vec<&mut [u64]> = out.iter_mut().map(|out| &mut out[..]).collect();
            converter.convert_into(&mut out, &source.iter().map(|s| &s[..]).collect::<Vec<_>>());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, log_n: RangeInclusive<u32>, bits: RangeInclusive<u32>, random: usize) {
        let Some(kernel) = crate::kernel::built_in()
            .into_iter()
            .find(|k| k.name() == name)
        else {
            return;
        };
        let compared = check_kernel(kernel.clone(), log_n, bits, random);
        assert_eq!(
            compared > 0,
            kernel.is_available(),
            "{name} compared exactly where the processor can"
        );
    }

    fn on_many_primes(name: &str) {
        check(name, 6..=6, 30..=50, 32);
        check(name, 7..=7, 30..=50, 2);
    }

    fn at_small_degrees(name: &str) {
        check(name, 0..=5, 14..=50, 1);
    }

    fn at_large_degrees(name: &str) {
        check(name, 8..=11, 47..=50, 1);
        check(name, 12..=13, 48..=50, 0);
    }

    #[test]
    fn kernel_avx512ifma_matches_scalar_on_many_primes() {
        on_many_primes("avx512ifma");
    }

    #[test]
    fn kernel_avx2_matches_scalar_on_many_primes() {
        on_many_primes("avx2");
    }

    /// Denormals are zero, flush to zero, and another rounding, as a host program may have set them.
    #[cfg(target_arch = "x86_64")]
    fn in_any_floating_point_mode(name: &'static str) {
        use crate::kernel::float_mode::in_mode;
        for mode in [0x1fc0, 0x9f80, 0xffc0] {
            std::thread::spawn(move || in_mode(mode, || check(name, 6..=7, 47..=50, 2)))
                .join()
                .unwrap();
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn kernel_avx512ifma_matches_scalar_in_any_floating_point_mode() {
        in_any_floating_point_mode("avx512ifma");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn kernel_avx2_matches_scalar_in_any_floating_point_mode() {
        in_any_floating_point_mode("avx2");
    }

    #[test]
    fn kernel_avx512ifma_matches_scalar_at_small_degrees() {
        at_small_degrees("avx512ifma");
    }

    #[test]
    fn kernel_avx2_matches_scalar_at_small_degrees() {
        at_small_degrees("avx2");
    }

    #[test]
    fn kernel_avx512ifma_matches_scalar_at_large_degrees() {
        at_large_degrees("avx512ifma");
    }

    #[test]
    fn kernel_avx2_matches_scalar_at_large_degrees() {
        at_large_degrees("avx2");
    }

    #[test]
    fn kernel_scalar_matches_itself() {
        // The suite itself: it must call every operation with arguments that it accepts.
        assert!(check_kernel(Arc::new(Scalar), 4..=6, 60..=61, 0) > 0);
    }
}
