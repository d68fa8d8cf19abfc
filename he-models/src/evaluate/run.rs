//! Some images through a graph, node by node. A tensor is freed when its last reader has it.

use he_layers::{Chw, PlainTensor};

use super::{ActivationRecord, Evaluation, Excess, max_or_nan, share};
use crate::{
    Graph, ModelError,
    graph::{Activation, Affine, Function, NodeId, Op},
};

/// Values of the largest tensor that a task holds at a time, if several images have fewer.
const TENSOR_VALUES: usize = 1 << 21;

/// A graph with what is the same for all images.
pub(super) struct Runner<'a> {
    graph: &'a Graph,
    shapes: Vec<Chw>,
    /// The last reader of every node.
    last_use: Vec<usize>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(graph: &'a Graph) -> Result<Self, ModelError> {
        let shapes = graph.shapes()?;
        let mut last_use: Vec<usize> = (0..graph.nodes.len()).collect();
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|id| last_use[id.0] = i);
        }
        Ok(Self {
            graph,
            shapes,
            last_use,
        })
    }

    pub(super) fn shape(&self, id: NodeId) -> Chw {
        self.shapes[id.0]
    }

    /// Images that one task takes. It does not depend on the number of threads.
    pub(super) fn images_at_a_time(&self, most: usize) -> usize {
        let largest = self.shapes.iter().map(Chw::volume).max().unwrap_or(1);
        (TENSOR_VALUES / largest).clamp(1, most)
    }

    /// Appends the logits of some images, and notes what their activations see.
    pub(super) fn run(&self, images: PlainTensor, out: &mut Evaluation) -> Result<(), ModelError> {
        let count = images.n;
        let mut images = Some(images);
        let mut tensors: Vec<Option<PlainTensor>> = vec![None; self.graph.nodes.len()];
        let mut records = out.activations.iter_mut().enumerate();
        let mut left: Vec<Option<Excess>> = vec![None; count];
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let missing = || ModelError::node(&node.name, "an input", "freed", "alive");
            // The node's first input, to be overwritten.
            let own = |tensors: &mut Vec<Option<PlainTensor>>| {
                let id = node.inputs[0];
                let again = node.inputs[1..].contains(&id);
                let first = if self.last_use[id.0] == i && !again {
                    tensors[id.0].take()
                } else {
                    tensors[id.0].clone()
                };
                first.ok_or_else(missing)
            };
            let result = match &node.op {
                Op::Input => images.take().ok_or_else(missing)?,
                Op::Linear(map) => {
                    map.forward_plain(tensors[node.inputs[0].0].as_ref().ok_or_else(missing)?)?
                }
                Op::Affine(affine) => {
                    let mut x = own(&mut tensors)?;
                    scale(affine, &mut x);
                    x
                }
                Op::Activation(activation) => {
                    let mut x = own(&mut tensors)?;
                    if let Some(record) = records.next() {
                        activate(activation, &mut x, record, &mut left);
                    }
                    x
                }
                Op::Add => {
                    let mut sum = own(&mut tensors)?;
                    for id in &node.inputs[1..] {
                        sum.add_assign(&node.name, tensors[id.0].as_ref().ok_or_else(missing)?)?;
                    }
                    sum
                }
                Op::Concat => {
                    let parts = node.inputs.iter().map(|id| tensors[id.0].as_ref());
                    let parts: Option<Vec<&PlainTensor>> = parts.collect();
                    concatenate(&parts.ok_or_else(missing)?, count, self.shapes[i])?
                }
            };
            tensors[i] = Some(result);
            for id in &node.inputs {
                if self.last_use[id.0] == i {
                    tensors[id.0] = None;
                }
            }
        }
        if let Some(Some(logits)) = tensors.last() {
            out.logits.extend_from_slice(&logits.data);
        }
        out.out_of_range.extend(left.into_iter().flatten());
        Ok(())
    }
}

/// The maps of a tensor, image by image, with their channels.
fn maps(x: &mut PlainTensor) -> impl Iterator<Item = (usize, &mut [f64])> {
    let channels = x.shape.channels;
    let maps = x.data.chunks_exact_mut(x.shape.pixels()).enumerate();
    maps.map(move |(i, map)| (i % channels, map))
}

fn scale(affine: &Affine, x: &mut PlainTensor) {
    for (c, map) in maps(x) {
        let (gain, offset) = (affine.gain[c], affine.offset[c]);
        map.iter_mut().for_each(|x| *x = gain * *x + offset);
    }
}

fn concatenate(
    parts: &[&PlainTensor],
    count: usize,
    shape: Chw,
) -> Result<PlainTensor, ModelError> {
    let mut data = Vec::with_capacity(count * shape.volume());
    for n in 0..count {
        parts
            .iter()
            .for_each(|part| data.extend_from_slice(part.image(n)));
    }
    Ok(PlainTensor::new(count, shape, data)?)
}

/// Applies an activation, notes what it sees, and where images leave a declared range first.
fn activate(
    activation: &Activation,
    x: &mut PlainTensor,
    (position, record): (usize, &mut ActivationRecord),
    left: &mut [Option<Excess>],
) {
    let channels = x.shape.channels;
    record.values += (x.n * x.shape.pixels()) as u64;
    for (i, (c, map)) in maps(x).enumerate() {
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
                map.iter_mut().for_each(|x| *x = g * see(*x + t) + d);
            }
            Function::Polynomial { .. } | Function::Relu(_) => map.iter_mut().for_each(|x| {
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
        let within = |range: &f64| largest <= *range;
        if let Some(declared) = activation.declared.get(c).filter(|range| !within(range)) {
            let excess = Excess {
                image: i / channels,
                activation: position,
                channel: c,
                share: share(largest, *declared),
            };
            let first = left[excess.image].get_or_insert(excess);
            if first.activation == position && first.share < excess.share {
                *first = excess;
            }
        }
        record.max_abs[c] = max_or_nan(record.max_abs[c], largest);
        record.sum_squares[c] += sum;
    }
}
