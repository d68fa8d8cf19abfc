//! Operators with weights, and poolings.

use super::{
    Array, Context, Map, Value,
    operators::Call,
    windows::{Windows, integer, number},
};
use crate::{
    ModelError,
    spec::{MAX_EXTENT, OpSpec},
};

impl Context<'_> {
    pub(super) fn conv(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn batch_norm(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn average_pool(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn global_pool(&mut self, call: &Call, map: &Map, flat: bool) -> Value {
        let name = self.names.part(call.node, "pool");
        let node = self.push(name, &[map], OpSpec::GlobalAvgPool);
        Value::Map(Map::of(node, (map.shape.0, 1, 1), flat))
    }

    pub(super) fn reduce_mean(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn gemm(&mut self, call: &Call) -> Result<Value, ModelError> {
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
    pub(super) fn dense(
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
