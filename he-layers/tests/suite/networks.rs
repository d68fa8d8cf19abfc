//! Whole networks: plain slots, encrypted runs, bounds and simulated errors.

use he_layers::{Chw, Grid, Packing};

use crate::lab::{Lab, largest_difference, residual_network};

#[test]
fn residual_networks_match_their_references_on_all_grids() {
    let mut lab = Lab::new(9, 7, 3);
    let shape = Chw::new(3, 8, 8);
    let program = residual_network(&mut lab.rng, 8, 6);
    for packing in [Packing::Real, Packing::Complex] {
        for grid in [
            Grid::new(8, 8),
            Grid::new(4, 8),
            Grid::new(2, 2),
            Grid::new(1, 8),
        ] {
            let layout = lab.layout(shape, grid, packing);
            let prepared = program.prepare(&lab.preparation(layout)).unwrap();
            let x = lab.images(&prepared);
            let one = lab.check(&program, &prepared, &x, (1, 1));
            let all = lab.check(&program, &prepared, &x, (64, 2));
            // Noise differs from run to run; the network does not.
            assert!(largest_difference(&one.y, &all.y) <= one.bound + all.bound);
        }
    }
}
