//! Readers as functions of bytes: the entry points of fuzzing, and what the corpus is replayed by.
//!
//! Each reads the bytes as they are, and once more with all checksums made right: otherwise no mutation would get past
//! them. What is read must be written again as the same bytes.

use crate::fixture::{kernel, params};
use ckks_scheme::serial::{CiphertextReader, CiphertextWriter, Header, SerialError};
use ckks_scheme::{
    Ciphertext, EvaluationKeys, KeyId, Parameters, PublicKey, SecretKey, SeededCiphertext,
};
use std::sync::LazyLock;

type Target = fn(&[u8]);

/// All of them, by the name of the folder that their inputs are in.
pub const TARGETS: [(&str, Target); 7] = [
    ("header", fuzz_header),
    ("parameters", fuzz_parameters),
    ("secret_key", fuzz_secret_key),
    ("public_key", fuzz_public_key),
    ("evaluation_keys", fuzz_evaluation_keys),
    ("ciphertext", fuzz_ciphertext),
    ("ciphertexts", fuzz_ciphertexts),
];

static PARAMS: LazyLock<Parameters> = LazyLock::new(params);

const HEADER: usize = 64;
const HASH: usize = 32;

/// The same stream with the checksums that belong to it, as far as its lengths lead.
pub fn repaired(stream: &[u8]) -> Vec<u8> {
    let mut out = stream.to_vec();
    if out.len() < HEADER + HASH {
        return out;
    }
    let header = *blake3::Hasher::new_derive_key("polyphase ckks-scheme 1 file header")
        .update(&out[..HEADER])
        .finalize()
        .as_bytes();
    out[HEADER..HEADER + HASH].copy_from_slice(&header);
    let mut at = HEADER + HASH;
    for index in 0u64.. {
        let Some(length) = out.get(at..at + 8) else {
            break;
        };
        let length = u64::from_le_bytes(length.try_into().unwrap());
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| (at + 8).checked_add(length))
            .filter(|end| end.saturating_add(HASH) <= out.len());
        let Some(end) = end else {
            break;
        };
        let checksum = *blake3::Hasher::new_derive_key("polyphase ckks-scheme 1 file part")
            .update(&header)
            .update(&index.to_le_bytes())
            .update(&out[at..end])
            .finalize()
            .as_bytes();
        out[end..end + HASH].copy_from_slice(&checksum);
        at = end + HASH;
    }
    out
}

/// Reads, and if it could be read writes again.
fn check(stream: &[u8], rewrite: impl Fn(&mut &[u8]) -> Result<Vec<u8>, SerialError>) {
    for bytes in [stream.to_vec(), repaired(stream)] {
        let mut input = &bytes[..];
        if let Ok(written) = rewrite(&mut input) {
            let read = bytes.len() - input.len();
            assert!(written == bytes[..read], "another stream was written");
        }
    }
    assert_eq!(PARAMS.pool().in_use_bytes(), 0, "memory is held");
}

fn collect(write: impl FnOnce(&mut Vec<u8>) -> Result<(), SerialError>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    out
}

/// Whose the stream says it is.
fn id(stream: &[u8]) -> KeyId {
    Header::read_from(&mut &stream[..]).map_or(KeyId::NONE, |header| header.key)
}

pub fn fuzz_header(stream: &[u8]) {
    for bytes in [stream.to_vec(), repaired(stream)] {
        let _ = Header::read_from(&mut &bytes[..]);
    }
}

pub fn fuzz_parameters(stream: &[u8]) {
    check(stream, |input| {
        let params = Parameters::read_from(input, kernel(), None)?;
        assert_eq!(params.security_bits(), 128);
        Ok(collect(|out| params.write_to(out)))
    });
}

/// Without a passphrase: each trial of one takes a tenth of a second.
pub fn fuzz_secret_key(stream: &[u8]) {
    check(stream, |input| {
        let key = SecretKey::read_from(&PARAMS, None, input)?;
        Ok(collect(|out| key.write_to(out)))
    });
}

pub fn fuzz_public_key(stream: &[u8]) {
    check(stream, |input| {
        let key = PublicKey::read_from(&PARAMS, input)?;
        Ok(collect(|out| key.write_to(out)))
    });
}

pub fn fuzz_evaluation_keys(stream: &[u8]) {
    check(stream, |input| {
        let keys = EvaluationKeys::read_from(&PARAMS, input)?;
        Ok(collect(|out| keys.write_to(&PARAMS, out)))
    });
}

pub fn fuzz_ciphertext(stream: &[u8]) {
    check(stream, |input| {
        let bytes = *input;
        let id = id(bytes);
        let ct = Ciphertext::read_from(&PARAMS, id, input)?;
        // A seeded one has been expanded: as it was, it is written again too.
        let seeded = SeededCiphertext::read_from(&PARAMS, id, &mut &*bytes);
        Ok(match seeded {
            Ok(seeded) => collect(|out| seeded.write_to(out)),
            Err(_) => collect(|out| ct.write_to(&PARAMS, id, out)),
        })
    });
}

pub fn fuzz_ciphertexts(stream: &[u8]) {
    check(stream, |input| {
        let bytes = *input;
        let id = id(bytes);
        let reader = CiphertextReader::new(&mut *input, &PARAMS, id)?;
        let (count, metadata) = (reader.announced(), reader.metadata().to_vec());
        let cts = reader.collect::<Result<Vec<_>, _>>()?;
        assert_eq!(cts.len() as u64, count);
        let read = &bytes[..bytes.len() - input.len()];
        let written = collect(|out| {
            let mut writer = CiphertextWriter::new(out, &PARAMS, id, &metadata, count)?;
            cts.iter().try_for_each(|ct| writer.push(ct))?;
            writer.finish().map(|_| ())
        });
        // Seeded ones are written whole.
        Ok(if written.len() == read.len() {
            written
        } else {
            read.to_vec()
        })
    });
}
