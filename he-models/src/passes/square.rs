//! Quadratics become squares `(x + t)^2`: what the encrypted run computes. Their gains and offsets stand apart.

use super::rewrite::Rewrite;
use crate::graph::{Affine, Function, Graph, NodeId, Op, Quadratic};

/// Splits every quadratic `g (x + t)^2 + d` into a square and a gain and an offset after it.
#[must_use]
pub fn split(graph: &Graph) -> Graph {
    let mut rewrite = Rewrite::empty(graph);
    let mut positions: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inputs = node.inputs.iter().map(|id| positions[id.0]).collect();
        let mut op = node.op.clone();
        let mut after = None;
        if let Op::Activation(activation) = &mut op
            && let Function::Quadratic(q) = &mut activation.function
            && !q.is_square()
        {
            let channels = q.t.len();
            let gain = std::mem::replace(&mut q.g, vec![1.0; channels]);
            let offset = std::mem::replace(&mut q.d, vec![0.0; channels]);
            after = Some(Op::Affine(Affine { gain, offset }));
        }
        let mut id = rewrite.push(node.name.clone(), inputs, op);
        if let Some(affine) = after {
            id = rewrite.push(format!("{}.scale", node.name), vec![id], affine);
        }
        positions.push(id);
    }
    rewrite.finish()
}

/// `a x^2 + b x + c` as `g (x + t)^2 + d`, by channel; the channel where `a` is too small for `b`, if there is one.
pub(crate) fn complete(a: &[f64], b: &[f64], c: &[f64]) -> Result<Quadratic, usize> {
    let mut q = Quadratic {
        g: a.to_vec(),
        t: vec![0.0; a.len()],
        d: c.to_vec(),
    };
    for k in 0..a.len() {
        if b[k] == 0.0 {
            continue;
        }
        q.t[k] = b[k] / (2.0 * a[k]);
        q.d[k] = c[k] - b[k] * q.t[k] / 2.0;
        if !(q.t[k].is_finite() && q.d[k].is_finite()) {
            return Err(k);
        }
    }
    Ok(q)
}
