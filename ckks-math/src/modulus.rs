//! One modulus and its scalar arithmetic (Barrett reduction, Shoup products).

use crate::error::MathError;

/// A modulus `q` with `2 <= q < 2^62` and its Barrett constant.
///
/// All operations expect operands in `[0, q)` unless they say otherwise and return values in
/// `[0, q)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modulus {
    q: u64,
    /// `floor(2^128 / q)`, as (low, high) words.
    ratio: (u64, u64),
}

impl std::fmt::Debug for Modulus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Modulus({})", self.q)
    }
}

impl Modulus {
    /// Bounds of a modulus: `q < 2^MAX_BITS`.
    pub const MAX_BITS: u32 = 62;

    /// Prepares a modulus.
    ///
    /// # Errors
    /// [`MathError::ModulusOutOfRange`] unless `2 <= q < 2^62`.
    pub const fn new(q: u64) -> Result<Self, MathError> {
        if q < 2 || q >= 1 << Self::MAX_BITS {
            return Err(MathError::ModulusOutOfRange { modulus: q });
        }
        // 2^128 = (2^128 - 1) + 1: the quotient differs from that of 2^128 - 1 only if q divides 2^128.
        let mut ratio = u128::MAX / q as u128;
        if u128::MAX % q as u128 == q as u128 - 1 {
            ratio += 1;
        }
        Ok(Self {
            q,
            ratio: (ratio as u64, (ratio >> 64) as u64),
        })
    }

    /// The modulus as an integer.
    #[inline]
    pub const fn value(self) -> u64 {
        self.q
    }

    /// Number of bits of `q`: `2^(bits-1) <= q < 2^bits`.
    #[inline]
    pub const fn bits(self) -> u32 {
        u64::BITS - self.q.leading_zeros()
    }

    /// `a + b mod q`.
    #[inline]
    pub const fn add(self, a: u64, b: u64) -> u64 {
        let s = a + b;
        if s >= self.q { s - self.q } else { s }
    }

    /// `a - b mod q`.
    #[inline]
    pub const fn sub(self, a: u64, b: u64) -> u64 {
        if a >= b { a - b } else { a + self.q - b }
    }

    /// `-a mod q`.
    #[inline]
    pub const fn neg(self, a: u64) -> u64 {
        if a == 0 { 0 } else { self.q - a }
    }

    /// `a * b mod q`; the operands may be any words.
    #[inline]
    pub const fn mul(self, a: u64, b: u64) -> u64 {
        self.reduce_u128(a as u128 * b as u128)
    }

    /// `a^e mod q`; `a` may be any word. `0^0 = 1`.
    pub const fn pow(self, a: u64, mut e: u64) -> u64 {
        let mut base = self.reduce(a);
        let mut out = 1 % self.q;
        while e > 0 {
            if e & 1 == 1 {
                out = self.mul(out, base);
            }
            base = self.mul(base, base);
            e >>= 1;
        }
        out
    }

    /// The inverse of `a` modulo `q`, by the extended Euclidean algorithm; `a` may be any word.
    ///
    /// # Panics
    /// If `a` has a factor in common with `q` (for a prime `q`: if `a = 0 mod q`).
    pub const fn inv(self, a: u64) -> u64 {
        let (mut r0, mut r1) = (self.q as i64, self.reduce(a) as i64);
        let (mut t0, mut t1) = (0i64, 1i64);
        while r1 != 0 {
            let quotient = r0 / r1;
            (r0, r1) = (r1, r0 - quotient * r1);
            (t0, t1) = (t1, t0 - quotient * t1);
        }
        assert!(
            r0 == 1,
            "inverse of a residue that is not coprime to the modulus"
        );
        if t0 < 0 {
            (t0 + self.q as i64) as u64
        } else {
            t0 as u64
        }
    }

    /// Any word modulo `q`.
    #[inline]
    pub const fn reduce(self, a: u64) -> u64 {
        // floor(a * ratio / 2^128) with the high word of the ratio only: off by at most one.
        let quotient = ((a as u128 * self.ratio.1 as u128) >> 64) as u64;
        let r = a.wrapping_sub(quotient.wrapping_mul(self.q));
        if r >= self.q { r - self.q } else { r }
    }

    /// Any double word modulo `q`.
    #[inline]
    pub const fn reduce_u128(self, a: u128) -> u64 {
        let (lo, hi) = (a as u64, (a >> 64) as u64);
        let (r0, r1) = self.ratio;
        // High 128 bits of a * ratio, of which the low word is enough: the remainder is below 2q < 2^63.
        let carry = (lo as u128 * r0 as u128) >> 64;
        let mid = lo as u128 * r1 as u128 + carry;
        let mid2 = hi as u128 * r0 as u128 + (mid as u64) as u128;
        let quotient = hi
            .wrapping_mul(r1)
            .wrapping_add((mid >> 64) as u64)
            .wrapping_add((mid2 >> 64) as u64);
        let r = lo.wrapping_sub(quotient.wrapping_mul(self.q));
        if r >= self.q { r - self.q } else { r }
    }

