//! Networks in normal form: what is computed, without ring, layout or keys.

use std::fmt;
use std::sync::Arc;

use crate::error::LayerError;
use crate::linear::{Conv2d, Linear};
use crate::pointwise::{Pointwise, Rescaled};
use crate::spec::Form;
use crate::tensor::Chw;

/// A layer: a description that becomes nodes of a [`Program`].
pub trait Layer: fmt::Debug + Send + Sync {
    /// Name for reports and errors.
    fn name(&self) -> &str;

    /// Adds the layer to a program, reading `x`, and gives what comes out.
    ///
    /// # Errors
    /// If the layer does not fit what it reads.
    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError>;
}

/// A value of a [`Program`]: the input, the sum of a node, or a pointwise stage of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(crate) usize);

/// One summand of a node.
#[derive(Clone, Debug)]
pub enum Term {
    /// A linear map of a value.
    Linear(Value, Arc<Linear>),
    /// A value as it is: the residual stream of a network. It is lifted to the sum's scale and not multiplied.
    Add(Value),
}

impl Term {
    /// The linear map `map` of `value`.
    pub fn linear(value: Value, map: impl Into<Linear>) -> Self {
        Self::Linear(value, Arc::new(map.into()))
    }

    /// The value that is read.
    pub fn value(&self) -> Value {
        match self {
            Self::Linear(value, _) | Self::Add(value) => *value,
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The network's input.
    Input,
    /// The sum of the node of this index.
    Sum(usize),
    /// A pointwise stage of an earlier value.
    Stage(Value, Arc<dyn Pointwise>),
}

/// A value's source and the shape of one image's maps.
#[derive(Clone, Debug)]
pub(crate) struct ValueEntry {
    pub source: Source,
    pub shape: Chw,
}

/// A node: a sum of linear maps of values and of values as they are.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) stage: String,
    pub(crate) name: String,
    pub(crate) terms: Vec<Term>,
    pub(crate) value: Value,
}

impl Node {
    /// Label of the part of the network that the node belongs to. Reports add up nodes of one label.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// Name for reports and errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The summands.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The sum.
    pub fn value(&self) -> Value {
        self.value
    }
}

/// A network as a list of nodes `y = sum_k L_k(v_k) + sum_j v_j`, in the order of computation.
///
/// A value `v` is the input, an earlier sum, or a chain of pointwise stages of one of them. Several readers of one value
/// share its stages and rotations: in the encrypted run a tensor is read once, channel block by channel block, for all of them.
///
/// # Example
/// ```
/// use he_layers::{Chw, Conv2d, Dense, Program, Square, Term};
///
/// let conv = Conv2d::new("conv", (1, 2), (3, 3), (1, 1), (1, 1), vec![0.1; 18])?;
/// let head = Dense::pooled("head", Chw::new(2, 4, 4), 3, &[0.2; 6], vec![0.0; 3])?;
/// let mut net = Program::new("small", Chw::new(1, 4, 4), vec![0.5]);
/// let x = net.node("stem", "conv", vec![Term::linear(net.input(), conv)])?;
/// let x = net.apply(x, Square::new("square", vec![0.0; 2], vec![2.0; 2], vec![1.0; 2])?)?;
/// let y = net.node("head", "head", vec![Term::linear(x, head)])?;
/// net.finish(y)?;
/// assert_eq!(net.shape(y), Chw::new(3, 1, 1));
/// # Ok::<(), he_layers::LayerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    input_mean: Vec<f64>,
    values: Vec<ValueEntry>,
    nodes: Vec<Node>,
    output: Option<Value>,
    spare_levels: usize,
}

impl Program {
    /// A network without nodes, for images of shape `input`. `input_mean`: mean of each input channel, in the units that are
    /// encrypted, or nothing for zero. Only the correction of rounded weights uses it.
    pub fn new(name: impl Into<String>, input: Chw, input_mean: Vec<f64>) -> Self {
        let input = ValueEntry {
            source: Source::Input,
            shape: input,
        };
        Self {
            name: name.into(),
            input_mean,
            values: vec![input],
            nodes: Vec::new(),
            output: None,
            spare_levels: 0,
        }
    }

