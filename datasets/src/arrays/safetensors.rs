//! The header of a `.safetensors` file: <https://huggingface.co/docs/safetensors>.
//!
//! The crate of the format reads a whole file in memory; its header type alone is used here, and images are read from the file.

use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::number::{Kind, Number};
use super::stored::Stored;
use crate::{DataError, regular};

const LENGTH_BYTES: u64 = 8;
/// Longer headers are refused.
const LONGEST: u64 = 1 << 24;

#[derive(Debug)]
pub(super) struct Header {
    metadata: Metadata,
    /// Where the tensors begin, in bytes.
    start: u64,
}

impl Header {
    /// Reads the header and checks that the file holds what it claims.
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        let damaged = |reason| DataError::Damaged {
            path: path.to_owned(),
            format: ".safetensors",
            reason,
        };
        let (mut file, bytes) = regular::open(path)?;
        let mut length = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut length)
            .map_err(|error| damaged(format!("length of the header: {error}")))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST || length > bytes - LENGTH_BYTES {
            return Err(damaged(format!(
                "header of {length} bytes in a file of {bytes}, at most {LONGEST}"
            )));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text)
            .map_err(|error| damaged(format!("header: {error}")))?;
        // This also checks that every tensor has as many bytes as its shape says, one after the other.
        let metadata: Metadata =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("header: {error}")))?;
        let start = LENGTH_BYTES + length;
        let claimed = metadata.data_len() as u64;
        if start.checked_add(claimed) != Some(bytes) {
            return Err(damaged(format!(
                "tensors of {claimed} bytes after {start} bytes, in a file of {bytes}"
            )));
        }
        Ok(Self { metadata, start })
    }

    /// The tensors of the file, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    pub(super) fn array(&self, path: &Path, name: &str) -> Result<Stored, DataError> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| DataError::ArrayNames {
                path: path.to_owned(),
                found: format!("no tensor `{name}`"),
            })?;
        let number = number(info.dtype).ok_or_else(|| DataError::ArrayType {
            path: path.to_owned(),
            array: name.to_owned(),
            found: format!("type {:?}", info.dtype),
        })?;
        Ok(Stored {
            path: path.to_owned(),
            name: name.to_owned(),
            dims: info.shape.clone(),
            number,
            start: self.start + info.data_offsets.0 as u64,
            zipped: false,
        })
    }
}

fn number(dtype: Dtype) -> Option<Number> {
    let (kind, bytes) = match dtype {
        Dtype::BOOL => (Kind::Bool, 1),
        Dtype::U8 => (Kind::Unsigned, 1),
        Dtype::U16 => (Kind::Unsigned, 2),
        Dtype::U32 => (Kind::Unsigned, 4),
        Dtype::U64 => (Kind::Unsigned, 8),
        Dtype::I8 => (Kind::Signed, 1),
        Dtype::I16 => (Kind::Signed, 2),
        Dtype::I32 => (Kind::Signed, 4),
        Dtype::I64 => (Kind::Signed, 8),
        Dtype::F16 => (Kind::Float, 2),
        Dtype::F32 => (Kind::Float, 4),
        Dtype::F64 => (Kind::Float, 8),
        Dtype::BF16 => (Kind::Brain, 2),
        // Numbers of less than 16 bits with a point in them, complex ones, and what the crate may add.
        Dtype::F4
        | Dtype::F6_E2M3
        | Dtype::F6_E3M2
        | Dtype::F8_E5M2
        | Dtype::F8_E4M3
        | Dtype::F8_E8M0
        | Dtype::F8_E4M3FNUZ
        | Dtype::F8_E5M2FNUZ
        | Dtype::C64
        | _ => return None,
    };
    Some(Number {
        kind,
        bytes,
        big_endian: false,
    })
}
