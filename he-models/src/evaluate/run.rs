//! One image through a graph. Buffers are shared between nodes that are not alive at the same time.

use he_layers::Chw;

use super::{ActivationRecord, Evaluation, kernels::{Columns, Convolution}, max_or_nan};
use crate::{
    Graph, ModelError,
    graph::{Activation, Function, NodeId, Op},
    linear::Linear,
};

/// A graph with what is the same for all images.
pub(super) struct Runner<'a> {
    graph: &'a Graph,
    shapes: Vec<Chw>,
    steps: Vec<Step<'a>>,
    buffers: usize,
}

/// A node: which buffers it reads and writes.
struct Step<'a> {
    inputs: Vec<usize>,
    output: usize,
    /// Convolutions, prepared.
    convolution: Option<Convolution<'a>>,
}

/// The buffers of one worker.
#[derive(Default)]
pub(super) struct Workspace {
    buffers: Vec<Vec<f64>>,
    columns: Columns,
}

impl<'a> Runner<'a> {
    pub(super) fn new(graph: &'a Graph) -> Result<Self, ModelError> {
        let shapes = graph.shapes()?;
        let mut last_use: Vec<usize> = (0..graph.nodes.len()).collect();
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|id| last_use[id.0] = i);
        }
        last_use[graph.output().0] = usize::MAX;
        let (mut free, mut buffers) = (Vec::new(), 0);
        let mut buffer_of: Vec<usize> = Vec::with_capacity(graph.nodes.len());
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for (i, node) in graph.nodes.iter().enumerate() {
            let inputs: Vec<usize> = node.inputs.iter().map(|id| buffer_of[id.0]).collect();
            let mut dying: Vec<usize> = Vec::new();
            for id in node.inputs.iter().filter(|id| last_use[id.0] == i) {
                if !dying.contains(&buffer_of[id.0]) {
                    dying.push(buffer_of[id.0]);
                }
            }
            // In its first input's place, where that is not needed any more and values do not move.
            let pointwise = matches!(node.op, Op::Affine(_) | Op::Activation(_) | Op::Add);
            let in_place = pointwise && dying.contains(&inputs[0]);
            let output = if in_place {
                dying.retain(|buffer| *buffer != inputs[0]);
                inputs[0]
            } else {
                free.pop().unwrap_or_else(|| {
                    buffers += 1;
                    buffers - 1
                })
            };
            free.extend(dying);
            if last_use[i] == i {
                // Nobody reads it.
                free.push(output);
            }
            buffer_of.push(output);
            let convolution = match &node.op {
                Op::Linear(linear) => match linear.as_ref() {
                    Linear::Conv(conv) => {
                        Some(Convolution::new(conv, shapes[node.inputs[0].0], shapes[i]))
                    }
                    Linear::Dense(_) => None,
                },
                Op::Input | Op::Affine(_) | Op::Activation(_) | Op::Add | Op::Concat => None,
            };
            steps.push(Step {
                inputs,
                output,
                convolution,
            });
        }
        Ok(Self {
            graph,
            shapes,
            steps,
            buffers,
        })
    }

    pub(super) fn shape(&self, id: NodeId) -> Chw {
        self.shapes[id.0]
    }

    /// Appends the logits of one image, and says whether it stayed in the declared ranges.
    pub(super) fn image(
        &self,
        image: &[f64],
        workspace: &mut Workspace,
        out: &mut Evaluation,
    ) -> bool {
        let Workspace { buffers, columns } = workspace;
        buffers.resize_with(self.buffers, Vec::new);
        let mut records = out.activations.iter_mut();
        let mut in_range = true;
        for ((node, step), shape) in self.graph.nodes.iter().zip(&self.steps).zip(&self.shapes) {
            // Out of the list, so that the inputs can be read while it is written.
            let mut values = std::mem::take(&mut buffers[step.output]);
            let in_place = step.inputs.first() == Some(&step.output);
            let input = |k: usize| buffers[step.inputs[k]].as_slice();
            if matches!(node.op, Op::Affine(_) | Op::Activation(_) | Op::Add) && !in_place {
                values.clear();
                values.extend_from_slice(input(0));
            }
            match &node.op {
                Op::Input => {
                    values.clear();
                    values.extend_from_slice(image);
                }
                Op::Affine(affine) => {
                    let channels = values.chunks_exact_mut(shape.pixels());
                    for ((channel, g), o) in channels.zip(&affine.gain).zip(&affine.offset) {
                        channel.iter_mut().for_each(|x| *x = g * *x + o);
                    }
                }
                Op::Activation(activation) => {
                    if let Some(record) = records.next() {
                        in_range &= activate(activation, *shape, &mut values, record);
                    }
                }
                Op::Add => {
                    for k in 1..step.inputs.len() {
                        if step.inputs[k] == step.output {
                            // The same tensor twice.
                            values.iter_mut().for_each(|x| *x += *x);
                        } else {
                            values.iter_mut().zip(input(k)).for_each(|(x, y)| *x += y);
                        }
                    }
                }
                Op::Concat => {
                    values.clear();
                    (0..step.inputs.len()).for_each(|k| values.extend_from_slice(input(k)));
                }
                Op::Linear(linear) => match (linear.as_ref(), &step.convolution) {
                    (_, Some(convolution)) => {
                        convolution.forward(input(0), columns, &mut values);
                    }
                    (Linear::Dense(dense), _) => {
                        values.clear();
                        let rows = dense.weight.chunks_exact(dense.input.volume());
                        let x = input(0);
                        values.extend(rows.zip(&dense.bias).map(|(row, b)| b + dot(row, x)));
                    }
                    (Linear::Conv(_), None) => unreachable!("convolutions are prepared"),
                },
            }
            buffers[step.output] = values;
        }
        let last = self.steps.last().map_or(0, |step| step.output);
        out.logits.extend_from_slice(&buffers[last]);
        in_range
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Several sums at a time, so that additions need not wait for each other.
    let mut sums = [0.0; 8];
    let (chunks, others) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = chunks.remainder().iter().zip(others.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in chunks.zip(others) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    rest + sums.iter().sum::<f64>()
}

/// Applies an activation, notes what it sees, and says whether that is within the declared ranges.
fn activate(
    activation: &Activation,
    shape: Chw,
    values: &mut [f64],
    record: &mut ActivationRecord,
) -> bool {
    let pixels = shape.pixels();
    record.values += pixels as u64;
    let mut in_range = true;
    for (c, channel) in values.chunks_exact_mut(pixels).enumerate() {
        let (mut largest, mut sum) = (0.0_f64, 0.0);
        let mut see = |x: f64| {
            let square = x * x;
            largest = largest.max(square);
            sum += square;
            square
        };
        match &activation.function {
            Function::Quadratic(q) => {
                let (g, t, d) = (q.g[c], q.t[c], q.d[c]);
                channel.iter_mut().for_each(|x| *x = g * see(*x + t) + d);
            }
            Function::Polynomial { .. } | Function::Relu(_) => channel.iter_mut().for_each(|x| {
                see(*x);
                *x = activation.function.evaluate(c, *x);
            }),
        }
        // `max` drops a NaN, the sum keeps it.
        let largest = if sum.is_nan() {
            f64::NAN
        } else {
            largest.sqrt()
        };
        let declared = activation.declared.get(c);
        in_range &= declared.is_none_or(|&range| largest <= range);
        record.max_abs[c] = max_or_nan(record.max_abs[c], largest);
        record.sum_squares[c] += sum;
    }
    in_range
}
