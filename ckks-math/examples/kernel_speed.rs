//! Times the kernels on one core, at N = 2^16: milliseconds a limb, median and best of repeats on warm
//! buffers, beside the measured peak of 52-bit multiply-adds. Rates are those of the best: the median
//! also tells how busy the machine was.
//!
//! `cargo run --release -p ckks-math --example kernel_speed [log_n]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use ckks_math::kernel::{KernelChoice, MAX_DOT_TERMS};
use ckks_math::{
    Automorphism, BaseConverter, LimbRing, MathError, Pool, ResidueMatrix, WeightMatrix, primes,
    rns,
};

/// Time of one call.
#[derive(Clone, Copy)]
struct Time {
    median: Duration,
    best: Duration,
}

fn time(mut f: impl FnMut()) -> Time {
    f();
    let start = Instant::now();
    f();
    let once = start.elapsed().max(Duration::from_nanos(50));
    let calls = (Duration::from_micros(500).as_nanos() / once.as_nanos()).clamp(1, 100_000) as u32;
    let repeats = (Duration::from_millis(300).as_nanos() / (once * calls).as_nanos()).clamp(9, 300);
    let mut samples: Vec<Duration> = (0..repeats)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| f());
            start.elapsed() / calls
        })
        .collect();
    samples.sort_unstable();
    Time {
        median: samples[samples.len() / 2],
        best: samples[0],
    }
}

