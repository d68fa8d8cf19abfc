//! Gains and offsets per channel (normalisation, batch norm, what is left of quadratics) move into their neighbours.
//!
//! A linear map takes them on either side. Under zero padding the offset of what it reads reaches only the taps inside the
//! map: that is what [`tap_bias`](he_layers::Conv2d::tap_bias) is for. A quadratic takes what stands before it. What finds no
//! neighbour stays.

use std::sync::Arc;

use he_layers::{Conv2d, Dense, Linear};

use super::rewrite::Rewrite;
use crate::graph::{Activation, Affine, Function, Graph, NodeId, Op};

/// Moves every gain and offset into its neighbours, where there are such.
#[must_use]
pub fn fold(graph: &Graph) -> Graph {
    fold_where(graph, true)
}

/// As [`fold`], but squares stay squares: they take nothing.
#[must_use]
pub fn fold_into_maps(graph: &Graph) -> Graph {
    fold_where(graph, false)
}

fn fold_where(graph: &Graph, into_quadratics: bool) -> Graph {
    let mut rewrite = Rewrite::new(graph);
    for i in 0..rewrite.graph.nodes.len() {
        let id = NodeId(i);
        let Op::Affine(affine) = rewrite.graph.node(id).op.clone() else {
            continue;
        };
        let source = rewrite.graph.node(id).inputs[0];
        if takes_after(&rewrite, source, id) {
            take_after(&mut rewrite, source, &affine, true);
            rewrite.bypass(id, source);
            continue;
        }
        for reader in rewrite.graph.readers()[i].clone() {
            let node = &mut rewrite.graph.nodes[reader.0];
            let taken = match &mut node.op {
                Op::Linear(map) => {
                    take_before(Arc::make_mut(map), &affine);
                    true
                }
                Op::Affine(next) => {
                    compose(&affine, next);
                    true
                }
                Op::Activation(activation) => into_quadratics && take(activation, &affine),
                Op::Input | Op::Add | Op::Concat => false,
            };
            if taken {
                node.inputs[0] = source;
            }
        }
    }
    rewrite.finish()
}

/// Whether `node` can apply a gain and an offset to what it gives, if `reader` alone reads it.
fn takes_after(rewrite: &Rewrite, node: NodeId, reader: NodeId) -> bool {
    if !rewrite.is_only_reader(node, reader) {
        return false;
    }
    let Op::Add = rewrite.graph.node(node).op else {
        return matches!(rewrite.graph.node(node).op, Op::Linear(_));
    };
    let inputs = &rewrite.graph.node(node).inputs;
    inputs
        .iter()
        .all(|input| takes_after(rewrite, *input, node))
}

/// Applies a gain and, if it is asked for, an offset to what a node gives. Of a sum, one summand takes the offset.
fn take_after(rewrite: &mut Rewrite, node: NodeId, affine: &Affine, offset: bool) {
    let inputs = rewrite.graph.node(node).inputs.clone();
    if let Op::Linear(map) = &mut rewrite.graph.nodes[node.0].op {
        let (weight, bias, tap_bias) = match Arc::make_mut(map) {
            Linear::Conv(conv) => (&mut conv.weight, &mut conv.bias, Some(&mut conv.tap_bias)),
            Linear::Dense(dense) => (&mut dense.weight, &mut dense.bias, None),
        };
        scale_rows(weight, &affine.gain);
        tap_bias
            .into_iter()
            .for_each(|b| scale_rows(b, &affine.gain));
        scale_rows(bias, &affine.gain);
        if offset {
            bias.iter_mut()
                .zip(&affine.offset)
                .for_each(|(b, o)| *b += o);
        }
        return;
    }
    for (k, input) in inputs.into_iter().enumerate() {
        take_after(rewrite, input, affine, offset && k == 0);
    }
}

