//! Four words at a time, as floating-point numbers: loads, stores, and arithmetic modulo one prime.
//!
//! Integers below `2^53` are exact in a register. A product is the sum of two numbers: `h = a b`, rounded, and
//! `l = fma(a, b, -h)`, exact. With `k` near `a b / q`, rounded to an integer, `(h - k q) + l` is the product modulo `q`,
//! and small. `k` is rounded by adding [`ROUND`] and taking it away again, so numbers that are rounded stay below `2^51`.
//!
//! **Errors.** `u = 2^-53` is the largest relative error of one operation. Let `b q` bound `|y|`, with `b q <= 2^52`.
//! - A constant factor `w`, `|w| < q/2`, has its quotient `w / q`, rounded, beside it. `k` is that times `y`, wrong by at
//!   most `u b q / 2 <= 1/4` before it is rounded, so the product is below `(1/2 + u b q / 2) q <= 3/4 q`.
//! - A factor without its quotient: `k` is `h / q`, where `h` and `1/q` are both rounded. The product is below
//!   `(1/2 + u b q) q <= q`.
//! - In both cases `h - k q` is an integer: `h` is below `2^101`, so it is a multiple of its last place, and off `a b` by
//!   `2^47` or less. So `h - k q` is below `q + 2^47 < 2^53` and exact, and so is the sum with `l`.
//!
//! All this holds in the standard floating-point mode, which is set around every call. No number is ever so small that it
//! is denormal.

use std::arch::x86_64::*;

use crate::modulus::Modulus;

/// Four numbers in a register.
pub(super) type V = __m256d;

/// Four words in memory.
pub(super) type Words = [u64; LANES];

/// Words of a register.
pub(super) const LANES: usize = 4;

/// `2^52`: the last place of a number from here to `2^53` is 1, so its low bits are an integer.
const INTEGER: f64 = (1u64 << 52) as f64;

/// `3/2 2^52`: what is added to a number below `2^51` and taken away again to round it.
const ROUND: f64 = 1.5 * INTEGER;

/// `2^84`: the last place of a number from here to `2^85` is `2^32`.
const HIGH: f64 = INTEGER * (1u64 << 32) as f64;

/// Reads four words as they are.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_bits(words: &Words) -> __m256i {
    // SAFETY: the reference covers the 32 bytes read; the load has no alignment requirement.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

/// Writes four words as they are.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_bits(words: &mut Words, x: __m256i) {
    // SAFETY: the reference covers the 32 bytes written; the store has no alignment requirement.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), x) }
}

/// Reads four numbers.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_numbers(words: &Words) -> V {
    _mm256_castsi256_pd(load_bits(words))
}

/// Reads four constants.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_constants(numbers: &[f64; LANES]) -> V {
    // SAFETY: the reference covers the 32 bytes read; the load has no alignment requirement.
    unsafe { _mm256_loadu_pd(numbers.as_ptr()) }
}

/// Writes four numbers.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_numbers(words: &mut Words, x: V) {
    store_bits(words, _mm256_castpd_si256(x));
}

/// Reads four words below `2^52`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load(words: &Words) -> V {
    let integer = splat(INTEGER);
    let x = _mm256_castsi256_pd(load_bits(words));
    sub(_mm256_or_pd(x, integer), integer)
}

/// Writes four integers in `[0, 2^52)` as words.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store(words: &mut Words, x: V) {
    let integer = splat(INTEGER);
    store_numbers(words, _mm256_xor_pd(add(x, integer), integer));
}

/// Adds four integers in `[0, 2^52)` to words.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_to(words: &mut Words, x: V) {
    let integer = splat(INTEGER);
    let x = _mm256_castpd_si256(_mm256_xor_pd(add(x, integer), integer));
    store_bits(words, _mm256_add_epi64(load_bits(words), x));
}

/// Reads fewer than four words, zeros after them.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_part(words: &[u64]) -> V {
    let mut buffer = [0; LANES];
    buffer[..words.len()].copy_from_slice(words);
    load(&buffer)
}

