//! Random networks of any topology, as a specification and tensors.

use std::collections::BTreeMap;

use he_models::{
    Evaluation, Model, ModelError, ModelSpec, Provenance,
    spec::{FORMAT, INPUT, InputSpec, NodeSpec, OpSpec, ReluApproximation, WeightsSpec},
};
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
}

/// A safetensors file.
pub fn file(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name, view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// What a random network may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Quadratics only.
    Quadratic,
    /// ReLUs only.
    Relu,
    /// Both, and polynomials.
    Any,
}

/// A network in memory, free to be spoilt before it is loaded.
#[derive(Clone, Debug)]
pub struct Network {
    pub spec: ModelSpec,
    pub tensors: BTreeMap<String, Tensor>,
    rng: ChaCha8Rng,
}

/// A tensor that later nodes may read.
#[derive(Clone, Debug)]
struct Map {
    name: String,
    shape: (usize, usize, usize),
}

impl Network {
    /// A network without nodes.
    pub fn empty(seed: u64, (channels, height, width): (usize, usize, usize)) -> Self {
        Self {
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
                    conditioning: None,
                },
                classes: Vec::new(),
                nodes: Vec::new(),
                activations: Vec::new(),
                provenance: Provenance::default(),
            },
            tensors: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Random nodes of all kinds: joins, several readers of one tensor, odd sizes, channels that are zero.
    pub fn random(kind: Kind, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let mut pick = |from: usize, to: usize| rng.random_range(from..to);
        let mut net = Self::empty(seed, (pick(1, 4), pick(5, 12), pick(5, 12)));
        let input = &net.spec.input;
        let mut maps = vec![Map {
            name: INPUT.into(),
            shape: (input.channels, input.height, input.width),
        }];
        for _ in 0..pick(3, 10) {
            // Mostly the latest map, sometimes an earlier one.
            let at = if pick(0, 3) > 0 {
                maps.len() - 1
            } else {
                pick(0, maps.len())
            };
            let x = maps[at].clone();
            let y = match pick(0, 9) {
                0..3 => net.conv(
                    &x,
                    pick(1, 6),
                    [1, 3, 5][pick(0, 3)],
                    pick(1, 3),
                    pick(1, 3),
                ),
                3 => net.depthwise(&x, pick(1, 4)),
                4 => net.batch_norm(&x),
                5 => net.pool(&x),
                6 => net.slice_of(&x, pick(0, x.shape.0)),
                _ => net.join(&maps, &x, pick(0, 2) == 0),
            };
            maps.push(y);
            let last = maps[maps.len() - 1].clone();
            match pick(0, 3) {
                0 => {}
                _ if kind == Kind::Quadratic => maps.push(net.quadratic(&last)),
                _ if kind == Kind::Relu => maps.push(net.relu(&last)),
                choice => maps.push(match (choice, pick(0, 2)) {
                    (1, _) => net.quadratic(&last),
                    (_, 0) => net.relu(&last),
                    _ => net.polynomial(&last),
                }),
            }
        }
        let last = maps[maps.len() - 1].clone();
        let last = if pick(0, 2) == 0 {
            net.global(&last)
        } else {
            last
        };
        let hidden = if pick(0, 2) == 0 {
            let dense = net.dense(&last, pick(2, 6));
            net.quadratic(&dense)
        } else {
            last
        };
        let classes = pick(1, 5);
        net.dense(&hidden, classes);
        net.spec.classes = (0..classes).map(|k| format!("class {k}")).collect();
        net.drop_unread();
        net
    }

    fn add(
        &mut self,
        kind: &str,
        inputs: &[&Map],
        op: OpSpec,
        shape: (usize, usize, usize),
    ) -> Map {
        let name = self.next(kind);
        let inputs = inputs.iter().map(|map| map.name.clone()).collect();
        self.spec.nodes.push(NodeSpec {
            name: name.clone(),
            inputs,
            op,
        });
        Map { name, shape }
    }

    fn next(&self, kind: &str) -> String {
        format!("part{}.{kind}", self.spec.nodes.len())
    }

