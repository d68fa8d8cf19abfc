//! A ReLU of refreshed values in two ways: by the refresh itself, and by polynomials after a plain refresh. For each: levels
//! left, seconds on one thread (median of three), error against the exact ReLU. Then what the refresh with the ReLU costs beside a
//! plain one over the same primes. `cargo run --release -p ckks-scheme --example relu_ways --
//! [plain preset] [ReLU preset]`, by default n16-l8 and n16-l2.
//!
//! Seconds are those that the thread has been running (from `/proc`, where there is one), so that other work on the machine
//! disturbs less.

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapOutline, BootstrapParams, BootstrapPreset, Bootstrapper, Chebyshev, Ciphertext,
    CosineBootstrapper, Decryptor, Encoder, Evaluator, KeyGenerator, PrecisionStats,
    RefreshFunction, Scale, SecretEncryptor, SecretKey,
};
use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let mut preset = |default: &str| {
        let name = args.next().unwrap_or_else(|| default.into());
        BootstrapPreset::named(&name).ok_or_else(|| format!("no preset {name:?}"))
    };
    let (plain, relu) = (preset("n16-l8")?, preset("n16-l2")?);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| {
        polynomials(plain)?;
        within_the_refresh(relu)
    })
}

fn relu(v: f64) -> f64 {
    v.max(0.0)
}

/// Client and server over one preset, with one ciphertext and its refreshed self.
struct Run {
    params: BootstrapParams,
    seconds: f64,
    encoder: Encoder,
    eval: Evaluator,
    secret: SecretKey,
    values: Vec<Complex64>,
    refreshed: Ciphertext,
}

impl Run {
    /// Refreshes uniform values once for the caches and three times for the clock.
    fn new(name: &str, params: BootstrapParams) -> Result<Self, Failure> {
        let function = params.literal().function().clone();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let scheme = params.scheme().clone();
        let boot = CosineBootstrapper::new(&params)?;
        let keygen = KeyGenerator::new(&scheme);
        let secret = keygen.secret_key(&mut rng)?;
        let keys = keygen.evaluation_keys(&secret, &boot.request(), &mut rng)?;
        let eval = Evaluator::new(&scheme, Arc::new(keys));
        let encoder = Encoder::new(&scheme);
        let mut part = || rng.random_range(-1.0..1.0);
        let slots = params.slots();
        let values: Vec<_> = (0..slots).map(|_| Complex64::new(part(), part())).collect();
        // Parts come out of a sum at twice their size: at half the scale, they have the right one then.
        let scale = match &function {
            RefreshFunction::Identity => Scale::new(params.output_scale().value() / 2.0),
            RefreshFunction::Relu | RefreshFunction::Series(_) => params.output_scale(),
        };
        let plaintext = encoder.encode(&values, params.input_level(), scale)?;
        let fresh = SecretEncryptor::new(&secret).encrypt(&plaintext, &mut rng)?;
        drop(boot.bootstrap(&eval, &fresh)?);
        let mut timed = Vec::new();
        for _ in 0..3 {
            let clock = Clock::start();
            let refreshed = boot.bootstrap(&eval, &fresh)?;
            timed.push((clock.seconds(), refreshed));
        }
        timed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let (seconds, refreshed) = timed.swap_remove(1);
        println!(
            "{name}, {}: {} primes, log QP {:.0}, a refresh {seconds:.2} s, expected deviation 2^{:.2}",
            function.name(),
            scheme.max_level(),
            scheme.log_qp(),
            boot.outline().error_std().log2()
        );
        Ok(Self {
            params,
            seconds,
            encoder,
            eval,
            values,
            refreshed,
            secret,
        })
    }

    /// Levels above what the next refresh takes, and errors of both parts against `f` and against the ReLU.
    fn report(
        &self,
        what: &str,
        ct: &Ciphertext,
        seconds: f64,
        f: impl Fn(f64) -> f64,
    ) -> Result<(), Failure> {
        let found = Decryptor::new(&self.secret).decrypt(ct, &self.encoder)?;
        let errors = |f: &dyn Fn(f64) -> f64| {
            let expected: Vec<_> = self.values.iter().map(|z| both(z, f)).collect();
            PrecisionStats::new([(&found[..], &expected[..])]).ok_or("an error that is no number")
        };
        let (own, exact) = (errors(&f)?, errors(&relu)?);
        let left = ct.level().limbs() - self.params.input_level().limbs();
        println!(
            "  {what}: {seconds:.2} s, {left} levels left, bits of the circuit mean {:.2} worst {:.2}, \
             of the ReLU mean {:.2} worst {:.2}",
            own.mean_bits, own.min_bits, exact.mean_bits, exact.min_bits
        );
        Ok(())
    }
}

fn both(z: &Complex64, f: &dyn Fn(f64) -> f64) -> Complex64 {
    Complex64::new(f(z.re), f(z.im))
}

/// Interpolating polynomials of both parts after a plain refresh.
fn polynomials(preset: BootstrapPreset) -> Result<(), Failure> {
    let run = Run::new(preset.name(), preset.build(KernelChoice::Auto, None)?)?;
    let (eval, scale) = (&run.eval, run.params.output_scale());
    for degree in [31, 63, 127] {
        let p = Chebyshev::interpolate(relu, degree, (-1.0, 1.0))?;
        if p.depth() > run.params.residual_levels() {
            continue;
        }
        let clock = Clock::start();
        // z + conj(z) = 2 Re z, conj(z) - z = -2i Im z.
        let conjugate = eval.conjugate(&run.refreshed)?;
        let mut real = eval.copy(&run.refreshed)?;
        let mut imaginary = eval.copy(&conjugate)?;
        eval.sub_assign(&mut imaginary, &real)?;
        eval.mul_i_assign(&mut imaginary);
        eval.add_assign(&mut real, &conjugate)?;
        let mut halves = Vec::new();
        for mut part in [real, imaginary] {
            part.reinterpret(0.5);
            part.declare_values(1.0, 0.6);
            halves.push(eval.polynomial(&part, &p, scale)?);
        }
        let mut imaginary = halves.pop().ok_or("two parts")?;
        let mut out = halves.pop().ok_or("two parts")?;
        eval.mul_i_assign(&mut imaginary);
        eval.add_assign(&mut out, &imaginary)?;
        let seconds = clock.seconds();
        let what = format!("and a polynomial of degree {degree}");
        run.report(&what, &out, seconds, |v| p.evaluate(v))?;
    }
    Ok(())
}

/// By the preset's series; then a plain refresh over the same primes.
fn within_the_refresh(preset: BootstrapPreset) -> Result<(), Failure> {
    let params = preset.build_for(&RefreshFunction::Relu, KernelChoice::Auto, None)?;
    let run = Run::new(preset.name(), params)?;
    let outline = BootstrapOutline::new(&run.params)?;
    run.report("and nothing after it", &run.refreshed, 0.0, |v| {
        outline.function(v)
    })?;
    let with_relu = run.seconds;
    let plain = run.params.plain()?;
    drop((run, outline));
    let plain = Run::new("the same primes", plain)?;
    println!(
        "  the ReLU takes {:.2} times as long",
        with_relu / plain.seconds
    );
    Ok(())
}

/// Seconds of this thread.
struct Clock {
    wall: Instant,
    running: Option<u64>,
}

impl Clock {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            running: nanoseconds_running(),
        }
    }

    fn seconds(&self) -> f64 {
        match (self.running, nanoseconds_running()) {
            (Some(from), Some(to)) => (to - from) as f64 * 1e-9,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

fn nanoseconds_running() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok()
}
