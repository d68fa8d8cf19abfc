//! What is written is what is read.

use crate::fixture::{Fixture, METADATA, PASSPHRASE, kernel, secure_literal};
use ckks_scheme::serial::{CiphertextReader, CiphertextWriter, SerialError};
use ckks_scheme::{
    Ciphertext, Encoder, Encryptor, EvaluationKeys, Evaluator, KeyGenerator, KeyKind, KeyRequest,
    Level, Parameters, PublicKey, Scale, SecretEncryptor, SecretKey, SeededCiphertext,
};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

const TOLERANCE: f64 = 1e-8;

#[test]
fn parameters_come_back() {
    let literal = secure_literal();
    let params = Parameters::from_literal(&literal, kernel(), None).unwrap();
    let stream = Fixture::stream(|out| params.write_to(out));
    let back = Parameters::read_from(&mut &stream[..], kernel(), Some(12345)).unwrap();
    assert_eq!(back.literal(), &literal);
    assert_eq!(back.fingerprint(), params.fingerprint());
}

#[test]
fn file_never_leads_to_insecure_parameters() {
    let f = Fixture::new();
    let stream = Fixture::stream(|out| f.params.write_to(out));
    let error = Parameters::read_from(&mut &stream[..], kernel(), None).unwrap_err();
    assert!(error.to_string().contains("128-bit bound"), "{error}");
}

#[test]
fn secret_key_comes_back() {
    let f = Fixture::new();
    let plain = Fixture::stream(|out| f.secret.write_to(out));
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let protected = Fixture::stream(|out| f.secret.write_protected_to(PASSPHRASE, &mut rng, out));
    for stream in [&plain, &protected] {
        let secret = SecretKey::read_from(&f.params, Some(PASSPHRASE), &mut &stream[..]).unwrap();
        assert_eq!(secret.id(), f.secret.id());
        assert_eq!(Fixture::stream(|out| secret.write_to(out)), plain);
        let back = Fixture {
            secret,
            ..Fixture::new()
        };
        assert!(back.error(&f.pair, |x| x) < TOLERANCE);
    }
    let read = |passphrase| SecretKey::read_from(&f.params, passphrase, &mut &protected[..]);
    assert!(matches!(read(None), Err(SerialError::PassphraseMissing)));
    for wrong in ["", "correct horse battery stable"] {
        assert!(matches!(
            read(Some(wrong)),
            Err(SerialError::PassphraseWrong)
        ));
    }
    // Neither coefficients nor passphrase can be seen.
    let coefficients = &plain[plain.len() - 32 - 8..plain.len() - 32];
    assert!(!protected.windows(8).any(|w| w == coefficients));
    assert!(
        !protected
            .windows(8)
            .any(|w| PASSPHRASE.as_bytes().starts_with(w))
    );
    let mut other = ChaCha20Rng::seed_from_u64(4);
    let again = Fixture::stream(|out| f.secret.write_protected_to(PASSPHRASE, &mut other, out));
    assert_ne!(again, protected);
}

#[test]
fn public_key_comes_back() {
    let f = Fixture::new();
    let stream = Fixture::stream(|out| f.public.write_to(out));
    let public = PublicKey::read_from(&f.params, &mut &stream[..]).unwrap();
    assert_eq!(public.id(), f.secret.id());
    let pt = Encoder::new(&f.params)
        .encode(&f.slots, f.params.max_level(), Scale::new(2f64.powi(40)))
        .unwrap();
    let encrypt = |key| {
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        Encryptor::new(key).encrypt(&pt, &mut rng).unwrap()
    };
    let ct = encrypt(&public);
    assert!(f.error(&ct, |x| x) < TOLERANCE);
    assert_eq!(f.ciphertext(&ct), f.ciphertext(&encrypt(&f.public)));
}

