//! Damaged and hostile streams are errors, soon and without taking memory.

use crate::fixture::{Fixture, PASSPHRASE, kernel, params};
use crate::targets::{TARGETS, repaired};
use ckks_scheme::serial::{CiphertextReader, Kind, MAX_METADATA_BYTES, SerialError};
use ckks_scheme::{Ciphertext, EvaluationKeys, KeyId, Parameters, PublicKey, SecretKey};
use proptest::prelude::*;
use std::io::Read;
use std::sync::LazyLock;

static PARAMS: LazyLock<Parameters> = LazyLock::new(params);

struct Good {
    streams: Vec<(&'static str, Vec<u8>)>,
    id: KeyId,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let f = Fixture::new();
    let mut streams = f.streams();
    // A trial of a passphrase takes a while.
    streams.retain(|(name, _)| *name != "protected_secret_key");
    Good {
        streams,
        id: f.secret.id(),
    }
});

/// Reads a stream of that name to its end.
fn read(name: &str, input: &mut impl Read) -> Result<(), SerialError> {
    let params = &*PARAMS;
    match name {
        "parameters" => Parameters::read_from(input, kernel(), None).map(drop),
        "secret_key" | "protected_secret_key" => {
            SecretKey::read_from(params, Some(PASSPHRASE), input).map(drop)
        }
        "public_key" => PublicKey::read_from(params, input).map(drop),
        "evaluation_keys" => EvaluationKeys::read_from(params, input).map(drop),
        "ciphertexts" => {
            CiphertextReader::new(input, params, GOOD.id)?.try_for_each(|ct| ct.map(drop))
        }
        _ => Ciphertext::read_from(params, GOOD.id, input).map(drop),
    }
}

/// Reads all of a stream.
fn read_all(name: &str, mut stream: &[u8]) -> Result<(), SerialError> {
    read(name, &mut stream)?;
    if stream.is_empty() {
        Ok(())
    } else {
        Err(SerialError::Trailing)
    }
}

fn any_stream() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    (0..GOOD.streams.len()).prop_map(|i| GOOD.streams[i].clone())
}

#[test]
fn undamaged_streams_are_read() {
    for (name, stream) in &GOOD.streams {
        read_all(name, stream).unwrap();
    }
}

