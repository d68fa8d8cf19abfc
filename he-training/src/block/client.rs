//! The client of a block's training: encrypts inputs, labels and first parameters, decrypts what was trained.

use ckks_scheme::{Ciphertext, Decryptor, Encoder, Level, Scale, SecretEncryptor, SecretKey};
use he_layers::PlainTensor;
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::clear::check_labels;
use super::{BlockBatch, BlockPlan, BlockWeights, EncryptedWeights};
use crate::error::TrainingError;

/// A secret key, and the plan that says how numbers lie in the slots and at which levels they are needed.
#[derive(Debug)]
pub struct BlockClient<'a> {
    secret: &'a SecretKey,
    plan: &'a BlockPlan,
    encoder: Encoder,
    rng: ChaCha20Rng,
}

impl<'a> BlockClient<'a> {
    /// A client. Encryptions take their randomness from `rng`, which is read once.
    pub fn new<R: CryptoRng>(secret: &'a SecretKey, plan: &'a BlockPlan, rng: &mut R) -> Self {
        Self {
            secret,
            plan,
            encoder: Encoder::new(secret.params()),
            rng: ChaCha20Rng::from_rng(rng),
        }
    }

    /// Encrypts a mini-batch for a step from level `input`.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for more images than a mini-batch holds or another number of labels, [`TrainingError::Setting`] for
    /// inputs of another shape, labels that are no class and a level that does not fit, [`TrainingError::Encode`], an exhausted
    /// pool.
    pub fn encrypt_batch(
        &mut self,
        inputs: &PlainTensor,
        labels: &[usize],
        input: usize,
    ) -> Result<BlockBatch, TrainingError> {
        let plan = self.plan;
        let levels = plan.levels(input)?;
        check_labels(labels, inputs.n, plan.classes())?;
        // Offsets of the first activation are added to it as they are.
        let scale = plan.scale_of(plan.settings().ranges.offsets);
        let packed = plan.layout().pack(inputs)?;
        let packed = packed.iter().map(|slots| self.encrypt(slots, input, scale));
        let packed = packed.collect::<Result<_, _>>()?;
        let one_hot = (0..plan.classes()).map(|class| {
            let is = |image: usize| f64::from(u8::from(labels[image] == class));
            let slots = plan.layout().spread_images(is, labels.len());
            self.encrypt(&slots, levels.head(), plan.scale_of(1.0))
        });
        Ok(BlockBatch {
            labels: one_hot.collect::<Result<_, _>>()?,
            inputs: packed,
            images: inputs.n,
        })
    }

    /// Encrypts parameters for a step from level `input`.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for another number of parameters, [`TrainingError::Setting`] for a parameter beyond its declared range
    /// or a level that does not fit, [`TrainingError::Encode`], an exhausted pool.
    pub fn encrypt_weights(
        &mut self,
        weights: &BlockWeights,
        input: usize,
    ) -> Result<EncryptedWeights, TrainingError> {
        let plan = self.plan;
        let (layout, ranges) = (plan.layout(), &plan.settings().ranges);
        let levels = plan.levels(input)?;
        let channels = layout.shape().channels;
        weights.check(channels, plan.classes())?;
        let bounds = [ranges.offsets, ranges.scales, ranges.head, ranges.bias];
        for (kind, bound) in weights.kinds().iter().zip(bounds) {
            let beyond = kind.parts.iter().copied().flatten();
            if let Some(x) = beyond.copied().find(|x| x.abs() > bound) {
                let expected = format!("{bound} at most, as declared");
                return Err(TrainingError::setting(kind.name, x, expected));
            }
        }
        let mut of_channels = |values: &[f64], level: usize, bound: f64| {
            self.encrypt(&layout.spread_channels(values), level, plan.scale_of(bound))
        };
        let [t1, t2, t3] = &weights.offsets;
        let [g1, g2, g3] = &weights.scales;
        let (t, g) = (ranges.offsets, ranges.scales);
        let offsets = [
            of_channels(t1, levels.offsets(0), t)?,
            of_channels(t2, levels.offsets(1), t)?,
            of_channels(t3, levels.offsets(2), t)?,
        ];
        let scales = [
            of_channels(g1, levels.scales(0), g)?,
            of_channels(g2, levels.scales(1), g)?,
            of_channels(g3, levels.scales(2), g)?,
        ];
        let head = weights.head.chunks_exact(channels);
        let head = head.map(|of_class| of_channels(of_class, levels.head(), ranges.head));
        let head = head.collect::<Result<_, _>>()?;
        let bias = weights.bias.iter().map(|b| {
            let slots = vec![*b; layout.slots()];
            self.encrypt(&slots, levels.head(), plan.scale_of(ranges.bias))
        });
        Ok(EncryptedWeights {
            bias: bias.collect::<Result<_, _>>()?,
            offsets,
            scales,
            head,
        })
    }

    /// Decrypts parameters or a gradient, for the client's own eyes.
    ///
    /// # Errors
    /// [`TrainingError::Eval`].
    pub fn decrypt_weights(
        &self,
        weights: &EncryptedWeights,
    ) -> Result<BlockWeights, TrainingError> {
        let channels = self.plan.layout().shape().channels;
        let of_channels = |ct: &Ciphertext| {
            let mut slots = self.slots(ct)?;
            slots.truncate(channels);
            Ok::<_, TrainingError>(slots)
        };
        let three = |[a, b, c]: &[Ciphertext; 3]| {
            Ok::<_, TrainingError>([of_channels(a)?, of_channels(b)?, of_channels(c)?])
        };
        let head = weights.head.iter().map(of_channels);
        let bias = weights.bias.iter().map(|ct| Ok(self.slots(ct)?[0]));
        Ok(BlockWeights {
            offsets: three(&weights.offsets)?,
            scales: three(&weights.scales)?,
            head: head.collect::<Result<Vec<_>, TrainingError>>()?.concat(),
            bias: bias.collect::<Result<_, TrainingError>>()?,
        })
    }

    /// Decrypts maps of the first `images` images, for the client's own eyes.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for another number of ciphertexts or more images than a mini-batch has, [`TrainingError::Eval`].
    pub fn decrypt_maps(
        &self,
        maps: &[Ciphertext],
        images: usize,
    ) -> Result<PlainTensor, TrainingError> {
        let slots = maps.iter().map(|ct| self.slots(ct));
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        self.plan.layout().unpack(&slots, images)
    }

    fn encrypt(
        &mut self,
        slots: &[f64],
        level: usize,
        scale: Scale,
    ) -> Result<Ciphertext, TrainingError> {
        let plain = self.encoder.encode_real(slots, Level::new(level), scale)?;
        Ok(SecretEncryptor::new(self.secret).encrypt(&plain, &mut self.rng)?)
    }

    fn slots(&self, ct: &Ciphertext) -> Result<Vec<f64>, TrainingError> {
        let slots = Decryptor::new(self.secret).decrypt(ct, &self.encoder)?;
        Ok(slots.iter().map(|z| z.re).collect())
    }
}
