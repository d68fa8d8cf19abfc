//! Arithmetic operators, and the polynomials that they build.

use he_layers::Chebyshev;

use super::{Array, Context, Made, Map, Value, operators::Call, proto};
use crate::{ModelError, passes::square, spec::OpSpec};

impl Context<'_> {
    /// `Add`, `Sub`, `Mul`, `Div` or `Pow`.
    pub(super) fn arithmetic(&mut self, call: &Call) -> Result<Value, ModelError> {
        match (self.value(call, 0)?, self.value(call, 1)?) {
            (Value::Constant(a), Value::Constant(b)) => constants(call, &a, &b),
            (Value::Map(a), Value::Map(b)) => self.maps(call, a, b),
            (Value::Map(map), Value::Constant(constant)) => {
                with_constant(call, map, &constant, false)
            }
            (Value::Constant(constant), Value::Map(map)) => {
                with_constant(call, map, &constant, true)
            }
            _ => Err(call.wrong("input", "a list of sizes", "tensors")),
        }
    }

    fn maps(&mut self, call: &Call, a: Map, b: Map) -> Result<Value, ModelError> {
        call.not_after_softmax(&a)?;
        call.not_after_softmax(&b)?;
        match call.operator() {
            "Add" => return self.sum(call, a, b),
            "Sub" => return self.sum(call, a, negative(b)),
            "Mul" => {}
            operator => {
                let what = format!("second input of {operator}");
                return Err(call.wrong(&what, "a tensor", "a constant"));
            }
        }
        a.times_map(&b).map(Value::Map).ok_or_else(|| {
            let found = "the product of two tensors, not polynomials of one tensor";
            call.wrong("what it computes", found, "such polynomials, of low degree")
        })
    }

    fn sum(&mut self, call: &Call, a: Map, b: Map) -> Result<Value, ModelError> {
        if let Some(sum) = a.clone().plus_map(&b) {
            return Ok(Value::Map(sum));
        }
        if (a.shape, a.flat) != (b.shape, b.flat) {
            let found = format!("{:?}", b.shape);
            return Err(call.wrong("shape of an input", found, format!("{:?}", a.shape)));
        }
        let (shape, flat) = (a.shape, a.flat);
        let a = self.settle(a, self.producer(call, 0))?;
        let b = self.settle(b, self.producer(call, 1))?;
        let name = self.names.part(call.node, "add");
        let node = self.push(name, &[&a, &b], OpSpec::Add);
        Ok(Value::Map(Map::of(node, shape, flat)))
    }

    /// A tensor as a node: a polynomial becomes an activation, or a gain and an offset. `producer` names it.
    pub(super) fn settle(
        &mut self,
        map: Map,
        producer: Option<&proto::Node>,
    ) -> Result<Map, ModelError> {
        if map.is_node() {
            return Ok(map);
        }
        let mut made = self.made.get(&map.node).into_iter().flatten();
        if let Some(made) = made.find(|made| made.powers == map.powers) {
            return Ok(Map::of(made.node.clone(), map.shape, map.flat));
        }
        let kind = match map.powers.len() {
            2 => "affine",
            3 => "quadratic",
            _ => "polynomial",
        };
        let name = match producer {
            Some(node) => self.names.module(node, None, kind),
            None => self.names.module(&proto::Node::default(), None, kind),
        };
        let op = self.polynomial(&name, &map)?;
        let read = Map::of(map.node.clone(), map.shape, map.flat);
        let node = self.push(name, &[&read], op);
        let powers = map.powers;
        let made = self.made.entry(map.node).or_default();
        made.push(Made {
            powers,
            node: node.clone(),
        });
        Ok(Map::of(node, map.shape, map.flat))
    }

    fn polynomial(&mut self, name: &str, map: &Map) -> Result<OpSpec, ModelError> {
        let mut keep = |what: &str, values: Vec<f64>| {
            let array = Array::new(vec![values.len()], values);
            self.keep(format!("{name}.{what}"), array)
        };
        match map.powers.as_slice() {
            [offset, gain] => Ok(OpSpec::Affine {
                gain: keep("gain", gain.clone()),
                offset: keep("offset", offset.clone()),
            }),
            [c, b, a] => {
                let quadratic = square::complete(a, b, c).map_err(|channel| {
                    let what = format!("coefficient of the square in channel {channel}");
                    ModelError::node(name, what, a[channel], "a number that is not 0")
                })?;
                Ok(OpSpec::Quadratic {
                    g: keep("g", quadratic.g),
                    t: keep("t", quadratic.t),
                    d: keep("d", quadratic.d),
                })
            }
            powers => {
                let first: Vec<f64> = powers.iter().map(|power| power[0]).collect();
                let same = powers
                    .iter()
                    .all(|power| power.iter().all(|v| *v == power[0]));
                if !same {
                    let found = format!("one for each channel, of degree {}", powers.len() - 1);
                    let expected = "one for all channels where the degree is above 2";
                    return Err(ModelError::node(name, "polynomial", found, expected));
                }
                let interval = (-1.0, 1.0);
                let polynomial = Chebyshev::from_powers(&first, interval)
                    .map_err(|e| ModelError::node(name, "polynomial", e, "a polynomial"))?;
                Ok(OpSpec::Polynomial {
                    coefficients: polynomial.coeffs().to_vec(),
                    interval,
                })
            }
        }
    }
}

