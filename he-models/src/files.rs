//! Files: read whole, within limits; written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::ModelError;

/// Largest model file in bytes.
pub(crate) const MAX_TEXT: u64 = 1 << 26;
/// Largest weights or ONNX file in bytes.
pub(crate) const MAX_WEIGHTS: u64 = 1 << 32;

/// The bytes of a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source| ModelError::Read {
        path: path.to_owned(),
        source,
    };
    let refused = |found: String, expected: String| ModelError::File {
        path: path.to_owned(),
        found,
        expected,
    };
    // Before the file is opened: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "a folder"
        } else {
            "no regular file"
        };
        return Err(refused(kind.to_owned(), "a file".to_owned()));
    }
    let too_large =
        |size: u64| refused(format!("{size} bytes or more"), format!("at most {limit}"));
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let file = File::open(path).map_err(unreadable)?;
    // It may have grown since.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The text of a regular file of at most [`MAX_TEXT`] bytes.
pub(crate) fn read_text(path: &Path) -> Result<String, ModelError> {
    String::from_utf8(read(path, MAX_TEXT)?).map_err(|e| ModelError::Read {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()),
    })
}

/// Writes a file that appears under its name only when it is whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let failed = |source| ModelError::Write {
        path: path.to_owned(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any other file that is written; the process's mask takes its part.
        file.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = file
        .prefix(".he-models-")
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}
