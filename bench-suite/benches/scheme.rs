//! The scheme's operations, by criterion.
//!
//! `cargo bench -p bench-suite --bench scheme [-- FILTER]`; ring by environment, see `bench_suite::ring`.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bench_suite::ring::{self, Ring};
use ckks_scheme::{
    Ciphertext, Decryptor, Encoder, EvalError, Evaluator, KeyGenerator, KeyRequest, Parameters,
    PeriodicMatrix, Scale, SecretEncryptor,
};
use criterion::{BatchSize, Criterion};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// Steps of the hoisted rotations.
const STEPS: [i64; 3] = [1, 16, 17];
/// Rows, columns and cells of the matrix product: one input channel of a 3x3 convolution to 16 outputs.
const PRODUCT: (usize, usize, usize) = (16, 9, 128);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let ring = Ring::from_env()?;
    let params = ring.parameters()?;
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    bench(&mut criterion, &params)?;
    criterion.final_summary();
    Ok(())
}

fn bench(c: &mut Criterion, params: &Parameters) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let level = params.max_level();
    let name =
        |operation: &str| ring::id("ckks-scheme", operation, params, level.limbs()).to_string();

    let keygen = KeyGenerator::new(params);
    let secret = keygen.secret_key(&mut rng)?;
    let mut request = KeyRequest::new();
    request.relin(level);
    request.conjugation(level);
    STEPS
        .iter()
        .for_each(|&steps| request.rotation(steps, level));
    let eval = Evaluator::new(
        params,
        Arc::new(keygen.evaluation_keys(&secret, &request, &mut rng)?),
    );
    let mut one_key = KeyRequest::new();
    one_key.relin(level);
    c.bench_function(&name("switching_key"), |b| {
        b.iter(|| {
            keygen
                .evaluation_keys(&secret, &one_key, &mut rng)
                .expect("the pool has no bound")
        });
    });

    // The client's side.
    let encoder = Encoder::new(params);
    let slots = vec![Complex64::new(0.5, -0.25); params.slots()];
    let scale = Scale::new(2f64.powi(30));
    let encode = || {
        encoder
            .encode(black_box(&slots), level, scale)
            .expect("values fit the modulus")
    };
    c.bench_function(&name("encode"), |b| b.iter(encode));
    let plaintext = encode();
    let encryptor = SecretEncryptor::new(&secret);
    c.bench_function(&name("encrypt_secret"), |b| {
        b.iter(|| {
            encryptor
                .encrypt(&plaintext, &mut rng)
                .expect("the pool has no bound")
        });
    });
    let ct = encryptor.encrypt(&plaintext, &mut rng)?;
    let decryptor = Decryptor::new(&secret);
    c.bench_function(&name("decrypt"), |b| {
        b.iter(|| {
            decryptor
                .decrypt(&ct, &encoder)
                .expect("a fresh ciphertext")
        });
    });

    // The server's side.
    let mut unary = |operation: &str, f: &dyn Fn() -> Result<Ciphertext, EvalError>| {
        c.bench_function(&name(operation), |b| {
            b.iter(|| f().expect("keys, levels and scales fit"));
        });
    };
    unary("mul", &|| eval.mul(&ct, &ct));
    unary("mul_plain", &|| eval.mul_plain(&ct, &plaintext));
    unary("square", &|| eval.square(&ct));
    unary("square_pair", &|| eval.square_pair(&ct, &ct));
    unary("rescale", &|| eval.rescale(&ct));
    unary("conjugate", &|| eval.conjugate(&ct));
    unary("conjugate_rescale", &|| eval.conjugate_rescale(&ct));
    unary("rotate", &|| eval.rotate(&ct, STEPS[0]));
    unary("mul_relin_rescale", &|| {
        eval.rescale(&eval.relinearize(eval.mul(&ct, &ct)?)?)
    });
    c.bench_function(&name("rotate_hoisted3"), |b| {
        b.iter(|| eval.rotate_many(&ct, &STEPS).expect("the keys are there"));
    });
    let product = eval.mul(&ct, &ct)?;
    c.bench_function(&name("relinearize"), |b| {
        b.iter_batched(
            || product.try_clone().expect("the pool has no bound"),
            |product| eval.relinearize(product).expect("the key is there"),
            BatchSize::PerIteration,
        );
    });
    c.bench_function(&name("add_assign"), |b| {
        let mut sum = ct.try_clone().expect("the pool has no bound");
        b.iter(|| eval.add_assign(&mut sum, &ct).expect("operands match"));
    });
    matrix_product(c, params, &eval, &ct)
}

/// Accumulating, with every other weight masked.
fn matrix_product(
    c: &mut Criterion,
    params: &Parameters,
    eval: &Evaluator,
    ct: &Ciphertext,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (rows, cols, cells) = PRODUCT;
    let scale = Scale::new(2f64.powi(18));
    let mut weights = PeriodicMatrix::new(rows, cols, cells, scale)?;
    for i in 0..rows * cols {
        if i % 2 == 0 {
            weights.set_scalar(i / cols, i % cols, i as f64 / 128.0)?;
        } else {
            weights.set_masked(i / cols, i % cols, &vec![0.25; cells])?;
        }
    }
    let out_scale = Scale::new(ct.scale().value() * scale.value());
    let mut out = (0..rows)
        .map(|_| eval.zero(ct.level(), out_scale))
        .collect::<Result<Vec<_>, _>>()?;
    let inputs = (0..cols)
        .map(|_| ct.try_clone())
        .collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<_> = inputs.iter().collect();
    let id = ring::id(
        "ckks-scheme",
        "matmul_accumulate",
        params,
        ct.level().limbs(),
    )
    .params(&[("m", rows), ("k", cols), ("g", cells)])
    .threads(1, rayon::current_num_threads());
    c.bench_function(&id.to_string(), |b| {
        b.iter(|| {
            let mut out: Vec<_> = out.iter_mut().collect();
            eval.matmul_accumulate(&mut out, &inputs, &weights)
                .expect("shapes and scales fit");
        });
    });
    Ok(())
}
