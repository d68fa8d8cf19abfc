//! Random drawings: lines, discs and rows of marks that look like text, on one colour.

use super::canvas::{Canvas, Random};
use crate::Shape;

/// Marks of a drawing; one in four is left out.
const MARKS: usize = 5;

/// A place, in pixels from above and from the left.
type Point = (f64, f64);

pub fn drawn(shape: Shape, random: &mut Random) -> Canvas {
    let ground = random.colour(shape.channels);
    let mut canvas = Canvas::new(shape, |c, _, _| ground[c]);
    for _ in 0..MARKS {
        let colour = random.colour(shape.channels);
        match random.below(4) {
            0 => {
                let line = Line::drawn(shape, random);
                canvas.paint(&colour, |y, x| line.covers(y, x));
            }
            1 => {
                let (centre, radius) = disc(shape, random);
                canvas.paint(&colour, |y, x| {
                    distance(centre, (y as f64, x as f64)) < radius
                });
            }
            2 => {
                let text = Text::drawn(shape, random);
                canvas.paint(&colour, |y, x| text.covers(y, x));
            }
            _ => {}
        }
    }
    canvas
}

fn point(shape: Shape, random: &mut Random) -> Point {
    (
        random.between(0.0, shape.height as f64),
        random.between(0.0, shape.width as f64),
    )
}

fn distance(a: Point, b: Point) -> f64 {
    ((a.0 - b.0) * (a.0 - b.0) + (a.1 - b.1) * (a.1 - b.1)).sqrt()
}

fn disc(shape: Shape, random: &mut Random) -> (Point, f64) {
    let largest = (shape.height.max(shape.width) as f64 / 3.0).max(1.0);
    (point(shape, random), random.between(1.0, largest))
}

struct Line {
    ends: (Point, Point),
    /// Half of the width.
    reach: f64,
}

impl Line {
    fn drawn(shape: Shape, random: &mut Random) -> Self {
        Self {
            ends: (point(shape, random), point(shape, random)),
            reach: random.between(0.5, 2.5),
        }
    }

    fn covers(&self, y: usize, x: usize) -> bool {
        let (a, b) = self.ends;
        let along = (b.0 - a.0, b.1 - a.1);
        let length = along.0 * along.0 + along.1 * along.1 + 1e-6;
        let from = (y as f64 - a.0, x as f64 - a.1);
        let at = ((from.0 * along.0 + from.1 * along.1) / length).clamp(0.0, 1.0);
        let nearest = (a.0 + at * along.0, a.1 + at * along.1);
        distance(nearest, (y as f64, x as f64)) < self.reach
    }
}

/// Rows of random bits in a box, with gaps between them.
struct Text {
    centre: Point,
    reach: (f64, f64),
    /// Pixels along a side of a bit.
    cell: usize,
    /// Pixels from one row to the next, and where they begin.
    rows: (usize, usize),
    columns: usize,
    bits: Vec<bool>,
}

impl Text {
    fn drawn(shape: Shape, random: &mut Random) -> Self {
        let cell = 1 + random.below(2);
        let height = 4 + random.below(5);
        let (lines, columns) = (shape.height.div_ceil(cell), shape.width.div_ceil(cell));
        Self {
            centre: point(shape, random),
            reach: (shape.height as f64 / 3.0, shape.width as f64 / 2.5),
            cell,
            rows: (height, random.below(height)),
            columns,
            bits: (0..lines * columns).map(|_| random.chance(0.55)).collect(),
        }
    }

    fn covers(&self, y: usize, x: usize) -> bool {
        let (height, first) = self.rows;
        let inside = (y as f64 - self.centre.0).abs() < self.reach.0
            && (x as f64 - self.centre.1).abs() < self.reach.1;
        inside
            && (y + first) % height < height - 2
            && self.bits[y / self.cell * self.columns + x / self.cell]
    }
}
