//! The network in memory: a graph whose nodes hold their weights. All passes, the plaintext evaluation and the lowering
//! work on it.

mod build;
pub(crate) mod maps;

use std::sync::Arc;

use he_layers::{Chebyshev, Chw, Linear, PolyOutput};

use crate::{ActivationStatistics, ModelError, passes::shapes, spec::ReluApproximation};

pub(crate) use build::build;

/// Position of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A network: nodes in topological order. The first one is the input, pixels divided by 255 and conditioned; the last one
/// gives the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The model's name, for messages.
    pub name: String,
    /// Shape of an image.
    pub input: Chw,
    /// The nodes, each after those that it reads.
    pub nodes: Vec<Node>,
}

/// A node of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The nodes that it reads, all of them earlier ones.
    pub inputs: Vec<NodeId>,
    /// What it computes.
    pub op: Op,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The images. Only the first node is one.
    Input,
    /// A linear map of one input: convolution, pooling, channel slice, dense layer.
    Linear(Arc<Linear>),
    /// A gain and an offset per channel of one input: normalisation, batch norm.
    Affine(Affine),
    /// A function of every value of one input.
    Activation(Activation),
    /// The sum of all inputs.
    Add,
    /// The channels of all inputs, one input after the other.
    Concat,
}

/// `gain x + offset`, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// One a channel.
    pub gain: Vec<f64>,
    /// One a channel.
    pub offset: Vec<f64>,
}

/// A pointwise function and what is known of the values that it sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// The function.
    pub function: Function,
    /// Range that the absolute value of what it sees is promised to stay in, per channel; empty if unknown.
    pub declared: Vec<f64>,
    /// Mean of the square of what it sees, per channel; empty if unknown.
    pub second_moment: Vec<f64>,
}

/// A pointwise function.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// `g (x + t)^2 + d`, per channel. It sees `x + t`.
    Quadratic(Quadratic),
    /// Polynomials applied in turn, the same for all channels. It sees `x`.
    Polynomial {
        /// The polynomials, the first one applied first.
        polynomials: Vec<Chebyshev>,
        /// Whether the last one gives the value, or the factor of `x`.
        output: PolyOutput,
    },
    /// `max(x, 0)`, and what stands for it in the encrypted run. It sees `x`.
    Relu(ReluApproximation),
}

/// The parameters of `g (x + t)^2 + d`, one of each for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadratic {
    /// Gains.
    pub g: Vec<f64>,
    /// Offsets before the square.
    pub t: Vec<f64>,
    /// Offsets after it.
    pub d: Vec<f64>,
}

impl Quadratic {
    /// Whether it is `(x + t)^2` and nothing more.
    #[must_use]
    pub fn is_square(&self) -> bool {
        self.g.iter().all(|g| *g == 1.0) && self.d.iter().all(|d| *d == 0.0)
    }
}

impl Function {
    /// Whether what stands for it is bounded, wherever its argument is.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        matches!(self, Self::Relu(ReluApproximation::Refresh { .. }))
    }

    /// The function of one value in channel `c`.
    #[must_use]
    pub fn evaluate(&self, c: usize, x: f64) -> f64 {
        match self {
            Self::Quadratic(q) => q.g[c] * (x + q.t[c]) * (x + q.t[c]) + q.d[c],
            Self::Polynomial {
                polynomials,
                output,
            } => {
                let value = polynomials.iter().fold(x, |x, p| p.evaluate(x));
                match output {
                    PolyOutput::Value => value,
                    PolyOutput::Gate => x * value,
                }
            }
            // A NaN stays one.
            Self::Relu(_) => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
        }
    }
}

impl Graph {
    /// The node at a position.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node that gives the logits.
    #[must_use]
    pub fn output(&self) -> NodeId {
        NodeId(self.nodes.len() - 1)
    }

    /// Shape of every node's output.
    ///
    /// # Errors
    /// As [`shapes::infer`].
    pub fn shapes(&self) -> Result<Vec<Chw>, ModelError> {
        shapes::infer(self)
    }

    /// For every node, those that read it, in order; a node that reads another twice is there twice.
    #[must_use]
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                readers[input.0].push(NodeId(i));
            }
        }
        readers
    }

    /// The activations in order.
    pub fn activations(&self) -> impl Iterator<Item = (NodeId, &Node, &Activation)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(i, node)| match &node.op {
            Op::Activation(activation) => Some((NodeId(i), node, activation)),
            Op::Input | Op::Linear(_) | Op::Affine(_) | Op::Add | Op::Concat => None,
        })
    }

    /// Whether an image that leaves the declared ranges can spoil the others of its ciphertexts: values grow without bound where
    /// an activation is a polynomial, and go on periodically where a refresh applies it.
    #[must_use]
    pub fn grows_beyond_ranges(&self) -> bool {
        let bounded = Function::is_bounded;
        self.activations().any(|(_, _, a)| !bounded(&a.function))
    }

    /// Puts statistics in the place of those that the activations have: one entry for each, in order, or none at all.
    pub(crate) fn set_statistics(
        &mut self,
        statistics: &[ActivationStatistics],
    ) -> Result<(), ModelError> {
        let shapes = self.shapes()?;
        let mut entries = statistics.iter();
        for (node, shape) in self.nodes.iter_mut().zip(&shapes) {
            let Op::Activation(activation) = &mut node.op else {
                continue;
            };
            let Some(entry) = entries.next() else {
                (activation.declared, activation.second_moment) = (Vec::new(), Vec::new());
                continue;
            };
            for (what, values) in [
                ("declared", &entry.declared),
                ("second_moment", &entry.second_moment),
            ] {
                if values.len() != shape.channels {
                    let found = format!("{} values", values.len());
                    let expected = format!("{}, one a channel", shape.channels);
                    return Err(ModelError::node(&node.name, what, found, expected));
                }
            }
            activation.declared.clone_from(&entry.declared);
            activation.second_moment.clone_from(&entry.second_moment);
        }
        Ok(())
    }
}