#[test]
fn evaluation_keys_come_back() {
    let f = Fixture::new();
    let stream = Fixture::stream(|out| f.keys.write_to(&f.params, out));
    let keys = EvaluationKeys::read_from(&f.params, &mut &stream[..]).unwrap();
    assert_eq!((keys.id(), keys.count()), (f.secret.id(), 7));
    assert_eq!(keys.bytes(), f.keys.bytes());
    assert!(keys.iter().eq(f.keys.iter()));
    assert!(
        keys.iter()
            .any(|(kind, level)| (kind, level) == (KeyKind::ToEphemeral(5), Level::new(1)))
    );
    assert_eq!(Fixture::stream(|out| keys.write_to(&f.params, out)), stream);
    // Every use gives the same words with the keys that were read.
    let uses = |keys: EvaluationKeys| {
        let eval = Evaluator::new(&f.params, Arc::new(keys));
        let squares = eval.relinearize(f.triple.try_clone().unwrap()).unwrap();
        assert!(f.error(&squares, |x| x * x) < 1e-6);
        let conjugate = eval.conjugate(&f.pair).unwrap();
        assert!(f.error(&conjugate, |x| x.conj()) < TOLERANCE);
        let step = f.slots[1] - f.slots[0];
        let rotated = eval.rotate(&f.pair, 1).unwrap();
        // The last slot is the first one.
        let turned = |x: Complex64| {
            if x == *f.slots.last().unwrap() {
                f.slots[0]
            } else {
                x + step
            }
        };
        assert!(f.error(&rotated, turned) < TOLERANCE);
        let back = eval.rotate(&rotated, -1).unwrap();
        [squares, conjugate, rotated, back].map(|ct| f.ciphertext(&ct))
    };
    let again = Fixture::new();
    assert_eq!(uses(keys), uses(again.keys));
}

#[test]
fn ciphertexts_come_back() {
    let f = Fixture::new();
    for ct in [&f.pair, &f.triple] {
        let stream = f.ciphertext(ct);
        let back = Ciphertext::read_from(&f.params, f.secret.id(), &mut &stream[..]).unwrap();
        assert_eq!(
            (back.parts(), back.level(), back.scale(), back.tracked()),
            (ct.parts(), ct.level(), ct.scale(), ct.tracked())
        );
        assert_eq!(f.ciphertext(&back), stream);
    }
    let back = Ciphertext::read_from(&f.params, f.secret.id(), &mut &f.ciphertext(&f.triple)[..]);
    assert!(f.error(&back.unwrap(), |x| x * x) < 1e-6);
}

#[test]
fn undeclared_values_come_back() {
    let mut f = Fixture::new();
    f.pair.declare_values(f64::NAN, 1.0);
    let stream = f.ciphertext(&f.pair);
    let back = Ciphertext::read_from(&f.params, f.secret.id(), &mut &stream[..]).unwrap();
    assert_eq!(back.tracked().max, f64::INFINITY);
}

#[test]
fn seeded_encryption_expands_to_the_ordinary_one() {
    let f = Fixture::new();
    let pt = Encoder::new(&f.params)
        .encode(&f.slots, Level::new(2), Scale::new(2f64.powi(38)))
        .unwrap();
    let encryptor = SecretEncryptor::new(&f.secret);
    let rng = || ChaCha20Rng::seed_from_u64(77);
    let whole = encryptor.encrypt(&pt, &mut rng()).unwrap();
    let seeded = encryptor.encrypt_seeded(&pt, &mut rng()).unwrap();
    assert_eq!(
        (seeded.level(), seeded.scale(), *seeded.tracked()),
        (whole.level(), whole.scale(), *whole.tracked())
    );
    let stream = Fixture::stream(|out| seeded.write_to(out));
    let id = f.secret.id();
    let direct = Ciphertext::read_from(&f.params, id, &mut &stream[..]).unwrap();
    let kept = SeededCiphertext::read_from(&f.params, id, &mut &stream[..]).unwrap();
    for ct in [direct, kept.expand().unwrap(), seeded.expand().unwrap()] {
        assert_eq!(f.ciphertext(&ct), f.ciphertext(&whole));
    }
    assert!(f.error(&whole, |x| x) < TOLERANCE);
    assert!(2 * stream.len() < f.ciphertext(&whole).len() + 300);
}

/// What is drawn from a generator in one state is independent wherever anything but the message differs.
#[test]
fn replayed_encryption_shares_nothing_with_other_levels_keys_and_parameters() {
    let f = Fixture::new();
    let other_key = Fixture::with_seed(5);
    // The same primes, another number of digits.
    let other_params = Parameters::builder()
        .log_n(5)
        .q_bits([50, 41, 45])
        .p_bits([50, 50])
        .digits(3)
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap();
    let other_set = KeyGenerator::new(&other_params)
        .secret_key(&mut ChaCha20Rng::seed_from_u64(1))
        .unwrap();
    let words = |secret: &SecretKey, level: usize| {
        let zero = vec![Complex64::default(); secret.params().slots()];
        let scale = Scale::new(2f64.powi(38));
        let encoder = Encoder::new(secret.params());
        let pt = encoder.encode(&zero, Level::new(level), scale).unwrap();
        let ct = SecretEncryptor::new(secret)
            .encrypt(&pt, &mut ChaCha20Rng::seed_from_u64(6))
            .unwrap();
        let stream = Fixture::stream(|out| ct.write_to(secret.params(), secret.id(), out));
        // Payloads of the first ciphertext prime, 50 bits each: those of both polynomials.
        let limb = 32 * 50 / 8;
        let first = 64 + 32 + (8 + 80 + 32) + 8;
        let others: usize = [41, 45][..level - 1].iter().map(|b| 32 * b / 8 + 40).sum();
        let second = first + limb + 40 + others;
        [first, second].map(|at| stream[at..at + limb].to_vec())
    };
    let all: Vec<_> = [
        words(&f.secret, 3),
        words(&f.secret, 2),
        words(&other_key.secret, 3),
        words(&other_set, 3),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (i, a) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|b| a != b));
    }
    assert_eq!(words(&f.secret, 3), words(&f.secret, 3));
}

