//! One layer of each kind on a few ciphertexts, by criterion: a convolution, a squaring activation, a residual block.
//!
//! Eight ciphertexts in complex packing: 4 channels of 16 x 16 pixels on a grid of 8 x 16 cells, as in the second stage of
//! ResNet-20 at batch 512, with all the images that they hold.
//!
//! `cargo bench -p bench-suite --bench layers [-- FILTER]`; ring by environment, see `bench_suite::ring`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bench_suite::ring::{self, Ring};
use ckks_scheme::{
    Ciphertext, Evaluator, KeyGenerator, KeyRequest, Parameters, Scale, SecretEncryptor, SecretKey,
};
use criterion::{BatchSize, Criterion};
use he_layers::{
    Chw, ClientCodec, Conv2d, EncryptedTensor, Grid, Layer, LayerError, Layout, Packing,
    PlainTensor, PreActBlock, PreparedLayer, ScaleChain, SquareActivation, TensorSpec,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const SHAPE: Chw = Chw {
    channels: 4,
    height: 16,
    width: 16,
};
const GRID: Grid = Grid { rows: 8, cols: 16 };
/// Channel blocks absorbed at a time.
const GROUP: usize = 1;

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), BoxError> {
    let params = Ring::from_env()?.parameters()?;
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let chain = ScaleChain::of(&params, Scale::new(2f64.powi(30)));
    let layout = Layout::new(SHAPE, GRID, Packing::Complex, params.slots())?;
    let squares = chain.square_form(layout.clone(), params.max_level());
    let sums = chain.sum_form(layout, params.max_level())?;
    let layers = [
        ("conv3x3_s1", conv("conv")?.prepare(&squares, &chain)?),
        ("square", activation("act")?.prepare(&sums, &chain)?),
        ("preact_block", block()?.prepare(&sums, &chain)?),
    ];

    let mut request = KeyRequest::new();
    layers
        .iter()
        .for_each(|(_, layer)| request.extend(&layer.required_keys()));
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let keygen = KeyGenerator::new(&params);
    let secret = keygen.secret_key(&mut rng)?;
    let keys = keygen.evaluation_keys(&secret, &request, &mut rng)?;
    let evaluator = Evaluator::new(&params, Arc::new(keys));
    for (name, layer) in layers {
        let input = encrypt(&params, &secret, layer.input(), &mut rng)?;
        bench(&mut criterion, name, layer.as_ref(), &evaluator, &input);
    }
    criterion.final_summary();
    Ok(())
}

fn bench(
    c: &mut Criterion,
    name: &str,
    layer: &dyn PreparedLayer,
    evaluator: &Evaluator,
    input: &[Ciphertext],
) {
    let spec = layer.input();
    let id = ring::id("he-layers", name, evaluator.params(), spec.level.limbs())
        .param("ct", input.len())
        .batch(spec.layout.images())
        .threads(1, rayon::current_num_threads());
    let copy = || {
        let ciphertexts = input.iter().map(Ciphertext::try_clone);
        let ciphertexts = ciphertexts
            .collect::<Result<_, _>>()
            .expect("the pool has no bound");
        EncryptedTensor::new(spec.clone(), ciphertexts).expect("encrypted as the layer says")
    };
    c.bench_function(&id.to_string(), |b| {
        b.iter_batched(
            copy,
            |x| {
                layer
                    .forward(evaluator, x, GROUP)
                    .expect("keys, levels and scales fit")
            },
            BatchSize::PerIteration,
        );
    });
}

/// Images with values of both signs, below 1.
fn encrypt(
    params: &Parameters,
    secret: &SecretKey,
    spec: &TensorSpec,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Ciphertext>, BoxError> {
    let images = PlainTensor::from_fn(spec.layout.images(), SHAPE, |n, c, y, x| {
        ((n + 3 * c + y * x) % 17) as f64 / 8.0 - 1.0
    });
    let encryptor = SecretEncryptor::new(secret);
    let mut ciphertexts = Vec::new();
    for plaintext in ClientCodec::new(params, spec.clone()).encode(&images)? {
        ciphertexts.push(encryptor.encrypt(&plaintext, rng)?);
    }
    Ok(ciphertexts)
}

fn conv(name: &str) -> Result<Conv2d, LayerError> {
    let channels = SHAPE.channels;
    let weight = (0..channels * channels * 9)
        .map(|i| ((i * 37 % 23) as f64 - 11.0) / 64.0)
        .collect();
    Conv2d::new(name, (channels, channels), (3, 3), (1, 1), (1, 1), weight)
}

fn activation(name: &str) -> Result<SquareActivation, LayerError> {
    let channels = SHAPE.channels;
    SquareActivation::new(
        name,
        vec![0.25; channels],
        vec![30.0; channels],
        vec![1.3; channels],
    )
}

fn block() -> Result<PreActBlock, LayerError> {
    Ok(PreActBlock {
        name: "block".to_owned(),
        act1: activation("block.act1")?,
        conv1: conv("block.conv1")?,
        act2: activation("block.act2")?,
        conv2: conv("block.conv2")?,
        shortcut: None,
    })
}
