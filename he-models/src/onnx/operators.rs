//! The operators that are read.

use std::collections::HashMap;

use super::{
    Array, Context, Map, Sizes, Value,
    pointwise::negative,
    proto,
    windows::{attribute, integer},
};
use crate::{ModelError, spec::OpSpec};

/// The operators, for messages.
const SUPPORTED: &str = "Add, AveragePool, BatchNormalization, Concat, Constant, Conv, Div, Dropout, Flatten, Gemm, \
    GlobalAveragePool, Identity, MatMul, Mul, Neg, Pow, ReduceMean, Relu, Reshape, Slice over channels, Squeeze, Sub, \
    Unsqueeze, LogSoftmax and Softmax at the end";

/// A node of the file that is being read.
pub(super) struct Call<'a> {
    pub node: &'a proto::Node,
    producers: &'a HashMap<&'a str, &'a proto::Node>,
}

impl Call<'_> {
    pub(super) fn operator(&self) -> &str {
        &self.node.op_type
    }

    /// The node's name, or that of its output.
    fn name(&self) -> String {
        let named = Some(&self.node.name).filter(|name| !name.is_empty());
        named
            .or(self.node.output.first())
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn wrong(
        &self,
        what: &str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> ModelError {
        ModelError::OnnxNode {
            node: self.name(),
            operator: self.operator().to_owned(),
            what: what.to_owned(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    pub(super) fn finite(&self, values: &[f64]) -> Result<(), ModelError> {
        match values.iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(self.wrong("a number that it gives", bad, "a finite one")),
            None => Ok(()),
        }
    }

    pub(super) fn not_after_softmax(&self, map: &Map) -> Result<(), ModelError> {
        if map.softmax {
            return Err(self.wrong("input", "a softmax", "none before the output"));
        }
        Ok(())
    }
}

impl<'a> Context<'a> {
    /// Reads a node and notes what it gives.
    pub(super) fn read_node(
        &mut self,
        node: &'a proto::Node,
        producers: &HashMap<&'a str, &'a proto::Node>,
    ) -> Result<(), ModelError> {
        let call = Call { node, producers };
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(unknown(&call));
        }
        let value = self.apply(&call)?;
        // Further outputs, such as a mask of Dropout, are for training.
        if let Some(output) = node.output.first() {
            self.values.insert(output, value);
        }
        Ok(())
    }

    fn apply(&mut self, call: &Call) -> Result<Value, ModelError> {
        match call.operator() {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" => self.arithmetic(call),
            "Neg" => match self.value(call, 0)? {
                Value::Map(map) => {
                    call.not_after_softmax(&map)?;
                    Ok(Value::Map(negative(map)))
                }
                Value::Constant(mut array) => {
                    array.values.iter_mut().for_each(|v| *v = -*v);
                    array.name = None;
                    Ok(Value::Constant(array))
                }
                Value::Sizes(_) => Err(call.wrong("input", "a list of sizes", "a tensor")),
            },
            "Constant" => self.constant(call),
            "Identity" => self.value(call, 0),
            "Dropout" => {
                let training = self.optional_constant(call, 2)?;
                if training.and_then(|t| t.scalar()).is_some_and(|t| t != 0.0) {
                    return Err(call.wrong("training_mode", 1, "0 (export after net.eval())"));
                }
                self.value(call, 0)
            }
            "Conv" => self.conv(call),
            "BatchNormalization" => self.batch_norm(call),
            "Relu" => {
                let map = self.map(call, 0)?;
                let approximation = self.relu.clone();
                let name = self.names.part(call.node, "relu");
                let node = self.push(name, &[&map], OpSpec::Relu { approximation });
                Ok(Value::Map(Map::of(node, map.shape, map.flat)))
            }
            "Concat" => self.concat(call),
            "Slice" => self.slice(call),
            "AveragePool" => self.average_pool(call),
            "GlobalAveragePool" => {
                let map = self.image_map(call, 0)?;
                Ok(self.global_pool(call, &map, false))
            }
            "ReduceMean" => self.reduce_mean(call),
            "Flatten" => {
                let map = self.raw_map(call, 0)?;
                match integer(call.node, "axis", 1) {
                    1 => Ok(Value::Map(Map { flat: true, ..map })),
                    -3 if !map.flat => Ok(Value::Map(Map { flat: true, ..map })),
                    axis => Err(call.wrong("axis", axis, "1")),
                }
            }
            "Reshape" => self.reshape(call),
            "Squeeze" => self.squeeze(call),
            "Unsqueeze" => self.unsqueeze(call),
            "Shape" => Ok(Value::Sizes(Sizes::of(&self.raw_map(call, 0)?))),
            "Gather" => {
                let Value::Sizes(sizes) = self.value(call, 0)? else {
                    return Err(call.wrong("first input", "a tensor", "the shape of one"));
                };
                let positions = self.constant_input(call, 1)?.integers();
                let gathered = sizes.gather(&positions);
                let found = format!("{positions:?}");
                let gathered = gathered
                    .ok_or_else(|| call.wrong("indices", found, "dimensions that there are"));
                Ok(Value::Sizes(gathered?))
            }
            "Cast" => match self.value(call, 0)? {
                Value::Map(_) => Err(call.wrong("input", "a tensor", "a constant or sizes")),
                constant @ (Value::Constant(_) | Value::Sizes(_)) => Ok(constant),
            },
            "Gemm" => self.gemm(call),
            "MatMul" => {
                let map = self.flat_map(call, 0)?;
                let weight = self.constant_input(call, 1)?;
                let shape = format!("of shape {:?}", weight.shape);
                let weight = weight
                    .transposed()
                    .ok_or_else(|| call.wrong("second input", shape, "a matrix"))?;
                self.dense(call, &map, weight, None)
            }
            "Softmax" | "LogSoftmax" => {
                let map = self.raw_map(call, 0)?;
                self.notes.push(format!(
                    "the {} at the end is left out: the network gives logits",
                    call.operator()
                ));
                Ok(Value::Map(Map {
                    softmax: true,
                    ..map
                }))
            }
            _ => Err(unknown(call)),
        }
    }

    pub(super) fn value(&self, call: &Call, index: usize) -> Result<Value, ModelError> {
        let what = format!("input {index}");
        let name = call.node.input.get(index).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| call.wrong(&what, "missing", "a tensor"))?;
        let value = self.values.get(name.as_str());
        value.cloned().ok_or_else(|| {
            call.wrong(
                &what,
                format!("`{name}`"),
                "what an earlier node gives, or a constant",
            )
        })
    }

    pub(super) fn producer<'c>(&self, call: &Call<'c>, index: usize) -> Option<&'c proto::Node> {
        let name = call.node.input.get(index)?;
        call.producers.get(name.as_str()).copied()
    }

    /// A tensor, perhaps a polynomial of a node.
    pub(super) fn raw_map(&self, call: &Call, index: usize) -> Result<Map, ModelError> {
        match self.value(call, index)? {
            Value::Map(map) => {
                call.not_after_softmax(&map)?;
                Ok(map)
            }
            Value::Constant(_) | Value::Sizes(_) => {
                Err(call.wrong(&format!("input {index}"), "a constant", "a tensor"))
            }
        }
    }

    /// A tensor, as a node.
    pub(super) fn map(&mut self, call: &Call, index: usize) -> Result<Map, ModelError> {
        let map = self.raw_map(call, index)?;
        self.settle(map, self.producer(call, index))
    }

    /// A tensor of four dimensions.
    pub(super) fn image_map(&mut self, call: &Call, index: usize) -> Result<Map, ModelError> {
        let map = self.map(call, index)?;
        if map.flat {
            return Err(call.wrong("dimensions of its input", 2, "4"));
        }
        Ok(map)
    }

    /// A tensor of two dimensions.
    pub(super) fn flat_map(&mut self, call: &Call, index: usize) -> Result<Map, ModelError> {
        let map = self.map(call, index)?;
        if !map.flat {
            return Err(call.wrong("dimensions of its input", 4, "2 (flattened)"));
        }
        Ok(map)
    }

    pub(super) fn constant_input(&self, call: &Call, index: usize) -> Result<Array, ModelError> {
        match self.value(call, index)? {
            Value::Constant(array) => Ok(array),
            Value::Map(_) | Value::Sizes(_) => {
                Err(call.wrong(&format!("input {index}"), "computed", "a constant"))
            }
        }
    }

    pub(super) fn optional_constant(
        &self,
        call: &Call,
        index: usize,
    ) -> Result<Option<Array>, ModelError> {
        match call.node.input.get(index) {
            Some(name) if !name.is_empty() => self.constant_input(call, index).map(Some),
            _ => Ok(None),
        }
    }

    /// Axes: an input in newer files, an attribute in older ones.
    pub(super) fn axes(&self, call: &Call, rank: i64) -> Result<Option<Vec<i64>>, ModelError> {
        let axes = match self.optional_constant(call, 1)? {
            Some(array) => Some(array.integers()),
            None => attribute(call.node, "axes").map(|a| a.ints.clone()),
        };
        let from_start = |axis: i64| {
            if axis < 0 {
                axis.saturating_add(rank)
            } else {
                axis
            }
        };
        Ok(axes.map(|axes| {
            let mut axes: Vec<i64> = axes.into_iter().map(from_start).collect();
            axes.sort_unstable();
            axes
        }))
    }

    fn constant(&self, call: &Call) -> Result<Value, ModelError> {
        let node = call.node;
        let array = if let Some(value) = attribute(node, "value") {
            let tensor = value.t.as_ref();
            self.decode(tensor.ok_or_else(|| call.wrong("value", "missing", "a tensor"))?)?
        } else if let Some(value) = attribute(node, "value_float") {
            Array::new(vec![], vec![value.f.into()])
        } else if let Some(value) = attribute(node, "value_int") {
            Array::new(vec![], vec![value.i as f64])
        } else if let Some(value) = attribute(node, "value_floats") {
            let values = value
                .floats
                .iter()
                .map(|v| f64::from(*v))
                .collect::<Vec<_>>();
            Array::new(vec![values.len()], values)
        } else if let Some(value) = attribute(node, "value_ints") {
            let values = value.ints.iter().map(|v| *v as f64).collect::<Vec<_>>();
            Array::new(vec![values.len()], values)
        } else {
            return Err(call.wrong("value", "missing", "numbers"));
        };
        call.finite(&array.values)?;
        Ok(Value::Constant(array))
    }
}

fn unknown(call: &Call) -> ModelError {
    let operator = if matches!(call.node.domain.as_str(), "" | "ai.onnx") {
        call.operator().to_owned()
    } else {
        format!("{}.{}", call.node.domain, call.operator())
    };
    ModelError::UnknownOperator {
        node: call.name(),
        operator,
        supported: SUPPORTED,
    }
}
