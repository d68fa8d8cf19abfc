//! A layer inside a bundled network makes way for one's own: a convolution without its smallest weights. Planner, client and
//! executor do not notice.
//!
//! ```sh
//! cargo run --release -p pipeline --example layer_swap
//! ```

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;

use ckks_scheme::{Evaluator, exec::KernelChoice};
use he_layers::{Client, Conv2d, Linear, PlainTensor};
use he_models::{Model, graph::Op};
use pipeline::estimate::time::Speed;
use pipeline::executor::Executor;
use pipeline::planner::{self, Machine, Pins, Task};
use pipeline::progress::Silent;

/// The convolution without the weights that are smaller than a share of the largest.
fn pruned(conv: &Conv2d, share: f64) -> Conv2d {
    let largest = conv.weight.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    let keep = |w: &f64| if w.abs() < share * largest { 0.0 } else { *w };
    Conv2d {
        name: "pruned".to_owned(),
        weight: conv.weight.iter().map(keep).collect(),
        ..conv.clone()
    }
}

/// Runs the example; an error if the result is wrong.
pub fn main() -> Result<(), Box<dyn Error>> {
    // The bundled network as a graph, with the new layer in the place of the old one.
    let model = Model::bundled("tiny")?;
    let mut graph = model.graph().clone();
    let node = graph
        .nodes
        .iter_mut()
        .find(|node| node.name == "stage1.block1.conv1");
    let Op::Linear(map) = &mut node.ok_or("no such node")?.op else {
        return Err("the node is no linear map".into());
    };
    let Linear::Conv(conv) = map.as_ref() else {
        return Err("the node is no convolution".into());
    };
    let own = pruned(conv, 0.3);
    let zeros = own.weight.iter().filter(|w| **w == 0.0).count();
    println!(
        "{}: {zeros} of {} weights are zero now",
        own.name,
        own.weight.len()
    );
    *map = Arc::new(own.into());
    let program = graph.lower(&model.spec().input.mean)?;

    // A plan at 128-bit security, and the network ready for it.
    let task = Task {
        program: &program,
        checksum: "",
        batch: NonZeroUsize::new(5).ok_or("no images")?,
        max_logit_error: 0.02,
    };
    let machine = Machine {
        threads: rayon::current_num_threads(),
        memory_bytes: 2 << 30,
        beside_bytes: 0,
        together: None,
        speed: Speed::built_in(KernelChoice::Auto.name()),
    };
    let planned = planner::plan(&task, &machine, &Pins::default(), &KernelChoice::Auto)?;
    println!("{}\n", planned.plan);
    let (params, prepared) = (&planned.instance.params, &planned.instance.prepared);

    // Client: keys, and images in ciphertexts.
    let levels = &planned.plan.decisions.key_steps.0;
    let (mut client, keys) = Client::with_key_levels(params, prepared, levels, &mut rand::rng())?;
    let images = PlainTensor::from_fn(5, program.shape(program.input()), |n, c, y, x| {
        (n + c + x * y) as f64 / 60.0
    });
    let encrypted = client.encrypt(&images)?;

    // Server: evaluation keys and ciphertexts only.
    let evaluator = Evaluator::new(params, Arc::new(keys));
    let steps = &planned.plan.forecast.steps;
    let (logits, _) = Executor::new(&evaluator, prepared, steps)?.run(encrypted, &Silent)?;

    // Client again: the new network, which is not the bundled one any more.
    let found = client.decrypt(&logits, images.n)?;
    let largest = |expected: &[f64]| {
        let pairs = found.data.iter().zip(expected);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let error = largest(&program.forward_plain(&images)?.data);
    let change = largest(&model.logits(&images.data)?);
    println!("logits of image 0: {:.3?}", found.image(0));
    println!("largest error {error:.1e}; the swap itself changed logits by up to {change:.1e}");
    if error > 0.01 || change < 2.0 * error {
        return Err(format!("an error of {error} beside a change of {change}").into());
    }
    Ok(())
}
