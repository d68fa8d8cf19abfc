//! Packings and grids worth a look.

use std::num::NonZeroUsize;

use he_layers::{Grid, Packing, Program};

use super::Pins;

/// Most pixels of a cell of grids that are looked at: where the batch fills more than half of the ciphertexts, and for any batch.
const PIXELS_PER_FILLED_CELL: usize = 4096;
const PIXELS_PER_CELL: usize = 64;
/// Most cells of a pixel of grids that are looked at.
const CELLS_PER_PIXEL: usize = 8;
/// Fewest images that a ciphertext's real parts hold.
const LEAST_IMAGES: usize = 1;

/// The smallest grid that is worth a look.
pub(super) fn least(program: &Program) -> Grid {
    let shape = program.shape(program.input());
    let side = |pixels: usize| (pixels.next_power_of_two() * 64 / PIXELS_PER_FILLED_CELL).max(1);
    Grid::new(side(shape.height), side(shape.width))
}

/// Square grids and those twice as wide as high, or twice as high as wide for such maps, for ciphertexts of `slots` complex
/// slots.
pub(super) fn candidates(
    program: &Program,
    slots: usize,
    batch: NonZeroUsize,
    pins: &Pins,
) -> Vec<(Packing, Grid)> {
    let shape = program.shape(program.input());
    let packings = match pins.packing {
        Some(packing) => vec![packing],
        None => vec![Packing::Real, Packing::Complex],
    };
    let pixels = shape.height.next_power_of_two() * shape.width.next_power_of_two();
    let fits = |packing: Packing, g: Grid| {
        let images = slots / g.cells() * packing.images_per_slot();
        let most = match batch.get() > images / 2 {
            true => PIXELS_PER_FILLED_CELL,
            false => PIXELS_PER_CELL,
        };
        g.cells() <= slots / LEAST_IMAGES
            && g.cells() >= pixels / most
            && g.cells() <= CELLS_PER_PIXEL * pixels
    };
    let grids = |packing: Packing| -> Vec<Grid> {
        if let Some(grid) = pins.grid {
            return vec![grid];
        }
        let sides = (0..=slots.ilog2()).map(|log| 1usize << log);
        let of_side = sides.flat_map(|side| {
            let half = (side / 2).max(1);
            let oblong = match shape.height > shape.width {
                true => Grid::new(side, half),
                false => Grid::new(half, side),
            };
            [Grid::new(side, side), oblong]
        });
        let mut grids: Vec<Grid> = of_side.filter(|grid| fits(packing, *grid)).collect();
        grids.dedup();
        grids
    };
    let with_grids = |packing| {
        let grids = grids(packing).into_iter();
        grids.map(move |grid| (packing, grid))
    };
    packings.into_iter().flat_map(with_grids).collect()
}
