//! Networks in ONNX files, as both exporters of PyTorch write them.
//!
//! Nodes are read in order. What one of them gives is a constant, a list of sizes, or a tensor of the network; arithmetic on
//! constants and sizes is done here. Products and sums of a tensor with itself and with constants are collected as
//! polynomials and become activations ([`expression`]).

mod array;
mod expression;
mod layers;
mod names;
mod operators;
mod pointwise;
mod proto;
mod reshape;
mod sizes;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use prost::Message;

use self::{array::Array, expression::Map, names::Names, sizes::Sizes};
use crate::{
    ModelError, files,
    import::{Found, Said},
    spec::{INPUT, MAX_EXTENT, MAX_MAP, NodeSpec, OpSpec, ReluApproximation},
    weights::Tensor,
};

/// Largest number of nodes, before constants are folded.
const MAX_NODES: usize = 100_000;

/// A polynomial and the node that it has become.
struct Made {
    powers: Vec<Vec<f64>>,
    node: String,
}

/// What a node of the file gives.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Constant(Array),
    Sizes(Sizes),
    Map(Map),
}

/// The file while it is read.
struct Context<'a> {
    file: String,
    folder: &'a Path,
    relu: &'a ReluApproximation,
    /// Images that the file takes at a time, if it says so.
    batch: Option<i64>,
    values: HashMap<&'a str, Value>,
    names: Names,
    /// Polynomials that have become nodes, by the node that they read.
    made: HashMap<String, Vec<Made>>,
    nodes: Vec<NodeSpec>,
    tensors: BTreeMap<String, Tensor>,
    notes: Vec<String>,
}

/// Reads an ONNX file; `shape` gives channels, rows and columns of an image where the file leaves them open.
pub(crate) fn read(
    path: &Path,
    shape: Option<(usize, usize, usize)>,
    relu: &ReluApproximation,
) -> Result<Found, ModelError> {
    let bytes = files::read(path, files::MAX_WEIGHTS)?;
    let file = path.display().to_string();
    let wrong = |what: String| ModelError::OnnxFormat {
        file: file.clone(),
        what,
    };
    let model = proto::Model::decode(bytes.as_slice());
    let model = model.map_err(|e| wrong(format!("cannot be decoded ({e})")))?;
    drop(bytes);
    let graph = model.graph.ok_or_else(|| wrong("has no graph".into()))?;
    if graph.node.len() > MAX_NODES {
        let found = graph.node.len();
        return Err(wrong(format!(
            "has {found} nodes, at most {MAX_NODES} are read"
        )));
    }
    let mut context = Context {
        file: file.clone(),
        folder: path.parent().unwrap_or(Path::new("")),
        relu,
        batch: None,
        values: HashMap::new(),
        names: Names::default(),
        made: HashMap::new(),
        nodes: Vec::new(),
        tensors: BTreeMap::new(),
        notes: Vec::new(),
    };
    for tensor in &graph.initializer {
        let constant = context.decode(tensor)?;
        context
            .values
            .insert(&tensor.name, Value::Constant(constant));
    }
    let shape = context.read_input(&graph, shape)?;
    let mut producers: HashMap<&str, &proto::Node> = HashMap::new();
    for node in &graph.node {
        context.read_node(node, &producers)?;
        producers.extend(node.output.iter().map(|output| (output.as_str(), node)));
    }
    let [output] = graph.output.as_slice() else {
        return Err(context.wrong(format!("has {} outputs, expected 1", graph.output.len())));
    };
    let Some(Value::Map(mut last)) = context.values.get(output.name.as_str()).cloned() else {
        return Err(context.wrong(format!(
            "output `{}` does not depend on the input",
            output.name
        )));
    };
    last.softmax = false;
    let last = context.settle(last, producers.get(output.name.as_str()).copied())?;
    Ok(context.finish(shape, &last))
}

impl<'a> Context<'a> {
    fn wrong(&self, what: String) -> ModelError {
        ModelError::OnnxFormat {
            file: self.file.clone(),
            what,
        }
    }

