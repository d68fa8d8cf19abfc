//! The client of a prepared program: the one place of this crate that holds a secret key.

use ckks_scheme::{
    Ciphertext, Complex64, Decryptor, Encoder, EvalError, EvaluationKeys, KeyError, KeyGenerator,
    Level, Parameters, SecretEncryptor, SecretKey, SeededCiphertext,
};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;

use crate::encrypted::{ClientCodec, EncryptedTensor};
use crate::error::LayerError;
use crate::program::PreparedProgram;
use crate::spec::TensorSpec;
use crate::tensor::PlainTensor;

/// A secret key, and the packing of inputs and outputs: keys, encryption and decryption for one prepared program.
///
/// Decrypted outputs are exact up to noise. They must not be shown to whoever computed them, or anyone else, as they are:
/// their noise tells about the secret key (IND-CPA-D). [`Self::decrypt_with_noise`] hides it.
#[derive(Debug)]
pub struct Client {
    secret: SecretKey,
    input: ClientCodec,
    output: ClientCodec,
    /// Input and output of groups of another layout.
    other: Option<(ClientCodec, ClientCodec)>,
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

    /// As [`Self::new`], with randomness of the operating system.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn generate(
        params: &Parameters,
        program: &PreparedProgram,
    ) -> Result<(Self, EvaluationKeys), KeyError> {
        Self::new(
            params,
            program,
            &mut ChaCha20Rng::from_rng(&mut rand::rng()),
        )
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
        let (input, output) = (program.input().clone(), program.output().clone());
        Ok((Self::with_secret(secret, input, output, rng), keys))
    }

    /// A client that has its secret key already, and that knows of the program only how its inputs are encrypted and its
    /// outputs are laid out. Encryptions take their randomness from `rng`, which is read once.
    pub fn with_secret<R: CryptoRng>(
        secret: SecretKey,
        input: TensorSpec,
        output: TensorSpec,
        rng: &mut R,
    ) -> Self {
        let params = secret.params().clone();
        Self {
            secret,
            input: ClientCodec::new(&params, input),
            output: ClientCodec::new(&params, output),
            other: None,
            rng: ChaCha20Rng::from_rng(rng),
        }
    }

    /// The same client, that encrypts and decrypts groups of another layout too: [`Self::encrypt_other`].
    #[must_use]
    pub fn with_other(self, input: TensorSpec, output: TensorSpec) -> Self {
        let codec = |spec| ClientCodec::new(self.secret.params(), spec);
        let other = Some((codec(input), codec(output)));
        Self { other, ..self }
    }

    /// The secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Packs, encodes and encrypts one group of images. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`LayerError::Batch`] for more images than a group holds, [`LayerError::Shape`] for images of another shape, an
    /// exhausted pool.
    pub fn encrypt(&mut self, images: &PlainTensor) -> Result<EncryptedTensor, LayerError> {
        let mut rng = self.next_group();
        self.encrypt_by(&self.input, images, &mut rng)
    }

    /// As [`Self::encrypt`], a group of the other layout.
    ///
    /// # Errors
    /// As [`Self::encrypt`]; [`LayerError::ForeignTensor`] without another layout.
    pub fn encrypt_other(&mut self, images: &PlainTensor) -> Result<EncryptedTensor, LayerError> {
        let mut rng = self.next_group();
        self.encrypt_by(self.other_input()?, images, &mut rng)
    }

    /// As [`Self::encrypt`], each ciphertext at half the size: to be sent or stored. Expanded, they are the ciphertexts that
    /// [`Self::encrypt`] would have given.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn encrypt_seeded(
        &mut self,
        images: &PlainTensor,
    ) -> Result<Vec<SeededCiphertext>, LayerError> {
        let mut rng = self.next_group();
        self.encrypt_seeded_by(&self.input, images, &mut rng)
    }

    /// As [`Self::encrypt_seeded`], a group of the other layout.
    ///
    /// # Errors
    /// As [`Self::encrypt_other`].
    pub fn encrypt_seeded_other(
        &mut self,
        images: &PlainTensor,
    ) -> Result<Vec<SeededCiphertext>, LayerError> {
        let mut rng = self.next_group();
        self.encrypt_seeded_by(self.other_input()?, images, &mut rng)
    }

    fn other_input(&self) -> Result<&ClientCodec, LayerError> {
        let other = self.other.as_ref().map(|(input, _)| input);
        other.ok_or_else(|| LayerError::ForeignTensor {
            layer: "input".to_owned(),
            what: "layout",
        })
    }

    fn encrypt_by(
        &self,
        codec: &ClientCodec,
        images: &PlainTensor,
        rng: &mut ChaCha20Rng,
    ) -> Result<EncryptedTensor, LayerError> {
        let plaintexts = codec.encode(images)?;
        let ciphertexts = SecretEncryptor::new(&self.secret)
            .encrypt_many(plaintexts, rng)
            .map_err(LayerError::eval("input"))?;
        EncryptedTensor::new(codec.spec().clone(), ciphertexts)
    }

    fn encrypt_seeded_by(
        &self,
        codec: &ClientCodec,
        images: &PlainTensor,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<SeededCiphertext>, LayerError> {
        let plaintexts = codec.encode(images)?;
        SecretEncryptor::new(&self.secret)
            .encrypt_seeded_many(plaintexts, rng)
            .map_err(LayerError::eval("input"))
    }

    /// Leaves a group out: the next one is encrypted as if this one had been.
    pub fn skip_group(&mut self) {
        self.next_group();
    }

    /// Randomness of the next group.
    fn next_group(&mut self) -> ChaCha20Rng {
        ChaCha20Rng::from_rng(&mut self.rng)
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
        let decryptor = Decryptor::new(&self.secret);
        let slots = self.slots(output, |cts, encoder| {
            cts.par_iter()
                .map(|ct| decryptor.decrypt(ct, encoder))
                .collect()
        })?;
        self.output_of(output)?.decode(&slots, images)
    }

    /// As [`Self::decrypt`], with Gaussian noise of deviation `deviation`, in units of the output, in every number: for
    /// outputs that others learn. See [`ckks_scheme::Decryptor::decrypt_with_noise`].
    ///
    /// # Errors
    /// As [`Self::decrypt`]; [`EvalError::Flooding`] for a deviation that is negative or has no room.
    pub fn decrypt_with_noise<R: CryptoRng>(
        &self,
        output: &EncryptedTensor,
        images: usize,
        deviation: f64,
        rng: &mut R,
    ) -> Result<PlainTensor, LayerError> {
        let decryptor = Decryptor::new(&self.secret);
        let slots = self.slots(output, |cts, encoder| {
            cts.iter()
                .map(|ct| decryptor.decrypt_with_noise(ct, encoder, deviation, rng))
                .collect()
        })?;
        self.output_of(output)?.decode(&slots, images)
    }

    fn slots(
        &self,
        output: &EncryptedTensor,
        decrypt: impl FnOnce(&[Ciphertext], &Encoder) -> Result<Vec<Vec<Complex64>>, EvalError>,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        let codec = self.output_of(output)?;
        decrypt(output.ciphertexts(), codec.encoder()).map_err(LayerError::eval("output"))
    }

    /// What unpacks an output: that of its own layout.
    fn output_of(&self, output: &EncryptedTensor) -> Result<&ClientCodec, LayerError> {
        let same = |codec: &ClientCodec| codec.spec().check_same("output", output.spec());
        let checked = same(&self.output);
        match (&self.other, checked) {
            (_, Ok(())) => Ok(&self.output),
            (Some((_, other)), Err(_)) if same(other).is_ok() => Ok(other),
            (_, Err(error)) => Err(error),
        }
    }
}
