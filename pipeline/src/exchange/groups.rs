//! Files and streams of ciphertexts, group by group; one group is in memory at a time.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use ckks_scheme::serial::{AtomicFile, CiphertextReader, CiphertextWriter};
use ckks_scheme::{Ciphertext, KeyId, Parameters, SeededCiphertext};
use he_layers::{EncryptedTensor, TensorSpec};

use super::{ClientSpec, Content, ExchangeError, Holds};

/// Writes the groups of a batch.
pub(crate) struct GroupWriter<W>(CiphertextWriter<W>);

impl GroupWriter<BufWriter<AtomicFile>> {
    /// Starts a file of `images` images, or their logits.
    pub fn create(
        path: &Path,
        params: &Parameters,
        key: KeyId,
        content: &Content,
        tensor: &TensorSpec,
    ) -> Result<Self, ExchangeError> {
        let count = announced(content, tensor)?;
        let writer = CiphertextWriter::create(path, params, key, &content.to_bytes(), count)?;
        Ok(Self(writer))
    }

    /// Gives the file its name.
    pub fn commit(self) -> Result<(), ExchangeError> {
        Ok(self.0.commit()?)
    }
}

impl<W: Write> GroupWriter<W> {
    /// Starts a stream, as [`Self::create`] a file.
    pub fn new(
        out: W,
        params: &Parameters,
        key: KeyId,
        content: &Content,
        tensor: &TensorSpec,
    ) -> Result<Self, ExchangeError> {
        let count = announced(content, tensor)?;
        let writer = CiphertextWriter::new(out, params, key, &content.to_bytes(), count)?;
        Ok(Self(writer))
    }

    pub fn push(&mut self, group: &[Ciphertext]) -> Result<(), ExchangeError> {
        group.iter().try_for_each(|ct| Ok(self.0.push(ct)?))
    }

    pub fn push_seeded(&mut self, group: &[SeededCiphertext]) -> Result<(), ExchangeError> {
        group.iter().try_for_each(|ct| Ok(self.0.push_seeded(ct)?))
    }

    /// Ends a stream.
    pub fn finish(self) -> Result<W, ExchangeError> {
        Ok(self.0.finish()?)
    }
}

fn announced(content: &Content, tensor: &TensorSpec) -> Result<u64, ExchangeError> {
    let images = content.images;
    Content::ciphertexts(images, tensor).ok_or(ExchangeError::Images { images })
}

/// Reads the groups of a batch: an iterator over tensors and their numbers of images.
pub(crate) struct GroupReader<'a, R = BufReader<File>> {
    reader: CiphertextReader<R>,
    tensor: &'a TensorSpec,
    /// The file, or what errors call the stream.
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
        Self::begin(reader, path, holds, spec, tensor)
    }
}

impl<'a, R: Read> GroupReader<'a, R> {
    /// Reads a stream, as [`Self::open`] a file; `name` is what errors call it.
    pub fn new(
        input: R,
        name: &Path,
        (params, key): (&Parameters, KeyId),
        holds: Holds,
        spec: &ClientSpec,
        tensor: &'a TensorSpec,
    ) -> Result<Self, ExchangeError> {
        let reader = CiphertextReader::new(input, params, key)?;
        Self::begin(reader, name, holds, spec, tensor)
    }

    fn begin(
        reader: CiphertextReader<R>,
        path: &Path,
        holds: Holds,
        spec: &ClientSpec,
        tensor: &'a TensorSpec,
    ) -> Result<Self, ExchangeError> {
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
            source,
        })?;
        Ok((tensor, images))
    }
}

impl<R: Read> Iterator for GroupReader<'_, R> {
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

/// Reads a stream of one group: its tensor and its number of images. `name` is what errors call it.
pub(crate) fn read_group(
    input: impl Read,
    name: &str,
    of: (&Parameters, KeyId),
    holds: Holds,
    spec: &ClientSpec,
) -> Result<(EncryptedTensor, usize), ExchangeError> {
    let tensor = match holds {
        Holds::Images => &spec.input.tensor,
        Holds::Logits => &spec.output,
    };
    let name = Path::new(name);
    let mut groups = GroupReader::new(input, name, of, holds, spec, tensor)?;
    let (images, most) = (groups.content.images, tensor.layout.images());
    if images > most {
        return Err(ExchangeError::Content {
            path: name.to_owned(),
            what: "its number of images",
            found: images.to_string(),
            expected: format!("1 to {most}"),
        });
    }
    groups
        .next()
        .expect("a description of no images is refused")
}