    /// Finds the one input and its shape.
    fn read_input(
        &mut self,
        graph: &'a proto::Graph,
        wanted: Option<(usize, usize, usize)>,
    ) -> Result<(usize, usize, usize), ModelError> {
        // Older files list the constants too.
        let inputs = graph
            .input
            .iter()
            .filter(|input| !self.values.contains_key(input.name.as_str()));
        let inputs: Vec<&proto::ValueInfo> = inputs.collect();
        let [input] = inputs.as_slice() else {
            return Err(self.wrong(format!(
                "has {} inputs, expected 1: the images",
                inputs.len()
            )));
        };
        let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let dims = tensor
            .and_then(|t| t.shape.as_ref())
            .map_or(&[][..], |s| &s.dim);
        let fixed: Vec<Option<i64>> = dims.iter().map(|d| d.dim_value).collect();
        let found = || {
            let sizes = fixed
                .iter()
                .map(|d| d.map_or("?".into(), |d| d.to_string()));
            sizes.collect::<Vec<String>>().join(" x ")
        };
        let (batch, image) = match fixed.as_slice() {
            [] => (None, vec![None; 3]),
            [batch, image @ ..] if matches!(image.len(), 1 | 3) => (*batch, image.to_vec()),
            _ => {
                let what = format!(
                    "input `{}` has shape {}, expected 4 dimensions",
                    input.name,
                    found()
                );
                return Err(self.wrong(what));
            }
        };
        let flat = image.len() == 1;
        let shape = match (wanted, image.as_slice()) {
            (Some(shape), _) => Some(shape),
            (None, [Some(n)]) => usize::try_from(*n).ok().map(|n| (n, 1, 1)),
            (None, [Some(c), Some(h), Some(w)]) => {
                let size = |n: &i64| usize::try_from(*n).ok();
                size(c)
                    .zip(size(h))
                    .zip(size(w))
                    .map(|((c, h), w)| (c, h, w))
            }
            (None, _) => None,
        };
        let Some(shape) = shape else {
            let what = "expected channels, rows and columns of an image (give the shape)";
            return Err(self.wrong(format!(
                "input `{}` has shape {}, {what}",
                input.name,
                found()
            )));
        };
        let sizes = [shape.0, shape.1, shape.2];
        let volume = sizes.into_iter().fold(1, usize::saturating_mul);
        if volume == 0 || volume > MAX_MAP || sizes.into_iter().any(|n| n > MAX_EXTENT) {
            return Err(self.wrong(format!(
                "input `{}`: images have shape {shape:?}, expected 1 to {MAX_MAP} values",
                input.name
            )));
        }
        let given = if flat { vec![volume] } else { sizes.to_vec() };
        let fits = |(fixed, given): (&Option<i64>, &usize)| {
            fixed.is_none_or(|n| i64::try_from(*given) == Ok(n))
        };
        if !image.iter().zip(&given).all(fits) {
            let what = format!(
                "input `{}` has shape {}, the shape given is {shape:?}",
                input.name,
                found()
            );
            return Err(self.wrong(what));
        }
        self.batch = batch;
        let map = Map::of(INPUT.to_owned(), shape, flat);
        self.values.insert(&input.name, Value::Map(map));
        Ok(shape)
    }

    /// Adds a node to the network.
    fn push(&mut self, name: String, inputs: &[&Map], op: OpSpec) -> String {
        let inputs = inputs.iter().map(|map| map.node.clone()).collect();
        self.nodes.push(NodeSpec {
            name: name.clone(),
            inputs,
            op,
        });
        name
    }

    /// Keeps a constant as a tensor of the model: under its name in the file, or else `name`. Gives the name.
    fn keep(&mut self, name: String, array: Array) -> String {
        // Names like `onnx::Conv_58` say less than the node does.
        let own = array
            .name
            .clone()
            .filter(|n| !n.contains(':') && !n.starts_with("val_"));
        let own = own.filter(|n| n.len() <= 200 && !n.chars().any(char::is_control));
        let tensor = Tensor {
            shape: array.shape,
            values: array.values,
        };
        let base = own.unwrap_or(name);
        let mut name = base.clone();
        for k in 2.. {
            match self.tensors.get(&name) {
                Some(other) if *other != tensor => name = format!("{base}_{k}"),
                Some(_) | None => break,
            }
        }
        self.tensors.insert(name.clone(), tensor);
        name
    }

    /// Without the nodes that the output does not depend on.
    fn finish(mut self, shape: (usize, usize, usize), last: &Map) -> Found {
        let mut needed = BTreeSet::from([last.node.clone()]);
        for node in self.nodes.iter().rev() {
            if needed.contains(&node.name) {
                needed.extend(node.inputs.iter().cloned());
            }
        }
        self.nodes.retain(|node| needed.contains(&node.name));
        let used: BTreeSet<&str> = self
            .nodes
            .iter()
            .flat_map(|node| node.op.tensors())
            .collect();
        self.tensors.retain(|name, _| used.contains(name.as_str()));
        Found {
            shape,
            outputs: last.volume(),
            nodes: self.nodes,
            tensors: self.tensors,
            notes: self.notes,
            said: Said::default(),
        }
    }
}
