//! From a model file and its tensors to a graph.

use std::{collections::HashMap, sync::Arc};

use he_layers::{Chebyshev, Chw, Conv2d, Dense, Linear, PolyOutput};

use super::{Activation, Affine, Function, Graph, Node, NodeId, Op, Quadratic, maps};
use crate::{
    ModelError, ModelSpec,
    passes::shapes,
    spec::{INPUT, OpSpec},
    weights::Weights,
};

/// Builds the graph of a validated specification; `weights` notes which tensors it uses.
pub(crate) fn build(spec: &ModelSpec, weights: &mut Weights) -> Result<Graph, ModelError> {
    let image = Chw::new(spec.input.channels, spec.input.height, spec.input.width);
    shapes::check(INPUT, image)?;
    let mut builder = Builder {
        weights,
        nodes: Vec::new(),
        values: HashMap::new(),
    };
    let input = builder.push(INPUT, vec![], Op::Input, image);
    let (mean, std) = (&spec.input.mean, &spec.input.std);
    let normalise = Op::Affine(Affine {
        gain: std.iter().map(|s| 1.0 / s).collect(),
        offset: mean.iter().zip(std).map(|(m, s)| -m / s).collect(),
    });
    let normalised = builder.push("input.normalise", vec![input.id], normalise, image);
    builder.values.insert(INPUT.to_owned(), normalised);
    let mut last = normalised;
    for node in &spec.nodes {
        last = builder.add(&node.name, &node.inputs, &node.op)?;
        builder.values.insert(node.name.clone(), last);
    }
    let expected = Chw::new(spec.classes.len(), 1, 1);
    if last.shape != expected || last.flat {
        let name = &spec.nodes[spec.nodes.len() - 1].name;
        let expected = format!("{expected}, one a class");
        return Err(ModelError::node(
            name,
            "shape of the last output",
            last.shape,
            expected,
        ));
    }
    let mut graph = Graph {
        name: spec.name.clone(),
        input: image,
        nodes: builder.nodes,
    };
    graph.set_statistics(&spec.activations)?;
    Ok(graph)
}

/// A node's output as later nodes see it.
#[derive(Clone, Copy)]
struct Value {
    id: NodeId,
    shape: Chw,
    /// Flattened: then only a dense layer may read it.
    flat: bool,
}

struct Builder<'a> {
    weights: &'a mut Weights,
    nodes: Vec<Node>,
    values: HashMap<String, Value>,
}

