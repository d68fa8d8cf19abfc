//! How fast keys and ciphertexts are written and read, and how large they are:
//! `cargo run --release -p ckks-scheme --example file_speed -- [FOLDER] [KEYS]`.

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::params::classic128;
use ckks_scheme::serial::{CiphertextReader, CiphertextWriter};
use ckks_scheme::{
    Encoder, EvaluationKeys, KeyGenerator, KeyRequest, Parameters, Scale, SecretEncryptor,
};
use num_complex::Complex64;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Counts bytes and forgets them.
struct Nowhere(u64);

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let count: i64 = args.next().map_or(Ok(12), |n| n.parse())?;
    let params = Parameters::from_literal(&classic128(16)?, KernelChoice::Auto, None)?;
    let mut rng = rand::rng();
    let keygen = KeyGenerator::new(&params);
    let secret = keygen.secret_key(&mut rng)?;
    let mut request = KeyRequest::new();
    (1..=count).for_each(|steps| request.rotation(steps, params.max_level()));
    let report = |what: &str, start: Instant, memory: u64, file: u64| {
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{what:34} {seconds:7.3} s, {:6.2} GB/s of the file, {:6.2} GB/s in memory",
            file as f64 / seconds * 1e-9,
            memory as f64 / seconds * 1e-9
        );
    };

    let start = Instant::now();
    let keys = keygen.evaluation_keys(&secret, &request, &mut rng)?;
    let memory = keys.bytes();
    let mut sink = Nowhere(0);
    report("keys: generation", start, memory, 0);
    let start = Instant::now();
    keys.write_to(&params, &mut sink)?;
    let file = sink.0;
    report("keys: writing to nowhere", start, memory, file);
    let path = folder.join("file_speed.keys");
    let start = Instant::now();
    keys.save(&params, &path)?;
    report("keys: writing to a synced file", start, memory, file);
    drop(keys);
    let start = Instant::now();
    let keys = EvaluationKeys::load(&params, &path)?;
    report("keys: loading (file in the cache)", start, memory, file);
    assert_eq!(keys.bytes(), memory);
    drop(keys);
    std::fs::remove_file(&path)?;
    println!(
        "keys: {:.3} GB in memory, {:.3} GB in the file ({:.3})",
        memory as f64 * 1e-9,
        file as f64 * 1e-9,
        file as f64 / memory as f64
    );

    let slots = vec![Complex64::new(0.5, 0.25); params.slots()];
    let scale = Scale::new(2f64.powi(45));
    let pt = Encoder::new(&params).encode(&slots, params.max_level(), scale)?;
    let encryptor = SecretEncryptor::new(&secret);
    let start = Instant::now();
    let cts: Vec<_> = (0..20)
        .map(|_| encryptor.encrypt_seeded(&pt, &mut rng))
        .collect::<Result<_, _>>()?;
    let words = params.max_level().limbs() as u64 * params.limb_bytes();
    let memory = 2 * words * cts.len() as u64;
    report("fresh ciphertexts: encryption", start, memory, 0);
    let start = Instant::now();
    let mut writer =
        CiphertextWriter::new(Vec::new(), &params, secret.id(), &[], cts.len() as u64)?;
    cts.iter().try_for_each(|ct| writer.push_seeded(ct))?;
    let stream = writer.finish()?;
    let file = stream.len() as u64;
    report("fresh ciphertexts: writing", start, memory, file);
    let start = Instant::now();
    for ct in CiphertextReader::new(&stream[..], &params, secret.id())? {
        ct?;
    }
    report("fresh ciphertexts: reading", start, memory, file);
    println!(
        "fresh ciphertexts: {:.3} GB in memory, {:.3} GB in the file ({:.3})",
        memory as f64 * 1e-9,
        file as f64 * 1e-9,
        file as f64 / memory as f64
    );
    Ok(())
}
