//! Random networks of any shape, as a specification and tensors.

use std::collections::BTreeMap;

use he_models::{
    Model, ModelSpec, Provenance,
    graph::{FORMAT, InputSpec, LayerSpec, Shortcut, WeightsSpec},
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};

/// A tensor before serialisation.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes,
        }
    }

    pub fn values(&self) -> Vec<f64> {
        self.bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()).into())
            .collect()
    }
}

/// A network in memory, free to be spoilt before it is loaded.
#[derive(Clone, Debug)]
pub struct Network {
    pub spec: ModelSpec,
    pub tensors: BTreeMap<String, Tensor>,
    rng: ChaCha8Rng,
}

/// Extents of a random network.
#[derive(Clone, Debug)]
pub struct Extents {
    pub input: (usize, usize, usize),
    pub stem: (usize, usize, usize),
    pub blocks: Vec<(usize, usize, usize)>,
    pub classes: usize,
}

impl Extents {
    /// Input, stem, two blocks, one of them strided: the smallest network with everything in it.
    pub fn small() -> Self {
        Self {
            input: (1, 8, 8),
            stem: (2, 3, 1),
            blocks: vec![(2, 3, 1), (3, 3, 2)],
            classes: 4,
        }
    }

    /// Any channels, sides, kernels and strides, from 0 to 3 blocks.
    pub fn any() -> impl Strategy<Value = Self> {
        let layer = || (1..5_usize, prop::sample::select(vec![1, 3, 5]), 1..3_usize);
        let input = (1..4_usize, 3..10_usize, 3..10_usize);
        (
            input,
            layer(),
            prop::collection::vec(layer(), 0..4),
            1..6_usize,
        )
            .prop_map(|(input, stem, blocks, classes)| Self {
                input,
                stem,
                blocks,
                classes,
            })
    }
}

impl Network {
    /// Random weights of variance about 1 / (number of inputs), gains of either sign, offsets of all kinds.
    pub fn random(extents: &Extents, seed: u64) -> Self {
        let (channels, height, width) = extents.input;
        let mut network = Self {
            spec: ModelSpec {
                format: FORMAT,
                name: "mine".into(),
                dataset: "random".into(),
                weights: WeightsSpec {
                    file: "mine.safetensors".into(),
                    sha256: None,
                },
                input: InputSpec {
                    channels,
                    height,
                    width,
                    mean: (0..channels).map(|c| 0.4 + 0.1 * c as f64).collect(),
                    std: (0..channels).map(|c| 0.2 + 0.1 * c as f64).collect(),
                },
                classes: (0..extents.classes).map(|k| format!("class {k}")).collect(),
                layers: Vec::new(),
                activations: Vec::new(),
                provenance: Provenance::default(),
            },
            tensors: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        let (out, kernel, stride) = extents.stem;
        network.layer(LayerSpec::Stem {
            name: "stem".into(),
            channels: out,
            kernel,
            stride,
        });
        network.uniform("stem.weight", &[out, channels, kernel, kernel]);
        let mut stream = out;
        for (i, &(channels, kernel, stride)) in extents.blocks.iter().enumerate() {
            let name = format!("block{i}");
            let projection = stride != 1 || channels != stream;
            let shortcut = if projection {
                Shortcut::Projection
            } else {
                Shortcut::Identity
            };
            network.activation(&format!("{name}.act1"), stream);
            let kernels = [channels, stream, kernel, kernel];
            network.uniform(&format!("{name}.conv1.weight"), &kernels);
            network.activation(&format!("{name}.act2"), channels);
            let kernels = [channels, channels, kernel, kernel];
            network.uniform(&format!("{name}.conv2.weight"), &kernels);
            if projection {
                network.uniform(
                    &format!("{name}.shortcut.weight"),
                    &[channels, stream, 1, 1],
                );
            }
            network.layer(LayerSpec::PreActBlock {
                name,
                channels,
                kernel,
                stride,
                shortcut,
            });
            stream = channels;
        }
        network.layer(LayerSpec::Head {
            activation: "final".into(),
            dense: "fc".into(),
        });
        network.activation("final", stream);
        network.uniform("fc.weight", &[extents.classes, stream]);
        network.uniform("fc.bias", &[extents.classes]);
        network
    }

    fn layer(&mut self, layer: LayerSpec) {
        self.spec.layers.push(layer);
    }

    fn uniform(&mut self, name: &str, shape: &[usize]) {
        let inputs: usize = shape[1..].iter().product();
        let bound = (3.0 / inputs as f32).sqrt();
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| self.rng.random_range(-bound..bound))
            .collect();
        self.tensors
            .insert(name.into(), Tensor::f32(shape, &values));
    }

    fn activation(&mut self, name: &str, channels: usize) {
        for (parameter, range) in [("g", 0.1..0.3), ("t", -2.0..2.0), ("d", -0.5..0.5_f32)] {
            let mut draw = || self.rng.random_range(range.clone());
            let mut values: Vec<f32> = (0..channels).map(|_| draw()).collect();
            if parameter == "g" {
                values.iter_mut().skip(1).step_by(2).for_each(|g| *g = -*g);
            }
            self.tensors.insert(
                format!("{name}.{parameter}"),
                Tensor::f32(&[channels], &values),
            );
        }
    }

    /// Pixels in 0..=1.
    pub fn images(&mut self, count: usize) -> Vec<f64> {
        let input = &self.spec.input;
        let values = count * input.channels * input.height * input.width;
        (0..values)
            .map(|_| f64::from(self.rng.random_range(0..=255_u8)) / 255.0)
            .collect()
    }

    pub fn weights(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, tensor)| {
            (
                name,
                TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }

    pub fn model(&self) -> Result<Model, he_models::ModelError> {
        Model::new(self.spec.clone(), &self.weights())
    }
}
