//! Files of ciphertexts, group by group; one group is in memory at a time.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use ckks_scheme::serial::{AtomicFile, CiphertextReader, CiphertextWriter};
use ckks_scheme::{Ciphertext, KeyId, Parameters, SeededCiphertext};
use he_layers::{EncryptedTensor, TensorSpec};

use super::{ClientSpec, Content, ExchangeError, Holds};

/// Writes the groups of a batch.
pub(crate) struct GroupWriter(CiphertextWriter<BufWriter<AtomicFile>>);

impl GroupWriter {
    /// Starts a file of `images` images, or their logits.
    pub fn create(
        path: &Path,
        params: &Parameters,
        key: KeyId,
        content: &Content,
        tensor: &TensorSpec,
    ) -> Result<Self, ExchangeError> {
        let images = content.images;
        let count = Content::ciphertexts(images, tensor).ok_or(ExchangeError::Images { images })?;
        let writer = CiphertextWriter::create(path, params, key, &content.to_bytes(), count)?;
        Ok(Self(writer))
    }

    pub fn push(&mut self, group: &[Ciphertext]) -> Result<(), ExchangeError> {
        group.iter().try_for_each(|ct| Ok(self.0.push(ct)?))
    }

    pub fn push_seeded(&mut self, group: &[SeededCiphertext]) -> Result<(), ExchangeError> {
        group.iter().try_for_each(|ct| Ok(self.0.push_seeded(ct)?))
    }

    /// Gives the file its name.
    pub fn commit(self) -> Result<(), ExchangeError> {
        Ok(self.0.commit()?)
    }
}

/// Reads the groups of a batch: an iterator over tensors and their numbers of images.
pub(crate) struct GroupReader<'a> {
    reader: CiphertextReader<BufReader<File>>,
    tensor: &'a TensorSpec,
    path: PathBuf,
    /// What the file says it holds.
    pub content: Content,
    left: usize,
}

impl<'a> GroupReader<'a> {
    /// Opens a file of `holds` for `spec` under the secret key `key`; its tensors must be `tensor`.
    pub fn open(
        path: &Path,
        params: &Parameters,
        key: KeyId,
        holds: Holds,
        spec: &ClientSpec,
        tensor: &'a TensorSpec,
    ) -> Result<Self, ExchangeError> {
        let reader = CiphertextReader::open(path, params, key)?;
        let content = Content::parse(reader.metadata(), path, holds, spec)?;
        let (found, expected) = (
            reader.announced(),
            Content::ciphertexts(content.images, tensor),
        );
        if Some(found) != expected {
            return Err(ExchangeError::Content {
                path: path.to_owned(),
                what: "its number of ciphertexts",
                found: found.to_string(),
                expected: match expected {
                    Some(count) => format!("{count} for {} images", content.images),
                    None => "fewer images".to_owned(),
                },
            });
        }
        Ok(Self {
            reader,
            tensor,
            path: path.to_owned(),
            left: content.images,
            content,
        })
    }

    fn group(&mut self, images: usize) -> Result<(EncryptedTensor, usize), ExchangeError> {
        let mut group = Vec::new();
        for ct in self.reader.by_ref().take(self.tensor.layout.ciphertexts()) {
            let ct = ct?;
            if ct.parts() != 2 {
                return Err(ExchangeError::Content {
                    path: self.path.clone(),
                    what: "the number of polynomials of a ciphertext",
                    found: ct.parts().to_string(),
                    expected: "2".to_owned(),
                });
            }
            group.push(ct);
        }
        let tensor = EncryptedTensor::new(self.tensor.clone(), group);
        let tensor = tensor.map_err(|source| ExchangeError::Ciphertext {
            path: self.path.clone(),
            source: Box::new(source),
        })?;
        Ok((tensor, images))
    }
}

impl Iterator for GroupReader<'_> {
    type Item = Result<(EncryptedTensor, usize), ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let images = self.left.min(self.tensor.layout.images());
        if images == 0 {
            return None;
        }
        let group = self.group(images);
        // Nothing after the first error.
        self.left = if group.is_ok() { self.left - images } else { 0 };
        Some(group)
    }
}
