//! Operators that rearrange channels and dimensions.

use super::{
    Context, Map, Sizes, Value,
    operators::Call,
    windows::{attribute, integer},
};
use crate::{
    ModelError,
    spec::{MAX_EXTENT, OpSpec},
};

impl Context<'_> {
    pub(super) fn concat(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn slice(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn reshape(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn squeeze(&mut self, call: &Call) -> Result<Value, ModelError> {
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

    pub(super) fn unsqueeze(&mut self, call: &Call) -> Result<Value, ModelError> {
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
}