    /// Gives the output `levels` levels more than it is prepared for otherwise: for whoever computes on with it.
    pub fn leave_levels(&mut self, levels: usize) {
        self.spare_levels = levels;
    }

    /// Levels that the output has more than it is prepared for otherwise.
    pub fn spare_levels(&self) -> usize {
        self.spare_levels
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The input.
    pub fn input(&self) -> Value {
        Value(0)
    }

    /// Shape of one image's maps of a value.
    ///
    /// # Panics
    /// If the value belongs to another program and this one has fewer.
    pub fn shape(&self, value: Value) -> Chw {
        self.values[value.0].shape
    }

    /// The nodes, in the order of computation.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What the network gives: the sum of a node.
    ///
    /// # Errors
    /// [`LayerError::Unfinished`] before [`Self::finish`].
    pub fn output(&self) -> Result<Value, LayerError> {
        self.output.ok_or_else(|| LayerError::Unfinished {
            program: self.name.clone(),
        })
    }

    /// Mean of each input channel as it was given: nothing if it was not.
    pub(crate) fn given_input_mean(&self) -> &[f64] {
        &self.input_mean
    }

    /// Mean of each input channel; zeros where none was given.
    pub fn input_mean(&self) -> Vec<f64> {
        let channels = self.values[0].shape.channels;
        let mut mean = self.input_mean.clone();
        mean.resize(channels, 0.0);
        mean
    }

    pub(crate) fn values(&self) -> &[ValueEntry] {
        &self.values
    }

    /// A pointwise stage of a value. The same stage of the same value is one value for all readers.
    ///
    /// # Errors
    /// [`LayerError::Channels`] and others, if the stage does not fit the value's channels; [`LayerError::UnknownValue`].
    pub fn apply<P: Pointwise + 'static>(
        &mut self,
        x: Value,
        stage: P,
    ) -> Result<Value, LayerError> {
        self.apply_shared(x, Arc::new(stage))
    }

