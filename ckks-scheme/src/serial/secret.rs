//! Secret keys.

use super::SerialError;
use super::file;
use super::frame::{Fields, Header, Kind, PartReader, PartWriter};
use crate::keys::SecretKey;
use crate::params::Parameters;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rand::CryptoRng;
use std::io::{Read, Write};
use std::ops::RangeInclusive;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a description.
const DESCRIPTION: usize = 56;
const TAG: usize = 16;

/// Cost of a passphrase's trial: 64 MiB and three passes, the second choice of RFC 9106, section 4.
const COST: Cost = Cost {
    memory_kib: 64 << 10,
    passes: 3,
    lanes: 4,
};

/// Costs that are read: a hostile file shall not take all memory or time.
const MEMORY_KIB: RangeInclusive<u32> = (8 << 10)..=(256 << 10);
const PASSES: RangeInclusive<u32> = 1..=8;
const LANES: RangeInclusive<u32> = 1..=8;

/// The cost parameters of Argon2id.
#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// How the coefficients are stored.
enum Protection {
    None,
    Passphrase {
        cost: Cost,
        salt: [u8; 16],
        nonce: [u8; 24],
    },
}

impl Protection {
    fn to_bytes(&self) -> [u8; DESCRIPTION] {
        let mut bytes = [0; DESCRIPTION];
        if let Self::Passphrase { cost, salt, nonce } = self {
            let numbers = [1, cost.memory_kib, cost.passes, cost.lanes];
            for (bytes, number) in bytes.chunks_exact_mut(4).zip(numbers) {
                bytes.copy_from_slice(&number.to_le_bytes());
            }
            bytes[16..32].copy_from_slice(salt);
            bytes[32..].copy_from_slice(nonce);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; DESCRIPTION]) -> Result<Self, SerialError> {
        let mut fields = Fields::new(bytes);
        match fields.u32() {
            0 if bytes.iter().all(|&b| b == 0) => Ok(Self::None),
            0 => Err(SerialError::value(
                "description of an unprotected key",
                "filled",
                "zero",
            )),
            1 => {
                let mut within = |what, range: RangeInclusive<u32>| {
                    let value = fields.u32();
                    if range.contains(&value) {
                        return Ok(value);
                    }
                    let expected = format!("{} to {}", range.start(), range.end());
                    Err(SerialError::value(what, value, expected))
                };
                let cost = Cost {
                    memory_kib: within("memory of a passphrase's trial in KiB", MEMORY_KIB)?,
                    passes: within("passes of a passphrase's trial", PASSES)?,
                    lanes: within("lanes of a passphrase's trial", LANES)?,
                };
                let (salt, nonce) = (fields.bytes(), fields.bytes());
                Ok(Self::Passphrase { cost, salt, nonce })
            }
            other => Err(SerialError::value("protection", other, "0 or 1")),
        }
    }
}

/// The cipher that a passphrase opens.
fn cipher(passphrase: &str, cost: Cost, salt: &[u8; 16]) -> XChaCha20Poly1305 {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32));
    let params = params.expect("costs within Argon2's own limits");
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Zeroizing::new([0; 32]);
    argon
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .expect("salt and key have admissible lengths");
    XChaCha20Poly1305::new((&*key).into())
}

/// What the encryption is bound to.
fn associated(header_checksum: &[u8; 32], description: &[u8; DESCRIPTION]) -> Vec<u8> {
    [&header_checksum[..], description].concat()
}

