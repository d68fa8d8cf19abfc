//! Post-activation ReLU networks that were trained elsewhere, and what stands for them in the encrypted run.
//!
//! No model file is needed: the tensors' names and shapes are the graph. `conv1` is the stem; `layer{s}.{b}.conv1`, `.conv2`
//! and, where the shape changes, `.shortcut` make block `b` (from 0) of stage `s` (from 1),
//! `y = relu(conv2(relu(conv1(x))) + shortcut(x))`; `fc` reads the average over all pixels. Batch norm is folded into
//! `.weight` and `.bias`; kernels are odd, paddings `kernel / 2`. A block with a shortcut has stride 2, others have 1.

mod fold;

pub use fold::{MakeRefresh, PolynomialNetwork};

use he_layers::{Chw, Conv2d, PlainTensor, PooledDense};

use crate::{ModelError, graph::InputSpec, weights::Weights};

/// A ReLU network as it was exported, with its normalisation of the input.
#[derive(Clone, Debug, PartialEq)]
pub struct ReluNetwork {
    name: String,
    input: InputSpec,
    stem: Conv2d,
    blocks: Vec<ReluBlock>,
    /// Its weights are already divided by the pixels of the map.
    dense: PooledDense,
}

/// One residual block.
#[derive(Clone, Debug, PartialEq)]
struct ReluBlock {
    name: String,
    conv1: Conv2d,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

/// Largest absolute input of a ReLU, for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ReluRange {
    /// `conv1`, `layer1.0.conv1`, `layer1.0.sum`, ...
    pub name: String,
    /// By channel.
    pub max_abs: Vec<f64>,
}

impl ReluNetwork {
    /// A network from its safetensors file (F32 or F16).
    ///
    /// # Errors
    /// [`ModelError::Value`] for an input that is none; [`ModelError::WeightsFormat`], [`ModelError::MissingTensor`],
    /// [`ModelError::TensorShape`], [`ModelError::TensorType`], [`ModelError::TensorValue`], [`ModelError::UnusedTensors`];
    /// [`ModelError::Layer`] for maps that do not fit.
    pub fn from_safetensors(
        name: &str,
        input: InputSpec,
        bytes: &[u8],
    ) -> Result<Self, ModelError> {
        check_input(name, &input)?;
        let mut weights = Weights::parse(name, bytes, None)?;
        let stem = conv(&mut weights, "conv1", input.channels, 1)?;
        let mut blocks = Vec::new();
        let mut shape = stem.output_shape(shape_of(&input))?;
        for stage in 1.. {
            let before = blocks.len();
            for index in 0.. {
                let name = format!("layer{stage}.{index}");
                if weights.shape(&format!("{name}.conv1.weight")).is_none() {
                    break;
                }
                let block = ReluBlock::take(&mut weights, name, shape.channels)?;
                shape = block.output_shape(shape)?;
                blocks.push(block);
            }
            if blocks.len() == before {
                break;
            }
        }
        let classes = weights.shape("fc.bias").map_or(1, |s| s.iter().product());
        let pixels = shape.pixels() as f64;
        let weight = weights.take("fc.weight", &[classes, shape.channels])?;
        let dense = PooledDense {
            name: "fc".to_owned(),
            channels: shape.channels,
            classes,
            weight: weight.iter().map(|w| w / pixels).collect(),
            bias: weights.take("fc.bias", &[classes])?,
        };
        dense.validate()?;
        weights.finish()?;
        Ok(Self {
            name: name.to_owned(),
            input,
            stem,
            blocks,
            dense,
        })
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape of an image.
    pub fn input_shape(&self) -> Chw {
        shape_of(&self.input)
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.dense.classes
    }

    /// The logits with exact ReLUs: `[image][class]` as a tensor of shape classes x 1 x 1.
    ///
    /// # Shapes and ranges
    /// `images` of shape [`Self::input_shape`], pixels divided by 255.
    /// # Errors
    /// [`ModelError::Layer`] for another shape.
    pub fn forward_plain(&self, images: &PlainTensor) -> Result<PlainTensor, ModelError> {
        self.forward(images, |_, _| ())
    }

    /// The largest absolute input that every ReLU sees on `images`, by channel, in order of evaluation.
    ///
    /// # Errors
    /// As [`Self::forward_plain`].
    pub fn measure_ranges(&self, images: &PlainTensor) -> Result<Vec<ReluRange>, ModelError> {
        let mut ranges = Vec::new();
        self.forward(images, |name, x| {
            let mut max_abs = vec![0.0f64; x.shape.channels];
            for (map, values) in x.data.chunks(x.shape.pixels()).enumerate() {
                let largest = &mut max_abs[map % x.shape.channels];
                *largest = values.iter().fold(*largest, |m, v| m.max(v.abs()));
            }
            ranges.push(ReluRange { name, max_abs });
        })?;
        Ok(ranges)
    }

    /// Runs the network; `observe` sees the name and the input of every ReLU.
    fn forward(
        &self,
        images: &PlainTensor,
        mut observe: impl FnMut(String, &PlainTensor),
    ) -> Result<PlainTensor, ModelError> {
        let mut relu = |name: String, mut x: PlainTensor| {
            observe(name, &x);
            x.data.iter_mut().for_each(|v| *v = v.max(0.0));
            x
        };
        let x = self.stem.forward_plain(&self.normalised(images))?;
        let mut x = relu("conv1".to_owned(), x);
        for block in &self.blocks {
            let inner = block.conv1.forward_plain(&x)?;
            let inner = relu(format!("{}.conv1", block.name), inner);
            let mut sum = block.conv2.forward_plain(&inner)?;
            match &block.shortcut {
                Some(shortcut) => sum.add_assign(&block.name, &shortcut.forward_plain(&x)?)?,
                None => sum.add_assign(&block.name, &x)?,
            }
            x = relu(format!("{}.sum", block.name), sum);
        }
        Ok(self.dense.forward_plain(&x)?)
    }

    fn normalised(&self, images: &PlainTensor) -> PlainTensor {
        let mut x = images.clone();
        let pixels = x.shape.pixels().max(1);
        for (map, values) in x.data.chunks_mut(pixels).enumerate() {
            let c = map % self.input.channels;
            let (mean, std) = (self.input.mean[c], self.input.std[c]);
            values.iter_mut().for_each(|v| *v = (*v - mean) / std);
        }
        x
    }
}

impl ReluBlock {
    fn take(weights: &mut Weights, name: String, channels: usize) -> Result<Self, ModelError> {
        let shortcut = format!("{name}.shortcut");
        let strided = weights.shape(&format!("{shortcut}.weight")).is_some();
        let stride = if strided { 2 } else { 1 };
        let conv1 = conv(weights, &format!("{name}.conv1"), channels, stride)?;
        let conv2 = conv(weights, &format!("{name}.conv2"), conv1.out_channels, 1)?;
        let shortcut = strided.then(|| conv(weights, &shortcut, channels, stride));
        Ok(Self {
            name,
            conv1,
            conv2,
            shortcut: shortcut.transpose()?,
        })
    }

