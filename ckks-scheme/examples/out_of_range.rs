//! What values far beyond the range of a ReLU do to the other slots of their ciphertext, when a refresh applies it. Prints how
//! precise the others are, by the size of those values. `cargo run --release -p ckks-scheme --example out_of_range --
//! [preset]`, by default n16-l2.

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapPreset, Bootstrapper, CosineBootstrapper, Decryptor, Encoder, Evaluator, KeyGenerator,
    PrecisionStats, RefreshFunction, SecretEncryptor,
};
use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::error::Error;
use std::sync::Arc;

/// Of so many slots one is out of range: an image of a batch.
const SHARE: usize = 64;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "n16-l2".into());
    let preset = BootstrapPreset::named(&name).ok_or_else(|| format!("no preset {name:?}"))?;
    let params = preset.build_for(&RefreshFunction::Relu, KernelChoice::Auto, None)?;
    let boot = CosineBootstrapper::new(&params)?;
    let scheme = params.scheme();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let keygen = KeyGenerator::new(scheme);
    let secret = keygen.secret_key(&mut rng)?;
    let keys = keygen.evaluation_keys(&secret, &boot.request(), &mut rng)?;
    let eval = Evaluator::new(scheme, Arc::new(keys));
    let encoder = Encoder::new(scheme);

    println!("{name}, one slot of {SHARE} beyond the range; bits of the others:");
    println!("| values over the range | mean | worst |");
    println!("|---|---|---|");
    for log in [0, 4, 10, 16, 20, 24, 28, 32, 36, 40] {
        let far = f64::from(log).exp2();
        let mut part = |size: f64| size * rng.random_range(-1.0..1.0);
        let mut values: Vec<_> = (0..params.slots())
            .map(|slot| {
                let size = if slot % SHARE == 0 { far } else { 1.0 };
                Complex64::new(part(size), part(size))
            })
            .collect();
        let pt = encoder.encode(&values, params.input_level(), params.output_scale())?;
        let mut ct = SecretEncryptor::new(&secret).encrypt(&pt, &mut rng)?;
        // The range that was declared, and that some values leave.
        ct.declare_values(2f64.sqrt(), 1.0);
        let out = boot.bootstrap(&eval, &ct)?;
        let mut found = Decryptor::new(&secret).decrypt(&out, &encoder)?;
        for list in [&mut values, &mut found] {
            let mut slot = 0..;
            list.retain(|_| {
                slot.next()
                    .is_some_and(|slot: usize| !slot.is_multiple_of(SHARE))
            });
        }
        let f = |v| boot.function(v);
        let expected: Vec<_> = values
            .iter()
            .map(|z| Complex64::new(f(z.re), f(z.im)))
            .collect();
        let stats = PrecisionStats::new([(&found[..], &expected[..])]).ok_or("no number")?;
        println!(
            "| 2^{log} | {:.2} | {:.2} |",
            stats.mean_bits, stats.min_bits
        );
    }
    Ok(())
}
