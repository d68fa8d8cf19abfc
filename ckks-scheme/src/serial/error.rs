//! What can be wrong with a file.

use super::frame::Kind;
use crate::error::{ArithmeticError, KeyError, ParamError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Something that cannot be written, or that is not what it should be when it is read. No text of a file is ever part of
/// a sentence, numbers of it are.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SerialError {
    /// What is wrong with a file, and which.
    #[error("{path:?}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<SerialError>,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The input ends too early.
    #[error("ends within {what}: cut off, or not all written")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// A file of another size than its contents need.
    #[error("has {found} bytes, expected {expected}")]
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes that its header and the parameters ask for.
        expected: u64,
    },
    /// Something follows what should be the end.
    #[error("goes on after its end")]
    Trailing,
    /// Not one of our files.
    #[error("starts with {found}, which is none of Polyphase's files (they start with {expected})")]
    Magic {
        /// The first bytes, in hexadecimal.
        found: String,
        /// What they should be.
        expected: String,
    },
    /// Written by a later version.
    #[error("has format version {found}, this program reads versions 1 to {newest}")]
    Version {
        /// Version found.
        found: u16,
        /// Newest version known.
        newest: u16,
    },
    /// A file of another kind.
    #[error("holds {found}, expected {expected}")]
    Kind {
        /// What is there.
        found: Kind,
        /// What was asked for.
        expected: Kind,
    },
    /// Made for other parameters.
    #[error("belongs to the parameter set {found}, expected {expected}")]
    Parameters {
        /// Fingerprint found, in hexadecimal.
        found: String,
        /// Fingerprint of the set in use.
        expected: String,
    },
    /// Made with another secret key.
    #[error("belongs to the secret key {found}, expected {expected}")]
    Key {
        /// Identity found, in hexadecimal.
        found: String,
        /// Identity of the key in use.
        expected: String,
    },
    /// Damaged: the checksum does not match.
    #[error("is damaged: the checksum of {what} does not match")]
    Checksum {
        /// The part.
        what: &'static str,
    },
    /// A number that cannot be.
    #[error("{what} is {found}, expected {expected}")]
    Value {
        /// The number.
        what: &'static str,
        /// Value found.
        found: String,
        /// What would do.
        expected: String,
    },
    /// A residue that is not below its modulus.
    #[error("residue {index} modulo {modulus} is {found}")]
    Residue {
        /// Which of the N words.
        index: usize,
        /// Value found.
        found: u64,
        /// The modulus.
        modulus: u64,
    },
    /// More than a limit admits.
    #[error("{what}: {found} bytes, the limit is {limit}")]
    TooLarge {
        /// The thing.
        what: &'static str,
        /// Bytes found or claimed.
        found: u64,
        /// Most bytes admitted.
        limit: u64,
    },
    /// A secret key that is protected by a passphrase, and none was given.
    #[error("is protected by a passphrase, and none was given")]
    PassphraseMissing,
    /// The passphrase is another one, or the file was tampered with.
    #[error("cannot be opened with this passphrase")]
    PassphraseWrong,
    /// A secret key that others can read.
    #[error("others can read this secret key: its mode is {mode:03o}, expected 600 (chmod 600)")]
    Exposed {
        /// The permission bits.
        mode: u32,
    },
    /// A secret key in a folder for servers.
    #[error("is a secret key: it must not lie where a server reads")]
    SecretFound,
    /// A parameter set that cannot be built.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// Switching keys that cannot be.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// From the arithmetic below.
    #[error(transparent)]
    Arithmetic(#[from] ArithmeticError),
}

impl SerialError {
    /// Whether memory ran out: the limb pool's budget, or the system's.
    pub fn out_of_memory(&self) -> bool {
        match self {
            Self::File { source, .. } => source.out_of_memory(),
            Self::Arithmetic(error) => error.out_of_memory(),
            Self::Param(error) => error.out_of_memory(),
            Self::Keys(error) => error.out_of_memory(),
            Self::Io { .. }
            | Self::Truncated { .. }
            | Self::Size { .. }
            | Self::Trailing
            | Self::Magic { .. }
            | Self::Version { .. }
            | Self::Kind { .. }
            | Self::Parameters { .. }
            | Self::Key { .. }
            | Self::Checksum { .. }
            | Self::Value { .. }
            | Self::Residue { .. }
            | Self::TooLarge { .. }
            | Self::PassphraseMissing
            | Self::PassphraseWrong
            | Self::Exposed { .. }
            | Self::SecretFound => false,
        }
    }

    /// The same, said of a file.
    pub(super) fn of(self, path: &Path) -> Self {
        if matches!(self, Self::File { .. }) {
            return self;
        }
        Self::File {
            path: path.to_owned(),
            source: Box::new(self),
        }
    }

    pub(super) fn value(
        what: &'static str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Value {
            what,
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}

/// Names what was being done when the system refused.
pub(super) fn doing(what: &'static str) -> impl Fn(io::Error) -> SerialError {
    move |source| SerialError::Io { what, source }
}
