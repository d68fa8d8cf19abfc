//! Header and parts: what every stream consists of.

use super::SerialError;
use super::error::doing;
use crate::keys::KeyId;
use crate::params::{Fingerprint, Parameters};
use std::fmt;
use std::io::{self, Read, Write};
use zeroize::Zeroize;

/// Newest format version, and the one that is written.
pub const FORMAT_VERSION: u16 = 1;

/// Like PNG's: no text starts so, and a transfer that changes line ends destroys it.
pub(super) const MAGIC: [u8; 8] = *b"\x89PLY\r\n\x1a\n";

const HEADER_CONTEXT: &str = "polyphase ckks-scheme 1 file header";
const PART_CONTEXT: &str = "polyphase ckks-scheme 1 file part";

const HASH: usize = blake3::OUT_LEN;
/// Bytes of a header without its checksum.
const HEADER: usize = 64;

/// Bytes of a whole header.
pub(super) const HEADER_BYTES: u64 = (HEADER + HASH) as u64;

/// Bytes of a part with a payload of `payload` bytes.
pub(super) const fn part_bytes(payload: u64) -> u64 {
    8 + payload + HASH as u64
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A parameter set.
    Parameters = 1,
    /// A secret key.
    SecretKey = 2,
    /// A public encryption key.
    PublicKey = 3,
    /// Switching keys.
    EvaluationKeys = 4,
    /// One ciphertext.
    Ciphertext = 5,
    /// A sequence of ciphertexts with metadata.
    Ciphertexts = 6,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Parameters,
        Self::SecretKey,
        Self::PublicKey,
        Self::EvaluationKeys,
        Self::Ciphertext,
        Self::Ciphertexts,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parameters => "parameters",
            Self::SecretKey => "a secret key",
            Self::PublicKey => "a public key",
            Self::EvaluationKeys => "evaluation keys",
            Self::Ciphertext => "a ciphertext",
            Self::Ciphertexts => "a sequence of ciphertexts",
        })
    }
}

/// The first bytes of every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Of the parameter set.
    pub fingerprint: Fingerprint,
    /// The secret key that it belongs to, or [`KeyId::NONE`].
    pub key: KeyId,
}

impl Header {
    pub(super) fn new(kind: Kind, params: &Parameters, key: KeyId) -> Self {
        Self {
            kind,
            fingerprint: *params.fingerprint(),
            key,
        }
    }

    fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[16..48].copy_from_slice(&self.fingerprint);
        bytes[48..].copy_from_slice(self.key.as_bytes());
        bytes
    }

    /// Reads a header and nothing else: what a file holds, and whose it is.
    ///
    /// # Errors
    /// For what is no header, or a damaged one.
    pub fn read_from(input: &mut impl Read) -> Result<Self, SerialError> {
        Ok(Self::with_checksum(input)?.0)
    }

    fn with_checksum(input: &mut impl Read) -> Result<(Self, blake3::Hash), SerialError> {
        let what = "the header";
        let mut bytes = [0; HEADER];
        // What is too short for a header may be nothing of ours at all: that is said first.
        let mut filled = 0;
        while filled < HEADER {
            match input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(doing("reading the header")(e)),
            }
        }
        let start = &bytes[..filled.min(MAGIC.len())];
        if filled == 0 || *start != MAGIC[..start.len()] {
            return Err(SerialError::Magic {
                found: if filled == 0 {
                    "nothing".into()
                } else {
                    hex(start)
                },
                expected: hex(&MAGIC),
            });
        }
        if filled < HEADER {
            return Err(SerialError::Truncated { what });
        }
        let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let found = number(8);
        if found == 0 || found > FORMAT_VERSION {
            let newest = FORMAT_VERSION;
            return Err(SerialError::Version { found, newest });
        }
        let mut stored = [0; HASH];
        read_exact(input, what, &mut stored)?;
        let checksum = blake3::Hasher::new_derive_key(HEADER_CONTEXT)
            .update(&bytes)
            .finalize();
        if checksum != stored {
            return Err(SerialError::Checksum { what });
        }
        let code = number(10);
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u16 == code);
        let kind = kind.ok_or_else(|| SerialError::value("kind of file", code, "1 to 6"))?;
        if bytes[12..16] != [0; 4] {
            let found = hex(&bytes[12..16]);
            return Err(SerialError::value("reserved field", found, "zero"));
        }
        let fingerprint = bytes[16..48].try_into().expect("32 bytes");
        let key = KeyId::from_bytes(bytes[48..].try_into().expect("16 bytes"));
        let header = Self {
            kind,
            fingerprint,
            key,
        };
        Ok((header, checksum))
    }

    pub(super) fn check_kind(&self, expected: Kind) -> Result<(), SerialError> {
        let found = self.kind;
        if found == expected {
            Ok(())
        } else {
            Err(SerialError::Kind { found, expected })
        }
    }

    /// # Errors
    /// [`SerialError::Parameters`] unless it was made for `params`.
    pub(super) fn check_params(&self, params: &Parameters) -> Result<(), SerialError> {
        if self.fingerprint == *params.fingerprint() {
            return Ok(());
        }
        Err(SerialError::Parameters {
            found: hex(&self.fingerprint),
            expected: hex(params.fingerprint()),
        })
    }

    /// # Errors
    /// [`SerialError::Key`] unless it belongs to `key`.
    pub fn check_key(&self, key: KeyId) -> Result<(), SerialError> {
        if self.key == key {
            return Ok(());
        }
        Err(SerialError::Key {
            found: self.key.to_string(),
            expected: key.to_string(),
        })
    }
}

