//! Eight words at a time: loads, stores, and arithmetic modulo one prime in registers.
//!
//! `IFMA` multiplies the low 52 bits of two words and adds the low (`lo`) or high (`hi`) 52 bits of
//! the product to a third. A product by a constant `w` is Montgomery's with radix `2^52`:
//! with `w' = w 2^52 mod q` and `w'' = w' / q mod 2^52`, `hi(y w') - hi(lo(y w'') q)` is `y w` modulo
//! `q` and lies in `(-q, q)`, for every `y < 2^52`.

use std::arch::x86_64::*;

use crate::modulus::Modulus;

/// Eight words in a register.
pub(super) type V = __m512i;

/// Eight words in memory.
pub(super) type Words = [u64; LANES];

/// Words of a register.
pub(super) const LANES: usize = 8;

/// Bits of a factor.
pub(super) const RADIX_BITS: u32 = 52;

/// The low 52 bits.
const MASK: u64 = (1 << RADIX_BITS) - 1;

/// Reads eight words.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn load(words: &Words) -> V {
    // SAFETY: the reference covers the 64 bytes read; the load has no alignment requirement.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Writes eight words.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn store(words: &mut Words, x: V) {
    // SAFETY: the reference covers the 64 bytes written; the store has no alignment requirement.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), x) }
}

/// Asks for the cache line of a word, some time before it is used, into the second-level cache: what is
/// asked for ahead of its use would only drive out of the first what is used now.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
#[allow(
    unused_unsafe,
    reason = "later versions of the standard library call it safe"
)]
pub(super) fn prefetch(word: &u64) {
    // SAFETY: a hint without effect on memory, on a valid address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(word).cast()) }
}

/// The same word in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn splat(word: u64) -> V {
    _mm512_set1_epi64(word as i64)
}

/// Zero in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn zero() -> V {
    _mm512_setzero_si512()
}

/// `a + b`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn add(a: V, b: V) -> V {
    _mm512_add_epi64(a, b)
}

/// `a - b`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sub(a: V, b: V) -> V {
    _mm512_sub_epi64(a, b)
}

/// `acc + lo(a b)`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn lo(acc: V, a: V, b: V) -> V {
    _mm512_madd52lo_epu64(acc, a, b)
}

/// `acc + hi(a b)`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn hi(acc: V, a: V, b: V) -> V {
    _mm512_madd52hi_epu64(acc, a, b)
}

/// `x - c` if that is not negative, else `x`; `x < 2^62` and `c < 2^52`.
///
/// The minimum of two floating-point numbers, because that of integers occupies the units that multiply.
/// Words that are not negative are ordered as the numbers are that they look like; a difference from
/// `-2^52 + 1` to `-1` looks like no number, and then the minimum is its second operand, bit for bit.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn subtract_if_reaches(x: V, c: V) -> V {
    let difference = _mm512_castsi512_pd(_mm512_sub_epi64(x, c));
    _mm512_castpd_si512(_mm512_min_pd(difference, _mm512_castsi512_pd(x)))
}

/// `x >> 52`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn carry(x: V) -> V {
    _mm512_srli_epi64::<RADIX_BITS>(x)
}

/// Transposes eight vectors as an 8 x 8 matrix of words.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn transpose(r: [V; 8]) -> [V; 8] {
    let even = |i: usize| _mm512_unpacklo_epi64(r[i], r[i + 1]);
    let odd = |i: usize| _mm512_unpackhi_epi64(r[i], r[i + 1]);
    // From the words of pairs of rows to four of the columns 0, 2, 4, 6 or 1, 3, 5, 7.
    let columns = |p01: V, p23: V, p45: V, p67: V| {
        let (a, b) = (
            _mm512_shuffle_i64x2::<0x88>(p01, p23),
            _mm512_shuffle_i64x2::<0xdd>(p01, p23),
        );
        let (c, d) = (
            _mm512_shuffle_i64x2::<0x88>(p45, p67),
            _mm512_shuffle_i64x2::<0xdd>(p45, p67),
        );
        [
            _mm512_shuffle_i64x2::<0x88>(a, c),
            _mm512_shuffle_i64x2::<0x88>(b, d),
            _mm512_shuffle_i64x2::<0xdd>(a, c),
            _mm512_shuffle_i64x2::<0xdd>(b, d),
        ]
    };
    let [c0, c2, c4, c6] = columns(even(0), even(2), even(4), even(6));
    let [c1, c3, c5, c7] = columns(odd(0), odd(2), odd(4), odd(6));
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

