//! Layers fixed for a layout, level and scale: what the encrypted run consists of.
//!
//! Layers are built from stages: [`Pointwise`] ones, of which [`SquareStage`] is one, take every ciphertext by itself; a
//! [`Reader`] takes groups of input ciphertexts (through a square stage or not), rotates them and adds their products to
//! accumulators.
//!
//! [`SquareStage`]: square::SquareStage
//! [`Reader`]: reader::Reader
//! [`Pointwise`]: pointwise::Pointwise

pub(crate) mod accumulator;
pub(crate) mod approach;
pub(crate) mod block;
pub(crate) mod linear;
pub(crate) mod pointwise;
pub(crate) mod poly;
pub(crate) mod post_act;
pub(crate) mod reader;
pub(crate) mod refresh;
pub(crate) mod square;

use num_complex::Complex64;

/// Adds plain slots to those of as many ciphertexts.
pub(crate) fn add_slots(sums: &mut [Vec<Complex64>], terms: &[Vec<Complex64>]) {
    let terms = terms.iter().flatten();
    sums.iter_mut()
        .flatten()
        .zip(terms)
        .for_each(|(sum, term)| *sum += term);
}
