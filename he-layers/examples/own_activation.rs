//! An activation of one's own between encrypted layers: `x^3 / 4 + x`, in about twenty lines.
//!
//! ```sh
//! cargo run --release -p he-layers --example own_activation
//! ```

use std::error::Error;
use std::sync::Arc;

use he_layers::{
    Chw, Circuit, Client, Conv2d, Custom, Dense, Evaluator, Function, Grid, LayerError, Packing,
    Parameters, PlainTensor, Program, Wire, conformance,
};

/// `x^3 / 4 + x`.
#[derive(Clone, Debug)]
struct Cubic;

impl Function for Cubic {
    fn name(&self) -> &str {
        "cubic"
    }

    fn evaluate(&self, x: f64) -> f64 {
        x * x * x / 4.0 + x
    }

    fn declared(&self, _channel: usize) -> f64 {
        3.0
    }

    fn run(&self, c: &Circuit<'_>, x: Wire, _declared: f64) -> Result<Wire, LayerError> {
        let square = c.square(&x).map_err(|e| self.failed(e))?;
        let cube = c.mul(&square, &x).map_err(|e| self.failed(e))?;
        c.combine(&[(0.25, &cube), (1.0, &x)], 0.0)
            .map_err(|e| self.failed(e))
    }
}

/// Runs the example; an error if the result is wrong.
pub fn main() -> Result<(), Box<dyn Error>> {
    // Value, error, counted operations and memory, encrypted at a small ring.
    conformance::check_pointwise(Custom(Cubic), 2)?;
    println!("the cubic conforms: what it says of itself is what it does");

    // A network with it: levels, keys and costs follow by themselves.
    let shape = Chw::new(1, 8, 8);
    let weights = (0..4 * 9)
        .map(|i| f64::from(i * 5 % 9 - 4) / 12.0)
        .collect();
    let conv = Conv2d::new("conv", (1, 4), (3, 3), (1, 1), (1, 1), weights)?;
    let weights: Vec<f64> = (0..3 * 4).map(|i| f64::from(i % 5 - 2) / 64.0).collect();
    let head = Dense::pooled("head", Chw::new(4, 8, 8), 3, &weights, vec![0.1, 0.0, -0.1])?;
    let net = Program::of_layers("cubic", shape, &[&conv, &Custom(Cubic), &head])?;

    let params = Parameters::builder()
        .log_n(14)
        .q_bits([48; 6])
        .digits(3)
        .build()?;
    let prepared = net.prepare_on(&params, 30, Grid::new(8, 8), Packing::Complex)?;
    let (mut client, keys) = Client::generate(&params, &prepared)?;
    let server = Evaluator::new(&params, Arc::new(keys));
    let images = PlainTensor::from_fn(prepared.images(), shape, |n, _, y, x| {
        ((n + y * x) % 9) as f64 / 9.0
    });
    let result = prepared.forward(&server, client.encrypt(&images)?, 1)?;
    let found = client.decrypt(&result, images.n)?;

    let expected = net.forward_plain(&images)?;
    let pairs = found.data.iter().zip(&expected.data);
    let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!(
        "image 0: {:.4?}, in the clear {:.4?}",
        found.image(0),
        expected.image(0)
    );
    println!("largest error over {} images: {error:.1e}", images.n);
    if error > 1e-3 {
        return Err(format!("the error is {error}, expected at most 0.001").into());
    }
    Ok(())
}
