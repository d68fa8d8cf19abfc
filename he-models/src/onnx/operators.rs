//! The operators that are read.

use std::collections::HashMap;

use super::{
    Array, Context, Map, Sizes, Value,
    pointwise::negative,
    proto,
    windows::{Windows, attribute, integer, number},
};
use crate::{
    ModelError,
    spec::{MAX_EXTENT, OpSpec},
};

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
    fn raw_map(&self, call: &Call, index: usize) -> Result<Map, ModelError> {
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
    fn map(&mut self, call: &Call, index: usize) -> Result<Map, ModelError> {
        let map = self.raw_map(call, index)?;
        self.settle(map, self.producer(call, index))
    }

    /// A tensor of four dimensions.
    fn image_map(&mut self, call: &Call, index: usize) -> Result<Map, ModelError> {
        let map = self.map(call, index)?;
        if map.flat {
            return Err(call.wrong("dimensions of its input", 2, "4"));
        }
        Ok(map)
    }

    /// A tensor of two dimensions.
    fn flat_map(&mut self, call: &Call, index: usize) -> Result<Map, ModelError> {
        let map = self.map(call, index)?;
        if !map.flat {
            return Err(call.wrong("dimensions of its input", 4, "2 (flattened)"));
        }
        Ok(map)
    }

    fn constant_input(&self, call: &Call, index: usize) -> Result<Array, ModelError> {
        match self.value(call, index)? {
            Value::Constant(array) => Ok(array),
            Value::Map(_) | Value::Sizes(_) => {
                Err(call.wrong(&format!("input {index}"), "computed", "a constant"))
            }
        }
    }

    fn optional_constant(&self, call: &Call, index: usize) -> Result<Option<Array>, ModelError> {
        match call.node.input.get(index) {
            Some(name) if !name.is_empty() => self.constant_input(call, index).map(Some),
            _ => Ok(None),
        }
    }

    /// Axes: an input in newer files, an attribute in older ones.
    fn axes(&self, call: &Call, rank: i64) -> Result<Option<Vec<i64>>, ModelError> {
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

    fn conv(&mut self, call: &Call) -> Result<Value, ModelError> {
        let map = self.image_map(call, 0)?;
        let weight = self.constant_input(call, 1)?;
        let bias = self.optional_constant(call, 2)?;
        let &[channels, per_group, rows, columns] = weight.shape.as_slice() else {
            let found = format!("{:?}", weight.shape);
            return Err(call.wrong("shape of its weights", found, "4 sizes"));
        };
        let (ins, height, width) = map.shape;
        let group = integer(call.node, "group", 1);
        let groups = usize::try_from(group)
            .ok()
            .filter(|g| *g > 0 && per_group.checked_mul(*g) == Some(ins));
        let groups = groups.ok_or_else(|| {
            let found = format!("{group} with weights for {per_group} channels");
            call.wrong(
                "group",
                found,
                format!("a divisor of {ins}, the quotient as many"),
            )
        })?;
        let windows = Windows::read(call, (height, width), Some((rows, columns)))?;
        let label = weight.name.clone().filter(|name| !name.contains(':'));
        let name = self.names.module(call.node, label.as_deref(), "conv");
        let op = OpSpec::Conv2d {
            channels,
            kernel: windows.kernel,
            stride: windows.stride,
            padding: windows.padding,
            dilation: windows.dilation,
            groups,
            weight: self.keep(format!("{name}.weight"), weight),
            bias: bias.map(|bias| self.keep(format!("{name}.bias"), bias)),
        };
        let node = self.push(name, &[&map], op);
        let (rows, columns) = windows.output;
        Ok(Value::Map(Map::of(node, (channels, rows, columns), false)))
    }

    fn batch_norm(&mut self, call: &Call) -> Result<Value, ModelError> {
        let map = self.map(call, 0)?;
        if integer(call.node, "training_mode", 0) != 0 {
            return Err(call.wrong("training_mode", 1, "0 (export after net.eval())"));
        }
        if map.flat && map.volume() != map.shape.0 {
            return Err(call.wrong("input", "a flattened map", "one that is not, or one pixel"));
        }
        let arrays = (1..5).map(|i| self.constant_input(call, i));
        let arrays: Vec<Array> = arrays.collect::<Result<_, _>>()?;
        let label = arrays[0].name.clone().filter(|name| !name.contains(':'));
        let name = self.names.module(call.node, label.as_deref(), "bn");
        let kinds = ["weight", "bias", "running_mean", "running_var"];
        let mut kept = kinds
            .into_iter()
            .zip(arrays)
            .map(|(kind, array)| self.keep(format!("{name}.{kind}"), array));
        let mut next = || kept.next().unwrap_or_default();
        let (weight, bias, mean, variance) = (next(), next(), next(), next());
        let op = OpSpec::BatchNorm {
            weight,
            bias,
            mean,
            variance,
            epsilon: number(call.node, "epsilon", 1e-5),
        };
        let node = self.push(name, &[&map], op);
        Ok(Value::Map(Map::of(node, map.shape, map.flat)))
    }

    fn concat(&mut self, call: &Call) -> Result<Value, ModelError> {
        let count = call.node.input.len();
        let values = (0..count).map(|i| self.value(call, i));
        let values: Vec<Value> = values.collect::<Result<_, _>>()?;
        let axis = integer(call.node, "axis", 1);
        if values.iter().all(|v| !matches!(v, Value::Map(_))) {
            let mut sizes = Vec::new();
            for value in &values {
                match value {
                    Value::Sizes(part) => sizes.extend_from_slice(&part.0),
                    Value::Constant(array) if array.shape.len() <= 1 => {
                        sizes.extend(Sizes::constant(array).0);
                    }
                    Value::Constant(_) | Value::Map(_) => {
                        return Err(call.wrong("input", "a constant", "tensors or sizes"));
                    }
                }
            }
            return Ok(Value::Sizes(Sizes(sizes)));
        }
        let maps = (0..count).map(|i| self.map(call, i));
        let maps: Vec<Map> = maps.collect::<Result<_, _>>()?;
        let (mut shape, flat) = (maps[0].shape, maps[0].flat);
        let rank = if flat { 2 } else { 4 };
        if axis != 1 && axis != 1 - rank {
            return Err(call.wrong("axis", axis, "1, the channels"));
        }
        if maps.len() == 1 {
            return Ok(Value::Map(maps[0].clone()));
        }
        let size = |map: &Map| (map.shape.1, map.shape.2, map.flat);
        if let Some(map) = maps.iter().find(|map| size(map) != size(&maps[0])) {
            let expected = format!("{:?} but for the channels", maps[0].shape);
            return Err(call.wrong("shape of an input", format!("{:?}", map.shape), expected));
        }
        shape.0 = maps
            .iter()
            .fold(0, |sum, map| sum.saturating_add(map.shape.0));
        if shape.0 > MAX_EXTENT {
            return Err(call.wrong("channels", shape.0, format!("at most {MAX_EXTENT}")));
        }
        let name = self.names.part(call.node, "concat");
        let node = self.push(name, &maps.iter().collect::<Vec<_>>(), OpSpec::Concat);
        Ok(Value::Map(Map::of(node, shape, flat)))
    }

    fn slice(&mut self, call: &Call) -> Result<Value, ModelError> {
        let map = self.image_map(call, 0)?;
        let list = |index: usize, name: &str| -> Result<Vec<i64>, ModelError> {
            let constant = self.optional_constant(call, index)?;
            let older = || attribute(call.node, name).map_or(vec![], |a| a.ints.clone());
            Ok(constant.map_or_else(older, |array| array.integers()))
        };
        let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
        let (axes, steps) = (list(3, "axes")?, list(4, "steps")?);
        let (&[start], &[end], &[1 | -3]) = (&starts[..], &ends[..], &axes[..]) else {
            let found = format!("{axes:?}, from {starts:?} to {ends:?}");
            return Err(call.wrong("axes", found, "1, the channels"));
        };
        if !matches!(steps[..], [] | [1]) {
            return Err(call.wrong("steps", format!("{steps:?}"), "1"));
        }
        let channels = i64::try_from(map.shape.0).unwrap_or(i64::MAX);
        let position =
            |p: i64| if p < 0 { p.saturating_add(channels) } else { p }.clamp(0, channels) as usize;
        let (from, to) = (position(start), position(end));
        if from >= to {
            return Err(call.wrong("channels", format!("{start} to {end}"), "one or more"));
        }
        let name = self.names.part(call.node, "slice");
        let node = self.push(name, &[&map], OpSpec::Slice { from, to });
        Ok(Value::Map(Map::of(
            node,
            (to - from, map.shape.1, map.shape.2),
            false,
        )))
    }

    fn average_pool(&mut self, call: &Call) -> Result<Value, ModelError> {
        let map = self.image_map(call, 0)?;
        let (channels, height, width) = map.shape;
        let windows = Windows::read(call, (height, width), None)?;
        if windows.dilation != (1, 1) {
            let found = format!("{:?}", windows.dilation);
            return Err(call.wrong("dilations", found, "1, 1"));
        }
        if windows.padding != (0, 0, 0, 0) && integer(call.node, "count_include_pad", 0) != 1 {
            return Err(call.wrong("count_include_pad", 0, "1 where there is padding"));
        }
        let op = OpSpec::AvgPool {
            kernel: windows.kernel,
            stride: windows.stride,
            padding: windows.padding,
        };
        let name = self.names.part(call.node, "pool");
        let node = self.push(name, &[&map], op);
        let (rows, columns) = windows.output;
        Ok(Value::Map(Map::of(node, (channels, rows, columns), false)))
    }

    fn global_pool(&mut self, call: &Call, map: &Map, flat: bool) -> Value {
        let name = self.names.part(call.node, "pool");
        let node = self.push(name, &[map], OpSpec::GlobalAvgPool);
        Value::Map(Map::of(node, (map.shape.0, 1, 1), flat))
    }

    fn reduce_mean(&mut self, call: &Call) -> Result<Value, ModelError> {
        let map = self.image_map(call, 0)?;
        let axes = self.axes(call, 4)?;
        if axes.as_deref() != Some(&[2, 3]) {
            return Err(call.wrong(
                "axes",
                format!("{:?}", axes.unwrap_or_default()),
                "2 and 3, the pixels",
            ));
        }
        let flat = integer(call.node, "keepdims", 1) == 0;
        Ok(self.global_pool(call, &map, flat))
    }

    fn reshape(&mut self, call: &Call) -> Result<Value, ModelError> {
        let target = match self.value(call, 1)? {
            Value::Sizes(sizes) => sizes,
            Value::Constant(array) => Sizes::constant(&array),
            Value::Map(_) => return Err(call.wrong("shape", "computed", "a constant")),
        };
        let mut map = match self.value(call, 0)? {
            Value::Map(_) => self.raw_map(call, 0)?,
            // A list of sizes or a scalar that is made a list.
            other if target.0.len() == 1 => return Ok(other),
            Value::Constant(_) | Value::Sizes(_) => {
                return Err(call.wrong("input", "a constant", "a tensor"));
            }
        };
        let (channels, height, width) = map.shape;
        if target.is_batch_of(&[map.volume()], self.batch) {
            map.flat = true;
        } else if target.is_batch_of(&[channels, height, width], self.batch) {
            map.flat = false;
        } else {
            let sizes = target
                .0
                .iter()
                .map(|n| n.map_or("images".into(), |n| n.to_string()));
            let found = sizes.collect::<Vec<String>>().join(" x ");
            let expected =
                "images x all values of an image, or the shape that its input had before";
            return Err(call.wrong("shape", found, expected));
        }
        Ok(Value::Map(map))
    }

    fn squeeze(&mut self, call: &Call) -> Result<Value, ModelError> {
        if let Value::Sizes(_) | Value::Constant(_) = self.value(call, 0)? {
            return self.value(call, 0);
        }
        let map = self.raw_map(call, 0)?;
        let axes = self.axes(call, 4)?;
        if axes.as_deref() != Some(&[2, 3]) || map.flat || map.volume() != map.shape.0 {
            return Err(call.wrong(
                "axes",
                format!("{:?}", axes.unwrap_or_default()),
                "2 and 3 of maps of one pixel",
            ));
        }
        Ok(Value::Map(Map { flat: true, ..map }))
    }

    fn unsqueeze(&mut self, call: &Call) -> Result<Value, ModelError> {
        if let Value::Sizes(_) | Value::Constant(_) = self.value(call, 0)? {
            return self.value(call, 0);
        }
        let map = self.raw_map(call, 0)?;
        let axes = self.axes(call, 4)?;
        if axes.as_deref() != Some(&[2, 3]) || !map.flat || map.volume() != map.shape.0 {
            return Err(call.wrong("axes", format!("{:?}", axes.unwrap_or_default()), "2 and 3"));
        }
        Ok(Value::Map(Map { flat: false, ..map }))
    }

    fn gemm(&mut self, call: &Call) -> Result<Value, ModelError> {
        let map = self.flat_map(call, 0)?;
        let mut weight = self.constant_input(call, 1)?;
        let bias = self.optional_constant(call, 2)?;
        if integer(call.node, "transA", 0) != 0 {
            return Err(call.wrong("transA", 1, "0"));
        }
        if integer(call.node, "transB", 0) == 0 {
            let shape = format!("of shape {:?}", weight.shape);
            weight = weight
                .transposed()
                .ok_or_else(|| call.wrong("second input", shape, "a matrix"))?;
        }
        let scaled = |array: Array, factor: f64| {
            if factor == 1.0 {
                return array;
            }
            Array::new(
                array.shape,
                array.values.iter().map(|v| v * factor).collect(),
            )
        };
        let weight = scaled(weight, number(call.node, "alpha", 1.0));
        let bias = bias.map(|bias| scaled(bias, number(call.node, "beta", 1.0)));
        self.dense(call, &map, weight, bias)
    }

    /// A dense layer; `weight`: `[outputs][inputs]`.
    fn dense(
        &mut self,
        call: &Call,
        map: &Map,
        weight: Array,
        bias: Option<Array>,
    ) -> Result<Value, ModelError> {
        let outputs = match weight.shape.as_slice() {
            [outputs, inputs] if *inputs == map.volume() && (1..=MAX_EXTENT).contains(outputs) => {
                *outputs
            }
            other => {
                let expected = format!("outputs and {} inputs", map.volume());
                return Err(call.wrong("shape of its weights", format!("{other:?}"), expected));
            }
        };
        call.finite(&weight.values)?;
        let label = weight.name.clone().filter(|name| !name.contains(':'));
        let name = self.names.module(call.node, label.as_deref(), "dense");
        let bias = match bias {
            None => None,
            Some(bias) => {
                let values = match bias.values.as_slice() {
                    [value] => vec![*value; outputs],
                    values if values.len() == outputs => values.to_vec(),
                    values => {
                        return Err(call.wrong(
                            "number of offsets",
                            values.len(),
                            format!("{outputs}"),
                        ));
                    }
                };
                call.finite(&values)?;
                let array = Array {
                    shape: vec![outputs],
                    values,
                    name: bias.name,
                };
                Some(self.keep(format!("{name}.bias"), array))
            }
        };
        let op = OpSpec::Dense {
            outputs,
            weight: self.keep(format!("{name}.weight"), weight),
            bias,
        };
        let node = self.push(name, &[map], op);
        Ok(Value::Map(Map::of(node, (outputs, 1, 1), true)))
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
