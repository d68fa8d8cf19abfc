//! Times the scheme's operations on one thread at the ring and chain of ResNet-20: `cargo run --release -p ckks-scheme
//! --example operation_speed -- [log_n] [level]`. Quickest and median of repeats on warm memory, beside the time that the
//! primitive costs of this machine predict.

use ckks_scheme::counts::{PrimitiveCosts, Work};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    Encoder, EvalError, Evaluator, KeyGenerator, KeyRequest, Parameters, PeriodicMatrix, Scale,
    SecretEncryptor,
};
use num_complex::Complex64;
use rand::SeedableRng;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let log_n: u32 = args.next().map_or(Ok(16), |a| a.parse())?;
    let top: usize = args.next().map_or(Ok(21), |a| a.parse())?;
    let params = Parameters::builder()
        .log_n(log_n)
        .q_bits(std::iter::repeat_n(50, top))
        .build_insecure_for_tests()?;
    println!(
        "N = 2^{log_n}, {top} levels, log QP {:.0}, kernel {}",
        params.log_qp(),
        params.kernel_name()
    );
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let keygen = KeyGenerator::new(&params);
    let secret = keygen.secret_key(&mut rng)?;
    let level = params.max_level();
    let mut request = KeyRequest::new();
    request.relin(level);
    request.conjugation(level);
    for r in [1, -1, 16] {
        request.rotation(r, level);
    }
    let start = Instant::now();
    let keys = keygen.evaluation_keys(&secret, &request, &mut rng)?;
    println!(
        "{} keys: {:.2} s",
        keys.count(),
        start.elapsed().as_secs_f64()
    );
    let eval = Evaluator::new(&params, Arc::new(keys));
    let slots = vec![Complex64::new(0.5, -0.25); params.slots()];
    let q = params.prime(level) as f64;
    let pt = Encoder::new(&params).encode(&slots, level, Scale::new(2f64.powi(30) * q))?;
    let ct = SecretEncryptor::new(&secret).encrypt(&pt, &mut rng)?;

    let costs = PrimitiveCosts::measure(&KernelChoice::Auto, log_n, Duration::from_millis(400))?;
    let counts = params.counts();
    let below = level.below(1).ok_or("two levels or more are needed")?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let time = |name: &str, work: Work, f: &mut dyn FnMut() -> Result<(), EvalError>| {
        time(name, costs.seconds(&work), f)
    };
    pool.install(|| -> Result<(), Box<dyn Error + Send + Sync>> {
        let z = eval.rescale(&ct)?;
        let zc = eval.conjugate_rescale(&ct)?;
        time("rescale", counts.rescale(level, 2), &mut || {
            eval.rescale(&ct).map(drop)
        })?;
        time(
            "conjugate and rescale",
            counts.conjugate_rescale(level, level),
            &mut || eval.conjugate_rescale(&ct).map(drop),
        )?;
        time("square pair", counts.square_pair(below), &mut || {
            eval.square_pair(&z, &zc).map(drop)
        })?;
        let square = eval.square_pair(&z, &zc)?;
        let copies = counts.copy(below);
        time(
            "relinearise (with a copy)",
            counts.relinearize(below, level) + copies,
            &mut || eval.relinearize(eval.copy(&square)?).map(drop),
        )?;
        let squared = eval.relinearize(eval.copy(&square)?)?;
        time("1 rotation", counts.rotate(below, level), &mut || {
            eval.rotate_many(&squared, &[1]).map(drop)
        })?;
        time(
            "3 hoisted rotations",
            counts.rotate_many(below, level, 3),
            &mut || eval.rotate_many(&squared, &[1, -1, 16]).map(drop),
        )?;

        let scale = Scale::new(2f64.powi(18));
        let mut w = PeriodicMatrix::new(16, 9, 128, scale)?;
        for r in 0..16 {
            for c in 0..9 {
                if c % 2 == 0 {
                    w.set_scalar(r, c, (r + c) as f64 / 32.0)?;
                } else {
                    w.set_masked(r, c, &vec![0.25; 128])?;
                }
            }
        }
        let out_scale = Scale::new(squared.scale().value() * scale.value());
        let mut out = (0..16)
            .map(|_| eval.zero(squared.level(), out_scale))
            .collect::<Result<Vec<_>, _>>()?;
        let xs: Vec<_> = (0..9)
            .map(|_| squared.try_clone())
            .collect::<Result<Vec<_>, _>>()?;
        let x: Vec<_> = xs.iter().collect();
        let work = counts.matmul(below, (16, 9), 128, 16 * 4);
        time("matrix product 16 x 9, accumulating", work, &mut || {
            eval.matmul_accumulate(&mut out.iter_mut().collect::<Vec<_>>(), &x, &w)
        })?;
        Ok(())
    })
}

fn time(
    name: &str,
    predicted: f64,
    f: &mut dyn FnMut() -> Result<(), EvalError>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    f()?;
    let mut seconds = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        f()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "{name:40} {:8.2} ms (median {:8.2}), predicted {:8.2}",
        seconds[0] * 1e3,
        seconds[7] * 1e3,
        predicted * 1e3
    );
    Ok(())
}
