//! Reading small files of text that may be anything.

use std::fs::{File, metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A file that cannot be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum TextFileError {
    /// The file is not there, or cannot be read.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What the file should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is too large.
    #[error("{what} {}: larger than {limit} bytes, which none is", path.display())]
    Size {
        /// What the file should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Largest size that is read.
        limit: u64,
    },
    /// The file is something else.
    #[error("{what} {}: {reason}", path.display())]
    Content {
        /// What the file should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where it is the syntax.
        reason: String,
    },
}

/// Largest file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;

/// Reads a RON file that should be `what`.
pub(crate) fn read_ron<T: DeserializeOwned>(
    what: &'static str,
    path: &Path,
) -> Result<T, TextFileError> {
    let text = read(what, path)?;
    ron::from_str(&text).map_err(|reason| content(what, path, reason))
}

/// Reads a JSON file that should be `what`.
pub(crate) fn read_json<T: DeserializeOwned>(
    what: &'static str,
    path: &Path,
) -> Result<T, TextFileError> {
    let text = read(what, path)?;
    serde_json::from_str(&text).map_err(|reason| content(what, path, reason))
}

/// The error of a file that is something else.
pub(crate) fn content(what: &'static str, path: &Path, reason: impl ToString) -> TextFileError {
    TextFileError::Content {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn read(what: &'static str, path: &Path) -> Result<String, TextFileError> {
    let io = |source| TextFileError::Io {
        what,
        path: path.to_owned(),
        source,
    };
    let too_large = || TextFileError::Size {
        what,
        path: path.to_owned(),
        limit: LARGEST_FILE,
    };
    // A pipe would make the opening wait for its writer, and a device may never end.
    if !metadata(path).map_err(io)?.is_file() {
        return Err(io(io::Error::other("it is no regular file")));
    }
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() > LARGEST_FILE {
        return Err(too_large());
    }
    let mut text = String::new();
    file.take(LARGEST_FILE + 1)
        .read_to_string(&mut text)
        .map_err(io)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(too_large());
    }
    Ok(text)
}
