//! Keys of a run with checkpoints.

use std::fs;
use std::io;
use std::path::Path;

use ckks_scheme::serial::SerialError;
use ckks_scheme::{EvaluationKeys, KeyGenerator, Parameters, SecretKey};

use super::{Client, ClientSpec, Randomness, failed};
use crate::checkpoint::Checkpoint;
use crate::exchange::ExchangeError;

impl Client {
    /// As [`Self::generate`] for a run without a seed: the keys are stored in the checkpoint's folder, the secret one last, or
    /// read from there if an earlier process has begun the run.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] for what cannot be written or read; [`ExchangeError::Key`].
    pub(crate) fn kept(
        spec: &ClientSpec,
        params: &Parameters,
        randomness: &mut Randomness,
        checkpoint: &Checkpoint,
    ) -> Result<(Self, EvaluationKeys), ExchangeError> {
        let keys_file = checkpoint.keys_file();
        if !checkpoint.is_begun() {
            let (client, keys) = Self::generate(spec, params, randomness)?;
            keys.save(params, &keys_file)?;
            save_secret(client.inner.secret(), checkpoint)?;
            return Ok((client, keys));
        }
        let secret = SecretKey::load(params, None, &checkpoint.secret_file())?;
        let keys = EvaluationKeys::load(params, &keys_file)?;
        if keys.id() != secret.id() {
            let error = SerialError::Key {
                found: keys.id().to_string(),
                expected: secret.id().to_string(),
            };
            return Err(SerialError::File {
                path: keys_file,
                source: Box::new(error),
            }
            .into());
        }
        Ok((Self::with_secret(spec, secret, randomness), keys))
    }

    /// Leaves a group of images out: the next one is encrypted as if this one had been.
    pub(crate) fn skip_group(&mut self) {
        self.inner.skip_group();
    }
}

/// A secret key that is stored in the checkpoint's folder, or read from there if an earlier process has begun the run.
///
/// # Errors
/// [`ExchangeError::Serial`] for what cannot be written or read; [`ExchangeError::Key`].
pub(super) fn kept_secret(
    params: &Parameters,
    randomness: &mut Randomness,
    checkpoint: &Checkpoint,
) -> Result<SecretKey, ExchangeError> {
    if checkpoint.is_begun() {
        return Ok(SecretKey::load(params, None, &checkpoint.secret_file())?);
    }
    let secret = KeyGenerator::new(params).secret_key(&mut randomness.keys)?;
    save_secret(&secret, checkpoint)?;
    Ok(secret)
}

fn save_secret(secret: &SecretKey, checkpoint: &Checkpoint) -> Result<(), ExchangeError> {
    let dir = checkpoint.client_dir();
    private_dir(&dir).map_err(failed("making the folder", &dir))?;
    Ok(secret.save(&checkpoint.secret_file())?)
}

/// Makes a folder that its owner alone may enter.
#[cfg(unix)]
fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    // It may have been there, with another mode.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}
