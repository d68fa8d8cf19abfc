//! Times the scheme's operations on one thread at the ring and chain of ResNet-20: `cargo run --release -p ckks-scheme
//! --example operation_speed -- [log_n] [level]`. Medians of repeats on warm memory.

use ckks_scheme::{
    Encoder, Evaluator, KeyGenerator, KeyRequest, Parameters, PeriodicMatrix, Scale,
    SecretEncryptor,
};
use num_complex::Complex64;
use rand::SeedableRng;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

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

    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| -> Result<(), Box<dyn Error + Send + Sync>> {
        let z = eval.rescale(&ct)?;
        let zc = eval.conjugate_rescale(&ct)?;
        time("rescale", || eval.rescale(&ct))?;
        time("conjugate and rescale", || eval.conjugate_rescale(&ct))?;
        time("square pair", || eval.square_pair(&z, &zc))?;
        let square = eval.square_pair(&z, &zc)?;
        let parts3 = || square.try_clone();
        time("copy of 3 polynomials", parts3)?;
        time("relinearise (with that copy)", || {
            eval.relinearize(parts3()?)
        })?;
        let squared = eval.relinearize(parts3()?)?;
        time("1 rotation", || eval.rotate_many(&squared, &[1]))?;
        time("3 hoisted rotations", || {
            eval.rotate_many(&squared, &[1, -1, 16])
        })?;

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
        let seconds = time("matrix product 16 x 9, accumulating", || {
            eval.matmul_accumulate(&mut out.iter_mut().collect::<Vec<_>>(), &x, &w)
        })?;
        let macs = 16.0 * 9.0 * 2.0 * squared.level().limbs() as f64 * params.degree() as f64;
        println!(
            "  that is {:.2} 10^9 multiply-adds a second",
            macs / seconds / 1e9
        );
        Ok(())
    })
}

fn time<T, E: Error + Send + Sync + 'static>(
    name: &str,
    mut f: impl FnMut() -> Result<T, E>,
) -> Result<f64, Box<dyn Error + Send + Sync>> {
    f()?;
    let mut seconds = Vec::new();
    for _ in 0..7 {
        let start = Instant::now();
        f()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!("{name:40} {:9.2} ms", seconds[3] * 1e3);
    Ok(seconds[3])
}
