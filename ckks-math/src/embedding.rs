//! The canonical embedding: slots of a real polynomial and back, by a fast Fourier transform.

use std::f64::consts::PI;

use num_complex::Complex64;

/// The map between the `n` real coefficients of a polynomial `m` and its `n/2` complex slots
/// `z_j = m(zeta^(5^j))`, `zeta = exp(i pi / n)`.
///
/// With `c_k = m_k + i m_(k + n/2)` the slots are `z_j = sum_(k < n/2) c_k zeta^(k 5^j)`, because
/// `zeta^(5^j n/2) = i`: a twisted transform of half the length (Cheon, Han, Kim, Kim, Song:
/// Bootstrapping for approximate homomorphic encryption, 2018, <https://eprint.iacr.org/2018/153>).
#[derive(Clone, Debug)]
pub struct Embedding {
    log_n: u32,
    /// Stage by stage, from length 2 on, the `len/2` factors `zeta^(5^j n / len)`.
    twiddles: Vec<Complex64>,
}

impl Embedding {
    /// Tables for polynomials of `2^log_n` coefficients.
    ///
    /// # Panics
    /// Unless `1 <= log_n <= 20`.
    pub fn new(log_n: u32) -> Self {
        assert!((1..=20).contains(&log_n), "embedding of degree 2^{log_n}");
        let half = 1usize << (log_n - 1);
        let mut twiddles = Vec::with_capacity(half);
        let mut len = 2;
        while len <= half {
            // Roots of order 4 len, at the powers of 5.
            let order = 4 * len;
            let mut exponent = 1;
            for _ in 0..len / 2 {
                twiddles.push(unit_root(exponent, order));
                exponent = exponent * 5 % order;
            }
            len *= 2;
        }
        Self { log_n, twiddles }
    }

    /// Base-2 logarithm of the number of coefficients.
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    fn stages(&self) -> impl DoubleEndedIterator<Item = (usize, &[Complex64])> {
        // The factors of length `len` start at len/2 - 1, as lengths 2, 4, .. have 1, 2, .. of them.
        (1..self.log_n)
            .map(|s| 1usize << s)
            .map(|len| (len, &self.twiddles[len / 2 - 1..len - 1]))
    }

    /// The slots of `coeffs` (`n` of them) into `slots` (`n/2`).
    ///
    /// # Panics
    /// If the lengths are different from these.
    pub fn coeffs_to_slots(&self, coeffs: &[f64], slots: &mut [Complex64]) {
        let half = 1usize << (self.log_n - 1);
        assert!(
            coeffs.len() == 2 * half && slots.len() == half,
            "lengths of an embedding"
        );
        for (j, slot) in slots.iter_mut().enumerate() {
            let k = reverse(j, self.log_n - 1);
            *slot = Complex64::new(coeffs[k], coeffs[k + half]);
        }
        for (len, factors) in self.stages() {
            for block in slots.chunks_exact_mut(len) {
                let (upper, lower) = block.split_at_mut(len / 2);
                for ((x, y), &w) in upper.iter_mut().zip(lower).zip(factors) {
                    let v = *y * w;
                    (*x, *y) = (*x + v, *x - v);
                }
            }
        }
    }

    /// The coefficients (`n`) of the real polynomial that has the given slots (`n/2`).
    ///
    /// # Panics
    /// If the lengths are different from these.
    pub fn slots_to_coeffs(&self, slots: &[Complex64], coeffs: &mut [f64]) {
        let half = 1usize << (self.log_n - 1);
        assert!(
            coeffs.len() == 2 * half && slots.len() == half,
            "lengths of an embedding"
        );
        let mut work = slots.to_vec();
        for (len, factors) in self.stages().rev() {
            for block in work.chunks_exact_mut(len) {
                let (upper, lower) = block.split_at_mut(len / 2);
                for ((x, y), w) in upper.iter_mut().zip(lower).zip(factors) {
                    (*x, *y) = (*x + *y, (*x - *y) * w.conj());
                }
            }
        }
        let scale = 1.0 / half as f64;
        for (j, value) in work.iter().enumerate() {
            let k = reverse(j, self.log_n - 1);
            coeffs[k] = value.re * scale;
            coeffs[k + half] = value.im * scale;
        }
        // The slots may be secret.
        work.fill(Complex64::ZERO);
        std::hint::black_box(&mut work);
    }
}