/// The lanes in the order that `order` says.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn permute(x: V, order: V) -> V {
    _mm512_permutexvar_epi64(order, x)
}

/// A constant factor: `w 2^52 mod q` and that divided by `q` modulo `2^52`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    pub(super) w: u64,
    pub(super) w_over_q: u64,
}

/// A constant factor in every lane, or a different one in each.
#[derive(Clone, Copy)]
pub(super) struct FactorV {
    pub(super) w: V,
    pub(super) w_over_q: V,
}

/// The constants of a modulus `q < 2^50`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants {
    pub(super) modulus: Modulus,
    /// `1/q mod 2^52`.
    inverse: u64,
    /// `2^52 mod q`.
    radix: u64,
    /// `floor(radix 2^52 / q)`.
    radix_quotient: u64,
    /// `floor(2^52 / q)`.
    one_quotient: u64,
    /// `floor(2^64 / q)`, below `2^52`.
    word_quotient: u64,
}

impl Constants {
    /// Smallest modulus, so that [`Constants::word_quotient`] is a factor: moduli are above it.
    pub(super) const MIN_BITS: u32 = 14;

    /// Largest modulus: `4q < 2^52`.
    pub(super) const MAX_BITS: u32 = 50;

    pub(super) fn new(modulus: Modulus) -> Self {
        let q = modulus.value();
        assert!(
            (Self::MIN_BITS..=Self::MAX_BITS).contains(&modulus.bits()) && q % 2 == 1,
            "modulus out of reach"
        );
        // Newton: each step doubles the good bits; q is its own inverse modulo 8.
        let inverse = (0..5).fold(q, |inverse, _| {
            inverse.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(inverse)))
        });
        let radix = modulus.reduce(1 << RADIX_BITS);
        Self {
            modulus,
            inverse: inverse & MASK,
            radix,
            radix_quotient: ((u128::from(radix) << RADIX_BITS) / u128::from(q)) as u64,
            one_quotient: (1 << RADIX_BITS) / q,
            word_quotient: ((1u128 << 64) / u128::from(q)) as u64,
        }
    }

    /// `w 2^52 mod q`.
    pub(super) fn to_montgomery(self, w: u64) -> u64 {
        self.modulus.mul(w, self.radix)
    }

    /// Prepares a factor `w` in `[0, q)`.
    pub(super) fn factor(self, w: u64) -> Factor {
        let w = self.to_montgomery(w);
        Factor {
            w,
            w_over_q: w.wrapping_mul(self.inverse) & MASK,
        }
    }

    /// The constants in registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn field(&self) -> Field {
        let q = self.modulus.value();
        Field {
            q: splat(q),
            twice: splat(2 * q),
            negative: splat((1 << RADIX_BITS) - q),
            mask: splat(MASK),
            inverse: splat(self.inverse),
            radix: splat(self.radix),
            radix_quotient: splat(self.radix_quotient),
            one_quotient: splat(self.one_quotient),
            word_quotient: splat(self.word_quotient),
        }
    }
}

/// Arithmetic modulo one prime on registers; what is not used costs nothing.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) q: V,
    pub(super) twice: V,
    /// `2^52 - q`.
    negative: V,
    mask: V,
    inverse: V,
    radix: V,
    radix_quotient: V,
    one_quotient: V,
    word_quotient: V,
}

