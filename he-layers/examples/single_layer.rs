//! One encrypted convolution: a client encrypts images, a server filters them without seeing them.
//!
//! ```sh
//! cargo run --release -p he-layers --example single_layer
//! ```

use std::error::Error;
use std::sync::Arc;

use he_layers::{Chw, Client, Conv2d, Evaluator, Grid, Packing, Parameters, PlainTensor, Program};

/// Runs the example; an error if the result is wrong.
pub fn main() -> Result<(), Box<dyn Error>> {
    // 256 colour images of 8 x 8 pixels, and 4 filters of 3 x 3.
    let shape = Chw::new(3, 8, 8);
    let images = PlainTensor::from_fn(256, shape, |n, c, y, x| {
        ((n + 3 * c + y * x) % 9) as f64 / 9.0
    });
    let weights = (0..4 * 3 * 9).map(|i| f64::from(i % 7) / 7.0).collect();

    // Parameters of 128-bit security, and the layer over them: an 8 x 8 map on a grid of 4 x 8 cells in each ciphertext.
    let params = Parameters::builder().log_n(13).q_bits([50, 50]).build()?;
    let conv = Conv2d::new("edges", (3, 4), (3, 3), (1, 1), (1, 1), weights)?;
    let net = Program::of_layers("edges", shape, &[&conv])?;
    let prepared = net.prepare_on(&params, 30, Grid::new(4, 8), Packing::Complex)?;

    // The client has the secret key, the server the evaluation keys.
    let (mut client, keys) = Client::generate(&params, &prepared)?;
    let server = Evaluator::new(&params, Arc::new(keys));
    let encrypted = client.encrypt(&images)?;
    let result = prepared.forward(&server, encrypted, 1)?;
    let found = client.decrypt(&result, images.n)?;

    let expected = net.forward_plain(&images)?;
    let pairs = found.data.iter().zip(&expected.data);
    let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!(
        "{} images in {} ciphertexts of {} slots, {}-bit security",
        images.n,
        prepared.input().layout.ciphertexts(),
        params.slots(),
        params.security_bits()
    );
    println!(
        "image 0, filter 0, pixel (1, 1): {:.6}, in the clear {:.6}",
        found.at(0, 0, 1, 1),
        expected.at(0, 0, 1, 1)
    );
    println!("largest error of {} numbers: {error:.1e}", found.data.len());
    if error > 1e-3 {
        return Err(format!("the error is {error}, expected at most 0.001").into());
    }
    Ok(())
}
