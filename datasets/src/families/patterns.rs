//! Pictures that are counted, not drawn by chance: stripes, checkerboards, single colours.

use super::canvas::{Canvas, Colour, WHITE};
use crate::Shape;

/// Kinds of patterns: along rows, columns, diagonals, and checkerboards.
const KINDS: usize = 4;
/// All cells up to this size; of larger ones those that are powers of two.
const CELLS: usize = 64;
/// Levels of a channel.
const LEVELS: usize = 9;
/// Channels that vary by themselves; further ones repeat them.
const FREE: usize = 3;

fn free(shape: Shape) -> u32 {
    shape.channels.min(FREE) as u32
}

/// Sizes of a stripe, in pixels, with offsets of none and half of it.
fn cells(shape: Shape) -> impl Iterator<Item = (usize, usize)> {
    let largest = (shape.height.max(shape.width) / 2).max(1);
    let sizes = (1..=largest).filter(|cell| *cell <= CELLS || cell.is_power_of_two());
    sizes.flat_map(|cell| {
        let half = (cell > 1).then_some((cell, cell / 2));
        [(cell, 0)].into_iter().chain(half)
    })
}

/// Stripes and checkerboards of a shape.
pub fn boards(shape: Shape) -> usize {
    (KINDS * cells(shape).count()) << free(shape)
}

/// One of them: a full colour and its opposite.
pub fn board(shape: Shape, index: usize) -> Canvas {
    let (corner, rest) = (index % (1 << free(shape)), index >> free(shape));
    let (kind, place) = (rest % KINDS, rest / KINDS);
    let (cell, offset) = cells(shape).nth(place).unwrap_or((1, 0));
    let colour = |bits: usize| -> Colour {
        let full = |c: usize| WHITE * f64::from(u8::from(bits >> (c % FREE) & 1 == 1));
        (0..shape.channels).map(full).collect()
    };
    let stripe = |i: usize| (i + offset) / cell;
    Canvas::of_two(shape, [&colour(corner), &colour(!corner)], |y, x| {
        let number = match kind {
            0 => stripe(y),
            1 => stripe(x),
            2 => stripe(y + x),
            _ => stripe(y) + stripe(x),
        };
        number % 2 == 1
    })
}

/// Single colours of a shape.
pub fn colours(shape: Shape) -> usize {
    LEVELS.pow(free(shape))
}

/// One of them.
pub fn colour(shape: Shape, index: usize) -> Canvas {
    let level = |c: usize| index / LEVELS.pow((c % FREE) as u32) % LEVELS;
    Canvas::new(shape, |c, _, _| {
        WHITE * level(c) as f64 / (LEVELS - 1) as f64
    })
}