    /// Shape of the sum, if both branches meet.
    fn output_shape(&self, input: Chw) -> Result<Chw, ModelError> {
        let output = self.conv2.output_shape(self.conv1.output_shape(input)?)?;
        let skip = match &self.shortcut {
            Some(shortcut) => shortcut.output_shape(input)?,
            None => input,
        };
        if skip != output {
            return Err(ModelError::Layer(he_layers::LayerError::Shape {
                layer: self.name.clone(),
                found: skip,
                expected: output,
            }));
        }
        Ok(output)
    }
}

fn shape_of(input: &InputSpec) -> Chw {
    Chw::new(input.channels, input.height, input.width)
}

fn check_input(model: &str, input: &InputSpec) -> Result<(), ModelError> {
    let refused = |field: &str, found: String, expected: String| ModelError::Value {
        model: model.to_owned(),
        field: format!("input.{field}"),
        found,
        expected,
    };
    let sizes = [
        ("channels", input.channels),
        ("height", input.height),
        ("width", input.width),
    ];
    for (field, size) in sizes {
        if size == 0 {
            return Err(refused(field, "0".to_owned(), "1 or more".to_owned()));
        }
    }
    for (field, values) in [("mean", &input.mean), ("std", &input.std)] {
        let count = input.channels;
        if values.len() != count || values.iter().any(|v| !v.is_finite()) {
            return Err(refused(
                field,
                format!("{values:?}"),
                format!("{count} finite numbers"),
            ));
        }
    }
    if input.std.iter().any(|s| *s <= 0.0) {
        return Err(refused(
            "std",
            format!("{:?}", input.std),
            "numbers above 0".to_owned(),
        ));
    }
    Ok(())
}

/// A convolution with its bias; its output channels and kernel are those of the tensor.
fn conv(
    weights: &mut Weights,
    name: &str,
    in_channels: usize,
    stride: usize,
) -> Result<Conv2d, ModelError> {
    let tensor = format!("{name}.weight");
    let (out_channels, kernel) = match weights.shape(&tensor) {
        Some(&[out, _, rows, _]) => (out, rows),
        // Let the error say what was found.
        _ => (1, 3),
    };
    let weight = weights.take(&tensor, &[out_channels, in_channels, kernel, kernel])?;
    let (size, pad) = ((kernel, kernel), (kernel / 2, kernel / 2));
    let channels = (in_channels, out_channels);
    let mut conv = Conv2d::new(name, channels, size, (stride, stride), pad, weight)?;
    conv.bias = weights.take(&format!("{name}.bias"), &[out_channels])?;
    Ok(conv)
}
