//! Samplers. All randomness comes from a generator of the caller's; the same generator state gives
//! the same words on every machine.

use rand::{CryptoRng, Rng};
use zeroize::Zeroizing;

use crate::modulus::Modulus;

/// Bytes drawn from a generator at a time.
const CHUNK_BYTES: usize = 4096;

/// Feeds `take` with uniform words until it has had enough (returns `false`).
fn for_each_word(
    rng: &mut (impl Rng + ?Sized),
    words_hint: usize,
    mut take: impl FnMut(u64) -> bool,
) {
    let mut bytes = Zeroizing::new([0; CHUNK_BYTES]);
    let chunk = (words_hint * size_of::<u64>()).clamp(64, CHUNK_BYTES);
    loop {
        rng.fill_bytes(&mut bytes[..chunk]);
        for word in bytes[..chunk].chunks_exact(size_of::<u64>()) {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
            if !take(word) {
                return;
            }
        }
    }
}

/// Fills `out` with uniform residues: words masked to the bits of `q`, those not below `q` rejected.
///
/// The number of bytes drawn depends on the words drawn; a generator that is used for anything else
/// afterwards must not depend on that.
pub fn uniform_into(q: Modulus, rng: &mut (impl CryptoRng + ?Sized), out: &mut [u64]) {
    let mask = u64::MAX >> (u64::BITS - q.bits());
    let mut filled = 0;
    let len = out.len();
    while filled < len {
        for_each_word(rng, len - filled, |word| {
            let word = word & mask;
            // Written unconditionally: a rejected word is overwritten by the next.
            out[filled] = word;
            filled += usize::from(word < q.value());
            filled < len
        });
    }
}

/// Fills `out` with uniform elements of `{-1, 0, 1}`: bytes modulo 3, the byte 255 rejected.
pub fn ternary_into(rng: &mut (impl CryptoRng + ?Sized), out: &mut [i64]) {
    let mut filled = 0;
    let len = out.len();
    while filled < len {
        for_each_word(rng, (len - filled).div_ceil(8), |word| {
            for byte in word.to_le_bytes() {
                if filled < len {
                    out[filled] = i64::from(byte % 3) - 1;
                    filled += usize::from(byte != u8::MAX);
                }
            }
            filled < len
        });
    }
}

/// Fills `out` with a uniform ternary vector of exactly `h` entries that are not zero
/// (Fisher-Yates; time and access pattern depend on the result, as for every sparse secret).
///
/// # Panics
/// If `h > out.len()`.
pub fn sparse_ternary_into(rng: &mut (impl CryptoRng + ?Sized), h: usize, out: &mut [i64]) {
    assert!(h <= out.len(), "{h} entries in a vector of {}", out.len());
    out.fill(0);
    // As secret as the result: wiped when it is dropped.
    let mut positions = Zeroizing::new((0..out.len()).collect::<Vec<usize>>());
    for i in 0..h {
        let j = i + below(rng, (positions.len() - i) as u64) as usize;
        positions.swap(i, j);
        out[positions[i]] = if rng.next_u64() & 1 == 0 { 1 } else { -1 };
    }
}

/// A uniform integer in `0..bound`.
fn below(rng: &mut (impl Rng + ?Sized), bound: u64) -> u64 {
    let mask = u64::MAX >> bound.leading_zeros();
    loop {
        let word = rng.next_u64() & mask;
        if word < bound {
            return word;
        }
    }
}

/// Standard deviation parameter of [`gaussian_into`].
pub const SIGMA: f64 = 3.19;

