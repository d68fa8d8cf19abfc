//! Which dimension of an array is which.

use super::stored::Stored;
use crate::{DataError, Layout, OpenOptions, Shape};

/// Channels that a picture can have, where nobody says how many it has.
const USUAL_CHANNELS: std::ops::RangeInclusive<usize> = 1..=4;

/// How images lie in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) images: usize,
    pub(super) shape: Shape,
    channels_last: bool,
}

impl Order {
    /// Finds the order that fits what is wanted. If both fit, channels come first.
    pub(super) fn find(array: &Stored, options: &OpenOptions) -> Result<Self, DataError> {
        let wanted = options.shape;
        let layouts = match options.layout {
            Some(layout) => vec![layout],
            None => vec![Layout::Nchw, Layout::Nhwc],
        };
        let fitting: Vec<_> = layouts
            .iter()
            .filter_map(|&layout| Self::with_layout(&array.dims, layout, wanted))
            .filter(|order| match wanted {
                Some(shape) => order.shape == shape,
                None => layouts.len() == 1 || USUAL_CHANNELS.contains(&order.shape.channels),
            })
            .collect();
        let refused = |expected| DataError::ArrayShape {
            path: array.path.clone(),
            array: array.name.clone(),
            found: array.dims.clone(),
            expected,
        };
        let order = match (fitting.as_slice(), wanted) {
            ([], Some(shape)) => {
                return Err(refused(format!(
                    "images of {shape}: [N, {0}, {1}, {2}] or [N, {1}, {2}, {0}]",
                    shape.channels, shape.height, shape.width
                )));
            }
            ([], None) => {
                return Err(refused(
                    "[N, C, H, W], [N, H, W, C] or [N, H, W] with 1 to 4 channels, or the shape given"
                        .to_owned(),
                ));
            }
            ([first, second], None) if first.shape != second.shape => {
                return Err(refused(
                    "one order that fits: give the shape or the layout".to_owned(),
                ));
            }
            ([first, ..], _) => *first,
        };
        let limits = &options.limits;
        limits.check_shape(&array.path, order.shape)?;
        if order.images == 0 || order.images > limits.images {
            return Err(DataError::TooLarge {
                path: array.path.clone(),
                what: "images",
                found: order.images as u64,
                limit: limits.images as u64,
            });
        }
        Ok(order)
    }

    fn with_layout(dims: &[usize], layout: Layout, wanted: Option<Shape>) -> Option<Self> {
        let channels_last = layout == Layout::Nhwc;
        let (images, shape) = match (dims, wanted) {
            (&[n, a, b, c], _) => {
                let [channels, height, width] = if channels_last { [c, a, b] } else { [a, b, c] };
                let shape = Shape {
                    channels,
                    height,
                    width,
                };
                (n, shape)
            }
            (&[n, height, width], _) => {
                let shape = Shape {
                    channels: 1,
                    height,
                    width,
                };
                (n, shape)
            }
            (&[n, values], Some(shape)) if values == shape.values() => (n, shape),
            _ => return None,
        };
        Some(Self {
            images,
            shape,
            channels_last,
        })
    }

    /// The values of one image, channels first.
    pub(super) fn planes<T: Copy>(&self, values: Vec<T>) -> Vec<T> {
        let channels = self.shape.channels;
        if !self.channels_last || channels == 1 {
            return values;
        }
        (0..channels)
            .flat_map(|c| values.iter().skip(c).step_by(channels).copied())
            .collect()
    }
}
