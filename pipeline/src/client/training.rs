//! The client of a training: one secret key for a network's images and for features, labels and heads.

use ckks_scheme::{EvaluationKeys, KeyError, KeyGenerator, KeyRequest, Level, Parameters, Scale};
use he_layers::{EncryptedTensor, LayerError, PlainTensor, TensorSpec};
use he_training::FeatureLayout;

use super::Randomness;

/// A secret key, and what is encrypted under it.
#[derive(Debug)]
pub struct TrainingClient {
    inner: he_layers::Client,
    randomness: Randomness,
}

impl TrainingClient {
    /// A client with a fresh secret key, for a network that reads `input` and gives `output`.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn generate(
        params: &Parameters,
        (input, output): (&TensorSpec, &TensorSpec),
        mut randomness: Randomness,
    ) -> Result<Self, KeyError> {
        let secret = KeyGenerator::new(params).secret_key(&mut randomness.keys)?;
        let (input, output) = (input.clone(), output.clone());
        let inner = he_layers::Client::with_secret(secret, input, output, &mut randomness.images);
        Ok(Self { inner, randomness })
    }

    /// The switching keys of a request, for the server.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn keys(&mut self, request: &KeyRequest) -> Result<EvaluationKeys, KeyError> {
        let secret = self.inner.secret();
        KeyGenerator::new(secret.params()).evaluation_keys(
            secret,
            request,
            &mut self.randomness.keys,
        )
    }

    /// Encrypts one group of images.
    ///
    /// # Errors
    /// [`LayerError`], for instance when the pool's budget is exhausted.
    pub fn encrypt(&mut self, images: &PlainTensor) -> Result<EncryptedTensor, LayerError> {
        self.inner.encrypt(images)
    }

    /// The same client for features, labels and heads.
    pub fn heads(
        &mut self,
        layout: FeatureLayout,
        encryption: (Level, Scale),
    ) -> he_training::Client<'_> {
        let rng = &mut self.randomness.images;
        he_training::Client::new(self.inner.secret(), layout, encryption, rng)
    }
}
