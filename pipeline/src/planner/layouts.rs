//! Packings and grids worth a look.

use he_layers::{Grid, Packing, Program};

use super::Pins;

/// Most pixels of a cell, and most cells of a pixel, of grids that are looked at.
const PIXELS_PER_CELL: usize = 64;
const CELLS_PER_PIXEL: usize = 8;
/// Fewest images that a ciphertext's real parts hold.
const LEAST_IMAGES: usize = 1;

/// The smallest grid that is worth a look.
pub(super) fn least(program: &Program) -> Grid {
    let shape = program.shape(program.input());
    let side = |pixels: usize| (pixels.next_power_of_two() * 8 / PIXELS_PER_CELL).max(1);
    Grid::new(side(shape.height), side(shape.width))
}

/// Square grids and those twice as wide as high, or twice as high as wide for such maps.
pub(super) fn candidates(program: &Program, slots: usize, pins: &Pins) -> Vec<(Packing, Grid)> {
    let shape = program.shape(program.input());
    let packings = match pins.packing {
        Some(packing) => vec![packing],
        None => vec![Packing::Real, Packing::Complex],
    };
    let pixels = shape.height.next_power_of_two() * shape.width.next_power_of_two();
    let fits = |g: &Grid| {
        g.cells() <= slots / LEAST_IMAGES
            && g.cells() >= pixels / PIXELS_PER_CELL
            && g.cells() <= CELLS_PER_PIXEL * pixels
    };
    let grids: Vec<Grid> = match pins.grid {
        Some(grid) => vec![grid],
        None => (0..=slots.ilog2())
            .map(|log| 1usize << log)
            .flat_map(|side| {
                let half = (side / 2).max(1);
                let oblong = match shape.height > shape.width {
                    true => Grid::new(side, half),
                    false => Grid::new(half, side),
                };
                [Grid::new(side, side), oblong]
            })
            .filter(fits)
            .collect(),
    };
    let mut grids = grids;
    grids.dedup();
    let with_grids = |packing| grids.iter().map(move |&grid| (packing, grid));
    packings.into_iter().flat_map(with_grids).collect()
}
