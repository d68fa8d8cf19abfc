//! Dead channels are removed, and what they contribute is kept.
//!
//! A channel is dead if it is the same number for every image and pixel, or if nothing that matters reads it. Training with
//! weight decay leaves many: filters whose weights are all near zero. Constants move into the biases of those who read them,
//! under zero padding into [`tap_bias`](he_layers::Conv2d::tap_bias); then nobody reads them.
//!
//! Channels that must stay equal in number (the summands of a sum, both sides of an activation) are kept or removed together.

use std::sync::Arc;

use he_layers::{Chw, Conv2d, Dense, Linear};

use super::{affine, concat::is_channelwise, rewrite::Rewrite};
use crate::{
    ModelError,
    graph::{Activation, Affine, Function, Graph, Node, NodeId, Op, Quadratic},
};

/// A filter whose weights are all below this part of the layer's largest is taken for zero.
const NEGLIGIBLE: f64 = 1e-10;

/// A graph without dead channels.
///
/// # Errors
/// As [`Graph::shapes`].
pub fn remove(graph: &Graph) -> Result<Graph, ModelError> {
    let shapes = graph.shapes()?;
    let mut rewrite = Rewrite::new(graph);
    let constants = fold_constants(&mut rewrite.graph, &shapes);
    let kept = kept(&rewrite.graph, &shapes, &constants);
    for i in 0..rewrite.graph.nodes.len() {
        let inputs = rewrite.graph.nodes[i].inputs.clone();
        let node = &mut rewrite.graph.nodes[i];
        restrict(
            node,
            inputs.first().map(|id| kept[id.0].as_slice()),
            &kept[i],
        );
    }
    Ok(rewrite.finish())
}

/// Moves constants from what maps read into their biases, and gives for every node and channel the constant that it is.
fn fold_constants(graph: &mut Graph, shapes: &[Chw]) -> Vec<Vec<Option<f64>>> {
    let mut constants: Vec<Vec<Option<f64>>> = Vec::with_capacity(shapes.len());
    for (node, shape) in graph.nodes.iter_mut().zip(shapes) {
        let Node { inputs, op, .. } = node;
        let of = |k: usize| constants[inputs[k].0].as_slice();
        let found = match op {
            Op::Input => vec![None; shape.channels],
            Op::Linear(map) => match Arc::make_mut(map) {
                Linear::Conv(conv) => conv_constants(conv, of(0)),
                Linear::Dense(dense) => dense_constants(dense, of(0)),
            },
            Op::Affine(a) => (0..shape.channels)
                .map(|c| match of(0)[c] {
                    Some(x) => Some(a.gain[c] * x + a.offset[c]),
                    None => (a.gain[c] == 0.0).then_some(a.offset[c]),
                })
                .collect(),
            Op::Activation(activation) => (0..shape.channels)
                .map(|c| match (&activation.function, of(0)[c]) {
                    (function, Some(x)) => Some(function.evaluate(c, x)),
                    (Function::Quadratic(q), None) => (q.g[c] == 0.0).then_some(q.d[c]),
                    (Function::Polynomial { .. } | Function::Relu(_), None) => None,
                })
                .collect(),
            Op::Add => (0..shape.channels)
                .map(|c| (0..inputs.len()).map(|k| of(k)[c]).sum())
                .collect(),
            Op::Concat => (0..inputs.len()).flat_map(|k| of(k).to_vec()).collect(),
        };
        constants.push(found);
    }
    constants
}

/// Zeroes negligible rows of weights.
fn clear_negligible(weight: &mut [f64], rows: usize) {
    let largest = |values: &[f64]| values.iter().fold(0.0_f64, |m, w| m.max(w.abs()));
    let all = largest(weight);
    for row in weight.chunks_exact_mut((weight.len() / rows).max(1)) {
        if largest(row) <= NEGLIGIBLE * all {
            row.fill(0.0);
        }
    }
}

fn known(constants: &[Option<f64>]) -> (Vec<f64>, Vec<f64>) {
    let values = constants.iter().map(|c| c.unwrap_or(0.0)).collect();
    let factors = constants.iter().map(|c| f64::from(c.is_none())).collect();
    (values, factors)
}

