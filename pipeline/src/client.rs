//! The client: makes keys, encrypts images, decrypts logits. It knows the network by a [`ClientSpec`] only, and it is the one
//! part of this crate that holds a secret key.
//!
//! A client's folder has the secret key, the spec, and a folder of its own for the server:
//!
//! | file | content |
//! |---|---|
//! | [`SECRET_KEY_FILE`] | the secret key, mode 0600 |
//! | [`SPEC_FILE`] | the client spec |
//! | [`SERVER_FOLDER`] | what the server gets: [`ServerKeys`] and the plan |

mod kept;
mod sharing;
mod stream;
mod training;

use std::fs;
use std::path::Path;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::serial::{AtomicFile, SerialError, ServerKeys};
use ckks_scheme::{
    EvaluationKeys, KeyError, KeyGenerator, KeyId, Parameters, PublicKey, SecretKey,
    SeededCiphertext,
};
use he_layers::{EncryptedTensor, LayerError, PlainTensor};
use he_models::LogitBounds;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::answers::Answers;
pub use crate::exchange::ClientSpec;
use crate::exchange::{Content, ExchangeError, GroupReader, GroupWriter, Holds, PLAN_FILE};
use crate::grouping::GroupImages;
use crate::plan::Plan;
use crate::progress::{Progress, Unit};
use crate::screening::Inputs;
use sharing::Flood;
pub use sharing::{Flooding, Sharing};
pub use training::TrainingClient;

/// Name of the secret key's file.
pub const SECRET_KEY_FILE: &str = "secret.key";
/// Name of the client spec's file.
pub const SPEC_FILE: &str = "client.spec";
/// Name of the folder that the server gets.
pub const SERVER_FOLDER: &str = "eval";

/// Where a client's randomness comes from. Keys and images have generators of their own, so that the same seed gives the same
/// keys and ciphertexts in one process and in two.
#[derive(Debug)]
pub struct Randomness {
    keys: ChaCha20Rng,
    images: ChaCha20Rng,
}

impl Randomness {
    /// From a seed: reproducible, for experiments, not secure. Without one from the system.
    pub fn new(seed: Option<u64>) -> Self {
        match seed {
            Some(seed) => {
                let mut rng = ChaCha20Rng::seed_from_u64(seed);
                Self {
                    keys: ChaCha20Rng::from_rng(&mut rng),
                    images: ChaCha20Rng::from_rng(&mut rng),
                }
            }
            None => Self {
                keys: rand::make_rng(),
                images: rand::make_rng(),
            },
        }
    }
}

/// A secret key, with what a client must know to use it.
#[derive(Debug)]
pub struct Client {
    spec: ClientSpec,
    inner: he_layers::Client,
}

/// Decrypted logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Decrypted {
    /// `[image][class]`
    pub logits: Vec<f64>,
    /// Number of images decrypted.
    pub images: usize,
    /// Which of them are answers. Where the spec has no bounds, all that are numbers.
    pub answers: Answers,
    /// The noise that was added, if the logits are to be shared.
    pub flooding: Option<Flooding>,
}

impl Client {
    /// A client with a fresh secret key, and the switching keys that its server needs.
    ///
    /// # Errors
    /// [`KeyError`], for instance when the pool's budget is exhausted.
    pub fn generate(
        spec: &ClientSpec,
        params: &Parameters,
        randomness: &mut Randomness,
    ) -> Result<(Self, EvaluationKeys), KeyError> {
        let keygen = KeyGenerator::new(params);
        let secret = keygen.secret_key(&mut randomness.keys)?;
        let keys = keygen.evaluation_keys(&secret, &spec.key_request(), &mut randomness.keys)?;
        Ok((Self::with_secret(spec, secret, randomness), keys))
    }

    fn with_secret(spec: &ClientSpec, secret: SecretKey, randomness: &mut Randomness) -> Self {
        let (input, output) = (spec.input.tensor.clone(), spec.output.clone());
        let inner = he_layers::Client::with_secret(secret, input, output, &mut randomness.images);
        let inner = match &spec.last {
            Some(last) => inner.with_other(last.input.clone(), last.output.clone()),
            None => inner,
        };
        Self {
            spec: spec.clone(),
            inner,
        }
    }

    /// The public key, for whoever is to encrypt for this client.
    ///
    /// # Errors
    /// When the pool's budget is exhausted.
    pub fn public_key(&self, randomness: &mut Randomness) -> Result<PublicKey, KeyError> {
        let secret = self.inner.secret();
        KeyGenerator::new(secret.params()).public_key(secret, &mut randomness.keys)
    }

