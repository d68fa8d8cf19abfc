//! Sequences of ciphertexts with metadata: what a computation takes and gives.

use super::SerialError;
use super::ciphertext::{Received, Stored};
use super::file::{AtomicFile, expect_end, open_regular, save_to};
use super::frame::{Fields, Header, Kind, PartReader, PartWriter};
use crate::ciphertext::Ciphertext;
use crate::keys::KeyId;
use crate::params::Parameters;
use crate::seeded::SeededCiphertext;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes of a sequence's metadata.
pub const MAX_METADATA_BYTES: u64 = 16 << 20;

/// Writes a sequence of ciphertexts, one after the other; none is kept.
pub struct CiphertextWriter<W> {
    parts: PartWriter<W>,
    params: Parameters,
    id: KeyId,
    count: u64,
    written: u64,
}

impl<W> fmt::Debug for CiphertextWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CiphertextWriter")
            .field("count", &self.count)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl<W: Write> CiphertextWriter<W> {
    /// Starts a sequence of `count` ciphertexts of `params` under the secret key `key`. The metadata is the caller's: its
    /// meaning is not looked at, and its reader must not trust it.
    ///
    /// # Errors
    /// [`SerialError::TooLarge`] for metadata above [`MAX_METADATA_BYTES`]; [`SerialError::Io`].
    pub fn new(
        out: W,
        params: &Parameters,
        key: KeyId,
        metadata: &[u8],
        count: u64,
    ) -> Result<Self, SerialError> {
        let (found, limit) = (metadata.len() as u64, MAX_METADATA_BYTES);
        if found > limit {
            let what = "metadata";
            return Err(SerialError::TooLarge { what, found, limit });
        }
        let header = Header::new(Kind::Ciphertexts, params, key);
        let mut parts = PartWriter::new(out, &header)?;
        let mut payload = count.to_le_bytes().to_vec();
        payload.extend(metadata);
        parts.part(&payload)?;
        Ok(Self {
            parts,
            params: params.clone(),
            id: key,
            count,
            written: 0,
        })
    }

    /// Writes the next ciphertext.
    ///
    /// # Errors
    /// As [`Ciphertext::write_to`]; [`SerialError::Value`] for one too many.
    pub fn push(&mut self, ct: &Ciphertext) -> Result<(), SerialError> {
        self.push_stored(Stored::Whole(ct))
    }

    /// Writes the next ciphertext, at half the size.
    ///
    /// # Errors
    /// As [`Self::push`]; [`SerialError::Key`] or [`SerialError::Parameters`] for one of another key or other parameters.
    pub fn push_seeded(&mut self, ct: &SeededCiphertext) -> Result<(), SerialError> {
        let header = Header::new(Kind::Ciphertexts, &ct.params, ct.id);
        header.check_params(&self.params)?;
        header.check_key(self.id)?;
        self.push_stored(Stored::Seeded(ct))
    }

    fn push_stored(&mut self, ct: Stored<'_>) -> Result<(), SerialError> {
        self.check_count(self.written < self.count, self.written + 1)?;
        ct.write(&mut self.parts, &self.params)?;
        self.written += 1;
        Ok(())
    }

    /// Ends the sequence and gives the output back, not flushed.
    ///
    /// # Errors
    /// [`SerialError::Value`] if fewer ciphertexts were written than announced.
    pub fn finish(self) -> Result<W, SerialError> {
        self.check_count(self.written == self.count, self.written)?;
        Ok(self.parts.into_inner())
    }

    fn check_count(&self, ok: bool, found: u64) -> Result<(), SerialError> {
        if ok {
            return Ok(());
        }
        let expected = self.count.to_string();
        Err(SerialError::value("number of ciphertexts", found, expected))
    }
}

impl CiphertextWriter<BufWriter<AtomicFile>> {
    /// Starts a file, which appears under its name with [`Self::commit`].
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn create(
        path: &Path,
        params: &Parameters,
        key: KeyId,
        metadata: &[u8],
        count: u64,
    ) -> Result<Self, SerialError> {
        let out = save_to(path)?;
        Self::new(out, params, key, metadata, count).map_err(|e| e.of(path))
    }

    /// Ends the sequence, waits until it is on the disk and gives the file its name.
    ///
    /// # Errors
    /// As [`Self::finish`]; [`SerialError::File`].
    pub fn commit(self) -> Result<(), SerialError> {
        super::file::commit(self.finish()?)
    }
}

/// Reads a sequence of ciphertexts, one after the other: an iterator, which ends after its first error.
pub struct CiphertextReader<R> {
    parts: PartReader<R>,
    params: Parameters,
    id: KeyId,
    metadata: Vec<u8>,
    count: u64,
    left: u64,
    /// Where it comes from, if it is a file; nothing may follow the last ciphertext then.
    path: Option<PathBuf>,
}

impl<R> fmt::Debug for CiphertextReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CiphertextReader")
            .field("count", &self.count)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<R: Read> CiphertextReader<R> {
    /// Reads what precedes the ciphertexts, which must be of `params` and under the secret key `key`.
    ///
    /// # Errors
    /// [`SerialError::Parameters`] or [`SerialError::Key`] for those of other parameters or another key; the others for what
    /// is no sequence or a damaged one.
    pub fn new(input: R, params: &Parameters, key: KeyId) -> Result<Self, SerialError> {
        let (mut parts, header) = PartReader::open(input, Kind::Ciphertexts, Some(params))?;
        header.check_key(key)?;
        let mut metadata = parts.part_up_to("the metadata", 8 + MAX_METADATA_BYTES)?;
        if metadata.len() < 8 {
            let found = format!("{} bytes", metadata.len());
            return Err(SerialError::value("the metadata", found, "8 bytes or more"));
        }
        let count = Fields::new(&metadata).u64();
        metadata.drain(..8);
        Ok(Self {
            parts,
            params: params.clone(),
            id: key,
            metadata,
            count,
            left: count,
            path: None,
        })
    }

    /// The writer's own words; nothing vouches for them.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// Number of ciphertexts that the sequence claims to have. A hostile one may claim any number: take no memory for them
    /// before they are there.
    pub fn announced(&self) -> u64 {
        self.count
    }

    fn read_next(&mut self) -> Result<Ciphertext, SerialError> {
        let ct = Received::read(&mut self.parts, &self.params, self.id)?.expand()?;
        if self.left == 1 && self.path.is_some() {
            expect_end(self.parts.input())?;
        }
        Ok(ct)
    }
}

impl CiphertextReader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`SerialError::File`], for the reasons of [`Self::new`].
    pub fn open(path: &Path, params: &Parameters, key: KeyId) -> Result<Self, SerialError> {
        let input = BufReader::with_capacity(1 << 20, open_regular(path)?);
        let open = || {
            let mut this = Self::new(input, params, key)?;
            if this.count == 0 {
                expect_end(this.parts.input())?;
            }
            this.path = Some(path.to_owned());
            Ok(this)
        };
        open().map_err(|e: SerialError| e.of(path))
    }
}

impl<R: Read> Iterator for CiphertextReader<R> {
    type Item = Result<Ciphertext, SerialError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let read = self.read_next();
        self.left = if read.is_ok() { self.left - 1 } else { 0 };
        Some(read.map_err(|e| match &self.path {
            Some(path) => e.of(path),
            None => e,
        }))
    }
}
