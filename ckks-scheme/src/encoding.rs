//! Encoding of complex slot values into ring elements, and back.

pub mod periodic;

use crate::ciphertext::{Level, Plaintext, Scale};
use crate::error::EncodeError;
use crate::noise::Tracked;
use crate::params::Parameters;
use ckks_math::{Limb, LimbRing, MathError, Modulus, RnsPoly};
use num_complex::Complex64;

/// Encodes slot vectors: slot j is the value at zeta^(5^j), zeta = exp(i pi / N).
#[derive(Clone, Debug)]
pub struct Encoder {
    params: Parameters,
}

impl Encoder {
    /// An encoder for `params`.
    pub fn new(params: &Parameters) -> Self {
        Self {
            params: params.clone(),
        }
    }

    /// Encodes N/2 complex values at any scale and level.
    ///
    /// # Errors
    /// [`EncodeError::SlotCount`], [`EncodeError::NotFinite`], [`EncodeError::TooLarge`] when the scaled values do not
    /// fit the level's modulus (or 2^120), or when the pool's budget is exhausted.
    pub fn encode(
        &self,
        slots: &[Complex64],
        level: Level,
        scale: Scale,
    ) -> Result<Plaintext, EncodeError> {
        let params = &self.params;
        if slots.len() != params.slots() {
            return Err(EncodeError::SlotCount {
                found: slots.len(),
                expected: params.slots(),
            });
        }
        let tracked = bounds(slots)?;
        let mut coeffs = vec![0.0; params.degree()];
        params.embedding().slots_to_coeffs(slots, &mut coeffs);
        check_fits(&coeffs, scale.value(), params.log_q(level) - 1.0)?;
        let rings = &params.q()[..level.limbs()];
        let limbs = if largest(&coeffs) * scale.value() < 2f64.powi(62) {
            let ints: Vec<i64> = coeffs
                .iter()
                .map(|c| (c * scale.value()).round() as i64)
                .collect();
            self.limbs(rings, |ring, out| ring.reduce_signed_into(out, &ints))?
        } else {
            let ints: Vec<i128> = coeffs
                .iter()
                .map(|c| (c * scale.value()).round() as i128)
                .collect();
            self.limbs(rings, |ring, out| {
                for (o, &c) in out.iter_mut().zip(&ints) {
                    *o = ring.modulus().from_i128(c);
                }
            })?
        };
        Ok(Plaintext {
            poly: RnsPoly::from_limbs(limbs),
            scale,
            tracked: tracked.plus_error(params.noise().encoding() / scale.value()),
        })
    }

    fn limbs(
        &self,
        rings: &[LimbRing],
        fill: impl Fn(&LimbRing, &mut [u64]),
    ) -> Result<Vec<Limb>, MathError> {
        rings
            .iter()
            .map(|ring| {
                let mut limb = self.params.pool().limb()?;
                fill(ring, &mut limb);
                ring.ntt(&mut limb);
                Ok(limb)
            })
            .collect()
    }

    /// Encodes N/2 real values.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_real(
        &self,
        slots: &[f64],
        level: Level,
        scale: Scale,
    ) -> Result<Plaintext, EncodeError> {
        let complex: Vec<_> = slots.iter().map(|&x| Complex64::new(x, 0.0)).collect();
        self.encode(&complex, level, scale)
    }

    /// The slot values of an unencrypted plaintext.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn decode(&self, pt: &Plaintext) -> Result<Vec<Complex64>, MathError> {
        let limbs = pt.level().limbs().min(3);
        let rings = &self.params.q()[..limbs];
        let coeffs = (0..limbs)
            .map(|i| {
                let mut limb = pt.poly.limb(i).try_clone()?;
                rings[i].intt(&mut limb);
                Ok(limb)
            })
            .collect::<Result<Vec<_>, MathError>>()?;
        let moduli: Vec<_> = rings.iter().map(LimbRing::modulus).collect();
        Ok(self.decode_coeffs(
            &ReconstructedCoeffs::from_residues(&coeffs, &moduli),
            pt.scale,
        ))
    }

    pub(crate) fn decode_coeffs(
        &self,
        coeffs: &ReconstructedCoeffs,
        scale: Scale,
    ) -> Vec<Complex64> {
        let scaled: Vec<f64> = coeffs.0.iter().map(|&c| c as f64 / scale.value()).collect();
        let mut slots = vec![Complex64::default(); self.params.slots()];
        self.params.embedding().coeffs_to_slots(&scaled, &mut slots);
        slots
    }
}

/// Centred integer coefficients of a message, |c| < 2^127.
pub(crate) struct ReconstructedCoeffs(Vec<i128>);

impl ReconstructedCoeffs {
    /// Garner's mixed-radix reconstruction from at most three primes; sums wrap modulo 2^128, which is exact for
    /// results below 2^127.
    pub(crate) fn from_residues(residues: &[Limb], moduli: &[Modulus]) -> Self {
        let n = residues[0].len();
        let values: Vec<u64> = moduli.iter().map(|m| m.value()).collect();
        let product = values
            .iter()
            .fold(1u128, |acc, &q| acc.wrapping_mul(u128::from(q)));
        let out = (0..n)
            .map(|k| {
                let mut digits = [0u64; 3];
                for (i, m) in moduli.iter().enumerate() {
                    // digit_i = (x_i - (d_0 + d_1 q_0 + ...)) / (q_0 ... q_(i-1)) mod q_i
                    let (mut partial, mut radix) = (0, 1);
                    for (d, &q) in digits[..i].iter().zip(&values) {
                        partial = m.add(partial, m.mul(radix, m.reduce(*d)));
                        radix = m.mul(radix, m.reduce(q));
                    }
                    digits[i] = m.mul(m.sub(residues[i][k], partial), m.inv(radix));
                }
                let top = moduli.len() - 1;
                let (mut sum, mut radix) = (0u128, 1u128);
                for (d, &q) in digits.iter().zip(&values) {
                    sum = sum.wrapping_add(radix.wrapping_mul(u128::from(*d)));
                    radix = radix.wrapping_mul(u128::from(q));
                }
                // The upper half of the range is negative; the top digit tells (messages are far from the middle).
                let negative = digits[top] > values[top] / 2;
                (if negative {
                    sum.wrapping_sub(product)
                } else {
                    sum
                }) as i128
            })
            .collect();
        Self(out)
    }
}

fn bounds(slots: &[Complex64]) -> Result<Tracked, EncodeError> {
    let (mut max, mut sum) = (0f64, 0f64);
    for (slot, z) in slots.iter().enumerate() {
        for value in [z.re, z.im] {
            if !value.is_finite() {
                return Err(EncodeError::NotFinite { slot, value });
            }
        }
        max = max.max(z.norm());
        sum += z.norm_sqr();
    }
    Ok(Tracked::exact(max, (sum / slots.len() as f64).sqrt()))
}

fn largest(coeffs: &[f64]) -> f64 {
    coeffs.iter().fold(0f64, |m, c| m.max(c.abs()))
}

fn check_fits(coeffs: &[f64], scale: f64, limit: f64) -> Result<(), EncodeError> {
    let bits = (largest(coeffs) * scale).max(1.0).log2();
    let limit = limit.min(120.0);
    if bits >= limit {
        return Err(EncodeError::TooLarge {
            bits,
            limit,
            scale_log2: scale.log2(),
        });
    }
    Ok(())
}
