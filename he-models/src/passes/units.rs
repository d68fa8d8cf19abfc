//! Units: the encrypted run computes a factor times what the exported network computes, so that absolute errors mean the same
//! everywhere.
//!
//! What is squared has second moment 1: every channel has a factor of its own, `1 / sqrt(second_moment)`. A stream that is added
//! to itself is read by several squares; it has one factor for all its channels, the geometric mean of what its readers would
//! like. What a ReLU reads is divided by the channel's declared range; a ReLU passes positive factors on as they are, so that
//! the stream behind it has the same units. Input, output and what general polynomials read and give stay as they are.

use std::sync::Arc;

use he_layers::{Chebyshev, Linear, PolyOutput};

use super::affine::{scale_conv_inputs, scale_dense_inputs, scale_rows};
use crate::{
    Graph, ModelError,
    graph::{Activation, Function, NodeId, Op},
};

/// Second moments below this part of the activation's largest would make factors out of proportion.
const LEAST_MOMENT: f64 = 1e-8;
/// The same for declared ranges of ReLUs.
const LEAST_RANGE: f64 = 1e-3;

/// The graph in units of the encrypted run. Its activations are squares, polynomials and ReLUs; nothing else may stand where a
/// factor has to go: see [`bridge`](super::bridge).
///
/// # Errors
/// [`ModelError::NoStatistics`] for an activation without; [`ModelError::Node`] for a polynomial that cannot be written on its
/// declared range.
pub fn normalise(graph: &Graph) -> Result<Graph, ModelError> {
    let missing = graph.activations().find(|(_, _, a)| a.declared.is_empty());
    if let Some((_, node, _)) = missing {
        return Err(ModelError::NoStatistics {
            model: graph.name.clone(),
            activation: node.name.clone(),
        });
    }
    let factors = factors(graph)?;
    let mut out = graph.clone();
    for (i, node) in out.nodes.iter_mut().enumerate() {
        let read = node.inputs.first().map(|id| &factors[id.0]);
        match (&mut node.op, read) {
            (Op::Linear(map), Some(read)) => rescale(Arc::make_mut(map), read, &factors[i]),
            (Op::Activation(activation), Some(read)) => {
                rescale_activation(&node.name, activation, read)?;
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Nodes in classes of one factor.
struct Classes {
    parent: Vec<usize>,
}

impl Classes {
    fn of(&self, mut at: usize) -> usize {
        while self.parent[at] != at {
            at = self.parent[at];
        }
        at
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.parent[a] = b;
    }
}

fn is_square(op: &Op) -> bool {
    matches!(op, Op::Activation(a) if matches!(a.function, Function::Quadratic(_)))
}

/// The factor of every node and channel.
fn factors(graph: &Graph) -> Result<Vec<Vec<f64>>, ModelError> {
    let shapes = graph.shapes()?;
    let count = graph.nodes.len();
    let mut classes = Classes {
        parent: (0..count).collect(),
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        let tied = match &node.op {
            Op::Activation(activation) => matches!(activation.function, Function::Relu(_)),
            Op::Add => true,
            Op::Input | Op::Linear(_) | Op::Affine(_) | Op::Concat => false,
        };
        if tied {
            node.inputs.iter().for_each(|id| classes.tie(id.0, i));
        }
    }
    let mut fixed = vec![false; count];
    let mut summed = vec![false; count];
    let mut readers: Vec<Vec<&Activation>> = vec![Vec::new(); count];
    fixed[classes.of(0)] = true;
    fixed[classes.of(graph.output().0)] = true;
    for (i, node) in graph.nodes.iter().enumerate() {
        match &node.op {
            Op::Add => summed[classes.of(i)] = true,
            Op::Activation(activation) => {
                let read = classes.of(node.inputs[0].0);
                readers[read].push(activation);
                let polynomial = matches!(activation.function, Function::Polynomial { .. });
                if polynomial {
                    fixed[read] = true;
                    fixed[classes.of(i)] = true;
                }
                if is_square(&node.op) && NodeId(i) == graph.output() {
                    fixed[read] = true;
                }
            }
            Op::Affine(_) | Op::Concat => {
                // They cannot take a factor: neither they nor what they read has one.
                fixed[classes.of(i)] = true;
                node.inputs
                    .iter()
                    .for_each(|id| fixed[classes.of(id.0)] = true);
            }
            Op::Input | Op::Linear(_) => {}
        }
    }
    let mut factors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for (i, node) in graph.nodes.iter().enumerate() {
        let class = classes.of(i);
        let channels = shapes[i].channels;
        factors.push(if is_square(&node.op) {
            factors[node.inputs[0].0].iter().map(|f| f * f).collect()
        } else if fixed[class] || readers[class].is_empty() {
            vec![1.0; channels]
        } else {
            wished(&readers[class], channels, summed[class])
        });
    }
    Ok(factors)
}

/// What the activations that read a class of nodes would like.
fn wished(readers: &[&Activation], channels: usize, summed: bool) -> Vec<f64> {
    let relus: Vec<&&Activation> = readers
        .iter()
        .filter(|a| matches!(a.function, Function::Relu(_)))
        .collect();
    let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let floored = |values: &[f64], least: f64| -> Vec<f64> {
        let most = largest(values);
        let least = if most > 0.0 { least * most } else { 1.0 };
        values.iter().map(|v| v.max(least)).collect()
    };
    if !relus.is_empty() {
        let range = |c: usize| relus.iter().map(|a| a.declared[c]).fold(0.0, f64::max);
        let ranges: Vec<f64> = (0..channels).map(range).collect();
        return floored(&ranges, LEAST_RANGE)
            .iter()
            .map(|r| 1.0 / r)
            .collect();
    }
    let moments: Vec<Vec<f64>> = readers
        .iter()
        .map(|a| floored(&a.second_moment, LEAST_MOMENT))
        .collect();
    let mean = |logs: &mut dyn Iterator<Item = f64>, count: usize| {
        (-0.5 * logs.sum::<f64>() / count as f64).exp()
    };
    if summed {
        let all = moments.iter().map(Vec::len).sum();
        let factor = mean(&mut moments.iter().flatten().map(|m| m.ln()), all);
        return vec![factor; channels];
    }
    let of = |c: usize| match moments.as_slice() {
        [only] => only[c].sqrt().recip(),
        several => mean(&mut several.iter().map(|m| m[c].ln()), several.len()),
    };
    (0..channels).map(of).collect()
}

/// The map that reads `read` times and gives `given` times what it did.
fn rescale(map: &mut Linear, read: &[f64], given: &[f64]) {
    let inverse: Vec<f64> = read.iter().map(|f| 1.0 / f).collect();
    match map {
        Linear::Conv(conv) => {
            scale_conv_inputs(conv, &inverse);
            scale_rows(&mut conv.weight, given);
            scale_rows(&mut conv.tap_bias, given);
            scale_rows(&mut conv.bias, given);
        }
        Linear::Dense(dense) => {
            scale_dense_inputs(dense, &inverse);
            scale_rows(&mut dense.weight, given);
            scale_rows(&mut dense.bias, given);
        }
    }
}

/// The activation that reads `factor` times what it did.
fn rescale_activation(
    name: &str,
    activation: &mut Activation,
    factor: &[f64],
) -> Result<(), ModelError> {
    scale_rows(&mut activation.declared, factor);
    scale_rows(&mut activation.second_moment, factor);
    scale_rows(&mut activation.second_moment, factor);
    match &mut activation.function {
        Function::Quadratic(q) => scale_rows(&mut q.t, factor),
        Function::Polynomial {
            polynomials,
            output: PolyOutput::Value,
        } => {
            if let [only] = polynomials.as_mut_slice() {
                let range = activation.declared.iter().copied().fold(0.0, f64::max);
                *only = on_range(name, only, range)?;
            }
        }
        Function::Polynomial { .. } | Function::Relu(_) => {}
    }
    Ok(())
}

/// The same polynomial, written on an interval around zero that covers the declared range.
fn on_range(name: &str, p: &Chebyshev, range: f64) -> Result<Chebyshev, ModelError> {
    let (from, to) = p.interval();
    if -from >= range && to >= range {
        return Ok(p.clone());
    }
    Chebyshev::interpolate(|x| p.evaluate(x), p.degree(), (-range, range))
        .map_err(|e| ModelError::node(name, "its polynomial on the declared range", e, "finite"))
}
