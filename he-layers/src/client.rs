//! The client of a prepared program: the one place of this crate that holds a secret key.

use ckks_scheme::{
    Decryptor, EvaluationKeys, KeyError, KeyGenerator, Level, Parameters, SecretEncryptor,
    SecretKey,
};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;

use crate::encrypted::{ClientCodec, EncryptedTensor};
use crate::error::LayerError;
use crate::program::PreparedProgram;
use crate::tensor::PlainTensor;

/// A secret key, and the packing of inputs and outputs: keys, encryption and decryption for one prepared program.
///
/// Decrypted outputs are exact up to noise. They must not be shown to whoever computed them, or anyone else, as they are:
/// their noise tells about the secret key (IND-CPA-D). [`ckks_scheme::Decryptor::decrypt_flooded`] hides it.
#[derive(Debug)]
pub struct Client {
    secret: SecretKey,
    input: ClientCodec,
    output: ClientCodec,
    rng: ChaCha20Rng,
}

impl Client {
    /// A client with a fresh secret key, and the evaluation keys that the server needs, each at its level of use.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn new<R: CryptoRng>(
        params: &Parameters,
        program: &PreparedProgram,
        rng: &mut R,
    ) -> Result<(Self, EvaluationKeys), KeyError> {
        Self::with_key_levels(params, program, &[], rng)
    }

    /// As [`Self::new`], with keys at `levels` only, each of which serves the levels down to the next: fewer keys, more time.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_key_levels<R: CryptoRng>(
        params: &Parameters,
        program: &PreparedProgram,
        levels: &[Level],
        rng: &mut R,
    ) -> Result<(Self, EvaluationKeys), KeyError> {
        let keygen = KeyGenerator::new(params);
        let secret = keygen.secret_key(rng)?;
        let request = program.keys_at(levels, params.log_n());
        let keys = keygen.evaluation_keys(&secret, &request, rng)?;
        let client = Self {
            secret,
            input: ClientCodec::new(params, program.input().clone()),
            output: ClientCodec::new(params, program.output().clone()),
            rng: ChaCha20Rng::from_rng(rng),
        };
        Ok((client, keys))
    }

    /// Packs, encodes and encrypts one group of images. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`LayerError::Batch`] for more images than a group holds, [`LayerError::Shape`] for images of another shape, an
    /// exhausted pool.
    pub fn encrypt(&mut self, images: &PlainTensor) -> Result<EncryptedTensor, LayerError> {
        let plaintexts = self.input.encode(images)?;
        let encryptor = SecretEncryptor::new(&self.secret);
        let ciphertexts = encryptor
            .encrypt_many(plaintexts, &mut self.rng)
            .map_err(LayerError::eval("input"))?;
        EncryptedTensor::new(self.input.spec().clone(), ciphertexts)
    }

    /// Decrypts the output of the first `images` images of a group.
    ///
    /// # Errors
    /// [`LayerError::ForeignTensor`] for a tensor that is not the program's output, [`LayerError::Batch`], an exhausted pool.
    pub fn decrypt(
        &self,
        output: &EncryptedTensor,
        images: usize,
    ) -> Result<PlainTensor, LayerError> {
        self.output.spec().check_same("output", output.spec())?;
        let decryptor = Decryptor::new(&self.secret);
        let slots = output
            .ciphertexts()
            .par_iter()
            .map(|ct| decryptor.decrypt(ct, self.output.encoder()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(LayerError::eval("output"))?;
        self.output.decode(&slots, images)
    }
}
