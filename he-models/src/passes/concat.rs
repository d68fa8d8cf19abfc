//! Concatenations are distributed over their readers: a map of a concatenation is the sum of its maps of the parts.
//!
//! What works channel by channel works on each part, and the parts stay parts. Where nothing else is possible, a concatenation
//! is the sum of its parts, each brought to its place among the channels.

use he_layers::{Chw, Conv2d, Dense, Linear};

use super::rewrite::Rewrite;
use crate::{
    ModelError,
    graph::{Activation, Affine, Function, Graph, NodeId, Op, Quadratic, maps},
};

/// Some channels of a tensor: the node that gives them, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    id: NodeId,
    channels: usize,
}

/// A graph without concatenations.
///
/// # Errors
/// [`ModelError::Node`] where bringing parts to their places would take too many weights.
pub fn distribute(graph: &Graph) -> Result<Graph, ModelError> {
    let shapes = graph.shapes()?;
    let mut rewrite = Rewrite::empty(graph);
    // What stands for each node: itself, or several parts.
    let mut parts_of: Vec<Vec<Part>> = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<Vec<Part>> = node
            .inputs
            .iter()
            .map(|id| parts_of[id.0].clone())
            .collect();
        let whole = inputs.iter().all(|parts| parts.len() == 1);
        let parts = match &node.op {
            Op::Concat => inputs.concat(),
            op if whole => {
                let ids = inputs.iter().map(|parts| parts[0].id).collect();
                vec![Part {
                    id: rewrite.push(node.name.clone(), ids, op.clone()),
                    channels: shapes[i].channels,
                }]
            }
            Op::Linear(map) => match map.as_ref() {
                Linear::Conv(conv) if is_channelwise(conv) => each(&inputs[0], |part, from| {
                    let map = channels_of(conv, from, part.channels);
                    rewrite.push_linear(part.id, map)
                }),
                Linear::Conv(conv) if conv.groups == 1 => {
                    let terms = each(&inputs[0], |part, from| {
                        rewrite.push_linear(part.id, inputs_of(conv, from, part.channels))
                    });
                    vec![sum(&mut rewrite, &node.name, &terms, conv.out_channels)]
                }
                Linear::Conv(conv) => {
                    let joined = join(&mut rewrite, &node.name, &inputs[0])?;
                    let id = rewrite.push_linear(joined, conv.clone());
                    vec![Part {
                        id,
                        channels: conv.out_channels,
                    }]
                }
                Linear::Dense(dense) => {
                    let terms = each(&inputs[0], |part, from| {
                        rewrite.push_linear(part.id, dense_inputs_of(dense, from, part.channels))
                    });
                    vec![sum(&mut rewrite, &node.name, &terms, dense.outputs)]
                }
            },
            Op::Affine(affine) => each(&inputs[0], |part, from| {
                let range = from..from + part.channels;
                let gain = affine.gain[range.clone()].to_vec();
                let offset = affine.offset[range].to_vec();
                let name = format!("{}.{from}", node.name);
                rewrite.push(name, vec![part.id], Op::Affine(Affine { gain, offset }))
            }),
            Op::Activation(activation) => each(&inputs[0], |part, from| {
                let op = Op::Activation(activation_of(activation, from, part.channels));
                rewrite.push(format!("{}.{from}", node.name), vec![part.id], op)
            }),
            Op::Add => {
                let channels =
                    |parts: &[Part]| parts.iter().map(|p| p.channels).collect::<Vec<_>>();
                if inputs
                    .iter()
                    .all(|parts| channels(parts) == channels(&inputs[0]))
                {
                    let parts = inputs[0].iter().enumerate();
                    parts
                        .map(|(k, part)| {
                            let ids = inputs.iter().map(|parts| parts[k].id).collect();
                            let id = rewrite.push(format!("{}.{k}", node.name), ids, Op::Add);
                            Part { id, ..*part }
                        })
                        .collect()
                } else {
                    let mut ids = Vec::new();
                    for (k, parts) in inputs.iter().enumerate() {
                        let name = format!("{}.in{k}", node.name);
                        ids.push(join(&mut rewrite, &name, parts)?);
                    }
                    let channels = shapes[i].channels;
                    let id = rewrite.push(node.name.clone(), ids, Op::Add);
                    vec![Part { id, channels }]
                }
            }
            Op::Input => unreachable!("the input reads nothing"),
        };
        parts_of.push(parts);
    }
    if let Some(last) = parts_of.last().filter(|parts| parts.len() > 1) {
        let name = &graph.node(graph.output()).name;
        join(&mut rewrite, name, last)?;
    }
    Ok(rewrite.finish())
}

