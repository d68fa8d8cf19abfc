//! From a graph to the normal form that is planned and run.

use std::sync::Arc;

use he_layers::{Chw, Composite, Polynomial, Program, Refresh, Square, Term, Value};

use crate::{
    Conditioning, Graph, Model, ModelError,
    graph::{Activation, Function, Node, NodeId, Op},
    passes,
    spec::ReluApproximation,
};

/// Room for the error of values between the components of a composed sign.
const SIGN_MARGIN: f64 = 1e-3;

/// A network in normal form: linear maps, squares and polynomials, in the units of the encrypted run. Pixels divided by 255 and
/// conditioned ([`crate::spec::InputSpec::condition`]) go in, the logits of the exported network come out.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The model's name.
    pub name: String,
    /// [`Model::checksum`] of the model.
    pub checksum: [u8; 32],
    /// Shape of an image.
    pub input: Chw,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// What a client does to a picture before it encrypts it, if anything.
    pub conditioning: Option<Conditioning>,
    /// What is computed. The label of a node's stage is its name up to the last dot.
    pub program: Program,
}

impl Model {
    /// The model in normal form.
    ///
    /// # Errors
    /// [`ModelError::NoStatistics`] for a model whose ranges were not measured, and those of [`passes::encrypted`].
    pub fn lower(&self) -> Result<Lowered, ModelError> {
        Ok(Lowered {
            name: self.name().to_owned(),
            checksum: self.checksum(),
            input: self.input_shape(),
            classes: self.classes().to_vec(),
            conditioning: self.conditioning().cloned(),
            program: self.graph().lower(&self.spec().input.mean)?,
        })
    }
}

impl Graph {
    /// The graph in normal form. `input_mean`: the mean of each input channel, of pixels divided by 255.
    ///
    /// # Errors
    /// As [`Model::lower`].
    pub fn lower(&self, input_mean: &[f64]) -> Result<Program, ModelError> {
        let graph = passes::encrypted(self)?;
        let readers = graph.readers();
        let mut program = Program::new(&*graph.name, graph.input, input_mean.to_vec());
        let mut values: Vec<Option<Value>> = Vec::with_capacity(graph.nodes.len());
        for (i, node) in graph.nodes.iter().enumerate() {
            let id = NodeId(i);
            let value = match &node.op {
                Op::Input => Some(program.input()),
                // Part of the sum that reads it.
                _ if is_term(&graph, &readers, id) => None,
                Op::Linear(_) | Op::Add => {
                    let mut terms = Vec::new();
                    collect(&graph, &values, id, &mut terms)?;
                    Some(program.node(stage(&node.name), &node.name, terms)?)
                }
                Op::Activation(activation) => {
                    let x = value_of(&values, node, node.inputs[0])?;
                    Some(apply(&mut program, &node.name, activation, x)?)
                }
                Op::Affine(_) | Op::Concat => return Err(not_lowered(node)),
            };
            values.push(value);
        }
        let output = value_of(&values, graph.node(graph.output()), graph.output())?;
        program.finish(output)?;
        Ok(program)
    }
}

/// A name up to its last dot, or the whole.
fn stage(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stage, _)| stage)
}

/// Whether a map or a sum is nothing but a summand of the one sum that reads it.
fn is_term(graph: &Graph, readers: &[Vec<NodeId>], id: NodeId) -> bool {
    let additive = matches!(graph.node(id).op, Op::Linear(_) | Op::Add);
    match readers[id.0].as_slice() {
        [reader] => additive && graph.node(*reader).op == Op::Add,
        _ => false,
    }
}

/// The summands of a node, those of sums that have no value of their own included.
fn collect(
    graph: &Graph,
    values: &[Option<Value>],
    id: NodeId,
    terms: &mut Vec<Term>,
) -> Result<(), ModelError> {
    let node = graph.node(id);
    if let Op::Linear(map) = &node.op {
        let x = value_of(values, node, node.inputs[0])?;
        terms.push(Term::Linear(x, Arc::clone(map)));
        return Ok(());
    }
    for input in &node.inputs {
        match values[input.0] {
            Some(value) => terms.push(Term::Add(value)),
            None => collect(graph, values, *input, terms)?,
        }
    }
    Ok(())
}

fn value_of(values: &[Option<Value>], node: &Node, id: NodeId) -> Result<Value, ModelError> {
    values
        .get(id.0)
        .copied()
        .flatten()
        .ok_or_else(|| not_lowered(node))
}

fn not_lowered(node: &Node) -> ModelError {
    ModelError::node(
        &node.name,
        "operation",
        "left by the passes",
        "a map, a sum or an activation",
    )
}

/// The activation as a pointwise stage.
fn apply(
    program: &mut Program,
    name: &str,
    activation: &Activation,
    x: Value,
) -> Result<Value, ModelError> {
    let declared = activation.declared.clone();
    Ok(match &activation.function {
        Function::Quadratic(q) => {
            let moment = activation.second_moment.clone();
            program.apply(x, Square::new(name, q.t.clone(), declared, moment)?)?
        }
        Function::Polynomial {
            polynomials,
            output,
        } => program.apply(
            x,
            Polynomial::new(name, polynomials.clone(), *output, declared)?,
        )?,
        Function::Relu(ReluApproximation::Polynomial { degree }) => {
            program.apply(x, Polynomial::relu(name, *degree, declared)?)?
        }
        Function::Relu(ReluApproximation::Composite { degrees, gap }) => {
            let sign = Composite::sign(degrees, *gap, SIGN_MARGIN).map_err(|e| {
                let what = "sign of its ReLU";
                ModelError::node(name, what, e, "degrees that are enough for the gap")
            })?;
            program.apply(
                x,
                Polynomial::relu_by_sign(name, sign.components(), declared)?,
            )?
        }
        Function::Relu(ReluApproximation::Refresh { harmonics }) => {
            program.apply(x, Refresh::relu(name, declared, *harmonics)?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::stage;

    #[test]
    fn stages_are_names_up_to_the_last_dot() {
        assert_eq!(stage("stage1.block1.conv1"), "stage1.block1");
        assert_eq!(stage("stem"), "stem");
    }
}
