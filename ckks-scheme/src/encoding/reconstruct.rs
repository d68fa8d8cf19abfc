//! Integers from their residues.

use ckks_math::LimbRing;
use zeroize::Zeroizing;

/// Centred integer coefficients of a message, wiped when dropped.
pub(crate) struct Reconstruction(pub(crate) Zeroizing<Vec<i128>>);

/// The first primes whose product has this many bits determine a message of [`Reconstruction::BITS`].
const PRODUCT_BITS: f64 = 127.0;

/// The least number of leading primes that are enough for [`Reconstruction::new`], or all of them.
pub(crate) fn sufficient_limbs(rings: &[LimbRing]) -> usize {
    let mut bits = 0.0;
    let enough = rings.iter().position(|ring| {
        bits += (ring.modulus().value() as f64).log2();
        bits >= PRODUCT_BITS
    });
    enough.map_or(rings.len(), |last| last + 1)
}

impl Reconstruction {
    /// Bits of the range, centred, that coefficients have to be in, whatever the modulus.
    pub(crate) const BITS: f64 = PRODUCT_BITS - 1.0;

    /// Garner's mixed-radix reconstruction of the centred representatives, exact for all that are below 2^127 in
    /// absolute value: sums are modulo 2^128.
    pub(crate) fn new(residues: &[&[u64]], rings: &[LimbRing]) -> Self {
        let moduli: Vec<_> = rings.iter().map(LimbRing::modulus).collect();
        let primes: Vec<u64> = moduli.iter().map(|m| m.value()).collect();
        // q_0 .. q_(j-1) modulo q_i for j < i, and the inverse for j = i.
        let radices: Vec<(Vec<u64>, u64)> = moduli
            .iter()
            .enumerate()
            .map(|(i, m)| {
                let mut radix = 1;
                let below = primes[..i]
                    .iter()
                    .map(|&q| {
                        let this = radix;
                        radix = m.mul(radix, q);
                        this
                    })
                    .collect();
                (below, m.inv(radix))
            })
            .collect();
        let product = primes
            .iter()
            .fold(1u128, |acc, &q| acc.wrapping_mul(u128::from(q)));
        let mut digits = vec![0u64; primes.len()];
        let coefficient = |k: usize| {
            // digit_i = (x_i - (d_0 + d_1 q_0 + ..)) / (q_0 .. q_(i-1)) mod q_i
            for (i, m) in moduli.iter().enumerate() {
                let (below, inverse) = &radices[i];
                let partial = below
                    .iter()
                    .zip(&digits)
                    .fold(0, |sum, (&radix, &digit)| m.add(sum, m.mul(radix, digit)));
                digits[i] = m.mul(m.sub(residues[i][k], partial), *inverse);
            }
            let (mut sum, mut radix) = (0u128, 1u128);
            // Whether the number exceeds (Q - 1) / 2, whose digits are (q_i - 1) / 2: the highest that differs decides.
            let mut upper = false;
            for (&d, &q) in digits.iter().zip(&primes) {
                sum = sum.wrapping_add(radix.wrapping_mul(u128::from(d)));
                radix = radix.wrapping_mul(u128::from(q));
                upper = d > q / 2 || (d == q / 2 && upper);
            }
            (if upper {
                sum.wrapping_sub(product)
            } else {
                sum
            }) as i128
        };
        Self(Zeroizing::new(
            (0..residues[0].len()).map(coefficient).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ckks_math::{KernelChoice, primes};

    fn check(bits: u32, count: usize, values: &[i128]) {
        let rings: Vec<LimbRing> = primes::ntt_primes_below(1u64 << bits, 4)
            .take(count)
            .map(|q| LimbRing::new(q, 4, &KernelChoice::Auto).unwrap())
            .collect();
        let residues: Vec<Vec<u64>> = rings
            .iter()
            .map(|r| values.iter().map(|&v| r.modulus().from_i128(v)).collect())
            .collect();
        let residues: Vec<&[u64]> = residues.iter().map(|r| &r[..]).collect();
        assert_eq!(
            Reconstruction::new(&residues, &rings).0[..],
            *values,
            "{count} primes of {bits} bits"
        );
    }

    #[test]
    fn reconstruction_is_exact_up_to_the_middle() {
        for (bits, count) in [(24, 1), (50, 1), (24, 3), (31, 4), (50, 2)] {
            let product: i128 = primes::ntt_primes_below(1u64 << bits, 4)
                .take(count)
                .map(i128::from)
                .product();
            let half = product / 2;
            check(
                bits,
                count,
                &[0, 1, -1, half, -half, half - 1, 1 - half, half / 2],
            );
        }
    }

    #[test]
    fn reconstruction_wraps_beyond_a_double_word() {
        let top = i128::MAX >> 1;
        for (bits, count) in [(24, 6), (48, 3), (50, 3)] {
            check(bits, count, &[top, -top, 1, -1, 0, 1 << 120]);
        }
    }

    #[test]
    fn enough_limbs_hold_126_bits() {
        let rings = |bits: u32, count| -> Vec<LimbRing> {
            primes::ntt_primes_below(1u64 << bits, 4)
                .take(count)
                .map(|q| LimbRing::new(q, 4, &KernelChoice::Auto).unwrap())
                .collect()
        };
        for (bits, count, expected) in [(50, 8, 3), (50, 2, 2), (24, 9, 6), (40, 9, 4)] {
            assert_eq!(sufficient_limbs(&rings(bits, count)), expected);
        }
    }
}
