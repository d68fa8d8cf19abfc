//! The client of a training: one secret key for a network's images and for features, labels and heads.

use ckks_scheme::{
    EvaluationKeys, KeyError, KeyGenerator, KeyId, KeyRequest, Level, Parameters, Scale,
};
use he_layers::{EncryptedTensor, LayerError, PlainTensor, TensorSpec};
use he_training::FeatureLayout;

use super::Randomness;
use super::kept::kept_secret;
use crate::checkpoint::Checkpoint;
use crate::exchange::ExchangeError;

/// A secret key, and what is encrypted under it.
#[derive(Debug)]
pub struct TrainingClient {
    inner: he_layers::Client,
    randomness: Randomness,
}

impl TrainingClient {
    /// A client for a network that reads `input` and gives `output`. Its secret key is fresh, or that of the checkpoint.
    ///
    /// # Errors
    /// [`ExchangeError::Key`] when the pool's budget is exhausted; [`ExchangeError::Serial`] for a checkpoint's key that cannot be
    /// written or read.
    pub(crate) fn generate(
        params: &Parameters,
        (input, output): (&TensorSpec, &TensorSpec),
        mut randomness: Randomness,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self, ExchangeError> {
        let secret = match checkpoint {
            Some(checkpoint) => kept_secret(params, &mut randomness, checkpoint)?,
            None => KeyGenerator::new(params).secret_key(&mut randomness.keys)?,
        };
        let (input, output) = (input.clone(), output.clone());
        let inner = he_layers::Client::with_secret(secret, input, output, &mut randomness.images);
        Ok(Self { inner, randomness })
    }

    /// Names the secret key, and tells nothing about it.
    pub fn key(&self) -> KeyId {
        self.inner.secret().id()
    }

    /// Leaves a group of images out: the next one is encrypted as if this one had been.
    pub(crate) fn skip_group(&mut self) {
        self.inner.skip_group();
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

#[cfg(test)]
mod tests {
    use he_layers::{Chw, Form, Grid, Layout, Packing};

    use super::*;

    #[test]
    fn clients_are_named_by_their_secret_keys() {
        let params = Parameters::builder()
            .log_n(10)
            .q_bits([50, 50])
            .build_insecure_for_tests()
            .unwrap();
        let shape = Chw::new(1, 8, 8);
        let spec = TensorSpec {
            layout: Layout::new(shape, Grid::new(8, 8), Packing::Real, params.slots()).unwrap(),
            form: Form::Values,
            level: Level::new(2),
            scale: Scale::new(2f64.powi(40)),
        };
        let key = |seed| {
            let randomness = Randomness::new(Some(seed));
            let client = TrainingClient::generate(&params, (&spec, &spec), randomness, None);
            client.unwrap().key()
        };
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
    }
}
