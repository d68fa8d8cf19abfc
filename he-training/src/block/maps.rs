//! Convolutions of a block as maps between the channels of all pixels.
//!
//! With one pixel in a ciphertext, a convolution is a map from the channels of all pixels to those of all pixels, of which most
//! pairs of pixels are not connected. Written as a convolution of 1x1 over single pixels, each pixel is a channel block of its own:
//! it is read, rotated and freed before the next one is.

use he_layers::{Conv2d, PlainTensor};

use super::layout::BlockLayout;
use crate::error::TrainingError;

/// The map of a convolution that keeps the shape of `layout`, with its bias.
pub(super) fn of_channels(conv: &Conv2d, layout: &BlockLayout) -> Result<Conv2d, TrainingError> {
    let (shape, cells) = (layout.shape(), layout.cells());
    let all = shape.pixels() * cells;
    let mut weight = vec![0.0; all * all];
    let place = |c: usize, y: usize, x: usize| (y * shape.width + x) * cells + c;
    let source = |at: usize, tap: usize, before: usize, size: usize| {
        (at + tap)
            .checked_sub(before)
            .filter(|source| *source < size)
    };
    for y in 0..shape.height {
        for x in 0..shape.width {
            for ky in 0..conv.kernel.0 {
                for kx in 0..conv.kernel.1 {
                    let from_y = source(y, ky, conv.padding.top, shape.height);
                    let from_x = source(x, kx, conv.padding.left, shape.width);
                    let Some((from_y, from_x)) = from_y.zip(from_x) else {
                        continue;
                    };
                    for o in 0..conv.out_channels {
                        for i in conv.inputs_of(o) {
                            let (to, from) = (place(o, y, x), place(i, from_y, from_x));
                            weight[to * all + from] = conv.weight_at(o, i, ky, kx);
                        }
                    }
                }
            }
        }
    }
    // What the convolution gives for zeros, with the taps at the border that count.
    let constant = conv.forward_plain(&PlainTensor::zeros(1, shape))?;
    let mut map = Conv2d::new(
        conv.name.clone(),
        (all, all),
        (1, 1),
        (1, 1),
        (0, 0),
        weight,
    )?;
    for (c, values) in constant.data.chunks_exact(shape.pixels()).enumerate() {
        for (pixel, value) in values.iter().enumerate() {
            map.bias[pixel * cells + c] = *value;
        }
    }
    Ok(map)
}
