//! The folder that a client gives to a server.

use super::SerialError;
use super::error::doing;
use super::file::open_regular;
use super::frame::{Header, Kind};
use crate::exec::KernelChoice;
use crate::keys::{EvaluationKeys, PublicKey};
use crate::params::Parameters;
use std::fs;
use std::path::Path;

/// Name of the parameters' file.
pub const PARAMETERS_FILE: &str = "parameters";
/// Name of the public key's file.
pub const PUBLIC_KEY_FILE: &str = "public.key";
/// Name of the switching keys' file.
pub const EVALUATION_KEYS_FILE: &str = "evaluation.keys";

/// What a server needs of a client, and all that it may have: nothing secret.
#[derive(Debug)]
pub struct ServerKeys {
    /// To encrypt under the client's key.
    pub public: PublicKey,
    /// To compute on the client's ciphertexts.
    pub evaluation: EvaluationKeys,
}

impl ServerKeys {
    /// Writes [`PARAMETERS_FILE`], [`PUBLIC_KEY_FILE`] and [`EVALUATION_KEYS_FILE`] into a folder, which is made if need be;
    /// each file appears whole or not at all. Who reads a folder that was written halfway finds keys of two clients or of
    /// two parameter sets in it, and refuses it.
    ///
    /// # Errors
    /// [`SerialError::File`]; [`SerialError::Key`] for keys of two secret keys.
    pub fn write_dir(&self, dir: &Path) -> Result<(), SerialError> {
        self.check_owner().map_err(|e| e.of(dir))?;
        let params = self.public.params();
        fs::create_dir_all(dir).map_err(|e| doing("making the folder")(e).of(dir))?;
        refuse_secrets(dir)?;
        params.save(&dir.join(PARAMETERS_FILE))?;
        self.public.save(&dir.join(PUBLIC_KEY_FILE))?;
        let path = dir.join(EVALUATION_KEYS_FILE);
        self.evaluation.save(params, &path)
    }

    /// Reads such a folder, with the parameters that it names.
    ///
    /// # Errors
    /// [`SerialError::File`]: [`SerialError::SecretFound`] if there is a secret key in the folder, [`SerialError::Key`] for
    /// keys of two secret keys, and what the readers of the files say.
    pub fn open_dir(
        dir: &Path,
        kernel: KernelChoice,
        budget_bytes: Option<u64>,
    ) -> Result<Self, SerialError> {
        let params = Parameters::load(&dir.join(PARAMETERS_FILE), kernel, budget_bytes)?;
        Self::open_dir_for(&params, dir)
    }

    /// Reads such a folder, whose keys must be of `params`.
    ///
    /// # Errors
    /// As [`Self::open_dir`].
    pub fn open_dir_for(params: &Parameters, dir: &Path) -> Result<Self, SerialError> {
        refuse_secrets(dir)?;
        let keys = Self {
            public: PublicKey::load(params, &dir.join(PUBLIC_KEY_FILE))?,
            evaluation: EvaluationKeys::load(params, &dir.join(EVALUATION_KEYS_FILE))?,
        };
        keys.check_owner().map_err(|e| e.of(dir))?;
        Ok(keys)
    }

    fn check_owner(&self) -> Result<(), SerialError> {
        let (found, expected) = (self.evaluation.id(), self.public.id());
        if found == expected {
            return Ok(());
        }
        Err(SerialError::Key {
            found: found.to_string(),
            expected: expected.to_string(),
        })
    }
}

/// No file in the folder may be a secret key, whatever its name.
///
/// # Errors
/// [`SerialError::SecretFound`] for the first that is one.
pub fn refuse_secrets(dir: &Path) -> Result<(), SerialError> {
    let failed = |e| doing("reading the folder")(e).of(dir);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // What cannot be opened cannot be read as a key either; a link counts as what it leads to.
        let Ok(mut file) = open_regular(&path) else {
            continue;
        };
        let kind = Header::read_from(&mut file).map(|header| header.kind);
        if matches!(kind, Ok(Kind::SecretKey)) {
            return Err(SerialError::SecretFound.of(&path));
        }
    }
    Ok(())
}