/// `2^63 P(|X| >= k)` for `k = 1, 2, ..`, rounded, `X` being the discrete Gaussian
/// `P(x) ~ exp(-x^2 / (2 sigma^2))`; the next entry rounds to zero.
const TAILS: [u64; 29] = [
    0x6ffe_065e_4d35_6b98,
    0x5183_0c10_f87c_934a,
    0x3735_817a_27cb_5a86,
    0x22a2_ae88_7089_f77f,
    0x140c_aa67_aafb_de50,
    0x0aad_236f_7f84_412a,
    0x0537_7dfa_9e5b_368b,
    0x0255_9a69_adb4_8003,
    0x00f4_7eeb_445b_1347,
    0x005b_5603_a15a_8b17,
    0x001f_1ef8_8510_c6e6,
    0x0009_a9c0_7ef0_ea30,
    0x0002_bb6f_6664_3a6b,
    0x0000_b3f7_fb32_c792,
    0x0000_2a1e_7180_25e8,
    0x0000_08f6_3986_3d12,
    0x0000_01bb_a386_f094,
    0x0000_004d_f085_5ab6,
    0x0000_000c_6fc2_dca3,
    0x0000_0001_cd4f_92e3,
    0x0000_0000_3cae_da34,
    0x0000_0000_073e_e89b,
    0x0000_0000_00c9_01cd,
    0x0000_0000_0013_c408,
    0x0000_0000_0001_c375,
    0x0000_0000_0000_248b,
    0x0000_0000_0000_02af,
    0x0000_0000_0000_002e,
    0x0000_0000_0000_0003,
];

