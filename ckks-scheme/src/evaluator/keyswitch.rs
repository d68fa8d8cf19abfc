//! Hybrid key switching: ModUp, inner product, ModDown.
//!
//! Han, Ki: Better bootstrapping for approximate homomorphic encryption, section 3, <https://eprint.iacr.org/2019/688>.
//! Base conversions are centred, so a digit and a remainder are at most half their modulus.

use super::Evaluator;
use super::counted::CountedRing;
use crate::ciphertext::Level;
use crate::error::EvalError;
use crate::keys::{ExtendedPoly, SwitchingKey};
use crate::params::{ConverterId, KeyShape, digit_range};
use crate::profile::Operation;
use ckks_math::{Eval, Limb, MathError, RnsPoly};

/// Words of a tile of the inner product with a key: tiles of a few digits and of both halves of a key fit the
/// second-level cache.
const INNER_PRODUCT_WORDS: usize = 4096;

/// A polynomial as keys take it, Eval order.
pub(super) enum Digits {
    /// Each digit extended to the other ciphertext primes and the special primes. A digit's own limbs are those of the
    /// polynomial itself and not stored again.
    Extended(Vec<Vec<Limb>>),
    /// A polynomial with small coefficients needs no digits: its residues modulo the special primes. The parts of a key that has
    /// several add up to a key for it.
    Whole(Vec<Limb>),
}

impl Digits {
    /// What the inner product of limb `i` with half `half` of a key sums up; `c` is the polynomial that the digits are of.
    fn terms<'a>(
        &'a self,
        c: &'a RnsPoly<Eval>,
        key: &'a SwitchingKey,
        half: usize,
        i: usize,
    ) -> Vec<(&'a [u64], &'a [u64])> {
        let level = c.limbs();
        let digit = |j: usize| -> &'a [u64] {
            let (from, to, limbs) = match self {
                Self::Extended(digits) => {
                    let (from, to) = digit_range(level, key.shape.digit_limbs, j);
                    (from, to, &digits[j])
                }
                Self::Whole(specials) => (0, level, specials),
            };
            if i < from {
                &limbs[i]
            } else if i < to {
                c.limb(i)
            } else {
                &limbs[i - (to - from)]
            }
        };
        let count = match self {
            Self::Extended(digits) => digits.len(),
            Self::Whole(_) => key.digits.len(),
        };
        let term = |j: usize| (digit(j), key.digits[j][half].limb(i, level));
        (0..count).map(term).collect()
    }

    /// Limb `i` of the inner product with both halves of a key, tile by tile, so that the second half finds the digits in
    /// the cache.
    pub(super) fn inner_product_limb(
        &self,
        c: &RnsPoly<Eval>,
        key: &SwitchingKey,
        i: usize,
        ring: CountedRing<'_>,
        out: &mut [Limb; 2],
    ) {
        let terms = [0, 1].map(|half| self.terms(c, key, half, i));
        for from in (0..ring.degree()).step_by(INNER_PRODUCT_WORDS) {
            let tile = from..ring.degree().min(from + INNER_PRODUCT_WORDS);
            for (limb, terms) in out.iter_mut().zip(&terms) {
                let terms: Vec<_> = terms
                    .iter()
                    .map(|(digit, key)| (&digit[tile.clone()], &key[tile.clone()]))
                    .collect();
                ring.dot_with_key_into(&mut limb[tile.clone()], &terms);
            }
        }
    }
}

impl Evaluator {
    /// ModUp of every digit, for keys of that shape.
    pub(super) fn mod_up(&self, c: &RnsPoly<Eval>, shape: KeyShape) -> Result<Digits, EvalError> {
        let _timer = self.time(Operation::ModUp);
        let level = c.limbs();
        let digits = shape.digits(Level::new(level));
        let mut extended = Vec::with_capacity(digits);
        for digit in 0..digits {
            let (from, to) = digit_range(level, shape.digit_limbs, digit);
            let converter = self.params.converter(ConverterId::ModUp {
                level,
                digit_limbs: shape.digit_limbs,
                digit,
                specials: shape.specials,
            })?;
            let coeffs = self.each((from..to).collect(), |_, i| -> Result<_, MathError> {
                let mut limb = self.limb()?;
                self.ring(i).intt_into(&mut limb, c.limb(i));
                Ok(limb)
            })?;
            let others = self.rings(from).chain(self.rings(level).skip(to));
            let rings: Vec<_> = others.chain(self.special_rings(shape.specials)).collect();
            let mut limbs = self.limbs(level - (to - from) + shape.specials)?;
            self.convert(&converter, &mut limbs, &coeffs);
            self.for_each_limb(&mut limbs, |i, limb| rings[i].ntt(limb));
            extended.push(limbs);
        }
        Ok(Digits::Extended(extended))
    }

