//! The client: encrypts features and labels, decrypts scores and heads. The one part of this crate that holds a secret key.

use ckks_scheme::{
    Ciphertext, Complex64, Decryptor, Encoder, Level, Scale, SecretEncryptor, SecretKey,
};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::clear::{Examples, Weights};
use crate::error::TrainingError;
use crate::group::Group;
use crate::head::{Bias, Head};
use crate::layout::FeatureLayout;

/// A secret key, and how features, labels and weights lie in the slots.
#[derive(Debug)]
pub struct Client<'a> {
    secret: &'a SecretKey,
    encoder: Encoder,
    layout: FeatureLayout,
    level: Level,
    scale: Scale,
    rng: ChaCha20Rng,
}

impl<'a> Client<'a> {
    /// A client that encrypts at a level and [scale](crate::scale_of). Encryptions take their randomness from `rng`, which is read
    /// once.
    pub fn new<R: CryptoRng>(
        secret: &'a SecretKey,
        layout: FeatureLayout,
        (level, scale): (Level, Scale),
        rng: &mut R,
    ) -> Self {
        Self {
            encoder: Encoder::new(secret.params()),
            secret,
            layout,
            level,
            scale,
            rng: ChaCha20Rng::from_rng(rng),
        }
    }

    /// Encrypts the features and labels of one group of images.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a group holds, [`TrainingError::Encode`], an exhausted pool.
    pub fn encrypt(&mut self, examples: &Examples) -> Result<Group, TrainingError> {
        let features = self.layout.pack_features(examples.rows())?;
        let labels = self.layout.pack_labels(examples.labels())?;
        Ok(Group {
            features: self.encrypt_slots(&features)?,
            labels: self.encrypt_one(&labels)?,
            images: examples.images(),
        })
    }

    /// Encrypts the features of one group of images, `[image][feature]`.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn encrypt_features(&mut self, rows: &[f64]) -> Result<Vec<Ciphertext>, TrainingError> {
        let slots = self.layout.pack_features(rows)?;
        self.encrypt_slots(&slots)
    }

    /// Encrypts the labels of one group of images.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn encrypt_labels(&mut self, labels: &[usize]) -> Result<Ciphertext, TrainingError> {
        let slots = self.layout.pack_labels(labels)?;
        self.encrypt_one(&slots)
    }

    /// Decrypts the scores of the first `images` images of a group, `[image][class]`, for the client's own eyes.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a group holds, [`TrainingError::Eval`].
    pub fn decrypt_scores(
        &self,
        scores: &Ciphertext,
        images: usize,
    ) -> Result<Vec<f64>, TrainingError> {
        self.layout.unpack_scores(&self.slots(scores)?, images)
    }

    /// Decrypts the features of the first `images` images of a group, `[image][feature]`, for the client's own eyes.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a group holds or another number of blocks, [`TrainingError::Eval`].
    pub fn decrypt_features(
        &self,
        features: &[Ciphertext],
        images: usize,
    ) -> Result<Vec<f64>, TrainingError> {
        let blocks = features.iter().map(|ct| self.slots(ct));
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        self.layout.unpack_features(&blocks, images)
    }

    /// Decrypts a head, for the client's own eyes.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for a head of another number of blocks, [`TrainingError::Eval`].
    pub fn decrypt_head(&self, head: &Head) -> Result<Weights, TrainingError> {
        let blocks = head.blocks().iter().map(|ct| self.slots(ct));
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let values = self.layout.unpack_weights(head.form(), &blocks)?;
        let (features, classes) = (self.layout.features(), self.layout.classes());
        let of_class = |slots: Vec<f64>| (0..classes).map(move |c| slots[self.layout.slot(c, 0)]);
        let bias = match head.bias() {
            Bias::None => vec![0.0; classes],
            Bias::Added(bias) => of_class(self.slots(bias)?).collect(),
            Bias::Centred(centre) => {
                let means = centre.means.iter().map(|ct| self.slots(ct));
                let means = means.collect::<Result<Vec<_>, _>>()?;
                let mean = |f: usize| {
                    let lanes = self.layout.lanes();
                    means[f / lanes][self.layout.slot(f % lanes, 0)]
                };
                let product = |c: usize| -> f64 {
                    (0..features)
                        .map(|f| mean(f) * values[f * classes + c])
                        .sum()
                };
                let offsets = of_class(self.slots(&centre.offset)?);
                offsets.enumerate().map(|(c, x)| x - product(c)).collect()
            }
        };
        Ok(Weights::new(features, classes, values).with_bias(bias))
    }

    fn encrypt_slots(&mut self, slots: &[Vec<f64>]) -> Result<Vec<Ciphertext>, TrainingError> {
        slots.iter().map(|slots| self.encrypt_one(slots)).collect()
    }

    fn encrypt_one(&mut self, slots: &[f64]) -> Result<Ciphertext, TrainingError> {
        let plain = self.encoder.encode_real(slots, self.level, self.scale)?;
        Ok(SecretEncryptor::new(self.secret).encrypt(&plain, &mut self.rng)?)
    }

    fn slots(&self, ct: &Ciphertext) -> Result<Vec<f64>, TrainingError> {
        let slots: Vec<Complex64> = Decryptor::new(self.secret).decrypt(ct, &self.encoder)?;
        Ok(slots.iter().map(|z| z.re).collect())
    }
}
