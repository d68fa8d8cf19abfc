//! Attributes of convolutions and poolings.

use super::{operators::Call, proto};
use crate::{ModelError, spec::MAX_EXTENT};

type Pair = (usize, usize);

/// How windows lie on a map; top, left, bottom, right.
pub(super) struct Windows {
    pub kernel: Pair,
    pub stride: Pair,
    pub padding: (usize, usize, usize, usize),
    pub dilation: Pair,
    /// Rows and columns of the output.
    pub output: Pair,
}

/// Attribute of a node.
pub(super) fn attribute<'a>(node: &'a proto::Node, name: &str) -> Option<&'a proto::Attribute> {
    node.attribute.iter().find(|a| a.name == name)
}

/// Whole number of an attribute.
pub(super) fn integer(node: &proto::Node, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |a| a.i)
}

/// Number of an attribute. Files hold the single-precision neighbour of what was meant.
pub(super) fn number(node: &proto::Node, name: &str, default: f64) -> f64 {
    attribute(node, name).map_or(default, |a| a.f.to_string().parse().unwrap_or(default))
}

impl Windows {
    /// Reads the attributes of a node that moves windows over maps of `size`; the kernel is `kernel` unless there is an attribute.
    pub(super) fn read(call: &Call, size: Pair, kernel: Option<Pair>) -> Result<Self, ModelError> {
        let node = call.node;
        let pair = |name: &str, default: Option<Pair>| match attribute(node, name) {
            None => default.ok_or_else(|| call.wrong(name, "missing", "2 numbers")),
            Some(attribute) => match attribute.ints.as_slice() {
                [rows, columns] => {
                    let one = |n: &i64| {
                        usize::try_from(*n)
                            .ok()
                            .filter(|n| (1..=MAX_EXTENT).contains(n))
                    };
                    let pair = one(rows).zip(one(columns));
                    let expected = format!("2 numbers from 1 to {MAX_EXTENT}");
                    pair.ok_or_else(|| call.wrong(name, format!("{rows}, {columns}"), expected))
                }
                other => Err(call.wrong(name, format!("{other:?}"), "2 numbers")),
            },
        };
        let found = pair("kernel_shape", kernel)?;
        if kernel.is_some_and(|kernel| kernel != found) {
            let expected = format!("{kernel:?}, as the weights have");
            return Err(call.wrong("kernel_shape", format!("{found:?}"), expected));
        }
        let kernel = found;
        let stride = pair("strides", Some((1, 1)))?;
        let dilation = pair("dilations", Some((1, 1)))?;
        let whole = (
            (kernel.0 - 1) * dilation.0 + 1,
            (kernel.1 - 1) * dilation.1 + 1,
        );
        let padding = padding(call, size, whole, stride)?;
        let (top, left, bottom, right) = padding;
        let axis = |what: &str, size: usize, zeros: usize, kernel: usize, stride: usize| {
            let room = (size + zeros).checked_sub(kernel).ok_or_else(|| {
                let expected = format!("at most {}, the map with its padding", size + zeros);
                call.wrong(what, kernel, expected)
            })?;
            if integer(node, "ceil_mode", 0) != 0 && !room.is_multiple_of(stride) {
                return Err(call.wrong("ceil_mode", 1, "0, or windows that fill the map"));
            }
            Ok(room / stride + 1)
        };
        let output = (
            axis("kernel rows", size.0, top + bottom, whole.0, stride.0)?,
            axis("kernel columns", size.1, left + right, whole.1, stride.1)?,
        );
        Ok(Self {
            kernel,
            stride,
            padding,
            dilation,
            output,
        })
    }
}

fn padding(
    call: &Call,
    size: Pair,
    kernel: Pair,
    stride: Pair,
) -> Result<(usize, usize, usize, usize), ModelError> {
    let auto = attribute(call.node, "auto_pad").map_or(&b"NOTSET"[..], |a| &a.s);
    // As many output pixels as strides fit into the map; an odd zero goes to the end, or to the start.
    let same = |size: usize, kernel: usize, stride: usize, end: bool| {
        let zeros = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
        let half = zeros / 2;
        if end {
            (half, zeros - half)
        } else {
            (zeros - half, half)
        }
    };
    match auto {
        b"NOTSET" | b"" => {}
        b"VALID" => return Ok((0, 0, 0, 0)),
        b"SAME_UPPER" | b"SAME_LOWER" => {
            let end = auto == b"SAME_UPPER";
            let (top, bottom) = same(size.0, kernel.0, stride.0, end);
            let (left, right) = same(size.1, kernel.1, stride.1, end);
            return Ok((top, left, bottom, right));
        }
        other => {
            let found = String::from_utf8_lossy(other).into_owned();
            return Err(call.wrong("auto_pad", found, "NOTSET, VALID, SAME_UPPER or SAME_LOWER"));
        }
    }
    let Some(pads) = attribute(call.node, "pads") else {
        return Ok((0, 0, 0, 0));
    };
    let size = |n: &i64| usize::try_from(*n).ok().filter(|n| *n <= MAX_EXTENT);
    let sizes: Option<Vec<usize>> = pads.ints.iter().map(size).collect();
    match sizes.as_deref() {
        Some(&[top, left, bottom, right]) => Ok((top, left, bottom, right)),
        _ => {
            let expected = format!("4 numbers from 0 to {MAX_EXTENT}");
            Err(call.wrong("pads", format!("{:?}", pads.ints), expected))
        }
    }
}
