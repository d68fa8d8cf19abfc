//! Logits for others: flooded with noise.
//!
//! Whoever knows logits exactly knows the errors in them, which depend on the secret key (Li, Micciancio: On the security of
//! homomorphic encryption on approximate numbers, <https://eprint.iacr.org/2020/1533>). Gaussian noise hides them. With
//! noise of deviation d in each of M numbers whose errors are at most e, the Kullback-Leibler divergence between the
//! decryptions of two ciphertexts of equal logits is at most M e^2 / (2 d^2). R results add up. The scheme stays secure
//! with k bits if all of it is at most 2^(-k-7) (Li, Micciancio, Schultz, Sorrell: Securing approximate homomorphic
//! encryption using differential privacy, <https://eprint.iacr.org/2022/816>), which is d = 8 sqrt(R M) 2^(k/2) e.

use ckks_scheme::EvalError;
use he_layers::{EncryptedTensor, LayerError, PlainTensor};
use rand_chacha::ChaCha20Rng;

use crate::exchange::{ClientSpec, ExchangeError};

/// How logits are shared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sharing {
    /// Results under one secret key that others learn, this one and all before and after it.
    pub results: u64,
    /// Bits of security that the key keeps against those who learn them.
    pub bits: f64,
}

impl Sharing {
    /// Bits of security where nobody asks for a number.
    pub const BITS: f64 = 30.0;
}

/// The noise in shared logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flooding {
    /// What it is enough for.
    pub sharing: Sharing,
    /// Its largest deviation, in the logits' unit.
    pub deviation: f64,
}

/// Decrypts with noise.
pub(super) struct Flood<'a> {
    sharing: &'a Sharing,
    /// Deviation of the noise for errors of at most 1.
    factor: f64,
    /// Least error to be hidden.
    error: f64,
    deviation: f64,
    has_room: bool,
    rng: ChaCha20Rng,
}

impl<'a> Flood<'a> {
    pub fn new(sharing: &'a Sharing, images: usize, spec: &ClientSpec) -> Self {
        let numbers = images as f64 * spec.classes.len() as f64;
        Self {
            sharing,
            factor: factor(sharing, numbers),
            error: spec.logit_error.unwrap_or(0.0),
            deviation: 0.0,
            has_room: true,
            // Never from a seed: who knows the noise takes it away.
            rng: rand::make_rng(),
        }
    }

    /// Nothing where there is no room for so much noise; [`Self::finish`] will say so.
    pub fn decrypt(
        &mut self,
        client: &he_layers::Client,
        logits: &EncryptedTensor,
        images: usize,
    ) -> Result<Option<PlainTensor>, LayerError> {
        // What the server's file says of its errors may be too little; the plan's estimate is the client's own.
        let bounds = logits
            .ciphertexts()
            .iter()
            .map(|ct| ct.tracked().error_bound());
        let deviation = self.factor * bounds.fold(self.error, f64::max);
        self.deviation = self.deviation.max(deviation);
        match client.decrypt_with_noise(logits, images, deviation, &mut self.rng) {
            Ok(flooded) => Ok(Some(flooded)),
            // More noise than a ciphertext has room for.
            Err(LayerError::Eval {
                source: EvalError::Flooding { .. },
                ..
            }) => {
                self.has_room = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What was added; refused if it is larger than the logits.
    pub fn finish(self, exact: &[f64]) -> Result<Flooding, ExchangeError> {
        let (sharing, deviation) = (*self.sharing, self.deviation);
        let logit_std = deviation_of(exact);
        // Not a number is refused too.
        if self.has_room && deviation <= logit_std {
            return Ok(Flooding { sharing, deviation });
        }
        Err(ExchangeError::Flooding {
            results: sharing.results,
            bits: sharing.bits,
            deviation,
            logit_std,
            most_bits: (sharing.bits - 2.0 * (deviation / logit_std).log2()).floor(),
        })
    }
}

/// Deviation of the noise for errors of at most 1 in so many numbers.
fn factor(sharing: &Sharing, numbers: f64) -> f64 {
    8.0 * (sharing.results as f64 * numbers).sqrt() * (sharing.bits / 2.0).exp2()
}

fn deviation_of(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_grows_with_results_numbers_and_bits() {
        let of = |results, bits, numbers| factor(&Sharing { results, bits }, numbers);
        assert_eq!(of(1, 0.0, 1.0), 8.0);
        assert_eq!(of(4, 0.0, 1.0), 16.0);
        assert_eq!(of(1, 2.0, 100.0), 160.0);
        // The divergence that the module's documentation speaks of.
        for (results, bits, numbers) in [(1, 30.0, 5120.0), (1000, 12.5, 10.0)] {
            let d = of(results, bits, numbers);
            let divergence = results as f64 * numbers / (2.0 * d * d);
            assert!((divergence.log2() + bits + 7.0).abs() < 1e-9);
        }
    }

    #[test]
    fn noise_that_drowns_the_logits_is_refused_with_the_bits_that_are_possible() {
        let sharing = Sharing {
            results: 1,
            bits: 10.0,
        };
        let flood = |deviation| Flood {
            sharing: &sharing,
            factor: 1.0,
            error: 0.0,
            deviation,
            has_room: true,
            rng: rand::make_rng(),
        };
        // Of deviation 2.
        let logits = [1.0, 5.0];
        assert_eq!(flood(2.0).finish(&logits).unwrap().deviation, 2.0);
        let error = flood(8.0).finish(&logits).unwrap_err().to_string();
        assert!(error.contains("at most 6 bits are possible"), "{error}");
        let error = flood(128.0).finish(&logits).unwrap_err().to_string();
        assert!(error.contains("no number of bits"), "{error}");
        assert!(flood(f64::NAN).finish(&logits).is_err());
    }
}