    pub fn tensor(&mut self, name: String, shape: &[usize], range: std::ops::Range<f32>) -> String {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| self.rng.random_range(range.clone()))
            .collect();
        self.tensors
            .insert(name.clone(), Tensor::f32(shape, &values));
        name
    }

    fn weight(&mut self, name: String, shape: &[usize]) -> String {
        let bound = (3.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
        let name = self.tensor(name, shape, -bound..bound);
        // Now and then a filter that training has switched off.
        if self.rng.random_range(0..3) == 0 && shape[0] > 1 {
            let row = shape[1..].iter().product::<usize>() * 4;
            let at = self.rng.random_range(0..shape[0]) * row;
            self.tensors.get_mut(&name).unwrap().bytes[at..at + row].fill(0);
        }
        name
    }

    fn conv(
        &mut self,
        x: &Map,
        channels: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> Map {
        let name = self.next("conv");
        let (ins, height, width) = x.shape;
        let kernel = (kernel.min(height), kernel.min(width));
        let spread = ((kernel.0 - 1) * dilation + 1, (kernel.1 - 1) * dilation + 1);
        // Four sides of their own; at least what the kernel needs.
        let mut side = |need: usize| need + self.rng.random_range(0..2);
        let (top, left) = (side(spread.0 / 2), side(spread.1 / 2));
        let (bottom, right) = (side(spread.0 / 2), side(spread.1 / 2));
        let out = |size: usize, pads: usize, spread: usize| (size + pads - spread) / stride + 1;
        let shape = (
            channels,
            out(height, top + bottom, spread.0),
            out(width, left + right, spread.1),
        );
        let weight = self.weight(
            format!("{name}.weight"),
            &[channels, ins, kernel.0, kernel.1],
        );
        let bias = channels
            .is_multiple_of(2)
            .then(|| self.tensor(format!("{name}.bias"), &[channels], -0.3..0.3));
        let op = OpSpec::Conv2d {
            channels,
            kernel,
            stride: (stride, stride),
            padding: (top, left, bottom, right),
            dilation: (dilation, dilation),
            groups: 1,
            weight,
            bias,
        };
        self.add("conv", &[x], op, shape)
    }

    fn depthwise(&mut self, x: &Map, stride: usize) -> Map {
        let name = self.next("depthwise");
        let (channels, height, width) = x.shape;
        let weight = self.weight(format!("{name}.weight"), &[channels, 1, 3, 3]);
        let op = OpSpec::Conv2d {
            channels,
            kernel: (3, 3),
            stride: (stride, stride),
            padding: (1, 1, 1, 1),
            dilation: (1, 1),
            groups: channels,
            weight,
            bias: None,
        };
        let out = |size: usize| (size - 1) / stride + 1;
        self.add("depthwise", &[x], op, (channels, out(height), out(width)))
    }

    fn batch_norm(&mut self, x: &Map) -> Map {
        let name = self.next("bn");
        let c = [x.shape.0];
        let op = OpSpec::BatchNorm {
            weight: self.tensor(format!("{name}.weight"), &c, 0.5..1.5),
            bias: self.tensor(format!("{name}.bias"), &c, -0.3..0.3),
            mean: self.tensor(format!("{name}.running_mean"), &c, -0.3..0.3),
            variance: self.tensor(format!("{name}.running_var"), &c, 0.5..1.5),
            epsilon: 1e-5,
        };
        self.add("bn", &[x], op, x.shape)
    }

    fn pool(&mut self, x: &Map) -> Map {
        let (c, h, w) = x.shape;
        let kernel = (2.min(h), 2.min(w));
        let op = OpSpec::AvgPool {
            kernel,
            stride: kernel,
            padding: (0, 0, 0, 0),
        };
        self.add("pool", &[x], op, (c, h / kernel.0, w / kernel.1))
    }

    fn global(&mut self, x: &Map) -> Map {
        self.add("pool", &[x], OpSpec::GlobalAvgPool, (x.shape.0, 1, 1))
    }

    fn slice_of(&mut self, x: &Map, from: usize) -> Map {
        let (c, h, w) = x.shape;
        self.add(
            "slice",
            &[x],
            OpSpec::Slice { from, to: c },
            (c - from, h, w),
        )
    }

    /// With another map of the same size, if there is one: the sum where channels agree, else the concatenation.
    fn join(&mut self, maps: &[Map], x: &Map, add: bool) -> Map {
        let size = |map: &Map| (map.shape.1, map.shape.2);
        let other = maps
            .iter()
            .rev()
            .find(|m| m.name != x.name && size(m) == size(x));
        let Some(other) = other.cloned() else {
            return self.conv(x, 3, 3, 1, 1);
        };
        let (c, h, w) = x.shape;
        if add && other.shape == x.shape {
            return self.add("add", &[x, &other], OpSpec::Add, x.shape);
        }
        self.add(
            "concat",
            &[x, &other],
            OpSpec::Concat,
            (c + other.shape.0, h, w),
        )
    }

    pub fn quadratic_named(&mut self, name: &str, channels: usize) -> OpSpec {
        let c = [channels];
        OpSpec::Quadratic {
            g: self.tensor(format!("{name}.g"), &c, -0.3..0.3),
            t: self.tensor(format!("{name}.t"), &c, -1.5..1.5),
            d: self.tensor(format!("{name}.d"), &c, -0.5..0.5),
        }
    }

    fn quadratic(&mut self, x: &Map) -> Map {
        let op = self.quadratic_named(&self.next("act"), x.shape.0);
        self.add("act", &[x], op, x.shape)
    }

    fn relu(&mut self, x: &Map) -> Map {
        let approximation = ReluApproximation::Polynomial { degree: 31 };
        self.add("relu", &[x], OpSpec::Relu { approximation }, x.shape)
    }

    fn polynomial(&mut self, x: &Map) -> Map {
        let op = OpSpec::Polynomial {
            coefficients: vec![0.1, 0.5, 0.2, -0.05],
            interval: (-1.0, 1.5),
        };
        self.add("poly", &[x], op, x.shape)
    }

    fn dense(&mut self, x: &Map, outputs: usize) -> Map {
        let name = self.next("fc");
        let inputs = x.shape.0 * x.shape.1 * x.shape.2;
        let op = OpSpec::Dense {
            outputs,
            weight: self.weight(format!("{name}.weight"), &[outputs, inputs]),
            bias: Some(self.tensor(format!("{name}.bias"), &[outputs], -0.5..0.5)),
        };
        self.add("fc", &[x], op, (outputs, 1, 1))
    }

    /// Every node must have a reader.
    fn drop_unread(&mut self) {
        let nodes = &mut self.spec.nodes;
        let last = nodes[nodes.len() - 1].name.clone();
        loop {
            let read: Vec<String> = nodes.iter().flat_map(|n| n.inputs.clone()).collect();
            let before = nodes.len();
            nodes.retain(|n| n.name == last || read.contains(&n.name));
            if nodes.len() == before {
                break;
            }
        }
        let names: Vec<String> = nodes.iter().map(|n| n.name.clone()).collect();
        let of = |tensor: &str| tensor.rsplit_once('.').unwrap().0.to_owned();
        self.tensors.retain(|tensor, _| names.contains(&of(tensor)));
    }

    /// Pixels in 0..=1.
    pub fn images(&mut self, count: usize) -> Vec<f64> {
        let input = &self.spec.input;
        let values = count * input.channels * input.height * input.width;
        let mut pixel = || f64::from(self.rng.random_range(0..=255_u8)) / 255.0;
        (0..values).map(|_| pixel()).collect()
    }

    pub fn model(&self) -> Result<Model, ModelError> {
        Model::new(self.spec.clone(), &file(&self.tensors))
    }

    /// The model with ranges measured on some images, the images, and the evaluation.
    pub fn measured(&mut self, images: usize) -> (Model, Vec<f64>, Evaluation) {
        let images = self.images(images);
        let model = self.model().unwrap();
        let statistics = model.evaluate(&images).unwrap().statistics();
        let model = model.with_statistics(statistics).unwrap();
        let evaluation = model.evaluate(&images).unwrap();
        (model, images, evaluation)
    }
}