    /// As [`Self::apply`], for a stage that is shared or whose type is not known.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_shared(
        &mut self,
        x: Value,
        stage: Arc<dyn Pointwise>,
    ) -> Result<Value, LayerError> {
        let shape = self.entry(stage.name(), x)?.shape;
        stage.check_channels(shape.channels)?;
        let same = |entry: &ValueEntry| matches!(&entry.source, Source::Stage(of, s) if *of == x && Arc::ptr_eq(s, &stage));
        if let Some(index) = self.values.iter().position(same) {
            return Ok(Value(index));
        }
        Ok(self.push(Source::Stage(x, stage), shape))
    }

    /// A node: the sum of its terms. `stage` labels the part of the network for reports, `name` the node itself.
    ///
    /// A linear map of an earlier sum without a stage between reads the rescaled sum.
    ///
    /// # Errors
    /// [`LayerError::Shape`] if the terms have different shapes, [`LayerError::NoTerms`] without any,
    /// [`LayerError::UnknownValue`], and those of the maps.
    pub fn node(&mut self, stage: &str, name: &str, terms: Vec<Term>) -> Result<Value, LayerError> {
        for term in &terms {
            if let Term::Linear(_, map) = term {
                map.validate()?;
            }
        }
        self.checked_node(stage, name, terms)
    }

    /// [`Self::node`] for maps whose numbers were looked at before.
    pub(super) fn checked_node(
        &mut self,
        stage: &str,
        name: &str,
        terms: Vec<Term>,
    ) -> Result<Value, LayerError> {
        let mut shape: Option<Chw> = None;
        for term in &terms {
            let input = self.entry(name, term.value())?.shape;
            let found = match term {
                Term::Linear(_, map) => map.output_shape(input)?,
                Term::Add(_) => input,
            };
            let expected = *shape.get_or_insert(found);
            if found != expected {
                let layer = name.to_owned();
                return Err(LayerError::Shape {
                    layer,
                    found,
                    expected,
                });
            }
        }
        let shape = shape.ok_or_else(|| LayerError::NoTerms {
            node: name.to_owned(),
        })?;
        let terms = terms
            .into_iter()
            .map(|term| self.readable(term))
            .collect::<Result<Vec<_>, _>>()?;
        let value = self.push(Source::Sum(self.nodes.len()), shape);
        self.nodes.push(Node {
            stage: stage.to_owned(),
            name: name.to_owned(),
            terms,
            value,
        });
        Ok(value)
    }

    /// Says what the network gives. A value that is not the sum of a node, or that others read too, gets a node of its own,
    /// named `output`.
    ///
    /// # Errors
    /// [`LayerError::UnknownValue`].
    pub fn finish(&mut self, output: Value) -> Result<(), LayerError> {
        let entry = self.entry("output", output)?;
        let (is_sum, shape) = (matches!(entry.source, Source::Sum(_)), entry.shape);
        let is_square = match &entry.source {
            Source::Stage(_, stage) => stage.output_form() == Form::Squares,
            Source::Input | Source::Sum(_) => false,
        };
        let read = self.nodes.iter().flat_map(Node::terms).map(Term::value);
        let staged = self.values.iter().filter_map(|v| match &v.source {
            Source::Stage(of, _) => Some(*of),
            Source::Input | Source::Sum(_) => None,
        });
        let is_read = read.chain(staged).any(|v| v == output);
        self.output = Some(if is_sum && !is_read {
            output
        } else if is_square {
            let identity = Conv2d::select("output", shape.channels, 0..shape.channels)?;
            self.node("output", "output", vec![Term::linear(output, identity)])?
        } else {
            self.node("output", "output", vec![Term::Add(output)])?
        });
        Ok(())
    }

    /// A network of layers, one after another.
    ///
    /// # Errors
    /// As [`Layer::add_to`].
    pub fn of_layers(
        name: impl Into<String>,
        input: Chw,
        layers: &[&dyn Layer],
    ) -> Result<Self, LayerError> {
        let mut program = Self::new(name, input, Vec::new());
        let mut x = program.input();
        for layer in layers {
            x = layer.add_to(&mut program, x)?;
        }
        program.finish(x)?;
        Ok(program)
    }

    /// Linear maps read values: sums are rescaled for them.
    fn readable(&mut self, term: Term) -> Result<Term, LayerError> {
        match term {
            Term::Linear(value, map) if matches!(self.values[value.0].source, Source::Sum(_)) => {
                let rescaled = self.values.iter().position(
                    |v| matches!(&v.source, Source::Stage(of, s) if *of == value && s.is_rescale()),
                );
                let value = match rescaled {
                    Some(index) => Value(index),
                    None => self.apply(value, Rescaled)?,
                };
                Ok(Term::Linear(value, map))
            }
            Term::Linear(..) | Term::Add(_) => Ok(term),
        }
    }

    fn entry(&self, reader: &str, value: Value) -> Result<&ValueEntry, LayerError> {
        self.values
            .get(value.0)
            .ok_or_else(|| LayerError::UnknownValue {
                reader: reader.to_owned(),
                found: value.0,
                values: self.values.len(),
            })
    }

    fn push(&mut self, source: Source, shape: Chw) -> Value {
        self.values.push(ValueEntry { source, shape });
        Value(self.values.len() - 1)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: input {}", self.name, self.values[0].shape)?;
        for node in &self.nodes {
            write!(f, "\n{} {} =", node.name, self.shape(node.value))?;
            for (index, term) in node.terms.iter().enumerate() {
                let plus = if index == 0 { "" } else { " +" };
                match term {
                    Term::Linear(v, map) => write!(f, "{plus} {}({})", map.name(), self.label(*v))?,
                    Term::Add(v) => write!(f, "{plus} {}", self.label(*v))?,
                }
            }
        }
        Ok(())
    }
}

impl Program {
    /// A value in words: `square(conv1)`.
    pub fn label(&self, value: Value) -> String {
        match &self.values[value.0].source {
            Source::Input => "input".to_owned(),
            Source::Sum(node) => self.nodes[*node].name.clone(),
            Source::Stage(of, stage) => format!("{}({})", stage.name(), self.label(*of)),
        }
    }
}