    /// What the client knows of the network.
    pub fn spec(&self) -> &ClientSpec {
        &self.spec
    }

    /// The identity of the secret key, which all files for it carry.
    pub fn key(&self) -> KeyId {
        self.inner.secret().id()
    }

    /// Refuses a folder in which a secret key is already: what is encrypted under it would be lost.
    ///
    /// # Errors
    /// [`ExchangeError::KeyThere`].
    pub fn check_free(dir: &Path) -> Result<(), ExchangeError> {
        let path = dir.join(SECRET_KEY_FILE);
        // A link that leads nowhere is there too.
        match path.symlink_metadata() {
            Ok(_) => Err(ExchangeError::KeyThere { path }),
            Err(_) => Ok(()),
        }
    }

    /// Writes the client's folder; the secret key comes last, so that a folder with a secret key is whole.
    ///
    /// # Errors
    /// [`ExchangeError::KeyThere`]; [`ExchangeError::Serial`] for what cannot be written.
    pub fn save(&self, dir: &Path, keys: &ServerKeys, plan: &Plan) -> Result<(), ExchangeError> {
        self.save_as(dir, keys, plan, SecretKey::save)
    }

    /// As [`Self::save`], with the secret key encrypted under a passphrase. Salt and nonce come from the system, never from a
    /// seed.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_protected(
        &self,
        dir: &Path,
        keys: &ServerKeys,
        plan: &Plan,
        passphrase: &str,
    ) -> Result<(), ExchangeError> {
        self.save_as(dir, keys, plan, |secret, path| {
            secret.save_protected(passphrase, &mut rand::rng(), path)
        })
    }

    fn save_as(
        &self,
        dir: &Path,
        keys: &ServerKeys,
        plan: &Plan,
        save: impl FnOnce(&SecretKey, &Path) -> Result<(), SerialError>,
    ) -> Result<(), ExchangeError> {
        Self::check_free(dir)?;
        let server = dir.join(SERVER_FOLDER);
        fs::create_dir_all(&server).map_err(failed("making the folder", &server))?;
        keys.write_dir(&server)?;
        write_text(&server.join(PLAN_FILE), &plan.to_ron())?;
        self.spec.save(&dir.join(SPEC_FILE))?;
        Self::check_free(dir)?;
        Ok(save(self.inner.secret(), &dir.join(SECRET_KEY_FILE))?)
    }

    /// Reads a client's folder: spec and secret key.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`], [`ExchangeError::Params`].
    pub fn open(
        dir: &Path,
        kernel: KernelChoice,
        randomness: &mut Randomness,
    ) -> Result<Self, ExchangeError> {
        Self::open_protected(dir, None, kernel, randomness)
    }

    /// As [`Self::open`], with the passphrase, if the secret key is encrypted under one.
    ///
    /// # Errors
    /// As [`Self::open`]; [`SerialError::PassphraseMissing`], [`SerialError::PassphraseWrong`].
    pub fn open_protected(
        dir: &Path,
        passphrase: Option<&str>,
        kernel: KernelChoice,
        randomness: &mut Randomness,
    ) -> Result<Self, ExchangeError> {
        let spec = ClientSpec::load(&dir.join(SPEC_FILE))?;
        let params = spec.parameters(kernel)?;
        let secret = SecretKey::load(&params, passphrase, &dir.join(SECRET_KEY_FILE))?;
        Ok(Self::with_secret(&spec, secret, randomness))
    }

    /// Reads the secret key of a client's folder, for a spec and parameters that are there already.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`].
    pub fn open_for(
        spec: ClientSpec,
        params: &Parameters,
        dir: &Path,
        randomness: &mut Randomness,
    ) -> Result<Self, ExchangeError> {
        let secret = SecretKey::load(params, None, &dir.join(SECRET_KEY_FILE))?;
        Ok(Self::with_secret(&spec, secret, randomness))
    }

    /// Encrypts one group of images. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`LayerError::Batch`] for more images than a group holds, [`LayerError::Shape`], an exhausted pool.
    pub fn encrypt(&mut self, images: &PlainTensor) -> Result<EncryptedTensor, LayerError> {
        self.inner.encrypt(images)
    }

    /// As [`Self::encrypt`], a last group of a layout of its own where the group is one.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn encrypt_group(
        &mut self,
        images: &PlainTensor,
        group: &GroupImages,
    ) -> Result<EncryptedTensor, LayerError> {
        match group.is_last {
            true => self.inner.encrypt_other(images),
            false => self.inner.encrypt(images),
        }
    }

    /// As [`Self::encrypt_group`], at half the size.
    fn encrypt_seeded_group(
        &mut self,
        images: &PlainTensor,
        group: &GroupImages,
    ) -> Result<Vec<SeededCiphertext>, LayerError> {
        match group.is_last {
            true => self.inner.encrypt_seeded_other(images),
            false => self.inner.encrypt_seeded(images),
        }
    }

    /// Encrypts images into a file that the server reads, group by group, at half the size of what [`Self::encrypt`] gives.
    ///
    /// # Errors
    /// [`ExchangeError::Data`] for images that cannot be read; [`ExchangeError::Serial`]; [`ExchangeError::Layer`].
    pub fn encrypt_file(
        &mut self,
        inputs: &Inputs<'_>,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ExchangeError> {
        let images = inputs.batch().images;
        let content = Content::new(Holds::Images, images, &self.spec);
        let secret = self.inner.secret();
        let (params, key) = (secret.params().clone(), secret.id());
        let mut file = GroupWriter::create(path, &params, key, &content, &self.spec)?;
        progress.begin("encryption", Some(images as u64), Unit::Things("images"));
        for group in self.spec.grouping().groups(images) {
            let pictures = inputs.read(group.range.clone())?;
            let ciphertexts = self.encrypt_seeded_group(&pictures, &group)?;
            file.push_seeded(&ciphertexts)?;
            progress.advance(pictures.n as u64);
        }
        file.commit()?;
        progress.finish();
        Ok(())
    }

    /// Decrypts the logits of one group of `images` images, for the client's own eyes.
    ///
    /// # Errors
    /// [`LayerError::ForeignTensor`] for what is no output of the network, [`LayerError::Batch`], an exhausted pool.
    pub fn decrypt(
        &self,
        logits: &EncryptedTensor,
        images: usize,
    ) -> Result<PlainTensor, LayerError> {
        self.inner.decrypt(logits, images)
    }

    /// Decrypts a file of logits. Exact ones are for the client's own eyes: their errors tell about the secret key. For
    /// others they are flooded as `sharing` says. `blanked`: positions in the batch, ascending, of images in whose place the
    /// mean picture was encrypted.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] and [`ExchangeError::Content`] for what is no result for this client;
    /// [`ExchangeError::Flooding`] if noise for so much sharing would leave nothing of the logits.
    pub fn decrypt_file(
        &self,
        path: &Path,
        sharing: Option<&Sharing>,
        blanked: &[usize],
        progress: &dyn Progress,
    ) -> Result<Decrypted, ExchangeError> {
        let (spec, secret) = (&self.spec, self.inner.secret());
        let (params, key) = (secret.params(), secret.id());
        let groups = GroupReader::open(path, params, key, Holds::Logits, spec)?;
        let images = groups.content.images;
        progress.begin("decryption", Some(images as u64), Unit::Things("images"));
        let mut flood = sharing.map(|sharing| Flood::new(sharing, images, spec));
        let (mut exact, mut shared) = (Vec::new(), Vec::new());
        for group in groups {
            let (logits, group) = group?;
            let count = group.range.len();
            exact.extend(self.inner.decrypt(&logits, count)?.data);
            if let Some(flood) = &mut flood {
                let flooded = flood.decrypt(&self.inner, &logits, count)?;
                shared.extend(flooded.into_iter().flat_map(|logits| logits.data));
            }
            progress.advance(count as u64);
        }
        progress.finish();
        // The noise would hide what is just beyond the bounds.
        let unknown = LogitBounds::unknown(spec.classes.len());
        let bounds = spec.logit_bounds.as_ref().unwrap_or(&unknown);
        let answers = Answers::judge(&exact, bounds, spec.grouping(), 0, blanked);
        let flooding = flood.map(|flood| flood.finish(&exact)).transpose()?;
        let logits = if flooding.is_some() { shared } else { exact };
        Ok(Decrypted {
            logits,
            images,
            answers,
            flooding,
        })
    }
}

/// Writes a file, whole or not at all.
fn write_text(path: &Path, text: &str) -> Result<(), SerialError> {
    use std::io::Write;
    let mut file = AtomicFile::create(path)?;
    file.write_all(text.as_bytes())
        .map_err(failed("writing", path))?;
    file.commit()
}

fn failed(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> SerialError + use<> {
    let path = path.to_owned();
    move |source| SerialError::File {
        path: path.clone(),
        source: Box::new(SerialError::Io { what, source }),
    }
}