/// Writes the first integers of a register, fewer than four.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_part(words: &mut [u64], x: V) {
    let mut buffer = [0; LANES];
    store(&mut buffer, x);
    words.copy_from_slice(&buffer[..words.len()]);
}

/// Reads four signed words as two numbers each, to be added: multiples of `2^32` up to `2^63`, and integers in `[0, 2^32)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_signed(words: &[i64; LANES]) -> (V, V) {
    // SAFETY: the reference covers the 32 bytes read; the load has no alignment requirement.
    let x = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    let low = _mm256_blend_epi32::<0xaa>(x, _mm256_castpd_si256(splat(INTEGER)));
    // 2^63 more is a word without a sign.
    let high = _mm256_srli_epi64::<32>(_mm256_xor_si256(x, _mm256_set1_epi64x(i64::MIN)));
    let high = _mm256_or_pd(_mm256_castsi256_pd(high), splat(HIGH));
    (
        sub(high, splat(HIGH + (1u64 << 63) as f64)),
        sub(_mm256_castsi256_pd(low), splat(INTEGER)),
    )
}

/// Asks for the cache line of a word, some time before it is used, into the second-level cache.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[allow(
    unused_unsafe,
    reason = "later versions of the standard library call it safe"
)]
pub(super) fn prefetch<T>(place: &T) {
    // SAFETY: a hint without effect on memory, on a valid address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(place).cast()) }
}

/// The same number in every lane.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn splat(x: f64) -> V {
    _mm256_set1_pd(x)
}

/// Zero in every lane.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn zero() -> V {
    _mm256_setzero_pd()
}

/// `a + b`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add(a: V, b: V) -> V {
    _mm256_add_pd(a, b)
}

/// `a - b`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn sub(a: V, b: V) -> V {
    _mm256_sub_pd(a, b)
}

/// `a b`, rounded.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul(a: V, b: V) -> V {
    _mm256_mul_pd(a, b)
}

/// `a b + c`, rounded once.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_add(a: V, b: V, c: V) -> V {
    _mm256_fmadd_pd(a, b, c)
}

/// `a b - c`, rounded once.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_sub(a: V, b: V, c: V) -> V {
    _mm256_fmsub_pd(a, b, c)
}

/// `c - a b`, rounded once.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sub_mul(c: V, a: V, b: V) -> V {
    _mm256_fnmadd_pd(a, b, c)
}

/// The integer next to `a b`, which is at most `2^51`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rounded_product(a: V, b: V) -> V {
    let round = splat(ROUND);
    sub(mul_add(a, b, round), round)
}

/// The largest integer that is not above `x`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn floor(x: V) -> V {
    _mm256_floor_pd(x)
}

/// `c` where `x < y`, zero elsewhere.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn where_less(x: V, y: V, c: V) -> V {
    _mm256_and_pd(_mm256_cmp_pd::<_CMP_LT_OQ>(x, y), c)
}

/// Transposes four vectors as a 4 x 4 matrix.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn transpose([a, b, c, d]: [V; 4]) -> [V; 4] {
    let (ab0, ab1) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    let (cd0, cd1) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
    [
        _mm256_permute2f128_pd::<0x20>(ab0, cd0),
        _mm256_permute2f128_pd::<0x20>(ab1, cd1),
        _mm256_permute2f128_pd::<0x31>(ab0, cd0),
        _mm256_permute2f128_pd::<0x31>(ab1, cd1),
    ]
}

/// The lanes from last to first.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn reverse(x: V) -> V {
    _mm256_permute4x64_pd::<0x1b>(x)
}

/// A constant factor, in `(-q/2, q/2)`, and its quotient by `q`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    pub(super) w: f64,
    pub(super) w_over_q: f64,
}

/// A constant factor in every lane.
#[derive(Clone, Copy)]
pub(super) struct FactorV {
    w: V,
    w_over_q: V,
}

