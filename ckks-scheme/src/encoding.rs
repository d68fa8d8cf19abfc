//! Encoding of complex slot values into ring elements, and back.

pub mod periodic;
pub(crate) mod reconstruct;

use crate::ciphertext::{Level, Plaintext, Scale};
use crate::error::EncodeError;
use crate::noise::Tracked;
use crate::params::Parameters;
use crate::secret::SecretLimb;
use ckks_math::{Limb, LimbRing, MathError, RnsPoly};
use num_complex::Complex64;
use reconstruct::{Reconstruction, sufficient_limbs};
use zeroize::Zeroizing;

/// Encoded coefficients are below 2 to this, whatever the modulus: room for sums below 2^126, which decryption can tell.
pub(crate) const MAX_COEFFICIENT_BITS: f64 = 120.0;

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
    /// [`EncodeError::NoSuchLevel`], [`EncodeError::SlotCount`], [`EncodeError::NotFinite`], [`EncodeError::TooLarge`] when
    /// the scaled values do not fit the level's modulus (or 2^120), or when the pool's budget is exhausted.
    pub fn encode(
        &self,
        slots: &[Complex64],
        level: Level,
        scale: Scale,
    ) -> Result<Plaintext, EncodeError> {
        let params = &self.params;
        if !params.has_level(level) {
            let max = params.max_level();
            return Err(EncodeError::NoSuchLevel { level, max });
        }
        if slots.len() != params.slots() {
            return Err(EncodeError::SlotCount {
                found: slots.len(),
                expected: params.slots(),
            });
        }
        let tracked = bounds(slots)?;
        let mut coeffs = Zeroizing::new(vec![0.0; params.degree()]);
        params.embedding().slots_to_coeffs(slots, &mut coeffs);
        check_fits(&coeffs, scale.value(), params.log_q(level) - 1.0)?;
        let rings = &params.q()[..level.limbs()];
        let limbs = if largest(&coeffs) * scale.value() < 2f64.powi(62) {
            let ints = coeffs.iter().map(|c| (c * scale.value()).round() as i64);
            let ints = Zeroizing::new(ints.collect::<Vec<i64>>());
            self.limbs(rings, |ring, out| ring.reduce_signed_into(out, &ints))?
        } else {
            let ints = coeffs.iter().map(|c| (c * scale.value()).round() as i128);
            let ints = Zeroizing::new(ints.collect::<Vec<i128>>());
            self.limbs(rings, |ring, out| {
                for (o, &c) in out.iter_mut().zip(ints.iter()) {
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
                let mut limb = self.params.limbs().limb()?;
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
        let mut complex: Vec<_> = slots.iter().map(|&x| Complex64::new(x, 0.0)).collect();
        let encoded = self.encode(&complex, level, scale);
        complex.fill(Complex64::ZERO);
        std::hint::black_box(&mut complex);
        encoded
    }

    /// The slot values of an unencrypted plaintext.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn decode(&self, pt: &Plaintext) -> Result<Vec<Complex64>, EncodeError> {
        let rings = &self.params.q()[..pt.level().limbs()];
        let rings = &rings[..sufficient_limbs(rings)];
        let residues = rings
            .iter()
            .zip(pt.poly.iter())
            .map(|(ring, limb)| {
                let mut residues = SecretLimb::new(self.params.limbs())?;
                ring.intt_into(&mut residues, limb);
                Ok(residues)
            })
            .collect::<Result<Vec<_>, MathError>>()?;
        let residues: Vec<&[u64]> = residues.iter().map(|limb| &limb[..]).collect();
        Ok(self.decode_coeffs(&Reconstruction::new(&residues, rings), pt.scale))
    }

    pub(crate) fn decode_coeffs(&self, coeffs: &Reconstruction, scale: Scale) -> Vec<Complex64> {
        let scaled = coeffs.0.iter().map(|&c| c as f64 / scale.value());
        let scaled = Zeroizing::new(scaled.collect::<Vec<f64>>());
        let mut slots = vec![Complex64::default(); self.params.slots()];
        self.params.embedding().coeffs_to_slots(&scaled, &mut slots);
        slots
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

/// The largest absolute value; infinite if any is not a finite number.
fn largest(coeffs: &[f64]) -> f64 {
    coeffs.iter().fold(0f64, |m, c| {
        if c.is_nan() {
            f64::INFINITY
        } else {
            m.max(c.abs())
        }
    })
}

/// The scaled coefficients must be below 2 to the lesser of `limit` and [`MAX_COEFFICIENT_BITS`].
pub(crate) fn check_fits(coeffs: &[f64], scale: f64, limit: f64) -> Result<(), EncodeError> {
    let scaled = largest(coeffs) * scale.abs();
    let limit = limit.min(MAX_COEFFICIENT_BITS);
    if scaled.is_nan() || scaled >= limit.exp2() {
        return Err(EncodeError::TooLarge {
            bits: scaled.log2(),
            limit,
            scale_log2: scale.log2(),
        });
    }
    Ok(())
}
