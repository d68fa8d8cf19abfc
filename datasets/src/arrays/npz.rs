//! Zip archives of `.npy` files: what `numpy.savez` and `numpy.savez_compressed` write.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::read::ZipFile;
use zip::{CompressionMethod, ZipArchive};

use super::npy;
use super::stored::Stored;
use crate::{DataError, Limits, regular};

const EXTENSION: &str = ".npy";
/// More arrays are refused.
const MOST_MEMBERS: usize = 1 << 12;
/// Deflate packs at most 1032 bytes into one: what claims more is no archive.
const BEST_RATIO: u64 = 1032;

type Archive = ZipArchive<BufReader<File>>;

/// An archive, and the size of its file in bytes.
fn open(path: &Path) -> Result<(Archive, u64), DataError> {
    let (mut file, bytes) = regular::open(path)?;
    let zip64 = is_zip64(&mut file, bytes).map_err(|source| DataError::Io {
        path: path.to_owned(),
        source,
    })?;
    if zip64 {
        return Err(damaged(
            path,
            "it is a zip64 archive: save arrays beyond 2 GiB as .npy".to_owned(),
        ));
    }
    let archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, error.to_string()))?;
    if archive.len() > MOST_MEMBERS {
        return Err(DataError::TooLarge {
            path: path.to_owned(),
            what: "arrays",
            found: archive.len() as u64,
            limit: MOST_MEMBERS as u64,
        });
    }
    Ok((archive, bytes))
}

/// Whether the end of an archive refers to a second end with 64-bit numbers.
///
/// The archive's reader asks for memory for as many members as the end claims: with 16 bits that is little.
fn is_zip64(file: &mut File, bytes: u64) -> io::Result<bool> {
    const END: &[u8; 4] = b"PK\x05\x06";
    const LOCATOR: &[u8; 4] = b"PK\x06\x07";
    /// Bytes of an end, of its longest comment and of a locator before it.
    const TAIL: u64 = 22 + (1 << 16) + LOCATOR_BYTES as u64;
    const LOCATOR_BYTES: usize = 20;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL)))?;
    Read::take(&mut *file, TAIL).read_to_end(&mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(tail
        .windows(LOCATOR_BYTES + END.len())
        .any(|window| window.starts_with(LOCATOR) && window.ends_with(END)))
}

fn damaged(path: &Path, reason: String) -> DataError {
    DataError::Damaged {
        path: path.to_owned(),
        format: ".npz",
        reason,
    }
}

/// The arrays of an archive, sorted.
pub(super) fn names(path: &Path) -> Result<Vec<String>, DataError> {
    let (archive, _) = open(path)?;
    let mut names: Vec<_> = (0..archive.len())
        .filter_map(|member| archive.name_for_index(member)?.ok())
        .filter_map(|name| name.strip_suffix(EXTENSION).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Calls `f` with the member of an array and the size of the file in bytes.
fn with_member<T>(
    path: &Path,
    name: &str,
    f: impl FnOnce(ZipFile<'_, BufReader<File>>, u64) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let (mut archive, bytes) = open(path)?;
    let member = archive
        .by_name(&format!("{name}{EXTENSION}"))
        .map_err(|error| damaged(path, format!("array `{name}`: {error}")))?;
    f(member, bytes)
}

/// The array of this name, if the file can hold what it claims.
pub(super) fn array(path: &Path, name: &str, limits: &Limits) -> Result<Stored, DataError> {
    with_member(path, name, |mut member, file_bytes| {
        let (packed, bytes) = (member.compressed_size(), member.size());
        let compressed = member.compression() != CompressionMethod::Stored;
        let ratio = if compressed { BEST_RATIO } else { 1 };
        if packed > file_bytes || bytes > packed.saturating_mul(ratio) {
            return Err(damaged(
                path,
                format!("array `{name}` claims more bytes than the file can hold"),
            ));
        }
        if compressed && bytes > limits.unpacked_bytes {
            return Err(DataError::TooLarge {
                path: path.to_owned(),
                what: "bytes in one compressed array",
                found: bytes,
                limit: limits.unpacked_bytes,
            });
        }
        let header = npy::read(&mut member)
            .map_err(|reason| damaged(path, format!("array `{name}`: {reason}")))?;
        Stored::from_npy(path, name, header, bytes, true)
    })
}

/// Calls `f` with the unpacked bytes of an array, from its header on.
pub(super) fn with_array(
    path: &Path,
    name: &str,
    f: impl FnOnce(&mut dyn Read) -> Result<(), DataError>,
) -> Result<(), DataError> {
    with_member(path, name, |mut member, _| f(&mut member))
}

/// Reads `bytes` bytes and forgets them.
pub(super) fn skip(reader: &mut dyn Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