pub(super) fn negative(map: Map) -> Map {
    let minus = vec![-1.0; map.shape.0];
    map.times(&minus)
}

fn constants(call: &Call, a: &Array, b: &Array) -> Result<Value, ModelError> {
    let result = match call.operator() {
        "Add" => a.zip(b, |x, y| x + y),
        "Sub" => a.zip(b, |x, y| x - y),
        "Mul" => a.zip(b, |x, y| x * y),
        "Div" => a.zip(b, |x, y| x / y),
        _ => a.zip(b, f64::powf),
    };
    let shapes = || format!("of shapes {:?} and {:?}", a.shape, b.shape);
    let result = result.ok_or_else(|| call.wrong("input", shapes(), "shapes that match"))?;
    call.finite(&result.values)?;
    Ok(Value::Constant(result))
}

/// A tensor and a constant, `constant_first` in the order of the operator.
fn with_constant(
    call: &Call,
    map: Map,
    constant: &Array,
    constant_first: bool,
) -> Result<Value, ModelError> {
    call.not_after_softmax(&map)?;
    if call.operator() == "Pow" {
        let exponent = constant.scalar().filter(|_| !constant_first);
        let exponent = exponent.filter(|e| e.fract() == 0.0 && (1.0..=64.0).contains(e));
        let power = exponent.and_then(|e| map.clone().powered(e as usize));
        return power.map(Value::Map).ok_or_else(|| {
            let found = constant
                .scalar()
                .map_or("a tensor".to_owned(), |e| e.to_string());
            call.wrong(
                "exponent",
                found,
                "a constant whole number, 1 or more, and a low degree",
            )
        });
    }
    let values = map
        .per_channel(&constant.shape, &constant.values)
        .ok_or_else(|| {
            let found = format!("of shape {:?}", constant.shape);
            call.wrong("constant", found, "one number, or one for each channel")
        })?;
    let result = match (call.operator(), constant_first) {
        ("Add", _) => map.plus(&values),
        ("Mul", _) => map.times(&values),
        ("Sub", false) => map.plus(&values.iter().map(|v| -v).collect::<Vec<f64>>()),
        ("Sub", true) => negative(map).plus(&values),
        ("Div", false) => map.times(&values.iter().map(|v| 1.0 / v).collect::<Vec<f64>>()),
        _ => return Err(call.wrong("divisor", "a tensor", "a constant")),
    };
    for power in &result.powers {
        call.finite(power)?;
    }
    Ok(Value::Map(result))
}