/// The constants of a modulus `q < 2^50`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants {
    pub(super) modulus: Modulus,
    /// `q`.
    pub(super) q: f64,
    /// `1/q`, rounded.
    inverse: f64,
}

impl Constants {
    /// Smallest modulus: the quotient of `2^63`, which [`Field::reduce_parts`] rounds, is at most `2^50`.
    pub(super) const MIN_BITS: u32 = 14;

    /// Largest modulus: `4q < 2^52`.
    pub(super) const MAX_BITS: u32 = 50;

    pub(super) fn new(modulus: Modulus) -> Self {
        assert!(
            (Self::MIN_BITS..=Self::MAX_BITS).contains(&modulus.bits()) && modulus.value() % 2 == 1,
            "modulus out of reach"
        );
        let q = modulus.value() as f64;
        Self {
            modulus,
            q,
            inverse: 1.0 / q,
        }
    }

    /// Prepares a factor `w` in `[0, q)`.
    pub(super) fn factor(&self, w: u64) -> Factor {
        let w = self.modulus.center(w) as f64;
        Factor {
            w,
            w_over_q: w / self.q,
        }
    }

    /// The constants in registers.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn field(&self) -> Field {
        Field {
            q: splat(self.q),
            inverse: splat(self.inverse),
        }
    }
}

/// Arithmetic modulo one prime on registers.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) q: V,
    inverse: V,
}

impl Field {
    /// The same factor in every lane.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn factor(&self, factor: Factor) -> FactorV {
        FactorV {
            w: splat(factor.w),
            w_over_q: splat(factor.w_over_q),
        }
    }

    /// `x` modulo `q`, `|x| <= 2^53`: in `[-(q + 1)/2, (q + 1)/2]`, and in `(-q/2, q/2)` if `|x| < 2^52`.
    ///
    /// The quotient is wrong by at most `2^-53 |x| / q` before it is rounded. With `|x| < 2^52` that is less than
    /// `1 / 2q`, and `x / q` is at least so far from the middle of two integers, because `q` is odd.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn reduce(&self, x: V) -> V {
        sub_mul(x, rounded_product(x, self.inverse), self.q)
    }

    /// `x` modulo `q` in `[-n q, n q]`, `n = 1 + 2^-52 |x| / q`, for integers that are exact although they may be large,
    /// where `n q <= 2^53`.
    ///
    /// The quotient is wrong by at most `2^-52 |x| / q` and what rounding it to an integer adds, 1/2.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn reduce_long(&self, x: V) -> V {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        let quotient = _mm256_round_pd::<NEAREST>(mul(x, self.inverse));
        sub_mul(x, quotient, self.q)
    }

    /// `(-q, q) -> [0, q)`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn lift(&self, x: V) -> V {
        // Not by the sign: it may be that of a negative zero.
        add(x, where_less(x, zero(), self.q))
    }

    /// `x` modulo `q` in `[0, q)`, `|x| <= 2^53`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn reduce_whole(&self, x: V) -> V {
        self.lift(self.reduce(x))
    }

    /// `high + low` modulo `q`: what [`load_signed`] gives.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn reduce_parts(&self, high: V, low: V) -> V {
        // The quotient of the high part, at most 2^50, is wrong by 2^-3 at most before it is rounded; the sum is below
        // q + 2^32.
        self.reduce_whole(add(self.reduce(high), low))
    }

    /// `y w`, `|y| <= 2^52`, in `(-q, q)`; by how much below `q` is said above.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn mul(&self, y: V, factor: FactorV) -> V {
        let h = mul(y, factor.w);
        let k = rounded_product(y, factor.w_over_q);
        add(sub_mul(h, k, self.q), mul_sub(y, factor.w, h))
    }

    /// `a b`, `|a b| <= 2^51 q`, in `(-q, q)`; by how much below `q` is said above.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn mul_any(&self, a: V, b: V) -> V {
        let h = mul(a, b);
        let k = rounded_product(h, self.inverse);
        add(sub_mul(h, k, self.q), mul_sub(a, b, h))
    }
}