fn conv_constants(conv: &mut Conv2d, inputs: &[Option<f64>]) -> Vec<Option<f64>> {
    clear_negligible(&mut conv.weight, conv.out_channels);
    let (values, factors) = known(inputs);
    affine::add_to_taps(conv, &values);
    affine::scale_conv_inputs(conv, &factors);
    let unpadded = conv.padding == he_layers::Padding::default();
    let taps = conv.taps();
    let rows = conv.weight.chunks_exact(conv.group_inputs() * taps);
    let biases = conv.tap_bias.chunks_exact(taps).zip(&conv.bias);
    rows.zip(biases)
        .map(|(row, (tap_bias, bias))| {
            let uniform = unpadded || tap_bias.iter().all(|b| *b == 0.0);
            let constant = uniform && row.iter().all(|w| *w == 0.0);
            constant.then(|| bias + tap_bias.iter().sum::<f64>())
        })
        .collect()
}

fn dense_constants(dense: &mut Dense, inputs: &[Option<f64>]) -> Vec<Option<f64>> {
    clear_negligible(&mut dense.weight, dense.outputs);
    let (values, factors) = known(inputs);
    affine::add_to_bias(dense, &values);
    affine::scale_dense_inputs(dense, &factors);
    let rows = dense.weight.chunks_exact(dense.input.volume());
    rows.zip(&dense.bias)
        .map(|(row, bias)| row.iter().all(|w| *w == 0.0).then_some(*bias))
        .collect()
}

/// Channels of all nodes, in classes that are kept or removed together.
struct Classes {
    /// Index of a node's first channel.
    first: Vec<usize>,
    parent: Vec<usize>,
    live: Vec<bool>,
}

impl Classes {
    fn new(shapes: &[Chw]) -> Self {
        let mut total = 0;
        let first = shapes.iter().map(|shape| {
            total += shape.channels;
            total - shape.channels
        });
        let first = first.collect();
        Self {
            first,
            parent: (0..total).collect(),
            live: vec![false; total],
        }
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn class(&mut self, node: usize, channel: usize) -> usize {
        self.root(self.first[node] + channel)
    }

    fn tie(&mut self, a: (usize, usize), b: (usize, usize)) {
        let (a, b) = (self.class(a.0, a.1), self.class(b.0, b.1));
        self.parent[a] = b;
        self.live[b] |= self.live[a];
    }

    fn is_live(&mut self, node: usize, channel: usize) -> bool {
        let class = self.class(node, channel);
        self.live[class]
    }

    /// Whether that was new.
    fn enliven(&mut self, node: usize, channel: usize) -> bool {
        let class = self.class(node, channel);
        !std::mem::replace(&mut self.live[class], true)
    }
}

/// For every node, the channels that are kept.
fn kept(graph: &Graph, shapes: &[Chw], constants: &[Vec<Option<f64>>]) -> Vec<Vec<usize>> {
    let mut classes = Classes::new(shapes);
    for (i, node) in graph.nodes.iter().enumerate() {
        tie(&mut classes, graph, node, i, shapes);
    }
    let last = graph.output().0;
    for (node, shape) in [(0, shapes[0]), (last, shapes[last])] {
        (0..shape.channels).for_each(|c| {
            classes.enliven(node, c);
        });
    }
    loop {
        while spread(&mut classes, graph, shapes, constants) {}
        // Nothing may become empty.
        let mut all = 0..shapes.len();
        let empty = all.find(|i| !(0..shapes[*i].channels).any(|c| classes.is_live(*i, c)));
        match empty {
            Some(node) => classes.enliven(node, 0),
            None => break,
        };
    }
    (0..shapes.len())
        .map(|i| {
            (0..shapes[i].channels)
                .filter(|c| classes.is_live(i, *c))
                .collect()
        })
        .collect()
}

/// Ties the channels of a node to those of what it reads.
fn tie(classes: &mut Classes, graph: &Graph, node: &Node, i: usize, shapes: &[Chw]) {
    let grouped = match &node.op {
        Op::Linear(map) => match map.as_ref() {
            Linear::Conv(conv) if is_channelwise(conv) => false,
            Linear::Conv(conv) if conv.groups > 1 => true,
            Linear::Conv(_) | Linear::Dense(_) => return,
        },
        Op::Input => return,
        Op::Affine(_) | Op::Activation(_) | Op::Add | Op::Concat => false,
    };
    let mut offset = 0;
    for input in &node.inputs {
        let channels = shapes[input.0].channels;
        for c in 0..channels {
            if grouped {
                classes.enliven(input.0, c);
            } else {
                classes.tie((i, offset + c), (input.0, c));
            }
        }
        if graph.node(NodeId(i)).op == Op::Concat {
            offset += channels;
        }
    }
    if grouped {
        (0..shapes[i].channels).for_each(|c| {
            classes.enliven(i, c);
        });
    }
}

/// From live outputs of maps to the inputs that they read; whether anything is newly live.
fn spread(
    classes: &mut Classes,
    graph: &Graph,
    shapes: &[Chw],
    constants: &[Vec<Option<f64>>],
) -> bool {
    let mut news = false;
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        let Op::Linear(map) = &node.op else { continue };
        let input = node.inputs[0].0;
        let (rows, block): (_, usize) = match map.as_ref() {
            Linear::Conv(conv) if conv.groups > 1 => continue,
            Linear::Conv(conv) => (
                conv.weight.chunks_exact(conv.in_channels * conv.taps()),
                conv.taps(),
            ),
            Linear::Dense(dense) => (
                dense.weight.chunks_exact(dense.input.volume()),
                dense.input.pixels(),
            ),
        };
        for (o, row) in rows.enumerate() {
            if constants[i][o].is_some() || !classes.is_live(i, o) {
                continue;
            }
            for c in 0..shapes[input].channels {
                let read = row[c * block..(c + 1) * block].iter().any(|w| *w != 0.0);
                if read {
                    news |= classes.enliven(input, c);
                }
            }
        }
    }
    news
}

