//! Two linear maps in a row become one, where that is exact and cheaper: a pooling, or a dense layer, before a dense layer.

use std::sync::Arc;

use he_layers::{Chw, Conv2d, Dense, Linear};

use super::{concat::is_channelwise, rewrite::Rewrite};
use crate::{
    Graph, ModelError,
    graph::{NodeId, Op, maps},
};

/// Merges every map with the map that alone reads it, where they are one map.
///
/// # Errors
/// As [`Graph::shapes`].
pub fn merge(graph: &Graph) -> Result<Graph, ModelError> {
    let shapes = graph.shapes()?;
    let mut rewrite = Rewrite::new(graph);
    for i in 0..rewrite.graph.nodes.len() {
        let node = &rewrite.graph.nodes[i];
        let (Op::Linear(next), [first]) = (&node.op, node.inputs.as_slice()) else {
            continue;
        };
        let first = *first;
        let Op::Linear(before) = &rewrite.graph.node(first).op else {
            continue;
        };
        if !rewrite.is_only_reader(first, NodeId(i)) {
            continue;
        }
        let source = rewrite.graph.node(first).inputs[0];
        let both = match (before.as_ref(), next.as_ref()) {
            (Linear::Conv(pool), Linear::Dense(dense)) if is_channelwise(pool) => {
                pooled(pool, dense, shapes[source.0])
            }
            (Linear::Dense(first), Linear::Dense(next)) => chained(first, next),
            _ => None,
        };
        if let Some(both) = both {
            let node = &mut rewrite.graph.nodes[i];
            node.op = Op::Linear(Arc::new(Linear::Dense(both)));
            node.inputs = vec![source];
        }
    }
    Ok(rewrite.finish())
}

/// `dense` after a channelwise convolution, for maps of shape `input`.
fn pooled(pool: &Conv2d, dense: &Dense, input: Chw) -> Option<Dense> {
    maps::limit(&dense.name, &[dense.outputs, input.volume()]).ok()?;
    let map = dense.input;
    let axis = |out: usize, tap: usize, stride: usize, padding: usize, size: usize| {
        (out * stride + tap)
            .checked_sub(padding)
            .filter(|at| *at < size)
    };
    // For every weight of the dense layer's row: the pixels that it reads now, with the factor of each.
    let mut sources: Vec<(usize, usize, f64)> = Vec::new();
    let mut constants = vec![0.0; map.volume()];
    for (k, constant) in constants.iter_mut().enumerate() {
        let (c, y, x) = (
            k / map.pixels(),
            k % map.pixels() / map.width,
            k % map.width,
        );
        *constant = pool.bias[c];
        for tap in 0..pool.taps() {
            let (ky, kx) = (tap / pool.kernel.1, tap % pool.kernel.1);
            let row = axis(y, ky, pool.stride.0, pool.padding.top, input.height);
            let column = axis(x, kx, pool.stride.1, pool.padding.left, input.width);
            if let (Some(row), Some(column)) = (row, column) {
                let at = (c * input.height + row) * input.width + column;
                sources.push((k, at, pool.weight[c * pool.taps() + tap]));
                *constant += pool.tap_bias[c * pool.taps() + tap];
            }
        }
    }
    let mut weight = vec![0.0; dense.outputs * input.volume()];
    let rows = weight.chunks_exact_mut(input.volume());
    let mut bias = dense.bias.clone();
    let old = dense.weight.chunks_exact(map.volume()).zip(&mut bias);
    for (row, (old, bias)) in rows.zip(old) {
        for (k, at, factor) in &sources {
            row[*at] += old[*k] * factor;
        }
        *bias += old.iter().zip(&constants).map(|(w, c)| w * c).sum::<f64>();
    }
    Some(Dense {
        name: dense.name.clone(),
        input,
        outputs: dense.outputs,
        weight,
        bias,
    })
}

/// `next` after `first`, unless that has more weights than the two.
fn chained(first: &Dense, next: &Dense) -> Option<Dense> {
    let volume = first.input.volume();
    let count = maps::limit(&next.name, &[next.outputs, volume]).ok()?;
    if count > first.weight.len() + next.weight.len() {
        return None;
    }
    let mut weight = vec![0.0; count];
    let mut bias = next.bias.clone();
    let rows = weight.chunks_exact_mut(volume).zip(&mut bias);
    for ((row, bias), old) in rows.zip(next.weight.chunks_exact(first.outputs)) {
        for ((w, first_row), first_bias) in old
            .iter()
            .zip(first.weight.chunks_exact(volume))
            .zip(&first.bias)
        {
            row.iter_mut()
                .zip(first_row)
                .for_each(|(sum, v)| *sum += w * v);
            *bias += w * first_bias;
        }
    }
    Some(Dense {
        name: next.name.clone(),
        input: first.input,
        outputs: next.outputs,
        weight,
        bias,
    })
}