/// Fills `out` with the discrete Gaussian of parameter [`SIGMA`], cut at `|x| <= 29` (9 sigma), where
/// the tail has probability below `2^-63`.
///
/// One word a sample: its upper 63 bits against the whole table, in constant time, its lowest bit for
/// the sign.
pub fn gaussian_into(rng: &mut (impl CryptoRng + ?Sized), out: &mut [i64]) {
    let mut filled = 0;
    let len = out.len();
    while filled < len {
        for_each_word(rng, len - filled, |word| {
            let (level, sign) = (word >> 1, (word & 1) as i64);
            // Both are below 2^63, so the borrow of the difference is the comparison.
            let magnitude: u64 = TAILS
                .iter()
                .map(|&tail| level.wrapping_sub(tail) >> 63)
                .sum();
            let magnitude = magnitude as i64;
            out[filled] = (magnitude ^ -sign) + sign;
            filled += 1;
            filled < len
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn rng(seed: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(seed)
    }

    #[test]
    fn samplers_repeat_with_their_seed() {
        let q = Modulus::new((1 << 48) - 59).unwrap();
        let draw = |seed| {
            let (mut words, mut signed) = (vec![0; 3000], vec![0; 3000]);
            uniform_into(q, &mut rng(seed), &mut words);
            gaussian_into(&mut rng(seed), &mut signed);
            (words, signed)
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn uniform_is_flat_and_in_range() {
        for q in [3, 97, (1 << 20) + 7, (1 << 50) - 27, (1 << 62) - 57] {
            let q = Modulus::new(q).unwrap();
            let mut words = vec![u64::MAX; 40_000];
            uniform_into(q, &mut rng(7), &mut words);
            assert!(words.iter().all(|&w| w < q.value()));
            // Twelve bins: chi-square with 11 degrees of freedom stays below 40 (p = 4e-5).
            let bins = q.value().min(12);
            let mut count = vec![0f64; bins as usize];
            words.iter().for_each(|&w| {
                count[(u128::from(w) * u128::from(bins) / u128::from(q.value())) as usize] += 1.0
            });
            let expected: Vec<f64> = (0..bins)
                .map(|b| {
                    let edge = |b: u64| {
                        (u128::from(b) * u128::from(q.value())).div_ceil(u128::from(bins)) as f64
                    };
                    40_000.0 * (edge(b + 1) - edge(b)) / q.value() as f64
                })
                .collect();
            let chi: f64 = count
                .iter()
                .zip(&expected)
                .map(|(c, e)| (c - e).powi(2) / e)
                .sum();
            assert!(chi < 40.0, "q {q:?}: chi-square {chi}");
        }
    }

    #[test]
    fn ternary_is_uniform() {
        let mut out = vec![9; 90_001];
        ternary_into(&mut rng(3), &mut out);
        for value in -1..=1 {
            let count = out.iter().filter(|&&x| x == value).count() as f64;
            assert!(
                (count - 30_000.0).abs() < 5.0 * (20_000f64).sqrt(),
                "{value}: {count}"
            );
        }
        assert!(out.iter().all(|x| x.abs() <= 1));
    }

    /// Gives all bytes in turn.
    struct Counting(u8);

    impl rand::TryRng for Counting {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unreachable!("words are drawn as bytes")
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unreachable!("words are drawn as bytes")
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            for byte in out {
                *byte = self.0;
                self.0 = self.0.wrapping_add(1);
            }
            Ok(())
        }
    }

    impl rand::TryCryptoRng for Counting {}

    #[test]
    fn ternary_takes_each_value_from_as_many_bytes() {
        // 255 of 256 bytes: a byte more for one value would be a bias.
        let mut out = vec![9; 3 * 255];
        ternary_into(&mut Counting(0), &mut out);
        for value in -1..=1 {
            assert_eq!(out.iter().filter(|&&x| x == value).count(), 255, "{value}");
        }
    }

    #[test]
    fn sparse_ternary_has_its_weight() {
        let mut plus = 0;
        let mut seen = vec![0u32; 256];
        for seed in 0..200 {
            let mut out = vec![9; 256];
            sparse_ternary_into(&mut rng(seed), 32, &mut out);
            assert_eq!(out.iter().filter(|&&x| x != 0).count(), 32);
            plus += out.iter().filter(|&&x| x == 1).count();
            out.iter()
                .zip(&mut seen)
                .for_each(|(&x, seen)| *seen += u32::from(x != 0));
        }
        assert!(
            (plus as f64 - 3200.0).abs() < 5.0 * 40.0,
            "{plus} of 6400 positive"
        );
        // Each position is hit 25 times on average, with deviation 4.7.
        assert!(
            seen.iter().all(|&count| (2..=52).contains(&count)),
            "{seen:?}"
        );
        let mut full = vec![0; 8];
        sparse_ternary_into(&mut rng(0), 8, &mut full);
        assert!(full.iter().all(|x| x.abs() == 1));
    }

    #[test]
    fn gaussian_table_matches_the_density() {
        let density = |k: i32| (-f64::from(k * k) / (2.0 * SIGMA * SIGMA)).exp();
        let total: f64 = (-60..=60).map(density).sum();
        for (i, &tail) in TAILS.iter().enumerate() {
            let exact = 2.0 * (i as i32 + 1..=60).map(density).sum::<f64>() / total * 2f64.powi(63);
            assert!(
                (tail as f64 - exact).abs() <= 0.5 + exact * 1e-14,
                "entry {}",
                i + 1
            );
        }
    }

    #[test]
    fn gaussian_has_its_moments_and_frequencies() {
        let count = 400_000;
        let mut out = vec![99; count];
        gaussian_into(&mut rng(11), &mut out);
        let n = count as f64;
        let moment = |p: i32| out.iter().map(|&x| (x as f64).powi(p)).sum::<f64>() / n;
        assert!(moment(1).abs() < 5.0 * SIGMA / n.sqrt());
        assert!((moment(2) - SIGMA * SIGMA).abs() < 5.0 * SIGMA * SIGMA * (2.0 / n).sqrt());
        assert!((moment(4) / (3.0 * SIGMA.powi(4)) - 1.0).abs() < 0.05);
        assert!(out.iter().all(|x| x.abs() <= 29));
        let density = |k: i64| (-(k * k) as f64 / (2.0 * SIGMA * SIGMA)).exp();
        let total: f64 = (-60..=60).map(density).sum();
        for k in -8..=8 {
            let expected = n * density(k) / total;
            let found = out.iter().filter(|&&x| x == k).count() as f64;
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "{k}: {found} of {expected}"
            );
        }
    }
}