    /// Any signed word modulo `q`.
    #[inline]
    pub const fn from_i64(self, a: i64) -> u64 {
        let r = self.reduce(a.unsigned_abs());
        if a < 0 { self.neg(r) } else { r }
    }

    /// Any signed double word modulo `q`.
    #[inline]
    pub const fn from_i128(self, a: i128) -> u64 {
        let r = self.reduce_u128(a.unsigned_abs());
        if a < 0 { self.neg(r) } else { r }
    }

    /// The representative of `a` in `(-q/2, q/2]`.
    #[inline]
    pub const fn center(self, a: u64) -> i64 {
        if a > self.q / 2 {
            a as i64 - self.q as i64
        } else {
            a as i64
        }
    }

    /// The constant of Shoup's product by `w` with words of 64 bits.
    #[inline]
    pub const fn shoup(self, w: u64) -> Shoup {
        Shoup {
            w,
            quotient: (((w as u128) << 64) / self.q as u128) as u64,
        }
    }

    /// `a * w.w mod q`; `a` may be any word.
    #[inline]
    pub const fn mul_shoup(self, a: u64, w: Shoup) -> u64 {
        let r = self.mul_shoup_lazy(a, w);
        if r >= self.q { r - self.q } else { r }
    }

    /// `a * w.w mod q`, up to one `q` too large: the result is in `[0, 2q)`; `a` may be any word.
    #[inline]
    pub(crate) const fn mul_shoup_lazy(self, a: u64, w: Shoup) -> u64 {
        let quotient = ((a as u128 * w.quotient as u128) >> 64) as u64;
        a.wrapping_mul(w.w)
            .wrapping_sub(quotient.wrapping_mul(self.q))
    }
}

/// A residue `w` in `[0, q)` with `floor(w 2^64 / q)`: products by it need no division
/// (V. Shoup, NTL; analysed by D. Harvey, Faster arithmetic for number-theoretic transforms, 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shoup {
    /// The residue.
    pub w: u64,
    /// `floor(w 2^64 / q)`.
    pub quotient: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modulus_rejects_out_of_range() {
        for q in [0, 1, 1 << 62, u64::MAX] {
            assert_eq!(
                Modulus::new(q),
                Err(MathError::ModulusOutOfRange { modulus: q })
            );
        }
        for q in [2, 3, 4, (1 << 62) - 1, 1 << 61] {
            assert_eq!(Modulus::new(q).unwrap().value(), q);
        }
    }

    #[test]
    fn center_is_symmetric() {
        let q = Modulus::new(7).unwrap();
        let centred: Vec<i64> = (0..7).map(|a| q.center(a)).collect();
        assert_eq!(centred, [0, 1, 2, 3, -3, -2, -1]);
    }

    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }

    #[test]
    #[should_panic(expected = "not coprime")]
    fn inv_panics_on_zero() {
        Modulus::new(97).unwrap().inv(97);
    }

    #[test]
    #[should_panic(expected = "not coprime")]
    fn inv_panics_on_a_common_factor() {
        Modulus::new(91).unwrap().inv(35);
    }

    proptest! {
        #[test]
        fn prop_modulus_matches_wide_remainder(q in 2u64..(1 << 62), a: u64, b: u64, wide: u128, e in 0u64..50) {
            let m = Modulus::new(q).unwrap();
            let rem = |x: u128| (x % u128::from(q)) as u64;
            let (ra, rb) = (a % q, b % q);
            prop_assert_eq!(m.reduce(a), ra);
            prop_assert_eq!(m.reduce_u128(wide), rem(wide));
            prop_assert_eq!(m.reduce_u128(u128::MAX), rem(u128::MAX));
            prop_assert_eq!(m.mul(a, b), rem(u128::from(a) * u128::from(b)));
            prop_assert_eq!(m.add(ra, rb), rem(u128::from(ra) + u128::from(rb)));
            prop_assert_eq!(m.add(m.sub(ra, rb), rb), ra);
            prop_assert_eq!(m.add(m.neg(ra), ra), 0);
            prop_assert_eq!(m.mul_shoup(a, m.shoup(rb)), m.mul(a, rb));
            prop_assert_eq!(m.pow(a, e), (0..e).fold(1 % q, |x, _| m.mul(x, ra)));
            prop_assert_eq!(m.from_i64(a as i64), (i128::from(a as i64)).rem_euclid(i128::from(q)) as u64);
            prop_assert_eq!(m.from_i128(wide as i128), (wide as i128).rem_euclid(i128::from(q)) as u64);
            prop_assert_eq!(m.from_i64(m.center(ra)), ra);
        }

        #[test]
        fn prop_inverse_times_value_is_one(
            q in prop_oneof![Just(3), Just(65537), Just((1 << 61) - 1), 2u64..(1 << 62)],
            mut a in 1..=u64::MAX,
        ) {
            let m = Modulus::new(q).unwrap();
            while gcd(q, a) != 1 {
                a /= gcd(q, a);
            }
            prop_assert_eq!(m.mul(m.inv(a), a), 1);
        }
    }
}