impl Time {
    fn per(self, count: usize) -> Self {
        let count = count as u32;
        Self {
            median: self.median / count,
            best: self.best / count,
        }
    }
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// Pairs of a low and a high multiply-add, a second, from registers.
fn peak_pairs() -> Option<f64> {
    const ROUNDS: u64 = 100_000;
    let pairs = ckks_math::kernel::multiply_add_pairs(1)?;
    let elapsed = time(|| {
        black_box(ckks_math::kernel::multiply_add_pairs(black_box(ROUNDS)));
    });
    Some((pairs * ROUNDS) as f64 / elapsed.best.as_secs_f64())
}

fn main() -> Result<(), MathError> {
    let log_n = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(16);
    let n = 1usize << log_n;
    let peak = peak_pairs();
    if let Some(peak) = peak {
        println!("peak: {:.2} 10^9 multiply-add pairs/s", peak / 1e9);
    }
    for name in ["avx512ifma", "avx2", "scalar"] {
        for bits in [48, 50] {
            let kernel = KernelChoice::Named(name);
            let ring = |q: u64| LimbRing::new(q, log_n, &kernel);
            let rings = match primes::ntt_primes_below(1 << bits, log_n)
                .take(32)
                .map(ring)
                .collect::<Result<Vec<_>, _>>()
            {
                Ok(rings) => rings,
                Err(error) => {
                    println!("{name}, {bits} bits: {error}");
                    continue;
                }
            };
            println!("\n{name}, {bits} bits, N = 2^{log_n}, one core");
            report(&rings, n, peak.filter(|_| name == "avx512ifma"))?;
            if name == "scalar" {
                break;
            }
        }
    }
    Ok(())
}

fn report(rings: &[LimbRing], n: usize, peak: Option<f64>) -> Result<(), MathError> {
    let ring = &rings[0];
    let pool = Pool::new(ring.log_n(), None);
    pool.reserve(700)?;
    let limb = |seed: u64| {
        let mut limb = pool.limb()?;
        for (j, word) in limb.iter_mut().enumerate() {
            *word = ring
                .modulus()
                .reduce((j as u64 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        Ok::<_, MathError>(limb)
    };
    let mut a = limb(1)?;
    let (b, c) = (limb(2)?, limb(3)?);
    let mut out = pool.zeroed()?;
    let line = |what: &str, time: Time, pairs: Option<usize>| {
        let rate = pairs.map_or(String::new(), |pairs| {
            let rate = pairs as f64 / time.best.as_secs_f64();
            let share = peak.map_or(String::new(), |peak| {
                format!(", {:.0} % of peak", 100.0 * rate / peak)
            });
            format!("  {:.2} 10^9 multiply-adds/s{share}", rate / 1e9)
        });
        println!(
            "{what:<34} {:9.4} ms ({:.4}){rate}",
            ms(time.median),
            ms(time.best)
        );
    };

    line("ntt, one limb", time(|| ring.ntt(&mut a)), None);
    line("intt, one limb", time(|| ring.intt(&mut a)), None);
    // As in an encrypted program: another prime's tables and another limb each time.
    let mut many = (0..rings.len() as u64)
        .map(limb)
        .collect::<Result<Vec<_>, _>>()?;
    let all = time(|| {
        many.iter_mut()
            .zip(rings)
            .for_each(|(limb, ring)| ring.ntt(limb))
    });
    line(
        "ntt, 32 limbs of 32 primes, each",
        all.per(rings.len()),
        None,
    );
    let all = time(|| {
        many.iter_mut()
            .zip(rings)
            .for_each(|(limb, ring)| ring.intt(limb))
    });
    line(
        "intt, 32 limbs of 32 primes, each",
        all.per(rings.len()),
        None,
    );

    line("add_assign", time(|| ring.add_assign(&mut a, &b)), None);
    line("mul_into", time(|| ring.mul_into(&mut out, &b, &c)), None);
    line(
        "ntt_sub_mul_scalar",
        time(|| ring.ntt_sub_mul_scalar(&mut out, &b, 12345)),
        None,
    );
    let map = Automorphism::new(ring.log_n(), 5)?;
    line("automorphism", time(|| map.apply_into(&mut out, &b)), None);

    for terms in [2, 11] {
        let pairs: Vec<(&[u64], &[u64])> = many
            .windows(2)
            .take(terms.min(MAX_DOT_TERMS))
            .map(|w| (&w[0][..], &w[1][..]))
            .collect();
        line(
            &format!("dot, {terms} terms"),
            time(|| ring.dot_into(&mut out, &pairs)),
            Some(terms * n),
        );
    }

    let converter: BaseConverter = rns::BaseConverter::new(&rings[..11], &rings[11..32])?;
    let (source, target) = many.split_at_mut(11);
    let source: Vec<&[u64]> = source.iter().map(|limb| &limb[..]).collect();
    let mut target: Vec<&mut [u64]> = target.iter_mut().map(|limb| &mut limb[..]).collect();
    let all = time(|| converter.convert_into(&mut target, &source));
    line("base conversion 11 -> 21", all, Some(12 * 21 * n));
    drop(target);

    for (rows, cols, accumulate) in [
        (16, 144, false),
        (64, 576, false),
        (16, 9, true),
        (16, 18, true),
        (32, 36, true),
    ] {
        let log_2g = 8.min(ring.log_n());
        let mut weights = WeightMatrix::new(rows, cols, log_2g);
        let poly: Vec<i64> = (0..1 << log_2g).map(|k| k * 977 % 2001 - 1000).collect();
        (0..rows * cols).for_each(|i| weights.set_poly(i / cols, i % cols, &poly));
        let sub = ring.subring(log_2g)?;
        let mut residues = ResidueMatrix::new();
        let generate = time(|| residues.generate(ring, &sub, &weights));
        let inputs = (0..cols as u64).map(limb).collect::<Result<Vec<_>, _>>()?;
        let x: Vec<&[u64]> = inputs.iter().map(|limb| &limb[..]).collect();
        let mut outputs = (0..rows as u64).map(limb).collect::<Result<Vec<_>, _>>()?;
        let mut out: Vec<&mut [u64]> = outputs.iter_mut().map(|limb| &mut limb[..]).collect();
        let product = time(|| ring.block_matmul(&mut out, &x, &residues, accumulate));
        let what = format!(
            "matmul {rows} x {cols}{}",
            if accumulate { ", accumulating" } else { "" }
        );
        line(&what, product, Some(rows * cols * n));
        line("  its weights, every tap masked", generate, None);
    }
    Ok(())
}
