//! The ReLU networks of arXiv 2604.16834: the tensors' names and shapes are the graph.
//!
//! `conv1` is the stem; `layer{s}.{b}.conv1`, `.conv2` and, where the shape changes, `.shortcut` make block `b` (from 0) of
//! stage `s` (from 1), `y = relu(conv2(relu(conv1(x))) + shortcut(x))`; `fc` reads the average over all pixels. Batch norm is
//! folded into `.weight` and `.bias`; kernels are odd, paddings `kernel / 2`. A block with a shortcut has stride 2. The file's
//! metadata may have `mean` and `std` of the input, a number for each channel, separated by commas, and `dataset`.

use std::collections::BTreeMap;

use super::{Found, Said};
use crate::{
    ModelError,
    spec::{INPUT, NodeSpec, OpSpec, ReluApproximation},
    weights::Weights,
};

/// Rows and columns of CIFAR's images, which these networks were trained on.
const SIDE: usize = 32;

/// Reads a safetensors file.
pub(super) fn read(
    name: &str,
    bytes: &[u8],
    shape: Option<(usize, usize, usize)>,
    relu: &ReluApproximation,
) -> Result<Found, ModelError> {
    let weights = Weights::parse(name, bytes, None)?;
    let mut reader = Reader {
        weights: &weights,
        relu,
        nodes: Vec::new(),
    };
    let stem = reader.conv("conv1", INPUT, 1)?;
    let mut x = reader.relu("conv1.relu", stem);
    for stage in 1.. {
        let mut blocks = 0;
        while reader.has(&format!("layer{stage}.{blocks}.conv1")) {
            x = reader.block(&format!("layer{stage}.{blocks}"), &x)?;
            blocks += 1;
        }
        if blocks == 0 {
            break;
        }
    }
    let pool = reader.push("fc.pool", &[&x], OpSpec::GlobalAvgPool);
    let outputs = weights.shape("fc.bias").map_or(1, |s| s.iter().product());
    let op = OpSpec::Dense {
        outputs,
        weight: "fc.weight".into(),
        bias: Some("fc.bias".into()),
    };
    reader.push("fc.dense", &[&pool], op);
    let channels = match weights.shape("conv1.weight") {
        Some(&[_, channels, _, _]) => channels,
        _ => 3,
    };
    let nodes = reader.nodes;
    let tensors: BTreeMap<_, _> = weights.into_tensors();
    Ok(Found {
        shape: shape.unwrap_or((channels, SIDE, SIDE)),
        outputs,
        nodes,
        tensors,
        notes: Vec::new(),
        said: said(name, bytes)?,
    })
}

/// What the metadata say about the input.
fn said(name: &str, bytes: &[u8]) -> Result<Said, ModelError> {
    let metadata = Weights::metadata(name, bytes)?;
    let numbers = |key: &'static str| -> Result<Vec<f64>, ModelError> {
        let Some(text) = metadata.get(key) else {
            return Ok(Vec::new());
        };
        let numbers = text.split(',').map(|part| part.trim().parse());
        let numbers: Result<Vec<f64>, _> = numbers.collect();
        numbers.map_err(|_| {
            let expected = "numbers separated by commas";
            ModelError::node("__metadata__", key, text.clone(), expected)
        })
    };
    Ok(Said {
        mean: numbers("mean")?,
        std: numbers("std")?,
        dataset: metadata.get("dataset").cloned().unwrap_or_default(),
    })
}

struct Reader<'a> {
    weights: &'a Weights,
    relu: &'a ReluApproximation,
    nodes: Vec<NodeSpec>,
}

impl Reader<'_> {
    fn has(&self, layer: &str) -> bool {
        self.weights.shape(&format!("{layer}.weight")).is_some()
    }

    fn push(&mut self, name: &str, inputs: &[&str], op: OpSpec) -> String {
        self.nodes.push(NodeSpec {
            name: name.to_owned(),
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            op,
        });
        name.to_owned()
    }

    fn relu(&mut self, name: &str, x: String) -> String {
        let approximation = self.relu.clone();
        self.push(name, &[&x], OpSpec::Relu { approximation })
    }

    fn conv(&mut self, name: &str, x: &str, stride: usize) -> Result<String, ModelError> {
        let weight = format!("{name}.weight");
        let (channels, kernel) = match self.weights.shape(&weight) {
            Some(&[channels, _, rows, columns]) => (channels, (rows, columns)),
            Some(found) => {
                let found = format!("{found:?}");
                return Err(ModelError::node(
                    name,
                    "shape of its weights",
                    found,
                    "4 sizes",
                ));
            }
            None => {
                return Err(ModelError::MissingTensor {
                    model: self.weights.model().to_owned(),
                    tensor: weight,
                    expected: Vec::new(),
                });
            }
        };
        let (rows, columns) = (kernel.0 / 2, kernel.1 / 2);
        let op = OpSpec::Conv2d {
            channels,
            kernel,
            stride: (stride, stride),
            padding: (rows, columns, rows, columns),
            dilation: (1, 1),
            groups: 1,
            weight,
            bias: Some(format!("{name}.bias")),
        };
        Ok(self.push(name, &[x], op))
    }

    fn block(&mut self, name: &str, x: &str) -> Result<String, ModelError> {
        let shortcut = format!("{name}.shortcut");
        let strided = self.has(&shortcut);
        let stride = if strided { 2 } else { 1 };
        let inner = self.conv(&format!("{name}.conv1"), x, stride)?;
        let inner = self.relu(&format!("{name}.relu1"), inner);
        let branch = self.conv(&format!("{name}.conv2"), &inner, 1)?;
        let skip = if strided {
            self.conv(&shortcut, x, stride)?
        } else {
            x.to_owned()
        };
        let sum = self.push(&format!("{name}.add"), &[&branch, &skip], OpSpec::Add);
        Ok(self.relu(&format!("{name}.relu2"), sum))
    }
}