/// `exp(2 i pi k / order)`, `order` a multiple of 8 and `k < order`, from an angle within an eighth of
/// a turn.
fn unit_root(k: usize, order: usize) -> Complex64 {
    let quarter = order / 4;
    let quadrant = (k + quarter / 2) / quarter;
    let offset = k as f64 - (quadrant * quarter) as f64;
    let (im, re) = (2.0 * PI * offset / order as f64).sin_cos();
    match quadrant % 4 {
        0 => Complex64::new(re, im),
        1 => Complex64::new(-im, re),
        2 => Complex64::new(-re, -im),
        _ => Complex64::new(im, -re),
    }
}

fn reverse(j: usize, bits: u32) -> usize {
    if bits == 0 {
        0
    } else {
        j.reverse_bits() >> (usize::BITS - bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    fn test_coefficients(n: usize) -> Vec<f64> {
        let mut state = 12345u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn embedding_matches_definition() {
        for log_n in 1..=10 {
            let n = 1 << log_n;
            let coeffs = test_coefficients(n);
            let mut slots = vec![Complex64::new(f64::NAN, f64::NAN); n / 2];
            Embedding::new(log_n).coeffs_to_slots(&coeffs, &mut slots);
            for (found, expected) in slots.iter().zip(reference::coeffs_to_slots(&coeffs)) {
                assert!(
                    (found - expected).norm()
                        < 1e-15 * f64::from(log_n) * (n as f64).sqrt().max(4.0),
                    "log_n {log_n}"
                );
            }
        }
    }

    #[test]
    fn embedding_round_trip_is_exact_to_rounding() {
        for log_n in [1, 2, 8, 13, 16] {
            let n = 1 << log_n;
            let coeffs = test_coefficients(n);
            let embedding = Embedding::new(log_n);
            let mut slots = vec![Complex64::new(f64::NAN, f64::NAN); n / 2];
            let mut back = vec![f64::NAN; n];
            embedding.coeffs_to_slots(&coeffs, &mut slots);
            embedding.slots_to_coeffs(&slots, &mut back);
            let worst = coeffs
                .iter()
                .zip(&back)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert!(worst < 1e-15 * f64::from(log_n), "log_n {log_n}: {worst:e}");
        }
    }

    #[test]
    fn embedding_of_constant_slots_is_constant() {
        let mut coeffs = vec![f64::NAN; 64];
        Embedding::new(6).slots_to_coeffs(&[Complex64::new(2.5, -1.0); 32], &mut coeffs);
        for (k, c) in coeffs.iter().enumerate() {
            let expected = if k == 0 {
                2.5
            } else if k == 32 {
                -1.0
            } else {
                0.0
            };
            assert!((c - expected).abs() < 1e-14);
        }
    }

    /// No result is so small that it matters how denormal numbers are taken; another rounding moves last bits only.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn embedding_is_right_in_any_floating_point_mode() {
        use crate::kernel::float_mode::in_mode;
        fn both_ways() -> Vec<f64> {
            let coeffs = test_coefficients(1 << 10);
            let embedding = Embedding::new(10);
            let mut slots = vec![Complex64::default(); 1 << 9];
            let mut back = vec![0.0; 1 << 10];
            embedding.coeffs_to_slots(&coeffs, &mut slots);
            embedding.slots_to_coeffs(&slots, &mut back);
            back.extend(slots.iter().flat_map(|z| [z.re, z.im]));
            back
        }
        let standard = both_ways();
        for (mode, tolerance) in [(0x1fc0, 0.0), (0x9f80, 0.0), (0xffc0, 1e-12)] {
            let found = std::thread::spawn(move || in_mode(mode, both_ways))
                .join()
                .unwrap();
            for (a, b) in found.iter().zip(&standard) {
                assert!((a - b).abs() <= tolerance, "{mode:x}: {a} {b}");
            }
        }
    }
}
