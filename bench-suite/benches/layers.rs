//! Small programs on a few ciphertexts, by criterion: a convolution, a square with a convolution, a residual block.
//!
//! Eight ciphertexts in complex packing: 4 channels of 16 x 16 pixels on a grid of 8 x 16 cells, as in the second stage of
//! ResNet-20 at batch 512, with all the images that they hold. The input is at the highest level.
//!
//! `cargo bench -p bench-suite --bench layers [-- FILTER]`; ring by environment, see `bench_suite::ring`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bench_suite::ring::{self, Ring};
use ckks_scheme::{Ciphertext, Evaluator, Level, Parameters, Scale};
use criterion::{BatchSize, Criterion};
use he_layers::{
    Chw, Client, Conv2d, EncryptedTensor, Grid, Layer, LayerError, Layout, Packing, PlainTensor,
    PreActBlock, Preparation, PreparedProgram, Program, Square,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const SHAPE: Chw = Chw {
    channels: 4,
    height: 16,
    width: 16,
};
const GRID: Grid = Grid { rows: 8, cols: 16 };
/// Channel blocks read at a time.
const BLOCKS: usize = 1;

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), BoxError> {
    let params = Ring::from_env()?.parameters()?;
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let conv = conv("conv")?;
    let square = square("square")?;
    let programs: [(&str, &[&dyn Layer]); 3] = [
        ("conv3x3_s1", &[&conv]),
        ("square_conv3x3_s1", &[&square, &conv]),
        ("preact_block", &[&block()?]),
    ];
    for (name, layers) in programs {
        bench(
            &mut criterion,
            name,
            &prepare(name, layers, &params)?,
            &params,
        )?;
    }
    criterion.final_summary();
    Ok(())
}

/// Layers made ready for inputs at the highest level.
fn prepare(
    name: &str,
    layers: &[&dyn Layer],
    params: &Parameters,
) -> Result<PreparedProgram, BoxError> {
    let program = Program::of_layers(name, SHAPE, layers)?;
    let layout = Layout::new(SHAPE, GRID, Packing::Complex, params.slots())?;
    let lowest = Preparation::new(params, Scale::new(2f64.powi(28)), layout);
    let input = program.prepare(&lowest)?.input().level;
    let above = params.max_level().limbs() - input.limbs();
    Ok(program.prepare(&Preparation {
        output_level: Level::new(lowest.output_level.limbs() + above),
        ..lowest
    })?)
}

fn bench(
    c: &mut Criterion,
    name: &str,
    program: &PreparedProgram,
    params: &Parameters,
) -> Result<(), BoxError> {
    let spec = program.input();
    let (mut client, keys) = Client::new(params, program, &mut ChaCha20Rng::seed_from_u64(1))?;
    let evaluator = Evaluator::new(params, Arc::new(keys));
    // Values of both signs, below 1.
    let images = PlainTensor::from_fn(spec.layout.images(), SHAPE, |n, c, y, x| {
        ((n + 3 * c + y * x) % 17) as f64 / 8.0 - 1.0
    });
    let input = client.encrypt(&images)?;
    let id = ring::id("he-layers", name, params, spec.level.limbs())
        .param("ct", input.ciphertexts().len())
        .batch(spec.layout.images())
        .threads(1, rayon::current_num_threads());
    let copy = || {
        let ciphertexts = input.ciphertexts().iter().map(Ciphertext::try_clone);
        let ciphertexts = ciphertexts
            .collect::<Result<_, _>>()
            .expect("the pool has no bound");
        EncryptedTensor::new(spec.clone(), ciphertexts).expect("encrypted as the program says")
    };
    c.bench_function(&id.to_string(), |b| {
        b.iter_batched(
            copy,
            |x| {
                program
                    .forward(&evaluator, x, BLOCKS)
                    .expect("keys, levels and scales fit")
            },
            BatchSize::PerIteration,
        );
    });
    Ok(())
}

fn conv(name: &str) -> Result<Conv2d, LayerError> {
    let channels = SHAPE.channels;
    let weight = (0..channels * channels * 9)
        .map(|i| ((i * 37 % 23) as f64 - 11.0) / 64.0)
        .collect();
    Conv2d::new(name, (channels, channels), (3, 3), (1, 1), (1, 1), weight)
}

fn square(name: &str) -> Result<Square, LayerError> {
    let channels = SHAPE.channels;
    let (t, declared) = (vec![0.25; channels], vec![30.0; channels]);
    Square::new(name, t, declared, vec![1.3; channels])
}

fn block() -> Result<PreActBlock, LayerError> {
    Ok(PreActBlock {
        name: "block".to_owned(),
        act1: square("block.act1")?,
        conv1: conv("block.conv1")?,
        act2: square("block.act2")?,
        conv2: conv("block.conv2")?,
        shortcut: None,
    })
}