/// One new node for each part; `node` is told the part and its first channel.
fn each(parts: &[Part], mut node: impl FnMut(&Part, usize) -> NodeId) -> Vec<Part> {
    let mut from = 0;
    let mut out = Vec::with_capacity(parts.len());
    for part in parts {
        out.push(Part {
            id: node(part, from),
            ..*part
        });
        from += part.channels;
    }
    out
}

/// The sum of maps of all parts.
fn sum(rewrite: &mut Rewrite, name: &str, terms: &[Part], channels: usize) -> Part {
    let ids = terms.iter().map(|part| part.id).collect();
    let id = rewrite.push(name, ids, Op::Add);
    Part { id, channels }
}

/// The parts as one tensor.
fn join(rewrite: &mut Rewrite, name: &str, parts: &[Part]) -> Result<NodeId, ModelError> {
    if let [part] = parts {
        return Ok(part.id);
    }
    let total = parts.iter().map(|p| p.channels).sum();
    let (mut ids, mut from) = (Vec::new(), 0);
    for part in parts {
        let place = maps::place(&format!("{name}.{from}"), part.channels, from, total)?;
        ids.push(rewrite.push_linear(part.id, place));
        from += part.channels;
    }
    Ok(rewrite.push(name, ids, Op::Add))
}

/// Whether every channel is convolved with a kernel of its own.
pub(super) fn is_channelwise(conv: &Conv2d) -> bool {
    conv.groups == conv.in_channels && conv.in_channels == conv.out_channels && conv.groups > 1
}

/// Some channels of a channelwise convolution.
fn channels_of(conv: &Conv2d, from: usize, channels: usize) -> Conv2d {
    let taps = conv.taps();
    let rows = from * taps..(from + channels) * taps;
    Conv2d {
        name: format!("{}.{from}", conv.name),
        in_channels: channels,
        out_channels: channels,
        groups: channels,
        weight: conv.weight[rows.clone()].to_vec(),
        bias: conv.bias[from..from + channels].to_vec(),
        tap_bias: conv.tap_bias[rows].to_vec(),
        ..conv.clone()
    }
}

/// A convolution's share of some input channels. The first channel's share has the biases.
fn inputs_of(conv: &Conv2d, from: usize, channels: usize) -> Conv2d {
    let taps = conv.taps();
    let rows = conv.weight.chunks_exact(conv.in_channels * taps);
    let weight = rows.flat_map(|row| &row[from * taps..(from + channels) * taps]);
    let zero_unless_first = |values: &[f64]| match from {
        0 => values.to_vec(),
        _ => vec![0.0; values.len()],
    };
    Conv2d {
        name: format!("{}.{from}", conv.name),
        in_channels: channels,
        weight: weight.copied().collect(),
        bias: zero_unless_first(&conv.bias),
        tap_bias: zero_unless_first(&conv.tap_bias),
        ..conv.clone()
    }
}

/// A dense layer's share of some input channels. The first channel's share has the bias.
fn dense_inputs_of(dense: &Dense, from: usize, channels: usize) -> Dense {
    let pixels = dense.input.pixels();
    let rows = dense.weight.chunks_exact(dense.input.volume());
    let weight = rows.flat_map(|row| &row[from * pixels..(from + channels) * pixels]);
    Dense {
        name: format!("{}.{from}", dense.name),
        input: Chw::new(channels, dense.input.height, dense.input.width),
        outputs: dense.outputs,
        weight: weight.copied().collect(),
        bias: match from {
            0 => dense.bias.clone(),
            _ => vec![0.0; dense.outputs],
        },
    }
}

/// Some channels of an activation.
fn activation_of(activation: &Activation, from: usize, channels: usize) -> Activation {
    let of = |values: &Vec<f64>| values.iter().copied().skip(from).take(channels).collect();
    Activation {
        function: match &activation.function {
            Function::Quadratic(q) => Function::Quadratic(Quadratic {
                g: of(&q.g),
                t: of(&q.t),
                d: of(&q.d),
            }),
            other @ (Function::Polynomial { .. } | Function::Relu(_)) => other.clone(),
        },
        declared: of(&activation.declared),
        second_moment: of(&activation.second_moment),
    }
}
