//! Where an array lies in a file, and reading images of it.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::number::Number;
use super::{npy, npz, safetensors};
use crate::{DataError, OpenOptions, picture, regular};

const BUFFER_BYTES: usize = 1 << 20;

/// A file with arrays.
pub(super) struct Container {
    path: PathBuf,
    names: Vec<String>,
    content: Content,
}

enum Content {
    Npy,
    Npz,
    Safetensors(safetensors::Header),
}

/// One array of real numbers, last dimension fastest. The file is as long as the shape says.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) number: Number,
    /// Bytes before the first number, of the file or of the member.
    pub(super) start: u64,
    /// Whether the file is a zip archive, of which the array is a member.
    pub(super) zipped: bool,
}

impl Container {
    /// Opens a file by its extension and looks which arrays it has.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let (names, content) = if picture::has_extension(path, &["npz"]) {
            (npz::names(path)?, Content::Npz)
        } else if picture::has_extension(path, &["safetensors"]) {
            let header = safetensors::Header::read(path)?;
            (header.names(), Content::Safetensors(header))
        } else {
            let name = path.file_stem().unwrap_or_default();
            (vec![name.to_string_lossy().into_owned()], Content::Npy)
        };
        Ok(Self {
            path: path.to_owned(),
            names,
            content,
        })
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The array of this name, one of [`Self::names`].
    pub(super) fn array(&self, name: &str, options: &OpenOptions) -> Result<Stored, DataError> {
        match &self.content {
            Content::Npy => {
                let (mut file, bytes) = regular::open(&self.path)?;
                let header = npy::read(&mut file).map_err(|reason| self.damaged(reason))?;
                Stored::from_npy(&self.path, name, header, bytes, false)
            }
            Content::Npz => npz::array(&self.path, name, &options.limits),
            Content::Safetensors(header) => header.array(&self.path, name),
        }
    }

    fn damaged(&self, reason: String) -> DataError {
        DataError::Damaged {
            path: self.path.clone(),
            format: ".npy",
            reason,
        }
    }
}

impl Stored {
    /// An array with NumPy's header in a file, or a member of one, of `bytes` bytes.
    pub(super) fn from_npy(
        path: &Path,
        name: &str,
        header: npy::Header,
        bytes: u64,
        zipped: bool,
    ) -> Result<Self, DataError> {
        let refused = |found: String| DataError::ArrayType {
            path: path.to_owned(),
            array: name.to_owned(),
            found,
        };
        let number = Number::from_npy(&header.description)
            .ok_or_else(|| refused(format!("type `{}`", header.description)))?;
        if header.fortran && header.dims.len() > 1 {
            return Err(refused(
                "numbers in Fortran order (numpy.ascontiguousarray makes it C order)".to_owned(),
            ));
        }
        let stored = Self {
            path: path.to_owned(),
            name: name.to_owned(),
            dims: header.dims,
            number,
            start: header.length,
            zipped,
        };
        match stored
            .bytes()
            .and_then(|all| all.checked_add(header.length))
        {
            Some(expected) if expected == bytes => Ok(stored),
            _ => Err(DataError::Damaged {
                path: path.to_owned(),
                format: ".npy",
                reason: format!(
                    "{bytes} bytes do not hold array `{name}` of shape {:?}",
                    stored.dims
                ),
            }),
        }
    }

    /// Bytes of all numbers; `None` beyond 2^64.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.dims
            .iter()
            .try_fold(self.number.bytes as u64, |product, &side| {
                product.checked_mul(side as u64)
            })
    }

    /// Hands out the bytes of `count` records of `values` numbers each, from number `first` on. They are among the array's.
    pub(super) fn records(
        &self,
        values: usize,
        first: usize,
        count: usize,
        each: &mut dyn FnMut(&[u8]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let bytes = values * self.number.bytes;
        let skipped = self.start + first as u64 * bytes as u64;
        if self.zipped {
            return npz::with_array(&self.path, &self.name, |reader| {
                npz::skip(reader, skipped).map_err(|source| self.io(source))?;
                self.split(reader, bytes, count, each)?;
                // At its very end the archive's reader compares the checksum.
                if self.dims.first() == Some(&(first + count)) {
                    reader.read(&mut [0]).map_err(|source| self.io(source))?;
                }
                Ok(())
            });
        }
        let mut file = regular::open(&self.path)?.0;
        file.seek(SeekFrom::Start(skipped))
            .map_err(|source| self.io(source))?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        self.split(&mut reader, bytes, count, each)
    }

    fn split(
        &self,
        reader: &mut dyn Read,
        bytes: usize,
        count: usize,
        each: &mut dyn FnMut(&[u8]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        // The array may be a small part of what its header claims: memory grows with what is really read.
        let mut record = Vec::new();
        for _ in 0..count {
            record.clear();
            let read = reader.take(bytes as u64).read_to_end(&mut record);
            if read.map_err(|source| self.io(source))? < bytes {
                return Err(self.io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            each(&record)?;
        }
        Ok(())
    }

    fn io(&self, source: std::io::Error) -> DataError {
        DataError::Io {
            path: self.path.clone(),
            source,
        }
    }
}
