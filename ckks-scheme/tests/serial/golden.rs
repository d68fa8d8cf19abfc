//! Files of format version 1, which every later version reads.
//!
//! They were written once, by `write_golden_files`. A file here is never replaced: a new version of the format gets a
//! folder of its own, a new kind of key a file of its own.

use crate::fixture::{Fixture, METADATA, PASSPHRASE, kernel, params, secure_literal};
use ckks_scheme::serial::CiphertextReader;
use ckks_scheme::{
    Ciphertext, Encoder, Encryptor, EvaluationKeys, Evaluator, Level, Parameters, PublicKey, Scale,
    SecretKey, SeededCiphertext,
};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// BLAKE3 of each file.
const FILES: [(&str, &str); 10] = [
    (
        "parameters",
        "a6c629db45a72f9068cf4833616204f05916aea2d17b5d21832dacd2ae936641",
    ),
    (
        "secret_key",
        "ce772ecf04e1d1d20a2a44fdc72aecf3c4b78dfe059b2ccd970ba27a7c34930a",
    ),
    (
        "protected_secret_key",
        "20a7432f8148be08c5f4ac22efec2fca47629f47ad98e47ce71dd31ee8316222",
    ),
    (
        "public_key",
        "c9dd390e76fb5df2e141df875913c0f087a675660a1c8fad8b0bfb65ebe7d346",
    ),
    (
        "evaluation_keys",
        "0ba09e1009ed3d37ebe9f50e2deefac04f4eb2ab14957c5496433ada98a18226",
    ),
    (
        "evaluation_keys_of_one_digit",
        "5ef79b752484eaa999fa0bf6779d4fc0e9251a13071464c26722086ac4a95602",
    ),
    (
        "seeded_ciphertext",
        "c457b6f912add4a188fa9376d3e4d766c50df48146e6bdda8ff2f9483f0e23f9",
    ),
    (
        "ciphertext",
        "4c5d2349c2fb530143499819359caf124089b602faea04fff7a84d6a93b2adc9",
    ),
    (
        "product",
        "dbb619233b01077a1b17ce3f6a114d6cbc63a825470282ea6023880ef3829cd7",
    ),
    (
        "ciphertexts",
        "d7c04b6967bf2c6c3ec9c05ba261a829ddedb51496d64d15ffccc1d2e99cf637",
    ),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

#[test]
#[ignore = "writes the golden files that are not there yet"]
fn write_golden_files() {
    for (name, stream) in Fixture::new().streams() {
        // Since keys from ephemeral secrets have one digit.
        let name = match name {
            "evaluation_keys" => "evaluation_keys_of_one_digit",
            name => name,
        };
        let path = folder().join(name);
        if path.exists() {
            continue;
        }
        fs::write(path, &stream).unwrap();
        println!("    (\"{name}\", \"{}\"),", blake3::hash(&stream).to_hex());
    }
}

#[test]
fn golden_files_are_those_of_old() {
    for (name, hash) in FILES {
        assert_eq!(blake3::hash(&file(name)).to_hex().as_str(), hash, "{name}");
    }
}

#[test]
fn golden_files_are_read() {
    let read = Parameters::read_from(&mut &file("parameters")[..], kernel(), None).unwrap();
    assert_eq!(read.literal(), &secure_literal());

    let params = params();
    let secret = SecretKey::read_from(&params, None, &mut &file("secret_key")[..]).unwrap();
    let protected = &file("protected_secret_key")[..];
    let again = SecretKey::read_from(&params, Some(PASSPHRASE), &mut &*protected).unwrap();
    let id = secret.id();
    assert_eq!(again.id(), id);
    let public = PublicKey::read_from(&params, &mut &file("public_key")[..]).unwrap();
    let keys = EvaluationKeys::read_from(&params, &mut &file("evaluation_keys")[..]).unwrap();
    assert_eq!((public.id(), keys.id(), keys.count()), (id, id, 7));
    let eval = Evaluator::new(&params, Arc::new(keys));
    let stream = file("evaluation_keys_of_one_digit");
    let later = EvaluationKeys::read_from(&params, &mut &stream[..]).unwrap();
    assert_eq!((later.id(), later.count()), (id, 7));
    let later = Evaluator::new(&params, Arc::new(later));

    // Values as they were, under the old key.
    let slots: Vec<_> = (0..16)
        .map(|j| Complex64::new(f64::from(j) / 32.0, 0.25 - f64::from(j) / 64.0))
        .collect();
    let f = Fixture {
        secret,
        slots: slots.clone(),
        ..Fixture::new()
    };
    let seeded = SeededCiphertext::read_from(&params, id, &mut &file("seeded_ciphertext")[..]);
    assert!(f.error(&seeded.unwrap().expand().unwrap(), |x| x) < 1e-8);
    let ct = Ciphertext::read_from(&params, id, &mut &file("ciphertext")[..]).unwrap();
    assert!(f.error(&ct, |x| x) < 1e-8);
    assert!(ct.tracked().error_bound() < 1e-6 && ct.tracked().max > 0.46);
    let product = Ciphertext::read_from(&params, id, &mut &file("product")[..]).unwrap();
    assert!(f.error(&product, |x| x * x) < 1e-6);
    let stream = file("ciphertexts");
    let reader = CiphertextReader::new(&stream[..], &params, id).unwrap();
    assert_eq!(reader.metadata(), METADATA);
    assert_eq!(reader.map(Result::unwrap).count(), 3);

    // Keys do what they did.
    assert!(f.error(&eval.relinearize(product).unwrap(), |x| x * x) < 1e-6);
    assert!(f.error(&eval.conjugate(&ct).unwrap(), |x| x.conj()) < 1e-8);
    let turned = eval.rotate(&eval.rotate(&ct, 1).unwrap(), -1).unwrap();
    assert!(f.error(&turned, |x| x) < 1e-8);
    for eval in [&eval, &later] {
        let bottom = eval.copy_at_level(&ct, Level::new(1)).unwrap();
        let mut raised = eval.mod_raise(&bottom, 5, params.max_level()).unwrap();
        // The whole turns vanish again modulo the base prime.
        raised.declare_values(1.0, 1.0);
        eval.drop_level(&mut raised, Level::new(1)).unwrap();
        assert!(f.error(&raised, |x| x) < 1e-6);
    }
    let pt = Encoder::new(&params)
        .encode(&slots, params.max_level(), Scale::new(2f64.powi(40)))
        .unwrap();
    let fresh = Encryptor::new(&public)
        .encrypt(&pt, &mut ChaCha20Rng::seed_from_u64(1))
        .unwrap();
    assert!(f.error(&fresh, |x| x) < 1e-8);
}

/// What is written now is still version 1: what was read is written as the same bytes.
#[test]
fn golden_files_are_written_again() {
    let params = params();
    let stream = file("secret_key");
    let secret = SecretKey::read_from(&params, None, &mut &stream[..]).unwrap();
    assert!(Fixture::stream(|out| secret.write_to(out)) == stream);
    let id = secret.id();
    let stream = file("public_key");
    let public = PublicKey::read_from(&params, &mut &stream[..]).unwrap();
    assert!(Fixture::stream(|out| public.write_to(out)) == stream);
    for name in ["evaluation_keys", "evaluation_keys_of_one_digit"] {
        let stream = file(name);
        let keys = EvaluationKeys::read_from(&params, &mut &stream[..]).unwrap();
        assert!(Fixture::stream(|out| keys.write_to(&params, out)) == stream);
    }
    for name in ["ciphertext", "product"] {
        let stream = file(name);
        let ct = Ciphertext::read_from(&params, id, &mut &stream[..]).unwrap();
        assert!(Fixture::stream(|out| ct.write_to(&params, id, out)) == stream);
    }
    let stream = file("seeded_ciphertext");
    let ct = SeededCiphertext::read_from(&params, id, &mut &stream[..]).unwrap();
    assert!(Fixture::stream(|out| ct.write_to(out)) == stream);
}
