//! Fresh ciphertexts of half the size: the uniform polynomial as its seed.

use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::error::ArithmeticError;
use crate::keys::{KeyId, PublicSeed};
use crate::noise::Tracked;
use crate::params::Parameters;
use crate::seeds::Place;
use ckks_math::{Eval, RnsPoly};
use std::fmt;

/// A fresh ciphertext whose second polynomial is still the seed that it is expanded from; made by
/// [`crate::SecretEncryptor::encrypt_seeded`].
pub struct SeededCiphertext {
    pub(crate) params: Parameters,
    pub(crate) id: KeyId,
    pub(crate) seed: PublicSeed,
    pub(crate) first: RnsPoly<Eval>,
    pub(crate) scale: Scale,
    pub(crate) tracked: Tracked,
}

impl fmt::Debug for SeededCiphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeededCiphertext")
            .field("level", &self.level())
            .field("scale", &self.scale)
            .field("tracked", &self.tracked)
            .finish_non_exhaustive()
    }
}

impl SeededCiphertext {
    /// Number of ciphertext primes.
    pub fn level(&self) -> Level {
        Level::new(self.first.limbs())
    }

    /// Scale of the encrypted values.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Predicted error and declared value bounds.
    pub fn tracked(&self) -> &Tracked {
        &self.tracked
    }

    /// The parameter set that it belongs to.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// The identity of the secret key that it is encrypted under.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The ciphertext itself, of two polynomials. Anybody can do this.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn expand(self) -> Result<Ciphertext, ArithmeticError> {
        let place = Place::of_ciphertext(&self.params, self.id, self.level());
        let second = place.minus_uniform(&self.seed)?;
        Ok(self.with_second(second))
    }

    pub(crate) fn with_second(self, second: RnsPoly<Eval>) -> Ciphertext {
        Ciphertext {
            parts: vec![self.first, second],
            scale: self.scale,
            tracked: self.tracked,
        }
    }
}