#[test]
fn every_truncation_is_an_error() {
    for (name, stream) in &GOOD.streams {
        for length in 0..stream.len() {
            let error = read_all(name, &stream[..length]).unwrap_err();
            let expected = if length == 0 {
                "nothing"
            } else {
                "ends within"
            };
            assert!(
                error.to_string().contains(expected),
                "{name} {length}: {error}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn prop_changed_bits_are_errors(
        (name, mut stream) in any_stream(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let before = stream.clone();
        for (at, bits) in flips {
            let at = at.index(stream.len());
            stream[at] ^= bits;
        }
        prop_assume!(stream != before);
        prop_assert!(read_all(name, &stream).is_err());
    }

    #[test]
    fn prop_inserted_bytes_are_errors(
        (name, mut stream) in any_stream(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let at = at.index(stream.len() + 1);
        stream.splice(at..at, bytes);
        prop_assert!(read_all(name, &stream).is_err());
    }

    #[test]
    fn prop_removed_bytes_are_errors(
        (name, mut stream) in any_stream(),
        at in any::<prop::sample::Index>(),
        count in 1usize..40,
    ) {
        let at = at.index(stream.len());
        let end = stream.len().min(at + count);
        stream.drain(at..end);
        prop_assert!(read_all(name, &stream).is_err());
    }

    /// Whoever writes the bytes writes the checksums too: every reader gets every mutation with right ones.
    #[test]
    fn prop_forged_streams_are_errors_or_written_again(
        (_, mut stream) in any_stream(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for (at, byte) in edits {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        if let Some(cut) = cut {
            stream.truncate(cut.index(stream.len()));
        }
        for (_, target) in TARGETS {
            target(&stream);
        }
    }
}

/// Changes payload bytes of a stream and makes its checksums right.
fn forged(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let (_, stream) = GOOD.streams.iter().find(|(n, _)| *n == name).unwrap();
    let mut stream = stream.clone();
    stream[at..at + bytes.len()].copy_from_slice(bytes);
    repaired(&stream)
}

/// Where the first payload starts.
const PAYLOAD: usize = 96 + 8;

#[test]
fn forged_numbers_are_refused_by_name() {
    let nan = f64::NAN.to_le_bytes();
    let minus = (-1.0f64).to_le_bytes();
    let infinite = f64::INFINITY.to_le_bytes();
    let four = 4u32.to_le_bytes();
    let zero = 0u32.to_le_bytes();
    let cases: &[(&str, usize, &[u8], &str)] = &[
        (
            "ciphertext",
            8,
            &2u16.to_le_bytes(),
            "has format version 2, this program reads versions 1 to 1",
        ),
        (
            "ciphertext",
            8,
            &[0, 0],
            "has format version 0, this program reads versions 1 to 1",
        ),
        (
            "ciphertext",
            10,
            &[9, 0],
            "kind of file is 9, expected 1 to 6",
        ),
        (
            "ciphertext",
            12,
            &[1],
            "reserved field is 01000000, expected zero",
        ),
        (
            "ciphertext",
            96,
            &u64::MAX.to_le_bytes(),
            "the description of a ciphertext is 18446744073709551615 bytes, expected 80 bytes",
        ),
        (
            "ciphertext",
            PAYLOAD,
            &four,
            "number of polynomials is 4, expected 1 (seeded), 2 or 3",
        ),
        (
            "ciphertext",
            PAYLOAD,
            &zero,
            "number of polynomials is 0, expected 1 (seeded), 2 or 3",
        ),
        (
            "ciphertext",
            PAYLOAD + 4,
            &four,
            "level is 4, expected 1 to 3",
        ),
        (
            "ciphertext",
            PAYLOAD + 4,
            &zero,
            "level is 0, expected 1 to 3",
        ),
        (
            "ciphertext",
            PAYLOAD + 4,
            &[0xff; 4],
            "level is 4294967295, expected 1 to 3",
        ),
        (
            "ciphertext",
            PAYLOAD + 8,
            &nan,
            "scale is NaN, expected a positive finite number",
        ),
        (
            "ciphertext",
            PAYLOAD + 8,
            &[0; 8],
            "scale is 0, expected a positive finite number",
        ),
        (
            "ciphertext",
            PAYLOAD + 8,
            &minus,
            "scale is -1, expected a positive finite number",
        ),
        (
            "ciphertext",
            PAYLOAD + 8,
            &infinite,
            "scale is inf, expected a positive finite number",
        ),
        (
            "ciphertext",
            PAYLOAD + 16,
            &infinite,
            "deviation of the error is inf, expected a finite number, 0 or more",
        ),
        (
            "ciphertext",
            PAYLOAD + 24,
            &nan,
            "systematic error is NaN, expected a finite number, 0 or more",
        ),
        (
            "ciphertext",
            PAYLOAD + 32,
            &minus,
            "bound of the values is -1, expected 0 or more",
        ),
        (
            "ciphertext",
            PAYLOAD + 40,
            &nan,
            "root mean square of the values is NaN, expected 0 or more",
        ),
        (
            "ciphertext",
            PAYLOAD + 48,
            &[1],
            "seed is given, expected none in this form",
        ),
        (
            "seeded_ciphertext",
            PAYLOAD + 80 + 40,
            &[0xff; 7],
            "residue 0 modulo 1125899906840833 is 1125899906842623",
        ),
        (
            "public_key",
            PAYLOAD + 32 + 40,
            &[0xff; 7],
            "residue 0 modulo 1125899906840833 is 1125899906842623",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 7 * 48 + 40,
            &[0xff; 7],
            "residue 0 modulo 1125899906840833 is 1125899906842623",
        ),
        (
            "evaluation_keys",
            96,
            &(1u64 << 40).to_le_bytes(),
            "the table of keys: 1099511627776 bytes, the limit is 3145728",
        ),
        (
            "evaluation_keys",
            PAYLOAD,
            &[9],
            "kind of a key is 9, expected 0 to 5",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 4,
            &[3],
            "the table of keys is a key twice or out of order, expected ascending order",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 4,
            &[200],
            "key requested for level 200, the parameter set has levels 1 to 3",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 8,
            &[1],
            "argument of a key is 1, expected 0",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 6 * 48 + 12,
            &[16],
            "steps of a rotation from an ephemeral secret is 16, expected 0 to 15",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 2 * 48 + 8,
            &[0],
            "steps of a rotation is 0, expected 1 to 15",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 2 * 48 + 8,
            &[16],
            "steps of a rotation is 16, expected 1 to 15",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 2 * 48 + 8,
            &[0xff; 8],
            "steps of a rotation is -1, expected 1 to 15",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 5 * 48 + 8,
            &[0xff; 8],
            "weight of a secret is -1, expected 32 bits",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 5 * 48 + 8,
            &[33],
            "an ephemeral secret of weight 33 in a ring of degree 32",
        ),
        (
            "evaluation_keys",
            PAYLOAD + 5 * 48 + 16,
            &[0; 32],
            "the key to the ephemeral secret is missing or of another key generation than the key from it, expected both of one generation",
        ),
        (
            "secret_key",
            PAYLOAD,
            &[2],
            "protection is 2, expected 0 or 1",
        ),
        (
            "secret_key",
            PAYLOAD + 1,
            &[2],
            "protection is 512, expected 0 or 1",
        ),
        (
            "secret_key",
            PAYLOAD + 9,
            &[2],
            "description of an unprotected key is filled, expected zero",
        ),
        (
            "secret_key",
            PAYLOAD,
            &[1],
            "memory of a passphrase's trial in KiB is 0, expected 8192 to 262144",
        ),
        (
            "secret_key",
            PAYLOAD + 56 + 40,
            &[0x3],
            "code of a coefficient is 3, expected 0, 1 or 2",
        ),
        (
            "parameters",
            PAYLOAD,
            &[255],
            "N = 2^255 is not supported, expected 2^4 to 2^17",
        ),
        (
            "parameters",
            PAYLOAD + 4,
            &[9],
            "number of ciphertext and special primes is 9 and 1 (and 0), expected 4 together (and 0)",
        ),
        (
            "parameters",
            PAYLOAD + 12,
            &[1],
            "number of ciphertext and special primes is 3 and 1 (and 1), expected 4 together (and 0)",
        ),
        (
            "parameters",
            PAYLOAD + 24,
            &[60],
            "a prime of 60 bits is not supported, expected 24 to 50 bits",
        ),
        (
            "parameters",
            PAYLOAD + 16,
            &[0],
            "number of ciphertext primes or of digits is 0, expected 1 or more",
        ),
        (
            "ciphertexts",
            PAYLOAD,
            &[4],
            "ends within the description of a ciphertext: cut off, or not all written",
        ),
        (
            "ciphertexts",
            96,
            &(1u64 << 60).to_le_bytes(),
            "the metadata: 1152921504606846976 bytes, the limit is 16777224",
        ),
    ];
    for (name, at, bytes, expected) in cases {
        let error = read_all(name, &forged(name, *at, bytes)).unwrap_err();
        assert_eq!(error.to_string(), *expected, "{name} at {at}");
    }
    // Another set of parameters than the fingerprint says.
    let error = read_all("parameters", &forged("parameters", PAYLOAD + 25, &[41])).unwrap_err();
    assert!(matches!(error, SerialError::Parameters { .. }), "{error}");
    // Another secret than the identity says.
    let (_, stream) = GOOD
        .streams
        .iter()
        .find(|(n, _)| *n == "secret_key")
        .unwrap();
    let byte = stream[PAYLOAD + 56 + 40];
    let other = if byte == 0 { 1 } else { 0 };
    let forged = forged("secret_key", PAYLOAD + 56 + 40, &[other]);
    let error = read_all("secret_key", &forged).unwrap_err();
    assert!(matches!(error, SerialError::Key { .. }), "{error}");
}

#[test]
fn too_costly_passphrase_is_refused_before_it_is_tried() {
    let streams = Fixture::new().streams();
    let (_, stream) = streams
        .iter()
        .find(|(name, _)| *name == "protected_secret_key")
        .unwrap();
    for at in [4, 8, 12] {
        let mut stream = stream.clone();
        stream[PAYLOAD + at..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = read_all("secret_key", &repaired(&stream)).unwrap_err();
        assert!(
            error.to_string().contains("4294967295, expected"),
            "{error}"
        );
    }
    // Salt, nonce, text and tag are authenticated.
    for at in [PAYLOAD + 16, PAYLOAD + 32, PAYLOAD + 96, stream.len() - 33] {
        let mut stream = stream.clone();
        stream[at] ^= 1;
        let error = read_all("secret_key", &repaired(&stream)).unwrap_err();
        assert!(matches!(error, SerialError::PassphraseWrong), "{error}");
    }
}

/// A start, and then the same byte for ever.
struct Endless<'a> {
    start: &'a [u8],
    byte: u8,
    read: u64,
}

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = if self.start.is_empty() {
            out.fill(self.byte);
            out.len()
        } else {
            self.start.read(out)?
        };
        self.read += read as u64;
        Ok(read)
    }
}

#[test]
fn endless_input_is_not_read_for_ever() {
    for (name, stream) in &GOOD.streams {
        for start in [
            0,
            8,
            64,
            96,
            100,
            PAYLOAD,
            stream.len() / 2,
            stream.len() - 1,
        ] {
            for byte in [0, 1, 255] {
                let mut input = Endless {
                    start: &stream[..start],
                    byte,
                    read: 0,
                };
                read(name, &mut input).unwrap_err();
                assert!(input.read < MAX_METADATA_BYTES + 100_000, "{name} {start}");
            }
        }
    }
    assert_eq!(PARAMS.pool().in_use_bytes(), 0);
}

#[test]
fn claimed_sizes_take_no_memory() {
    // A sequence that claims to have 2^64 - 1 ciphertexts, and metadata of the largest size that is not there.
    let claims = forged("ciphertexts", PAYLOAD, &[0xff; 8]);
    let reader = CiphertextReader::new(&claims[..], &PARAMS, GOOD.id).unwrap();
    assert_eq!(reader.announced(), u64::MAX);
    assert_eq!(reader.filter(Result::is_ok).count(), 3);
    let header = &GOOD
        .streams
        .iter()
        .find(|(n, _)| *n == "ciphertexts")
        .unwrap()
        .1[..96];
    let mut claims = header.to_vec();
    claims.extend(MAX_METADATA_BYTES.to_le_bytes());
    claims.extend([0; 10]);
    let error = CiphertextReader::new(&claims[..], &PARAMS, GOOD.id).unwrap_err();
    assert!(matches!(error, SerialError::Truncated { .. }), "{error}");
}

#[test]
fn foreign_files_are_called_so() {
    for (bytes, found) in [
        (&b"PK\x03\x04 a zip archive"[..], "504b03041a"),
        (b"", "nothing"),
        (b"x", "78"),
    ] {
        let error = read("ciphertext", &mut &bytes[..]).unwrap_err().to_string();
        let found = &found[..found.len().min(8)];
        assert!(
            error.starts_with(&format!("starts with {found}")),
            "{error}"
        );
    }
    assert_eq!(Kind::Ciphertexts.to_string(), "a sequence of ciphertexts");
}

/// A disk that is full after some bytes.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let written = bytes.len().min(self.0);
        self.0 -= written;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn full_disk_is_an_error_wherever_it_happens() {
    let f = Fixture::new();
    let length = f.ciphertext(&f.pair).len();
    for room in 0..length {
        let written = f.pair.write_to(&f.params, f.secret.id(), &mut Full(room));
        assert!(matches!(written, Err(SerialError::Io { .. })), "{room}");
    }
    f.pair
        .write_to(&f.params, f.secret.id(), &mut Full(length))
        .unwrap();
}