impl Builder<'_> {
    fn push(&mut self, name: &str, inputs: Vec<NodeId>, op: Op, shape: Chw) -> Value {
        let name = name.to_owned();
        self.nodes.push(Node { name, inputs, op });
        let id = NodeId(self.nodes.len() - 1);
        Value {
            id,
            shape,
            flat: false,
        }
    }

    fn add(&mut self, name: &str, inputs: &[String], op: &OpSpec) -> Result<Value, ModelError> {
        let inputs: Vec<Value> = inputs.iter().map(|input| self.values[input]).collect();
        let first = inputs[0];
        let dense = matches!(op, OpSpec::Dense { .. });
        if inputs.iter().any(|v| v.flat) && !dense {
            let expected = "maps that are not flattened (only a dense layer reads flattened ones)";
            return Err(ModelError::node(name, "input", "a flattened map", expected));
        }
        let Some(op) = self.op(name, op, first.shape)? else {
            return Ok(Value {
                flat: first.shape.pixels() > 1,
                shape: first.shape,
                id: first.id,
            });
        };
        let node = Node {
            name: name.to_owned(),
            inputs: inputs.iter().map(|v| v.id).collect(),
            op,
        };
        let shapes: Vec<Chw> = inputs.iter().map(|v| v.shape).collect();
        let output = shapes::output_shape(&node, &shapes, None)?;
        Ok(self.push(name, node.inputs, node.op, output))
    }

    /// The operation, with its tensors; none for a flattening, which dense layers do themselves.
    fn op(&mut self, name: &str, op: &OpSpec, input: Chw) -> Result<Option<Op>, ModelError> {
        let channels = [input.channels];
        let linear = |linear| Op::Linear(Arc::new(linear));
        let activation = |function| {
            Op::Activation(Activation {
                function,
                declared: Vec::new(),
                second_moment: Vec::new(),
            })
        };
        Ok(Some(match op {
            OpSpec::Conv2d { .. } => linear(Linear::Conv(self.conv(name, op, input)?)),
            OpSpec::BatchNorm {
                weight,
                bias,
                mean,
                variance,
                epsilon,
            } => {
                let mut take = |tensor: &str| self.weights.take(tensor, &channels);
                let (weight, bias, mean) = (take(weight)?, take(bias)?, take(mean)?);
                let variance = self.variances(variance, *epsilon, input.channels)?;
                Op::Affine(batch_norm(&weight, &bias, &mean, &variance))
            }
            OpSpec::Affine { gain, offset } => Op::Affine(Affine {
                gain: self.weights.take(gain, &channels)?,
                offset: self.weights.take(offset, &channels)?,
            }),
            OpSpec::Quadratic { g, t, d } => activation(Function::Quadratic(Quadratic {
                g: self.weights.take(g, &channels)?,
                t: self.weights.take(t, &channels)?,
                d: self.weights.take(d, &channels)?,
            })),
            OpSpec::Polynomial {
                coefficients,
                interval,
            } => {
                let polynomial = Chebyshev::new(coefficients.clone(), *interval)
                    .map_err(|e| ModelError::node(name, "its polynomial", e, "a polynomial"))?;
                activation(Function::Polynomial {
                    polynomials: vec![polynomial],
                    output: PolyOutput::Value,
                })
            }
            OpSpec::Relu { approximation } => activation(Function::Relu(approximation.clone())),
            OpSpec::Add => Op::Add,
            OpSpec::Concat => Op::Concat,
            OpSpec::Slice { from, to } => {
                linear(Linear::Conv(maps::slice(name, input.channels, *from..*to)?))
            }
            OpSpec::AvgPool {
                kernel,
                stride,
                padding,
            } => {
                let padding = maps::sides(*padding);
                maps::check_kernel(name, *kernel, padding, input)?;
                linear(Linear::Conv(maps::average(
                    name,
                    input.channels,
                    *kernel,
                    *stride,
                    padding,
                )?))
            }
            OpSpec::GlobalAvgPool => {
                let window = (input.height, input.width);
                let none = maps::sides((0, 0, 0, 0));
                linear(Linear::Conv(maps::average(
                    name,
                    input.channels,
                    window,
                    (1, 1),
                    none,
                )?))
            }
            OpSpec::Flatten => return Ok(None),
            OpSpec::Dense {
                outputs,
                weight,
                bias,
            } => linear(Linear::Dense(Dense {
                name: name.to_owned(),
                input,
                outputs: *outputs,
                weight: self.weights.take(weight, &[*outputs, input.volume()])?,
                bias: self.bias(bias.as_deref(), *outputs)?,
            })),
        }))
    }

    fn bias(&mut self, tensor: Option<&str>, channels: usize) -> Result<Vec<f64>, ModelError> {
        match tensor {
            Some(tensor) => self.weights.take(tensor, &[channels]),
            None => Ok(vec![0.0; channels]),
        }
    }

    /// `variance + epsilon`, none of them 0.
    fn variances(
        &mut self,
        tensor: &str,
        epsilon: f64,
        channels: usize,
    ) -> Result<Vec<f64>, ModelError> {
        let variances = self.weights.take(tensor, &[channels])?;
        let sums: Vec<f64> = variances.iter().map(|v| v + epsilon).collect();
        match sums.iter().position(|v| !(v.is_normal() && *v > 0.0)) {
            None => Ok(sums),
            Some(index) => Err(ModelError::TensorValue {
                model: self.weights.model().to_owned(),
                tensor: tensor.to_owned(),
                index,
                found: variances[index],
                expected: "a variance above 0",
            }),
        }
    }

    fn conv(&mut self, name: &str, op: &OpSpec, input: Chw) -> Result<Conv2d, ModelError> {
        let OpSpec::Conv2d {
            channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            weight,
            bias,
        } = op
        else {
            unreachable!("called for convolutions only");
        };
        if !input.channels.is_multiple_of(*groups) || !channels.is_multiple_of(*groups) {
            let found = format!("{groups} for {} to {channels} channels", input.channels);
            return Err(ModelError::node(name, "groups", found, "a divisor of both"));
        }
        let padding = maps::sides(*padding);
        let whole = maps::spread(*kernel, *dilation);
        maps::check_kernel(name, whole, padding, input)?;
        let shape = [*channels, input.channels / groups, kernel.0, kernel.1];
        let weight = self.weights.take(weight, &shape)?;
        let conv = Conv2d {
            name: name.to_owned(),
            in_channels: input.channels,
            out_channels: *channels,
            groups: *groups,
            kernel: whole,
            stride: *stride,
            padding,
            weight: maps::dilated(name, weight, *kernel, *dilation)?,
            bias: self.bias(bias.as_deref(), *channels)?,
            tap_bias: vec![0.0; maps::limit(name, &[*channels, whole.0, whole.1])?],
        };
        Ok(maps::cropped(conv, input))
    }
}

/// `weight (x - mean) / sqrt(variance) + bias` as gains and offsets.
fn batch_norm(weight: &[f64], bias: &[f64], mean: &[f64], variance: &[f64]) -> Affine {
    let gains = weight.iter().zip(variance).map(|(w, v)| w / v.sqrt());
    let gain: Vec<f64> = gains.collect();
    let offset = bias.iter().zip(mean).zip(&gain);
    let offset = offset.map(|((b, m), g)| b - g * m).collect();
    Affine { gain, offset }
}