/// Leaves a node only the channels that are kept, of what it reads and of what it gives.
fn restrict(node: &mut Node, inputs: Option<&[usize]>, outputs: &[usize]) {
    match &mut node.op {
        Op::Linear(map) => {
            let inputs = inputs.unwrap_or(&[]);
            match Arc::make_mut(map) {
                Linear::Conv(conv) if conv.groups == 1 => restrict_conv(conv, inputs, outputs),
                Linear::Conv(conv) if is_channelwise(conv) => {
                    conv.weight = blocks(&conv.weight, conv.taps(), outputs);
                    conv.tap_bias = blocks(&conv.tap_bias, conv.taps(), outputs);
                    conv.bias = blocks(&conv.bias, 1, outputs);
                    conv.in_channels = outputs.len();
                    conv.out_channels = outputs.len();
                    conv.groups = outputs.len();
                }
                // Its channels were all kept.
                Linear::Conv(_) => {}
                Linear::Dense(dense) => {
                    let rows = blocks(&dense.weight, dense.input.volume(), outputs);
                    let pixels = dense.input.pixels();
                    let rows = rows.chunks_exact(dense.input.volume());
                    dense.weight = rows.flat_map(|row| blocks(row, pixels, inputs)).collect();
                    dense.bias = blocks(&dense.bias, 1, outputs);
                    dense.input.channels = inputs.len();
                    dense.outputs = outputs.len();
                }
            }
        }
        Op::Affine(Affine { gain, offset }) => {
            *gain = blocks(gain, 1, outputs);
            *offset = blocks(offset, 1, outputs);
        }
        Op::Activation(Activation {
            function,
            declared,
            second_moment,
        }) => {
            for values in [declared, second_moment] {
                if !values.is_empty() {
                    *values = blocks(values, 1, outputs);
                }
            }
            if let Function::Quadratic(Quadratic { g, t, d }) = function {
                for values in [g, t, d] {
                    *values = blocks(values, 1, outputs);
                }
            }
        }
        Op::Input | Op::Add | Op::Concat => {}
    }
}

fn restrict_conv(conv: &mut Conv2d, inputs: &[usize], outputs: &[usize]) {
    let taps = conv.taps();
    let row = conv.in_channels * taps;
    let rows = blocks(&conv.weight, row, outputs);
    let rows = rows.chunks_exact(row);
    conv.weight = rows.flat_map(|row| blocks(row, taps, inputs)).collect();
    conv.tap_bias = blocks(&conv.tap_bias, taps, outputs);
    conv.bias = blocks(&conv.bias, 1, outputs);
    conv.in_channels = inputs.len();
    conv.out_channels = outputs.len();
}

/// Some blocks of `size` values.
fn blocks(values: &[f64], size: usize, which: &[usize]) -> Vec<f64> {
    let block = |k: &usize| values[k * size..(k + 1) * size].iter().copied();
    which.iter().flat_map(block).collect()
}