impl Field {
    /// `[0, 2q) -> [0, q)`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_twice(&self, x: V) -> V {
        subtract_if_reaches(x, self.q)
    }

    /// `[0, 4q) -> [0, q)`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_four(&self, x: V) -> V {
        self.reduce_twice(subtract_if_reaches(x, self.twice))
    }

    /// `a + b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, a: V, b: V) -> V {
        self.reduce_twice(add(a, b))
    }

    /// `a - b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn sub(&self, a: V, b: V) -> V {
        // A negative difference is a huge unsigned word, one below q else.
        let d = sub(a, b);
        _mm512_min_epu64(d, add(d, self.q))
    }

    /// Completes a factor of which only `w` is stored.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn complete(&self, w: V) -> FactorV {
        FactorV {
            w,
            w_over_q: lo(zero(), w, self.inverse),
        }
    }

    /// The same factor in every lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn factor(&self, factor: Factor) -> FactorV {
        FactorV {
            w: splat(factor.w),
            w_over_q: splat(factor.w_over_q),
        }
    }

    /// `y w` in `(-q, q)`, `y < 2^52`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_signed(&self, y: V, factor: FactorV) -> V {
        let m = lo(zero(), y, factor.w_over_q);
        sub(hi(zero(), y, factor.w), hi(zero(), m, self.q))
    }

    /// `y w` in `(0, 2q)`, `y < 2^52`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_lazy(&self, y: V, factor: FactorV) -> V {
        let m = lo(zero(), y, factor.w_over_q);
        sub(hi(self.q, y, factor.w), hi(zero(), m, self.q))
    }

    /// `y w`, `y < 2^52`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, y: V, factor: FactorV) -> V {
        self.reduce_twice(self.mul_lazy(y, factor))
    }

    /// `x` modulo `q` in `[0, 2q)`, `x < 2^52`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_factor_lazy(&self, x: V) -> V {
        let quotient = hi(zero(), x, self.one_quotient);
        _mm512_and_si512(lo(x, quotient, self.negative), self.mask)
    }

    /// `x` modulo `q` in `[0, 2q)`, `x <= 2^63`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_word_lazy(&self, x: V) -> V {
        // With x = 2^12 h + l, x / q is at most l / q + h / 2^52 <= 2^12 / q + 1/2 < 1 above what is
        // rounded down, because q > 2^13.
        let quotient = hi(zero(), _mm512_srli_epi64::<12>(x), self.word_quotient);
        _mm512_and_si512(lo(x, quotient, self.negative), self.mask)
    }

    /// `low + 2^52 high` modulo `q`; `high + (low >> 52)` below `2^52`, or `2^63` if `WIDE`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_pair<const WIDE: bool>(&self, low: V, high: V) -> V {
        let mut high = add(high, carry(low));
        if WIDE {
            high = self.reduce_word_lazy(high);
        }
        let low = _mm512_and_si512(low, self.mask);
        // Shoup products of `high` by 2^52 and of `low` by 1, each in [0, 2q).
        let quotient = hi(
            hi(zero(), high, self.radix_quotient),
            low,
            self.one_quotient,
        );
        let value = lo(lo(low, high, self.radix), quotient, self.negative);
        self.reduce_four(_mm512_and_si512(value, self.mask))
    }

    /// `(low + 2^52 (high - q)) / 2^52` modulo `q`: Montgomery's reduction of a sum whose high part
    /// started from `q`. `high + (low >> 52)` below `2^52`, or `2^63` if `WIDE`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_montgomery<const WIDE: bool>(&self, low: V, high: V) -> V {
        let m = lo(zero(), low, self.inverse);
        let value = sub(add(high, carry(low)), hi(zero(), m, self.q));
        if WIDE {
            self.reduce_twice(self.reduce_word_lazy(value))
        } else {
            self.reduce_twice(self.reduce_factor_lazy(value))
        }
    }

    /// Residues of signed words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_signed(&self, x: V) -> V {
        let magnitude = self.reduce_twice(self.reduce_word_lazy(_mm512_abs_epi64(x)));
        let negative = _mm512_cmplt_epi64_mask(x, zero());
        self.reduce_twice(_mm512_mask_sub_epi64(
            magnitude, negative, self.q, magnitude,
        ))
    }
}

/// The lanes `a` where `x > c`, unsigned, and `b` elsewhere.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn select_above(x: V, c: V, a: V, b: V) -> V {
    _mm512_mask_blend_epi64(_mm512_cmpgt_epu64_mask(x, c), b, a)
}

/// `x << bits`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn shift_left(x: V, bits: u32) -> V {
    _mm512_sll_epi64(x, _mm_cvtsi32_si128(bits as i32))
}

/// Reads eight signed words.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn load_signed(words: &[i64; LANES]) -> V {
    // SAFETY: the reference covers the 64 bytes read; the load has no alignment requirement.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Reads fewer than eight words, zeros after them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn load_part(words: &[u64]) -> V {
    let mut buffer = [0; LANES];
    buffer[..words.len()].copy_from_slice(words);
    load(&buffer)
}

/// Writes the first words of a register, fewer than eight.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn store_part(words: &mut [u64], x: V) {
    let mut buffer = [0; LANES];
    store(&mut buffer, x);
    words.copy_from_slice(&buffer[..words.len()]);
}
