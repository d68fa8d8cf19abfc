//! Tensors by name, as f64, and the safetensors files that they come from and go to.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::ModelError;

/// A tensor: its shape and its values, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// The tensors of a model, and which of them the graph has used.
pub(crate) struct Weights {
    model: String,
    tensors: BTreeMap<String, Tensor>,
    used: BTreeSet<String>,
}

impl Weights {
    /// Reads a safetensors file that must have the given checksum, if one is given.
    pub(crate) fn parse(
        model: &str,
        bytes: &[u8],
        sha256: Option<&str>,
    ) -> Result<Self, ModelError> {
        let model = model.to_owned();
        if let Some(expected) = sha256.map(str::to_ascii_lowercase) {
            let found = hex(&Sha256::digest(bytes));
            if found != expected {
                return Err(ModelError::WeightsChecksum {
                    model,
                    found,
                    expected,
                });
            }
        }
        let file = match SafeTensors::deserialize(bytes) {
            Ok(file) => file,
            Err(source) => return Err(ModelError::WeightsFormat { model, source }),
        };
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let Some(values) = decode(view.dtype(), view.data()) else {
                return Err(ModelError::TensorType {
                    model,
                    tensor: name.to_owned(),
                    found: view.dtype().to_string(),
                });
            };
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                let (tensor, found) = (name.to_owned(), values[index]);
                return Err(ModelError::TensorValue {
                    model,
                    tensor,
                    index,
                    found,
                    expected: "finite values",
                });
            }
            let shape = view.shape().to_vec();
            tensors.insert(name.to_owned(), Tensor { shape, values });
        }
        Ok(Self {
            model,
            tensors,
            used: BTreeSet::new(),
        })
    }

    /// What a safetensors file says about itself, by name.
    pub(crate) fn metadata(
        model: &str,
        bytes: &[u8],
    ) -> Result<BTreeMap<String, String>, ModelError> {
        match SafeTensors::read_metadata(bytes) {
            Ok((_, header)) => Ok(header
                .metadata()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()),
            Err(source) => Err(ModelError::WeightsFormat {
                model: model.to_owned(),
                source,
            }),
        }
    }

    /// The model's name, for messages.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// Shape of a tensor.
    pub(crate) fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.tensors.get(tensor).map(|found| found.shape.as_slice())
    }

    /// The values of a tensor, row by row; its shape must be `expected`.
    pub(crate) fn take(
        &mut self,
        tensor: &str,
        expected: &[usize],
    ) -> Result<Vec<f64>, ModelError> {
        let Some(found) = self.tensors.get(tensor) else {
            return Err(ModelError::MissingTensor {
                model: self.model.clone(),
                tensor: tensor.to_owned(),
                expected: expected.to_vec(),
            });
        };
        if found.shape != expected {
            return Err(ModelError::TensorShape {
                model: self.model.clone(),
                tensor: tensor.to_owned(),
                found: found.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        self.used.insert(tensor.to_owned());
        Ok(found.values.clone())
    }

    /// All tensors.
    pub(crate) fn into_tensors(self) -> BTreeMap<String, Tensor> {
        self.tensors
    }

    /// Checks that every tensor was used.
    pub(crate) fn finish(&self) -> Result<(), ModelError> {
        let mut unused = self
            .tensors
            .keys()
            .filter(|name| !self.used.contains(*name));
        match unused.next() {
            None => Ok(()),
            Some(tensor) => Err(ModelError::UnusedTensors {
                model: self.model.clone(),
                tensor: tensor.clone(),
                count: 1 + unused.count(),
            }),
        }
    }
}

fn decode(dtype: Dtype, data: &[u8]) -> Option<Vec<f64>> {
    let of = |size: usize, value: fn(&[u8]) -> f64| data.chunks_exact(size).map(value).collect();
    #[allow(clippy::wildcard_enum_match_arm)]
    // Types that are not read, the library's future ones too.
    match dtype {
        Dtype::F64 => Some(of(8, |b| {
            f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
        })),
        Dtype::F32 => Some(of(4, |b| {
            f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()
        })),
        Dtype::F16 => Some(of(2, |b| half::f16::from_le_bytes([b[0], b[1]]).into())),
        Dtype::BF16 => Some(of(2, |b| half::bf16::from_le_bytes([b[0], b[1]]).into())),
        _ => None,
    }
}

/// A safetensors file: F32 for tensors that it holds exactly, F64 for others.
pub(crate) fn serialize(
    model: &str,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Vec<u8>, ModelError> {
    let encoded: Vec<(Dtype, Vec<u8>)> = tensors
        .values()
        .map(|tensor| {
            let values = || tensor.values.iter();
            if values().all(|v| f64::from(*v as f32) == *v) {
                let bytes = values().flat_map(|v| (*v as f32).to_le_bytes());
                (Dtype::F32, bytes.collect())
            } else {
                (Dtype::F64, values().flat_map(|v| v.to_le_bytes()).collect())
            }
        })
        .collect();
    let format = |source| ModelError::WeightsFormat {
        model: model.to_owned(),
        source,
    };
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, tensor), (dtype, bytes)) in tensors.iter().zip(&encoded) {
        let view = TensorView::new(*dtype, tensor.shape.clone(), bytes).map_err(format)?;
        views.push((name, view));
    }
    safetensors::serialize(views, None).map_err(format)
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