    /// Sum over the digits of digit times key, both halves, over the ciphertext primes of `c` and the special primes.
    pub(super) fn inner_product(
        &self,
        digits: &Digits,
        c: &RnsPoly<Eval>,
        key: &SwitchingKey,
    ) -> Result<[ExtendedPoly; 2], EvalError> {
        let _timer = self.time(Operation::InnerProduct);
        let level = c.limbs();
        let specials = key.shape.specials;
        let rings = self.extended_rings(level, specials).collect();
        let products = self.each(rings, |i, ring| -> Result<_, MathError> {
            let mut limbs = [self.limb()?, self.limb()?];
            digits.inner_product_limb(c, key, i, ring, &mut limbs);
            Ok(limbs)
        })?;
        let mut out = <[ExtendedPoly; 2]>::default();
        for (i, limbs) in products.into_iter().enumerate() {
            for (half, limb) in out.iter_mut().zip(limbs) {
                let list = if i < level { &mut half.q } else { &mut half.p };
                list.push(limb);
            }
        }
        Ok(out)
    }

    /// Divides by the first `specials` special primes, and by the last `dropped` ciphertext primes at once, and rounds.
    pub(super) fn mod_down(
        &self,
        ext: ExtendedPoly,
        level: Level,
        specials: usize,
        dropped: usize,
    ) -> Result<RnsPoly<Eval>, EvalError> {
        self.mod_down_then(ext, level, specials, dropped, |_, limb| Ok(limb))
    }

    /// [`Self::mod_down`], and what `then` makes of each limb of the result while it is in the caches.
    pub(super) fn mod_down_then(
        &self,
        mut ext: ExtendedPoly,
        level: Level,
        specials: usize,
        dropped: usize,
        then: impl Fn(usize, Limb) -> Result<Limb, MathError> + Sync + Send,
    ) -> Result<RnsPoly<Eval>, EvalError> {
        let _timer = self.time(Operation::ModDown);
        let level = level.limbs();
        let kept = level - dropped;
        // The limbs of the divisor, in coefficient order.
        let mut divisor = ext.p;
        divisor.extend(ext.q.drain(kept..));
        let divisor_rings: Vec<_> = self
            .special_rings(specials)
            .chain(self.rings(level).skip(kept))
            .collect();
        self.for_each_limb(&mut divisor, |i, limb| divisor_rings[i].intt(limb));
        let converter = self.params.converter(ConverterId::ModDown {
            level,
            dropped,
            specials,
        })?;
        let mut remainders = self.limbs(kept)?;
        self.convert(&converter, &mut remainders, &divisor);
        drop(divisor);
        // Limb by limb what is done with goes back to the pool, to be taken again while it is in the caches.
        let limbs = ext.q.into_iter().zip(remainders).collect();
        let out = self.each(limbs, |i, (limb, mut remainder): (Limb, Limb)| {
            let ring = self.ring(i);
            let q = ring.modulus();
            let divisors = divisor_rings.iter();
            let divisor = divisors.fold(1, |acc, d| q.mul(acc, d.modulus().value()));
            ring.ntt_sub_mul_scalar(&mut remainder, &limb, q.inv(divisor));
            drop(limb);
            then(i, remainder)
        })?;
        Ok(RnsPoly::from_limbs(out))
    }

    /// The product of the first `specials` special primes modulo the ring's.
    pub(super) fn specials_product(&self, ring: CountedRing<'_>, specials: usize) -> u64 {
        let q = ring.modulus();
        self.params.p()[..specials]
            .iter()
            .fold(1, |acc, p| q.mul(acc, q.reduce(p.modulus().value())))
    }

    /// `ext += P c` on the ciphertext primes.
    pub(super) fn add_times_specials(
        &self,
        ext: &mut ExtendedPoly,
        c: &RnsPoly<Eval>,
        specials: usize,
    ) {
        let _timer = self.time(Operation::Addition);
        for (i, ring) in self.rings(c.limbs()).enumerate() {
            let product = self.specials_product(ring, specials);
            ring.mul_scalar_add_assign(&mut ext.q[i], c.limb(i), product);
        }
    }

    /// Slot deviation that a key switch at `level` adds, in units of the last place after dividing by the special
    /// primes and the `dropped` last ciphertext primes.
    pub(super) fn switch_error(&self, shape: KeyShape, level: Level, dropped: usize) -> f64 {
        self.digit_error(shape, level, dropped)
            .hypot(self.params.noise().rounding())
    }

    /// The part of [`Self::switch_error`] that comes from the errors in the key, without the rounding by the ModDown.
    pub(super) fn digit_error(&self, shape: KeyShape, level: Level, dropped: usize) -> f64 {
        let kept = Level::new(level.limbs() - dropped);
        let dropped_bits = self.params.log_q(level) - self.params.log_q(kept);
        let divisor_bits = self.params.log_p(shape.specials) + dropped_bits;
        self.params
            .chain()
            .digits_bits(level, shape.digit_limbs)
            .map(|bits| self.params.noise().key_switch(1, bits, divisor_bits))
            .fold(0.0, f64::hypot)
    }

    fn limbs(&self, count: usize) -> Result<Vec<Limb>, MathError> {
        (0..count).map(|_| self.limb()).collect()
    }
}