#[test]
fn sequence_comes_back_in_order() {
    let f = Fixture::new();
    let stream = f.sequence();
    let reader = CiphertextReader::new(&stream[..], &f.params, f.secret.id()).unwrap();
    assert_eq!((reader.announced(), reader.metadata()), (3, METADATA));
    let cts: Vec<_> = reader.map(Result::unwrap).collect();
    assert!(f.error(&cts[0], |x| x) < TOLERANCE);
    assert_eq!(f.ciphertext(&cts[1]), f.ciphertext(&f.pair));
    assert_eq!(f.ciphertext(&cts[2]), f.ciphertext(&f.triple));
    assert_eq!(cts.len(), 3);
}

#[test]
fn sequence_has_as_many_ciphertexts_as_announced() {
    let f = Fixture::new();
    let id = f.secret.id();
    let start = || CiphertextWriter::new(Vec::new(), &f.params, id, &[], 1).unwrap();
    let error = start().finish().unwrap_err();
    assert_eq!(error.to_string(), "number of ciphertexts is 0, expected 1");
    let mut writer = start();
    writer.push(&f.pair).unwrap();
    let error = writer.push(&f.pair).unwrap_err();
    assert_eq!(error.to_string(), "number of ciphertexts is 2, expected 1");
    let other = Fixture::with_seed(5);
    let error = start().push_seeded(&other.seeded).unwrap_err();
    assert!(matches!(error, SerialError::Key { .. }), "{error}");
}

#[test]
fn what_is_anothers_is_refused_by_name() {
    let (f, other) = (Fixture::new(), Fixture::with_seed(5));
    let (id, ours) = (f.secret.id(), other.secret.id());
    let error =
        Ciphertext::read_from(&f.params, ours, &mut &f.ciphertext(&f.pair)[..]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("belongs to the secret key {id}, expected {ours}")
    );
    let error = CiphertextReader::new(&f.sequence()[..], &f.params, ours).unwrap_err();
    assert!(matches!(error, SerialError::Key { .. }), "{error}");

    let params = ckks_scheme::params::insecure_log_n(5, 3);
    let streams: Vec<_> = f.streams();
    let stream = |name| &streams.iter().find(|(n, _)| *n == name).unwrap().1[..];
    let errors = [
        SecretKey::read_from(&params, None, &mut stream("secret_key")).map(|_| ()),
        PublicKey::read_from(&params, &mut stream("public_key")).map(|_| ()),
        EvaluationKeys::read_from(&params, &mut stream("evaluation_keys")).map(|_| ()),
        Ciphertext::read_from(&params, id, &mut stream("ciphertext")).map(|_| ()),
        CiphertextReader::new(stream("ciphertexts"), &params, id).map(|_| ()),
        f.keys.write_to(&params, &mut Vec::new()),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert!(matches!(error, SerialError::Parameters { .. }), "{error}");
    }

    let error = PublicKey::read_from(&f.params, &mut stream("ciphertext")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "holds a ciphertext, expected a public key"
    );
}

#[test]
fn keys_of_an_ephemeral_secret_come_from_one_generation() {
    let f = Fixture::new();
    let mut request = KeyRequest::new();
    let (weight, steps) = (5, 0);
    request.add(
        KeyKind::FromEphemeral { weight, steps },
        f.params.max_level(),
    );
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let keygen = KeyGenerator::new(&f.params);
    let half = keygen
        .evaluation_keys(&f.secret, &request, &mut rng)
        .unwrap();
    let stream = Fixture::stream(|out| half.write_to(&f.params, out));
    let error = EvaluationKeys::read_from(&f.params, &mut &stream[..]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key to the ephemeral secret is missing or of another key generation than the key from it, expected both of one generation"
    );
}