impl SecretKey {
    /// Writes the key as it is. `out` should not buffer: what stays in a buffer's memory is not wiped.
    ///
    /// # Errors
    /// [`SerialError::Io`].
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), SerialError> {
        self.write(&Protection::None, "", out)
    }

    /// Writes the key encrypted under a passphrase (XChaCha20-Poly1305, the key by Argon2id); the generator gives salt and
    /// nonce.
    ///
    /// # Errors
    /// [`SerialError::Io`].
    pub fn write_protected_to<R: CryptoRng>(
        &self,
        passphrase: &str,
        rng: &mut R,
        out: &mut impl Write,
    ) -> Result<(), SerialError> {
        let (mut salt, mut nonce) = ([0; 16], [0; 24]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut nonce);
        let cost = COST;
        let protection = Protection::Passphrase { cost, salt, nonce };
        self.write(&protection, passphrase, out)
    }

    fn write(
        &self,
        protection: &Protection,
        passphrase: &str,
        out: &mut impl Write,
    ) -> Result<(), SerialError> {
        let header = Header::new(Kind::SecretKey, &self.params, self.id);
        let mut parts = PartWriter::new(out, &header)?;
        let description = protection.to_bytes();
        parts.part(&description)?;
        let mut payload = Zeroizing::new(Vec::with_capacity(self.coeffs.len() / 4 + TAG));
        payload.extend(self.coeffs.chunks_exact(4).map(pack_four));
        if let Protection::Passphrase { cost, salt, nonce } = protection {
            let aad = associated(parts.header_checksum(), &description);
            let tag = cipher(passphrase, *cost, salt)
                .encrypt_inout_detached(&XNonce::from(*nonce), &aad, payload.as_mut_slice().into())
                .expect("short enough for the cipher");
            payload.extend_from_slice(&tag);
        }
        parts.part(&payload)
    }

    /// Reads a key of `params`, with the passphrase if it is protected by one. `input` should not buffer: what stays in a
    /// buffer's memory is not wiped.
    ///
    /// # Errors
    /// [`SerialError::PassphraseMissing`], [`SerialError::PassphraseWrong`]; [`SerialError::Parameters`] for a key of other
    /// parameters; the others for what is no secret key or a damaged one; or when the pool's budget is exhausted.
    pub fn read_from(
        params: &Parameters,
        passphrase: Option<&str>,
        input: &mut impl Read,
    ) -> Result<Self, SerialError> {
        let (mut parts, header) = PartReader::open(input, Kind::SecretKey, Some(params))?;
        let mut description = [0; DESCRIPTION];
        parts.part("the description of a secret key", &mut description)?;
        let protection = Protection::from_bytes(&description)?;
        let packed = params.degree() / 4;
        let tag = match &protection {
            Protection::None => 0,
            Protection::Passphrase { .. } => TAG,
        };
        let mut payload = Zeroizing::new(vec![0; packed + tag]);
        parts.part("the secret key", &mut payload)?;
        if let Protection::Passphrase { cost, salt, nonce } = &protection {
            let passphrase = passphrase.ok_or(SerialError::PassphraseMissing)?;
            let aad = associated(parts.header_checksum(), &description);
            let (text, tag) = payload.split_at_mut(packed);
            let tag = Tag::try_from(&*tag).expect("the tag's length");
            cipher(passphrase, *cost, salt)
                .decrypt_inout_detached(&XNonce::from(*nonce), &aad, text.into(), &tag)
                .map_err(|_| SerialError::PassphraseWrong)?;
        }
        let mut coeffs = Zeroizing::new(vec![0; params.degree()]);
        for (four, &byte) in coeffs.chunks_exact_mut(4).zip(&payload[..packed]) {
            unpack_four(byte, four)?;
        }
        let key = Self::from_coeffs(params, coeffs)?;
        header.check_key(key.id)?;
        Ok(key)
    }

    /// Writes a file of mode 0600, whole or not at all.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn save(&self, path: &Path) -> Result<(), SerialError> {
        file::save_private(path, |out| self.write_to(out))
    }

    /// Writes a file of mode 0600, whole or not at all, encrypted as by [`Self::write_protected_to`].
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn save_protected<R: CryptoRng>(
        &self,
        passphrase: &str,
        rng: &mut R,
        path: &Path,
    ) -> Result<(), SerialError> {
        file::save_private(path, |out| self.write_protected_to(passphrase, rng, out))
    }

    /// Reads a file, with the passphrase if it is protected by one.
    ///
    /// # Errors
    /// [`SerialError::File`], for the reasons of [`Self::read_from`] and for a file that others can read.
    pub fn load(
        params: &Parameters,
        passphrase: Option<&str>,
        path: &Path,
    ) -> Result<Self, SerialError> {
        file::load_private(path, |input| Self::read_from(params, passphrase, input))
    }
}

/// Two bits for each coefficient: 0, 1, and 2 for -1.
fn pack_four(four: &[i64]) -> u8 {
    let code = |c: i64| c.rem_euclid(3) as u8;
    four.iter()
        .enumerate()
        .fold(0, |byte, (i, &c)| byte | code(c) << (2 * i))
}

fn unpack_four(byte: u8, four: &mut [i64]) -> Result<(), SerialError> {
    for (i, c) in four.iter_mut().enumerate() {
        *c = match byte >> (2 * i) & 3 {
            0 => 0,
            1 => 1,
            2 => -1,
            _ => {
                let expected = "0, 1 or 2";
                return Err(SerialError::value("code of a coefficient", 3, expected));
            }
        };
    }
    Ok(())
}
