//! Ciphertexts between processes of one run: what arrives is what was sent, and what cannot be is an error.

use crate::fixture::{Fixture, params};
use ckks_scheme::serial::{LABEL_BYTES, Parcel, SerialError};
use ckks_scheme::{Ciphertext, KeyId, Parameters};
use proptest::prelude::*;
use std::sync::LazyLock;

static PARAMS: LazyLock<Parameters> = LazyLock::new(params);

/// Offsets in a label, whose description begins at `DESCRIPTION`.
const FINGERPRINT: usize = 8;
const KEY: usize = 40;
const DESCRIPTION: usize = 56;

/// A parcel as bytes: its label, and its limbs one after another.
fn bytes(mut parcel: Parcel) -> ([u8; LABEL_BYTES], Vec<u8>) {
    let label = parcel.label();
    let limbs: Vec<u8> = parcel
        .limbs()
        .flat_map(|limb| limb.iter().copied())
        .collect();
    assert_eq!(limbs.len() as u64, parcel.bytes());
    (label, limbs)
}

fn sent(f: &Fixture, ct: &Ciphertext) -> ([u8; LABEL_BYTES], Vec<u8>) {
    let parcel = Parcel::pack(ct.try_clone().unwrap(), &f.params, f.secret.id());
    bytes(parcel.unwrap())
}

/// What a receiver makes of a label and of bytes, as many as it has room for.
fn received(
    label: &[u8; LABEL_BYTES],
    limbs: &[u8],
    params: &Parameters,
    key: KeyId,
) -> Result<Ciphertext, SerialError> {
    let mut parcel = Parcel::empty(label, params, key)?;
    let mut from = limbs.iter().copied().cycle();
    for limb in parcel.limbs() {
        limb.iter_mut()
            .zip(&mut from)
            .for_each(|(to, from)| *to = from);
    }
    parcel.open()
}

#[test]
fn parcels_come_back() {
    let f = Fixture::new();
    for ct in [&f.pair, &f.triple] {
        let (label, limbs) = sent(&f, ct);
        assert_eq!(limbs.len() as u64, ct.bytes());
        let back = received(&label, &limbs, &f.params, f.secret.id()).unwrap();
        assert_eq!(
            (back.parts(), back.level(), back.scale(), back.tracked()),
            (ct.parts(), ct.level(), ct.scale(), ct.tracked())
        );
        assert_eq!(f.ciphertext(&back), f.ciphertext(ct));
    }
}

#[test]
fn parcels_of_other_parameters_or_keys_are_refused() {
    let f = Fixture::new();
    let (label, limbs) = sent(&f, &f.pair);
    let another = Fixture::with_seed(2);
    let error = received(&label, &limbs, &f.params, another.secret.id()).unwrap_err();
    assert!(matches!(error, SerialError::Key { .. }), "{error}");
    let foreign = ckks_scheme::params::insecure_log_n(6, 3);
    let error = received(&label, &limbs, &foreign, f.secret.id()).unwrap_err();
    assert!(matches!(error, SerialError::Parameters { .. }), "{error}");
    let pair = f.pair.try_clone().unwrap();
    let error = Parcel::pack(pair, &foreign, f.secret.id()).unwrap_err();
    assert_eq!(error.to_string(), "ring degree is 32, expected 64");
}

#[test]
fn parcels_that_cannot_be_are_refused() {
    let f = Fixture::new();
    let (good, limbs) = sent(&f, &f.pair);
    let with = |at: usize, bytes: &[u8]| {
        let mut label = good;
        label[at..at + bytes.len()].copy_from_slice(bytes);
        let read = received(&label, &limbs, &f.params, f.secret.id());
        read.unwrap_err().to_string()
    };
    let mut mark: [u8; 8] = good[..8].try_into().unwrap();
    mark.reverse();
    let nan = f64::NAN.to_le_bytes();
    for (at, bytes, words) in [
        (0, &mark[..], "in this machine's order of bytes"),
        (FINGERPRINT, &[0; 32], "belongs to the parameter set"),
        (KEY, &[0; 16], "belongs to the secret key"),
        (DESCRIPTION, &[0; 4], "number of polynomials is 0"),
        (DESCRIPTION, &[1, 0, 0, 0], "number of polynomials is 1"),
        (DESCRIPTION, &[4, 0, 0, 0], "number of polynomials is 4"),
        (DESCRIPTION + 4, &[0; 4], "level is 0, expected 1 to 3"),
        (DESCRIPTION + 4, &[4, 0, 0, 0], "level is 4"),
        (DESCRIPTION + 4, &[255; 4], "level is 4294967295"),
        (DESCRIPTION + 8, &[0; 8], "scale is 0"),
        (DESCRIPTION + 8, &nan, "scale is NaN"),
        (DESCRIPTION + 16, &nan, "deviation of the error is NaN"),
        (DESCRIPTION + 32, &nan, "bound of the values is NaN"),
        (DESCRIPTION + 48, &[1], "seed is given"),
    ] {
        let error = with(at, bytes);
        assert!(error.contains(words), "{error}: {words}");
    }
}

#[test]
fn words_beyond_their_modulus_are_refused() {
    let f = Fixture::new();
    let (label, limbs) = sent(&f, &f.pair);
    let level = f.pair.level().limbs();
    let limb_bytes = limbs.len() / (2 * level);
    for (limb, index) in [(0, 0), (1, 31), (2 * level - 1, 17)] {
        let modulus = f.params.prime(ckks_scheme::Level::new(limb % level + 1));
        for word in [modulus, modulus + 1, 1 << 63, u64::MAX] {
            let mut limbs = limbs.clone();
            let at = limb * limb_bytes + 8 * index;
            limbs[at..at + 8].copy_from_slice(&word.to_ne_bytes());
            let error = received(&label, &limbs, &f.params, f.secret.id()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("residue {index} modulo {modulus} is {word}")
            );
            limbs[at..at + 8].copy_from_slice(&(modulus - 1).to_ne_bytes());
            received(&label, &limbs, &f.params, f.secret.id()).unwrap();
        }
    }
}

#[test]
fn parcels_keep_to_the_budget() {
    let f = Fixture::new();
    let (label, _) = sent(&f, &f.pair);
    let pool = f.params.pool();
    pool.set_budget(Some(pool.in_use_bytes() + f.params.limb_bytes()));
    let error = Parcel::empty(&label, &f.params, f.secret.id()).unwrap_err();
    assert!(error.out_of_memory(), "{error}");
}

proptest! {
    /// Whatever a label and limbs are: a ciphertext that can be written and read, or an error.
    #[test]
    fn prop_any_parcel_is_a_ciphertext_or_an_error(
        changed in prop::collection::vec((0..LABEL_BYTES, any::<u8>()), 0..4),
        words in prop::collection::vec(any::<u8>(), 1..64),
        are_small in any::<bool>(),
    ) {
        let f = Fixture::new();
        let (mut label, _) = sent(&f, &f.triple);
        changed.iter().for_each(|(at, byte)| label[*at] = *byte);
        let mut limbs: Vec<u8> = words.iter().copied().cycle().take(8 * words.len()).collect();
        if are_small {
            limbs.chunks_mut(8).for_each(|word| word[3..].fill(0));
        }
        if let Ok(ct) = received(&label, &limbs, &PARAMS, f.secret.id()) {
            let stream = f.ciphertext(&ct);
            Ciphertext::read_from(&PARAMS, f.secret.id(), &mut &stream[..]).unwrap();
        }
    }
}
