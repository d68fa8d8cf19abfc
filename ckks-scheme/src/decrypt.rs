//! Decryption: belongs to the owner of the secret key.

mod flood;

use crate::ciphertext::Ciphertext;
use crate::encoding::Encoder;
use crate::encoding::reconstruct::{Reconstruction, sufficient_limbs};
use crate::error::EvalError;
use crate::keys::SecretKey;
use crate::secret::SecretLimb;
use num_complex::Complex64;
use rand::CryptoRng;

/// Decrypts. Belongs to the key's owner.
#[derive(Debug)]
pub struct Decryptor<'a> {
    key: &'a SecretKey,
}

impl<'a> Decryptor<'a> {
    /// A decryptor for `key`.
    pub fn new(key: &'a SecretKey) -> Self {
        Self { key }
    }

    /// The slots as they are, error included, for the key owner's own eyes: whoever learns the exact values of a
    /// decryption learns the error and may recover the key (Li, Micciancio, <https://eprint.iacr.org/2020/1533>). What
    /// leaves the owner's hands comes from [`Self::decrypt_flooded`].
    ///
    /// # Errors
    /// [`EvalError::Parts`] for a ciphertext of another number of polynomials than 2 or 3; [`EvalError::Range`] if its
    /// declared values need 126 bits or more; or when the pool's budget is exhausted.
    pub fn decrypt(&self, ct: &Ciphertext, encoder: &Encoder) -> Result<Vec<Complex64>, EvalError> {
        Ok(encoder.decode_coeffs(&self.coefficients(ct)?, ct.scale))
    }

    /// The slots with Gaussian noise that hides the error, for decryptions that are shown to others: its deviation is
    /// 2^`flood_bits` times the error bound that the ciphertext carries, as [`Self::decrypt_with_noise`] adds it.
    ///
    /// That bound is the tracker's, which describes the average case and follows from what evaluators wrote into the
    /// ciphertext. It protects against onlookers of an honest computation. If somebody else chose the computation or
    /// handed over the ciphertext, take a worst-case bound of your own and [`Self::decrypt_with_noise`]. Every decryption
    /// of related ciphertexts that is shown averages some of the noise away: after k of them about log2(k)/2 of the bits
    /// are used up (Li, Micciancio, Schultz, Sorrell: Securing approximate homomorphic encryption using differential
    /// privacy, <https://eprint.iacr.org/2022/816>).
    ///
    /// # Errors
    /// As [`Self::decrypt`]; [`EvalError::Flooding`] if `flood_bits` is negative or the noise has no room.
    pub fn decrypt_flooded<R: CryptoRng>(
        &self,
        ct: &Ciphertext,
        encoder: &Encoder,
        flood_bits: f64,
        rng: &mut R,
    ) -> Result<Vec<Complex64>, EvalError> {
        // Less than the error itself would hide nothing: refused, like NaN.
        let factor = if flood_bits >= 0.0 {
            flood_bits.exp2()
        } else {
            f64::NAN
        };
        self.decrypt_with_noise(ct, encoder, ct.tracked.error_bound() * factor, rng)
    }

    /// The slots with independent Gaussian noise of deviation `deviation` (in units of the encrypted values) in both
    /// components of every slot; up to 1.6 times as much where that is only a few units of the last place, and never less
    /// than the noise of a fresh encryption.
    ///
    /// The noise is a discrete Gaussian on the integer coefficients, before anything is rounded to a floating-point
    /// number: noise that is added to floating-point slots would leave traces of the error in their last bits.
    ///
    /// # Errors
    /// As [`Self::decrypt`]; [`EvalError::Flooding`] if `deviation` is not a number, is negative or exceeds 2^110 units
    /// of the last place.
    pub fn decrypt_with_noise<R: CryptoRng>(
        &self,
        ct: &Ciphertext,
        encoder: &Encoder,
        deviation: f64,
        rng: &mut R,
    ) -> Result<Vec<Complex64>, EvalError> {
        // The deviation of one coefficient whose N-fold sum has that of a slot.
        let per_coefficient = deviation * ct.scale.value() / self.key.params.noise().slots(1.0);
        let weights = flood::weights(per_coefficient).ok_or(EvalError::Flooding {
            deviation,
            units_log2: per_coefficient.log2(),
            max_log2: flood::MAX_DEVIATION_LOG2,
        })?;
        let mut coeffs = self.coefficients(ct)?;
        flood::add(&mut coeffs.0, &weights, rng);
        Ok(encoder.decode_coeffs(&coeffs, ct.scale))
    }

    fn coefficients(&self, ct: &Ciphertext) -> Result<Reconstruction, EvalError> {
        if !(2..=3).contains(&ct.parts()) {
            return Err(EvalError::Parts {
                op: "decrypt",
                expected: 2,
                found: ct.parts(),
            });
        }
        let params = &self.key.params;
        let rings = &params.q()[..ct.level().limbs()];
        let rings = &rings[..sufficient_limbs(rings)];
        if params.log_q(ct.level()) > Reconstruction::BITS {
            ct.check_fits("decrypt", ct.level(), Reconstruction::BITS)?;
        }
        let mut residues = Vec::with_capacity(rings.len());
        for (i, (ring, s)) in rings.iter().zip(&self.key.q).enumerate() {
            // Horner: c0 + s (c1 + s c2).
            let mut m = SecretLimb::new(params.limbs())?;
            let (last, others) = ct.parts.split_last().expect("two or three polynomials");
            m.copy_from_slice(last.limb(i));
            for part in others.iter().rev() {
                ring.mul_assign(&mut m, s);
                ring.add_assign(&mut m, part.limb(i));
            }
            ring.intt(&mut m);
            residues.push(m);
        }
        let residues: Vec<&[u64]> = residues.iter().map(|m| &m[..]).collect();
        Ok(Reconstruction::new(&residues, rings))
    }
}
