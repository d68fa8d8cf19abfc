//! What a ciphertext offers to one image: cells, and real or complex slots.

use std::fmt;

use num_complex::Complex64;
use serde::{Deserialize, Serialize};

/// Whether a slot holds one image's number or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Packing {
    /// One image in the real parts; imaginary parts are zero.
    Real,
    /// One image in the real parts, another in the imaginary parts.
    Complex,
}

impl Packing {
    /// A real number for every image of a slot: `1`, or `1 + i`.
    pub fn unit(self) -> Complex64 {
        match self {
            Packing::Real => Complex64::new(1.0, 0.0),
            Packing::Complex => Complex64::new(1.0, 1.0),
        }
    }

    /// Images of which a slot holds a number.
    pub const fn images_per_slot(self) -> usize {
        match self {
            Packing::Real => 1,
            Packing::Complex => 2,
        }
    }

    /// Modulus of a slot all of whose images hold `value`.
    pub(crate) fn modulus(self, value: f64) -> f64 {
        value * self.unit().norm()
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Real => "real",
            Packing::Complex => "complex",
        })
    }
}

/// The cells of one image in a ciphertext: `rows * cols`, rounded up to a power of two.
///
/// The sizes are any positive numbers. A grid whose sizes are those of the map, or quotients of them, leaves the fewest cells
/// empty: a map of 40x24 fills 960 of the 1024 cells of the grid 40x24, and of the 2048 cells of the grid 64x32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub cols: usize,
}

impl Grid {
    /// A grid of `rows` times `cols` cells.
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols }
    }

    /// Cells that one image takes, and the period of masks and bias planes: `rows * cols` rounded up to a power of two. Cell
    /// `row * cols + col` is in row `row` and column `col`; cells from `rows * cols` on are never used.
    pub const fn cells(&self) -> usize {
        (self.rows * self.cols).next_power_of_two()
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}

/// A place: ciphertext, and cell of the image's grid in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the ciphertext.
    pub ciphertext: usize,
    /// Cell, `row * grid.cols + column`.
    pub cell: usize,
}
