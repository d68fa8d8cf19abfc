//! Files and streams of ciphertexts, group by group; one group is in memory at a time.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use ckks_scheme::serial::{AtomicFile, CiphertextReader, CiphertextWriter};
use ckks_scheme::{Ciphertext, KeyId, Parameters, SeededCiphertext};
use he_layers::EncryptedTensor;

use super::{ClientSpec, Content, ExchangeError, Holds};
use crate::grouping::GroupImages;

/// Writes the groups of a batch.
pub(crate) struct GroupWriter<W>(CiphertextWriter<W>);

impl GroupWriter<BufWriter<AtomicFile>> {
    /// Starts a file of `images` images, or their logits.
    pub fn create(
        path: &Path,
        params: &Parameters,
        key: KeyId,
        content: &Content,
        spec: &ClientSpec,
    ) -> Result<Self, ExchangeError> {
        let count = announced(content, spec)?;
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
        spec: &ClientSpec,
    ) -> Result<Self, ExchangeError> {
        let count = announced(content, spec)?;
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

fn announced(content: &Content, spec: &ClientSpec) -> Result<u64, ExchangeError> {
    let images = content.images;
    let count = Content::ciphertexts(images, content.holds, spec);
    count.ok_or(ExchangeError::Images { images })
}

/// Reads the groups of a batch: an iterator over tensors and their images.
pub(crate) struct GroupReader<'a, R = BufReader<File>> {
    reader: CiphertextReader<R>,
    spec: &'a ClientSpec,
    /// The file, or what errors call the stream.
    path: PathBuf,
    /// What the file says it holds.
    pub content: Content,
    groups: Box<dyn Iterator<Item = GroupImages> + Send>,
    is_broken: bool,
}

impl<'a> GroupReader<'a> {
    /// Opens a file of `holds` for `spec` under the secret key `key`.
    pub fn open(
        path: &Path,
        params: &Parameters,
        key: KeyId,
        holds: Holds,
        spec: &'a ClientSpec,
    ) -> Result<Self, ExchangeError> {
        let reader = CiphertextReader::open(path, params, key)?;
        Self::begin(reader, path, holds, spec)
    }
}

impl<'a, R: Read> GroupReader<'a, R> {
    /// Reads a stream, as [`Self::open`] a file; `name` is what errors call it.
    pub fn new(
        input: R,
        name: &Path,
        (params, key): (&Parameters, KeyId),
        holds: Holds,
        spec: &'a ClientSpec,
    ) -> Result<Self, ExchangeError> {
        let reader = CiphertextReader::new(input, params, key)?;
        Self::begin(reader, name, holds, spec)
    }

    fn begin(
        reader: CiphertextReader<R>,
        path: &Path,
        holds: Holds,
        spec: &'a ClientSpec,
    ) -> Result<Self, ExchangeError> {
        let content = Content::parse(reader.metadata(), path, holds, spec)?;
        let (found, expected) = (
            reader.announced(),
            Content::ciphertexts(content.images, holds, spec),
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
            spec,
            path: path.to_owned(),
            groups: Box::new(spec.grouping().groups(content.images)),
            content,
            is_broken: false,
        })
    }

    fn group(&mut self, is_last: bool) -> Result<EncryptedTensor, ExchangeError> {
        let mut group = Vec::new();
        let tensor = self.spec.tensor(self.content.holds, is_last);
        for ct in self.reader.by_ref().take(tensor.layout.ciphertexts()) {
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
        let tensor = EncryptedTensor::new(tensor.clone(), group);
        tensor.map_err(|source| ExchangeError::Ciphertext {
            path: self.path.clone(),
            source: Box::new(source),
        })
    }
}

impl<R: Read> Iterator for GroupReader<'_, R> {
    type Item = Result<(EncryptedTensor, GroupImages), ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Nothing after the first error.
        let images = self.groups.next().filter(|_| !self.is_broken)?;
        let group = self.group(images.is_last);
        self.is_broken = group.is_err();
        Some(group.map(|group| (group, images)))
    }
}

/// Reads a stream of one group: its tensor and its images. `name` is what errors call it. As many images alone have the layout
/// that they have as a group of a batch.
pub(crate) fn read_group(
    input: impl Read,
    name: &str,
    of: (&Parameters, KeyId),
    holds: Holds,
    spec: &ClientSpec,
) -> Result<(EncryptedTensor, GroupImages), ExchangeError> {
    let name = Path::new(name);
    let mut groups = GroupReader::new(input, name, of, holds, spec)?;
    let (images, most) = (groups.content.images, spec.images_per_group());
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