/// Writes a stream part by part.
pub(super) struct PartWriter<W> {
    out: W,
    checksums: Checksums,
}

impl<W: Write> PartWriter<W> {
    /// Starts a stream.
    pub(super) fn new(mut out: W, header: &Header) -> Result<Self, SerialError> {
        let bytes = header.to_bytes();
        let checksum = blake3::Hasher::new_derive_key(HEADER_CONTEXT)
            .update(&bytes)
            .finalize();
        let written = out.write_all(&bytes);
        written
            .and_then(|()| out.write_all(checksum.as_bytes()))
            .map_err(doing("writing the header"))?;
        let checksums = Checksums::new(checksum, 0);
        Ok(Self { out, checksums })
    }

    /// What the payloads of this stream are bound to.
    pub(super) fn header_checksum(&self) -> &[u8; HASH] {
        self.checksums.header.as_bytes()
    }

    pub(super) fn part(&mut self, payload: &[u8]) -> Result<(), SerialError> {
        let checksum = self.checksums.next(payload);
        let length = (payload.len() as u64).to_le_bytes();
        let pieces = [&length, payload, checksum.as_bytes()];
        let mut written = pieces.into_iter().map(|piece| self.out.write_all(piece));
        written
            .try_for_each(|result| result)
            .map_err(doing("writing"))
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }
}

/// Reads a stream part by part.
pub(super) struct PartReader<R> {
    input: R,
    checksums: Checksums,
}

impl<R: Read> PartReader<R> {
    /// Reads the header, which must be of this kind and, if they are given, for these parameters.
    pub(super) fn open(
        mut input: R,
        kind: Kind,
        params: Option<&Parameters>,
    ) -> Result<(Self, Header), SerialError> {
        let (header, checksum) = Header::with_checksum(&mut input)?;
        header.check_kind(kind)?;
        if let Some(params) = params {
            header.check_params(params)?;
        }
        let checksums = Checksums::new(checksum, 0);
        Ok((Self { input, checksums }, header))
    }

    pub(super) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// A reader of the same stream from part `index` on, which is where `input` stands.
    pub(super) fn fork<S: Read>(&self, input: S, index: u64) -> PartReader<S> {
        PartReader {
            input,
            checksums: Checksums::new(self.checksums.header, index),
        }
    }

    /// What the payloads of this stream are bound to.
    pub(super) fn header_checksum(&self) -> &[u8; HASH] {
        self.checksums.header.as_bytes()
    }

    /// Index of the next part.
    pub(super) fn next_part(&self) -> u64 {
        self.checksums.index
    }

    /// The next part, which must fill `payload`.
    pub(super) fn part(
        &mut self,
        what: &'static str,
        payload: &mut [u8],
    ) -> Result<(), SerialError> {
        let found = self.length(what)?;
        if found != payload.len() as u64 {
            let expected = format!("{} bytes", payload.len());
            return Err(SerialError::value(what, format!("{found} bytes"), expected));
        }
        self.payload(what, payload)
    }

    /// The next part, whatever its length up to `limit` bytes. Memory is taken as bytes arrive.
    pub(super) fn part_up_to(
        &mut self,
        what: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, SerialError> {
        let found = self.length(what)?;
        if found > limit {
            return Err(SerialError::TooLarge { what, found, limit });
        }
        let mut payload = Vec::new();
        let mut limited = (&mut self.input).take(found);
        limited
            .read_to_end(&mut payload)
            .map_err(doing("reading"))?;
        if payload.len() as u64 != found {
            return Err(SerialError::Truncated { what });
        }
        self.verify(what, &payload)?;
        Ok(payload)
    }

    fn length(&mut self, what: &'static str) -> Result<u64, SerialError> {
        let mut length = [0; 8];
        read_exact(&mut self.input, what, &mut length)?;
        Ok(u64::from_le_bytes(length))
    }

    fn payload(&mut self, what: &'static str, payload: &mut [u8]) -> Result<(), SerialError> {
        read_exact(&mut self.input, what, payload)?;
        self.verify(what, payload)
    }

    fn verify(&mut self, what: &'static str, payload: &[u8]) -> Result<(), SerialError> {
        let mut stored = [0; HASH];
        read_exact(&mut self.input, what, &mut stored)?;
        if self.checksums.next(payload) != stored {
            return Err(SerialError::Checksum { what });
        }
        Ok(())
    }
}

/// Every part's checksum is bound to the header and to the part's place.
struct Checksums {
    header: blake3::Hash,
    index: u64,
}

impl Checksums {
    fn new(header: blake3::Hash, index: u64) -> Self {
        Self { header, index }
    }

    fn next(&mut self, payload: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key(PART_CONTEXT);
        hasher.update(self.header.as_bytes());
        hasher.update(&self.index.to_le_bytes());
        hasher.update(&(payload.len() as u64).to_le_bytes());
        hasher.update(payload);
        self.index += 1;
        let hash = hasher.finalize();
        // The payload may be secret.
        hasher.zeroize();
        hash
    }
}

fn read_exact(
    input: &mut impl Read,
    what: &'static str,
    out: &mut [u8],
) -> Result<(), SerialError> {
    input.read_exact(out).map_err(|source| {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            SerialError::Truncated { what }
        } else {
            SerialError::Io {
                what: "reading",
                source,
            }
        }
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Little-endian numbers of a payload, one after the other.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// # Panics
    /// If the payload ends before: its length has been checked.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_at(N);
        self.0 = rest;
        bytes.try_into().expect("split there")
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    pub(super) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.bytes())
    }

    pub(super) fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.bytes())
    }
}
