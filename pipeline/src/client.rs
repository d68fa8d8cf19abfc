//! The client: holds the secret key, encrypts images and decrypts logits.

use crate::inference::InferenceError;
use crate::network::Network;
use crate::plan::Plan;
use ckks_scheme::{
    Decryptor, EvaluationKeys, KeyError, KeyGenerator, Parameters, SecretEncryptor, SecretKey,
};
use he_layers::{ClientCodec, EncryptedTensor, PlainTensor};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;

/// Keys and codecs of one client for one network.
#[derive(Debug)]
pub struct Client {
    secret: SecretKey,
    input: ClientCodec,
    output: ClientCodec,
    rng: ChaCha20Rng,
}

impl Client {
    /// A client with a fresh secret key, and the evaluation keys that it hands to the server.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn new<R: CryptoRng>(
        params: &Parameters,
        network: &Network,
        plan: &Plan,
        rng: &mut R,
    ) -> Result<(Self, EvaluationKeys), KeyError> {
        let keygen = KeyGenerator::new(params);
        let secret = keygen.secret_key(rng)?;
        let request = network
            .required_keys()
            .reduced(params.log_n())
            .at_steps(&plan.key_steps.0);
        let keys = keygen.evaluation_keys(&secret, &request, rng)?;
        let client = Self {
            secret,
            input: ClientCodec::new(params, network.input().clone()),
            output: ClientCodec::new(params, network.output().clone()),
            rng: ChaCha20Rng::from_rng(rng),
        };
        Ok((client, keys))
    }

    /// Packs, encodes and encrypts one group of images (pixels divided by 255).
    ///
    /// # Errors
    /// More images than a group holds, images of another shape, an exhausted pool.
    pub fn encrypt(&mut self, images: &PlainTensor) -> Result<EncryptedTensor, InferenceError> {
        let plaintexts = self.input.encode(images)?;
        let encryptor = SecretEncryptor::new(&self.secret);
        let ciphertexts = encryptor.encrypt_many(plaintexts, &mut self.rng)?;
        Ok(EncryptedTensor::new(
            self.input.spec().clone(),
            ciphertexts,
        )?)
    }

    /// Decrypts the logits of the first `images` images of a group: `[image][class]`.
    ///
    /// # Errors
    /// A tensor that is not the network's output, an exhausted pool.
    pub fn decrypt(
        &self,
        logits: &EncryptedTensor,
        images: usize,
    ) -> Result<PlainTensor, InferenceError> {
        let decryptor = Decryptor::new(&self.secret);
        let slots = logits
            .ciphertexts()
            .par_iter()
            .map(|ct| decryptor.decrypt(ct, self.output.encoder()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(self.output.decode(&slots, images)?)
    }
}
