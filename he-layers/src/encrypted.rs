//! Encrypted tensors, and the client's way in and out.

use ckks_scheme::{Ciphertext, Encoder, Parameters, Plaintext};
use num_complex::Complex64;
use rayon::prelude::*;

use crate::error::LayerError;
use crate::spec::TensorSpec;
use crate::tensor::PlainTensor;

/// A batch of feature maps in ciphertexts, all at one level and scale.
#[derive(Debug)]
pub struct EncryptedTensor {
    spec: TensorSpec,
    ciphertexts: Vec<Ciphertext>,
}

impl EncryptedTensor {
    /// A tensor from its ciphertexts, in the order of the layout.
    ///
    /// # Errors
    /// [`LayerError::Count`] or [`LayerError::ForeignTensor`] if number, level or scale are not those of `spec`.
    pub fn new(spec: TensorSpec, ciphertexts: Vec<Ciphertext>) -> Result<Self, LayerError> {
        let expected = spec.layout.ciphertexts();
        if ciphertexts.len() != expected {
            return Err(LayerError::Count {
                what: "ciphertexts",
                found: ciphertexts.len(),
                expected,
            });
        }
        for ct in &ciphertexts {
            spec.check("encrypted tensor", ct)?;
        }
        Ok(Self { spec, ciphertexts })
    }

    /// Layout, level and scale.
    pub fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// The ciphertexts, in the order of the layout.
    pub fn ciphertexts(&self) -> &[Ciphertext] {
        &self.ciphertexts
    }

    /// Layout, level and scale, and the ciphertexts, to be taken one after another.
    pub fn into_parts(self) -> (TensorSpec, Vec<Ciphertext>) {
        (self.spec, self.ciphertexts)
    }

    /// Bytes of limb memory held.
    pub fn bytes(&self) -> u64 {
        self.ciphertexts.iter().map(Ciphertext::bytes).sum()
    }
}

/// The client's side of a tensor: images to plaintexts that are ready to be encrypted, decrypted slots to images. It holds
/// no key.
#[derive(Clone, Debug)]
pub struct ClientCodec {
    encoder: Encoder,
    spec: TensorSpec,
}

impl ClientCodec {
    /// A codec for tensors of `spec`.
    pub fn new(params: &Parameters, spec: TensorSpec) -> Self {
        Self {
            encoder: Encoder::new(params),
            spec,
        }
    }

    /// Layout, level and scale.
    pub fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// The encoder, which decryption needs.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Packs and encodes images: one plaintext for each ciphertext of the layout; parallel (current rayon pool).
    ///
    /// # Errors
    /// [`LayerError::Batch`], [`LayerError::Shape`], [`LayerError::Encode`].
    pub fn encode(&self, images: &PlainTensor) -> Result<Vec<Plaintext>, LayerError> {
        let slots = self.spec.layout.pack(images)?;
        let encode = |slots: Vec<Complex64>| {
            self.encoder
                .encode(&slots, self.spec.level, self.spec.scale)
        };
        Ok(slots
            .into_par_iter()
            .map(encode)
            .collect::<Result<_, _>>()?)
    }

    /// Unpacks the slots of decrypted ciphertexts into the first `images` images.
    ///
    /// # Errors
    /// [`LayerError::Batch`], [`LayerError::Count`].
    pub fn decode(
        &self,
        slots: &[Vec<Complex64>],
        images: usize,
    ) -> Result<PlainTensor, LayerError> {
        self.spec.layout.unpack(slots, images)
    }
}
