//! Constant tensors of an ONNX file, and arithmetic on them.

use std::path::Path;

use super::{Context, proto};
use crate::{ModelError, files};

/// A constant: shape and values, row by row. Integers are held as they are, up to 2^53.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
    /// The initializer that it is, unchanged.
    pub name: Option<String>,
}

/// Largest number of dimensions.
const MAX_RANK: usize = 8;

impl Array {
    pub(super) fn new(shape: Vec<usize>, values: Vec<f64>) -> Self {
        Self {
            shape,
            values,
            name: None,
        }
    }

    pub(super) fn scalar(&self) -> Option<f64> {
        match self.values.as_slice() {
            [value] => Some(*value),
            _ => None,
        }
    }

    pub(super) fn integers(&self) -> Vec<i64> {
        self.values.iter().map(|v| *v as i64).collect()
    }

    /// Decodes a tensor; `folder` holds what is stored outside the file.
    pub(super) fn decode(tensor: &proto::Tensor, folder: &Path) -> Result<Self, String> {
        let name = Some(tensor.name.clone()).filter(|name| !name.is_empty());
        let shape: Option<Vec<usize>> = tensor
            .dims
            .iter()
            .map(|d| usize::try_from(*d).ok())
            .collect();
        let shape = shape.filter(|s| s.len() <= MAX_RANK);
        let shape = shape.ok_or_else(|| format!("its shape is {:?}", tensor.dims))?;
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let count = count.ok_or_else(|| format!("its shape is {shape:?}"))?;
        let external;
        let raw = if tensor.data_location == 1 {
            external = outside(tensor, folder)?;
            &external
        } else {
            &tensor.raw_data
        };
        let values = typed(tensor, raw)?;
        if values.len() != count {
            return Err(format!(
                "it holds {} values, its shape {shape:?} asks for {count}",
                values.len()
            ));
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err("it holds values that are not finite".to_owned());
        }
        Ok(Self {
            shape,
            values,
            name,
        })
    }

    /// `f` of both, one shape stretched to the other where it has ones or nothing.
    pub(super) fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let rank = self.shape.len().max(other.shape.len());
        let padded = |shape: &[usize]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
        let (a, b) = (padded(&self.shape), padded(&other.shape));
        let joined = a.iter().zip(&b).map(|(x, y)| match (x, y) {
            (1, n) | (n, 1) => Some(*n),
            (n, m) => (n == m).then_some(*n),
        });
        let shape: Vec<usize> = joined.collect::<Option<_>>()?;
        let count: usize = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        if count > crate::spec::MAX_MAP {
            return None;
        }
        let at = |from: &[usize], index: usize| {
            let (mut rest, mut position, mut step) = (index, 0, 1);
            for (size, whole) in from.iter().zip(&shape).rev() {
                position += if *size == 1 { 0 } else { rest % whole * step };
                rest /= whole;
                step *= size;
            }
            position
        };
        let values = (0..count).map(|i| f(self.values[at(&a, i)], other.values[at(&b, i)]));
        Some(Self::new(shape.clone(), values.collect()))
    }

    /// Rows and columns exchanged.
    pub(super) fn transposed(&self) -> Option<Self> {
        let &[rows, columns] = self.shape.as_slice() else {
            return None;
        };
        let values = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
        let values = values.map(|i| self.values[i]).collect();
        Some(Self::new(vec![columns, rows], values))
    }
}

fn typed(tensor: &proto::Tensor, raw: &[u8]) -> Result<Vec<f64>, String> {
    let of = |size: usize, value: fn(&[u8]) -> f64| raw.chunks_exact(size).map(value).collect();
    let small = |bits: fn(u16) -> f64| -> Vec<f64> {
        if raw.is_empty() {
            tensor.int32_data.iter().map(|v| bits(*v as u16)).collect()
        } else {
            raw.chunks_exact(2)
                .map(|b| bits(u16::from_le_bytes([b[0], b[1]])))
                .collect()
        }
    };
    Ok(match tensor.data_type {
        1 if raw.is_empty() => tensor.float_data.iter().map(|v| f64::from(*v)).collect(),
        1 => of(4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()),
        11 if raw.is_empty() => tensor.double_data.clone(),
        11 => of(8, |b| {
            f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
        }),
        7 if raw.is_empty() => tensor.int64_data.iter().map(|v| *v as f64).collect(),
        7 => of(8, |b| {
            i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64
        }),
        6 if raw.is_empty() => tensor.int32_data.iter().map(|v| f64::from(*v)).collect(),
        6 => of(4, |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()),
        10 => small(|bits| half::f16::from_bits(bits).into()),
        16 => small(|bits| half::bf16::from_bits(bits).into()),
        other => {
            return Err(format!(
                "its type has number {other}, expected a floating-point or integer type"
            ));
        }
    })
}

/// The bytes of a tensor that lies in another file of the same folder.
fn outside(tensor: &proto::Tensor, folder: &Path) -> Result<Vec<u8>, String> {
    let entry = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|e| e.key == key)
            .map(|e| e.value.as_str())
    };
    let location = entry("location").unwrap_or("");
    let name = location.strip_prefix("./").unwrap_or(location);
    if name.is_empty() || name.contains(['/', '\\']) || name == ".." || name == "." {
        return Err(format!(
            "its file is `{location}`, expected a file in the same folder"
        ));
    }
    let number = |key: &str| match entry(key) {
        Some(text) => text
            .parse::<usize>()
            .map(Some)
            .map_err(|_| format!("its {key} is `{text}`")),
        None => Ok(None),
    };
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let bytes = files::read(&folder.join(name), files::MAX_WEIGHTS).map_err(|e| e.to_string())?;
    let end = match length {
        Some(length) => offset.checked_add(length),
        None => Some(bytes.len()),
    };
    let part = end.and_then(|end| bytes.get(offset..end));
    part.map(<[u8]>::to_vec).ok_or_else(|| {
        format!(
            "it lies at {offset} and beyond in `{name}`, which has {} bytes",
            bytes.len()
        )
    })
}

impl Context<'_> {
    /// A tensor of the file or of an attribute.
    pub(super) fn decode(&self, tensor: &proto::Tensor) -> Result<Array, ModelError> {
        Array::decode(tensor, self.folder).map_err(|what| ModelError::OnnxFormat {
            file: self.file.clone(),
            what: format!("tensor `{}`: {what}", tensor.name),
        })
    }
}
