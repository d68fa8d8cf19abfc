//! Opening files that others may have made: regular ones only, with their size known before anything is read.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::DataError;

/// Opens a regular file; its size in bytes. A pipe or a device is refused before it is opened.
pub(crate) fn open(path: &Path) -> Result<(File, u64), DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(DataError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    Ok((file, bytes))
}

/// All bytes of a regular file that has at most `limit`.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let (file, found) = open(path)?;
    if found > limit {
        return Err(DataError::TooLarge {
            path: path.to_owned(),
            what: "bytes",
            found,
            limit,
        });
    }
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| DataError::Io {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}
