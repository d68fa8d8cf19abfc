//! The format, read by hand as its documentation says.

use crate::fixture::{Fixture, METADATA, secure_literal};
use crate::targets::repaired;

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn real(bytes: &[u8], at: usize) -> f64 {
    f64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The payloads of all parts.
fn payloads(stream: &[u8]) -> Vec<&[u8]> {
    let mut rest = &stream[96..];
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        let length = long(rest, 0) as usize;
        payloads.push(&rest[8..8 + length]);
        rest = &rest[8 + length + 32..];
    }
    payloads
}

#[test]
fn every_stream_has_header_and_checksums_as_documented() {
    let f = Fixture::new();
    let kinds = [1, 2, 2, 3, 4, 5, 5, 5, 6];
    for ((name, stream), kind) in f.streams().iter().zip(kinds) {
        assert_eq!(&stream[..8], b"\x89PLY\r\n\x1a\n", "{name}");
        assert_eq!(number(stream, 8), 1 | kind << 16, "{name}");
        assert_eq!(number(stream, 12), 0, "{name}");
        if kind == 1 {
            assert_eq!(stream[48..64], [0; 16]);
        } else {
            assert_eq!(stream[16..48], f.params.fingerprint()[..], "{name}");
            let id: String = stream[48..64].iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(id, f.secret.id().to_string(), "{name}");
        }
        assert!(repaired(stream) == *stream, "{name}");
    }
}

#[test]
fn payloads_are_as_documented() {
    let f = Fixture::new();
    let streams = f.streams();
    let stream = |name| {
        let (_, stream) = streams.iter().find(|(n, _)| *n == name).unwrap();
        payloads(stream)
    };
    let lengths = |parts: &[&[u8]]| parts.iter().map(|p| p.len()).collect::<Vec<_>>();
    // Bytes of 32 residues.
    let limbs = [50, 41, 45].map(|bits| 32 * bits / 8);

    let parts = stream("parameters");
    let literal = secure_literal();
    assert_eq!(lengths(&parts), [24 + 4]);
    assert_eq!([0, 4, 8, 12].map(|at| number(parts[0], at)), [13, 3, 1, 0]);
    assert_eq!(long(parts[0], 16), literal.digits as u64);
    assert_eq!(parts[0][24..], [45, 40, 40, 50]);

    let parts = stream("secret_key");
    assert_eq!(lengths(&parts), [56, 32 / 4]);
    assert!(
        parts[1]
            .iter()
            .all(|b| (0..4).all(|i| b >> (2 * i) & 3 < 3))
    );
    let parts = stream("protected_secret_key");
    assert_eq!(lengths(&parts), [56, 32 / 4 + 16]);
    let cost = [0, 4, 8, 12].map(|at| number(parts[0], at));
    assert_eq!(cost, [1, 64 << 10, 3, 4]);

    let parts = stream("public_key");
    assert_eq!(lengths(&parts), [32, limbs[0], limbs[1], limbs[2]]);

    let parts = stream("evaluation_keys");
    let entries: Vec<_> = parts[0].chunks(48).collect();
    let table: Vec<_> = entries
        .iter()
        .map(|e| (number(e, 0), number(e, 4), long(e, 8)))
        .collect();
    assert_eq!(
        table,
        [
            (0, 1, 0),
            (0, 3, 0),
            (2, 3, 1),
            (2, 2, 15),
            (1, 3, 0),
            (3, 1, 5),
            (5, 3, 5)
        ]
    );
    // Digits times ciphertext and special primes: two digits at levels 2 and 3, of one and two primes; one from the ephemeral
    // secret.
    let special = 32 * 50 / 8;
    let key = |kind: u32, level: usize| {
        let (digits, specials) = [(1, 1), (2, 1), (2, 2)][level - 1];
        let digit = [&limbs[..level], &vec![special; specials]].concat();
        digit.repeat(if kind == 5 { 1 } else { digits })
    };
    let keys = table.iter().flat_map(|e| key(e.0, e.1 as usize));
    let expected: Vec<_> = keys.collect();
    assert_eq!(lengths(&parts[1..]), expected);

    for (name, form, level, ct_scale) in [
        ("seeded_ciphertext", 1, 3, f.seeded.scale()),
        ("ciphertext", 2, 2, f.pair.scale()),
        ("product", 3, 2, f.triple.scale()),
    ] {
        let parts = stream(name);
        assert_eq!([number(parts[0], 0), number(parts[0], 4)], [form, level]);
        assert_eq!(real(parts[0], 8), ct_scale.value());
        let polynomial = &limbs[..level as usize];
        let expected = polynomial.repeat(form as usize);
        assert_eq!(lengths(&parts), [&[80], &expected[..]].concat());
        assert_eq!(parts[0][48..].iter().all(|&b| b == 0), form > 1);
    }
    let tracked = f.pair.tracked();
    let parts = stream("ciphertext");
    assert_eq!(
        [16, 24, 32, 40].map(|at| real(parts[0], at)),
        [
            tracked.error_std,
            tracked.systematic,
            tracked.max,
            tracked.rms
        ]
    );

    let parts = stream("ciphertexts");
    assert_eq!(long(parts[0], 0), 3);
    assert_eq!(&parts[0][8..], METADATA);
    let single = |name| stream(name).len();
    let all = single("seeded_ciphertext") + single("ciphertext") + single("product");
    assert_eq!(parts.len(), 1 + all);
}
