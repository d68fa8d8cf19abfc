//! Hybrid key switching: ModUp, inner product, ModDown.
//!
//! Han, Ki: Better bootstrapping for approximate homomorphic encryption, section 3, <https://eprint.iacr.org/2019/688>.
//! Base conversions are centred, so a digit and a remainder are at most half their modulus.

use super::Evaluator;
use crate::ciphertext::Level;
use crate::error::EvalError;
use crate::keys::{ExtendedPoly, SwitchingKey};
use crate::params::{ConverterId, digit_range};
use crate::profile::Operation;
use ckks_math::{Eval, Limb, RnsPoly};

/// The digits of a polynomial, each extended to the other ciphertext primes and the special primes, Eval order. A
/// digit's own limbs are those of the polynomial itself and not stored again.
pub(super) struct Digits {
    extended: Vec<Vec<Limb>>,
}

impl Evaluator {
    /// ModUp of every digit.
    pub(super) fn mod_up(
        &self,
        c: &RnsPoly<Eval>,
        key: &SwitchingKey,
    ) -> Result<Digits, EvalError> {
        let _timer = self.time(Operation::ModUp);
        let level = c.limbs();
        let mut coeffs = Vec::with_capacity(level);
        for (i, ring) in self.rings(level).iter().enumerate() {
            let mut limb = self.limb()?;
            limb.copy_from_slice(c.limb(i));
            ring.intt(&mut limb);
            coeffs.push(limb);
        }
        let specials = &self.params.p()[..key.specials];
        let mut extended = Vec::new();
        for digit in 0..level.div_ceil(key.digit_limbs) {
            let (from, to) = digit_range(level, key.digit_limbs, digit);
            let converter = self.params.converter(ConverterId::ModUp {
                level,
                digit_limbs: key.digit_limbs,
                digit,
                specials: key.specials,
            })?;
            let rings = self.params.q()[..from]
                .iter()
                .chain(&self.params.q()[to..level])
                .chain(specials);
            let mut limbs = rings
                .clone()
                .map(|_| self.limb())
                .collect::<Result<Vec<_>, _>>()?;
            convert(&converter, &mut limbs, coeffs[from..to].iter());
            for (limb, ring) in limbs.iter_mut().zip(rings) {
                ring.ntt(limb);
            }
            extended.push(limbs);
        }
        Ok(Digits { extended })
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
        let half = |h: usize| -> Result<ExtendedPoly, EvalError> {
            let (mut q, mut p) = (Vec::with_capacity(level), Vec::with_capacity(key.specials));
            let rings = self
                .rings(level)
                .iter()
                .chain(&self.params.p()[..key.specials]);
            for (i, ring) in rings.enumerate() {
                let terms: Vec<(&[u64], &[u64])> = digits
                    .extended
                    .iter()
                    .enumerate()
                    .map(|(j, limbs)| {
                        let (from, to) = digit_range(level, key.digit_limbs, j);
                        let digit: &[u64] = if i < from {
                            &limbs[i]
                        } else if i < to {
                            c.limb(i)
                        } else {
                            &limbs[i - (to - from)]
                        };
                        (digit, key.digits[j][h].limb(i, level))
                    })
                    .collect();
                let mut out = self.limb()?;
                ring.dot_into(&mut out, &terms);
                if i < level { q.push(out) } else { p.push(out) }
            }
            Ok(ExtendedPoly { q, p })
        };
        Ok([half(0)?, half(1)?])
    }

    /// Divides by the special primes, and by the last `dropped` ciphertext primes at once, and rounds.
    pub(super) fn mod_down(
        &self,
        mut ext: ExtendedPoly,
        level: Level,
        key: &SwitchingKey,
        dropped: usize,
    ) -> Result<RnsPoly<Eval>, EvalError> {
        let _timer = self.time(Operation::ModDown);
        let level = level.limbs();
        let kept = level - dropped;
        let specials = &self.params.p()[..key.specials];
        for (limb, ring) in ext.p.iter_mut().zip(specials) {
            ring.intt(limb);
        }
        for (limb, ring) in ext.q[kept..].iter_mut().zip(&self.params.q()[kept..level]) {
            ring.intt(limb);
        }
        let converter = self.params.converter(ConverterId::ModDown {
            level,
            dropped,
            specials: key.specials,
        })?;
        let mut remainders = (0..kept)
            .map(|_| self.limb())
            .collect::<Result<Vec<_>, _>>()?;
        convert(
            &converter,
            &mut remainders,
            ext.p.iter().chain(&ext.q[kept..]),
        );
        let divisors = || specials.iter().chain(&self.params.q()[kept..level]);
        let mut out = RnsPoly::from_limbs(Vec::new());
        for (i, ring) in self.rings(kept).iter().enumerate() {
            ring.ntt(&mut remainders[i]);
            let q = ring.modulus();
            let divisor = divisors().fold(1, |acc, d| q.mul(acc, q.reduce(d.modulus().value())));
            let mut limb = self.limb()?;
            ring.sub_mul_scalar_into(&mut limb, &ext.q[i], &remainders[i], q.inv(divisor));
            out.push(limb);
        }
        Ok(out)
    }

    /// `ext += P c` on the ciphertext primes.
    pub(super) fn add_times_specials(
        &self,
        ext: &mut ExtendedPoly,
        c: &RnsPoly<Eval>,
        specials: usize,
    ) {
        let _timer = self.time(Operation::Addition);
        for (i, ring) in self.rings(c.limbs()).iter().enumerate() {
            let q = ring.modulus();
            let product = self.params.p()[..specials]
                .iter()
                .fold(1, |acc, p| q.mul(acc, q.reduce(p.modulus().value())));
            ring.mul_scalar_add_assign(&mut ext.q[i], c.limb(i), product);
        }
    }

    /// Slot deviation that a key switch at `level` adds, in units of the last place after dividing by the special
    /// primes and the `dropped` last ciphertext primes.
    pub(super) fn switch_error(&self, key: &SwitchingKey, level: Level, dropped: usize) -> f64 {
        let kept = Level::new(level.limbs() - dropped);
        let dropped_bits = self.params.log_q(level) - self.params.log_q(kept);
        let digits = level.limbs().div_ceil(key.digit_limbs);
        let noise = self.params.noise();
        noise
            .key_switch(
                digits,
                self.params.digit_bits(key.level()),
                self.params.log_p(key.specials) + dropped_bits,
            )
            .hypot(noise.rounding())
    }
}

fn convert<'a>(
    converter: &ckks_math::BaseConverter,
    dst: &mut [Limb],
    src: impl Iterator<Item = &'a Limb>,
) {
    let src: Vec<&[u64]> = src.map(|l| &l[..]).collect();
    let mut dst: Vec<&mut [u64]> = dst.iter_mut().map(|l| &mut l[..]).collect();
    converter.convert_into(&mut dst, &src);
}