/// Multiplies equally long rows by a factor each.
pub(super) fn scale_rows(values: &mut [f64], factors: &[f64]) {
    let length = values.len() / factors.len().max(1);
    for (row, factor) in values.chunks_exact_mut(length.max(1)).zip(factors) {
        row.iter_mut().for_each(|v| *v *= factor);
    }
}

/// The map reads `x` where it read `gain x + offset`.
fn take_before(map: &mut Linear, affine: &Affine) {
    match map {
        Linear::Conv(conv) => {
            add_to_taps(conv, &affine.offset);
            scale_conv_inputs(conv, &affine.gain);
        }
        Linear::Dense(dense) => {
            add_to_bias(dense, &affine.offset);
            scale_dense_inputs(dense, &affine.gain);
        }
    }
}

/// The contribution of a constant in every input channel, for the taps inside the map.
pub(super) fn add_to_taps(conv: &mut Conv2d, constants: &[f64]) {
    let taps = conv.taps();
    let row = conv.group_inputs() * taps;
    for o in 0..conv.out_channels {
        let inputs = conv.inputs_of(o);
        let weights = conv.weight[o * row..(o + 1) * row].chunks_exact(taps);
        let tap_bias = &mut conv.tap_bias[o * taps..(o + 1) * taps];
        for (kernel, constant) in weights.zip(&constants[inputs]).filter(|(_, c)| **c != 0.0) {
            tap_bias
                .iter_mut()
                .zip(kernel)
                .for_each(|(b, w)| *b += w * constant);
        }
    }
}

/// The contribution of a constant in every input channel.
pub(super) fn add_to_bias(dense: &mut Dense, constants: &[f64]) {
    let pixels = dense.input.pixels();
    let rows = dense.weight.chunks_exact(dense.input.volume());
    for (bias, row) in dense.bias.iter_mut().zip(rows) {
        for (weights, constant) in row.chunks_exact(pixels).zip(constants) {
            *bias += weights.iter().sum::<f64>() * constant;
        }
    }
}

/// Multiplies the weights of every input channel by a factor.
pub(super) fn scale_conv_inputs(conv: &mut Conv2d, factors: &[f64]) {
    let taps = conv.taps();
    let row = conv.group_inputs() * taps;
    for o in 0..conv.out_channels {
        let inputs = conv.inputs_of(o);
        scale_rows(&mut conv.weight[o * row..(o + 1) * row], &factors[inputs]);
    }
}

/// Multiplies the weights of every input channel by a factor.
pub(super) fn scale_dense_inputs(dense: &mut Dense, factors: &[f64]) {
    let volume = dense.input.volume();
    dense
        .weight
        .chunks_exact_mut(volume)
        .for_each(|row| scale_rows(row, factors));
}

/// `next` after `first`, into `next`.
fn compose(first: &Affine, next: &mut Affine) {
    for (offset, (gain, first)) in next
        .offset
        .iter_mut()
        .zip(next.gain.iter().zip(&first.offset))
    {
        *offset += gain * first;
    }
    next.gain
        .iter_mut()
        .zip(&first.gain)
        .for_each(|(g, first)| *g *= first);
}

/// A quadratic reads `x` where it read `gain x + offset`, unless a gain is so small that no quadratic does.
fn take(activation: &mut Activation, affine: &Affine) -> bool {
    let Activation {
        function: Function::Quadratic(q),
        declared,
        second_moment,
    } = activation
    else {
        return false;
    };
    if !affine.gain.iter().all(|g| (1e-6..1e6).contains(&g.abs())) {
        return false;
    }
    for (c, (gain, offset)) in affine.gain.iter().zip(&affine.offset).enumerate() {
        q.g[c] *= gain * gain;
        q.t[c] = (q.t[c] + offset) / gain;
        declared
            .iter_mut()
            .skip(c)
            .take(1)
            .for_each(|d| *d /= gain.abs());
        second_moment
            .iter_mut()
            .skip(c)
            .take(1)
            .for_each(|m| *m /= gain * gain);
    }
    true
}
