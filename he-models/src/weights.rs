//! Tensors of a safetensors file, by name, as f64.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::ModelError;

/// The tensors of a model that the graph has not claimed yet.
pub(crate) struct Weights {
    model: String,
    tensors: BTreeMap<String, Tensor>,
}

struct Tensor {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Weights {
    /// Reads a safetensors file (F16 or F32) that must have the given checksum, if one is given.
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
            let data = view.data();
            let values: Vec<f64> = if view.dtype() == Dtype::F32 {
                data.chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into())
                    .collect()
            } else if view.dtype() == Dtype::F16 {
                data.chunks_exact(2)
                    .map(|b| half::f16::from_le_bytes([b[0], b[1]]).into())
                    .collect()
            } else {
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
            tensors.insert(
                name.to_owned(),
                Tensor {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        Ok(Self { model, tensors })
    }

    /// Shape of a tensor that was not taken yet.
    pub(crate) fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.tensors.get(tensor).map(|found| found.shape.as_slice())
    }

    /// Takes the values of a tensor out, row by row; its shape must be `expected`.
    pub(crate) fn take(
        &mut self,
        tensor: &str,
        expected: &[usize],
    ) -> Result<Vec<f64>, ModelError> {
        let Some(found) = self.tensors.remove(tensor) else {
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
                found: found.shape,
                expected: expected.to_vec(),
            });
        }
        Ok(found.values)
    }

    /// As [`Self::take`], of values that must not be zero.
    pub(crate) fn take_nonzero(
        &mut self,
        tensor: &str,
        expected: &[usize],
    ) -> Result<Vec<f64>, ModelError> {
        let values = self.take(tensor, expected)?;
        match values.iter().position(|&v| v == 0.0) {
            None => Ok(values),
            Some(index) => Err(ModelError::TensorValue {
                model: self.model.clone(),
                tensor: tensor.to_owned(),
                index,
                found: 0.0,
                expected: "gains other than 0 (the channel would be constant)",
            }),
        }
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        let count = self.tensors.len();
        match self.tensors.into_keys().next() {
            None => Ok(()),
            Some(tensor) => Err(ModelError::UnusedTensors {
                model: self.model,
                count,
                tensor,
            }),
        }
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
