//! Public keys and switching keys: first halves and seeds.

use super::SerialError;
use super::error::doing;
use super::file::{self, Section, open_regular};
use super::frame::{Fields, HEADER_BYTES, Header, Kind, PartReader, PartWriter, part_bytes};
use super::limbs::{poly_bytes, read_limb, read_poly, write_limbs};
use crate::ciphertext::Level;
use crate::error::KeyError;
use crate::keygen::{check_ephemeral, expand_public_key};
use crate::keys::{
    EvaluationKeys, ExtendedPoly, Galois, KeyId, KeyKind, PublicKey, PublicSeed, SwitchingKey,
};
use crate::params::{KeyShape, Parameters};
use crate::seeds::Place;
use ckks_math::LimbRing;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes of an entry of the table of keys.
const ENTRY: usize = 48;
/// Most keys that are read.
const MAX_KEYS: u64 = 1 << 16;
/// Bytes read at a time by each thread: a limb and what belongs to it.
const BUFFER_BYTES: usize = 1 << 19;

impl PublicKey {
    /// Writes the key.
    ///
    /// # Errors
    /// [`SerialError::Io`].
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), SerialError> {
        let header = Header::new(Kind::PublicKey, &self.params, self.id);
        let mut parts = PartWriter::new(out, &header)?;
        parts.part(&self.seed)?;
        write_limbs(&mut parts, self.params.q(), self.b.iter(), &mut Vec::new())
    }

    /// Reads a key of `params`. Whose it is: [`Self::id`].
    ///
    /// # Errors
    /// [`SerialError::Parameters`] for a key of other parameters; the others for what is no public key or a damaged one; or
    /// when the pool's budget is exhausted.
    pub fn read_from(params: &Parameters, input: &mut impl Read) -> Result<Self, SerialError> {
        let (mut parts, header) = PartReader::open(input, Kind::PublicKey, Some(params))?;
        let mut seed: PublicSeed = [0; 32];
        parts.part("the seed", &mut seed)?;
        let b = read_poly(&mut parts, params, params.q(), &mut Vec::new())?;
        Ok(expand_public_key(params, header.key, seed, b)?)
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn save(&self, path: &Path) -> Result<(), SerialError> {
        file::save(path, |out| self.write_to(out))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`SerialError::File`], for the reasons of [`Self::read_from`].
    pub fn load(params: &Parameters, path: &Path) -> Result<Self, SerialError> {
        file::load(path, |input| Self::read_from(params, input))
    }
}

/// An entry of the table of keys.
#[derive(Clone, Copy)]
struct Entry {
    kind: KeyKind,
    level: Level,
    seed: PublicSeed,
    shape: KeyShape,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY] {
        let in_digits = self.shape.digits(self.level) > 1;
        let (code, argument) = match self.kind {
            KeyKind::Relinearization => (0u32, 0),
            KeyKind::Galois(Galois::Conjugation) => (1, 0),
            KeyKind::Galois(Galois::Rotation(steps)) => (2, steps),
            KeyKind::ToEphemeral(weight) => (3, i64::from(weight)),
            KeyKind::FromEphemeral { weight, .. } if in_digits => (4, i64::from(weight)),
            KeyKind::FromEphemeral { weight, steps } => (5, i64::from(weight) | steps << 32),
        };
        let mut bytes = [0; ENTRY];
        bytes[..4].copy_from_slice(&code.to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.level.limbs() as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&argument.to_le_bytes());
        bytes[16..].copy_from_slice(&self.seed);
        bytes
    }

    fn from_bytes(bytes: &[u8], params: &Parameters) -> Result<Self, SerialError> {
        let mut fields = Fields::new(bytes);
        let code = fields.u32();
        let level = Level::new(fields.u32() as usize);
        let argument = fields.i64();
        let seed = fields.bytes();
        let none = |kind| {
            let error = || SerialError::value("argument of a key", argument, "0");
            (argument == 0).then_some(kind).ok_or_else(error)
        };
        let weight = || {
            let error = || SerialError::value("weight of a secret", argument, "32 bits");
            u32::try_from(argument).map_err(|_| error())
        };
        let kind = match code {
            0 => none(KeyKind::Relinearization)?,
            1 => none(KeyKind::Galois(Galois::Conjugation))?,
            2 if (1..params.slots() as i64).contains(&argument) => {
                KeyKind::Galois(Galois::Rotation(argument))
            }
            2 => {
                let expected = format!("1 to {}", params.slots() - 1);
                return Err(SerialError::value(
                    "steps of a rotation",
                    argument,
                    expected,
                ));
            }
            3 => KeyKind::ToEphemeral(weight()?),
            4 => KeyKind::FromEphemeral {
                weight: weight()?,
                steps: 0,
            },
            5 if (0..params.slots() as i64).contains(&(argument >> 32)) => KeyKind::FromEphemeral {
                weight: argument as u32,
                steps: argument >> 32,
            },
            5 => {
                let expected = format!("0 to {}", params.slots() - 1);
                let what = "steps of a rotation from an ephemeral secret";
                return Err(SerialError::value(what, argument >> 32, expected));
            }
            _ => return Err(SerialError::value("kind of a key", code, "0 to 5")),
        };
        if !params.has_level(level) {
            let max = params.max_level();
            return Err(KeyError::LevelTooHigh { level, max }.into());
        }
        check_ephemeral(params, kind, level)?;
        let shape = match code {
            // As they were before such keys had one digit.
            4 => params.key_shape(level),
            _ => params.chain().key_shape_of(kind, level),
        };
        Ok(Self {
            kind,
            level,
            seed,
            shape,
        })
    }

    /// The rings of the key's limbs.
    fn rings(self, params: &Parameters) -> impl Iterator<Item = &LimbRing> {
        let specials = self.shape.specials;
        let q = &params.q()[..self.level.limbs()];
        q.iter().chain(&params.p()[..specials])
    }

    fn digits(self) -> usize {
        self.shape.digits(self.level)
    }

    /// Number of parts.
    fn parts(self, params: &Parameters) -> u64 {
        (self.digits() * self.rings(params).count()) as u64
    }

    /// Bytes of these parts.
    fn bytes(self, params: &Parameters) -> u64 {
        self.digits() as u64 * poly_bytes(self.rings(params))
    }

    /// Reads the first halves and expands the second ones.
    fn read_key<R: Read>(
        self,
        parts: &mut PartReader<R>,
        params: &Parameters,
        id: KeyId,
    ) -> Result<SwitchingKey, SerialError> {
        let place = Place::of_switching_key(params, id, self.kind, self.level);
        let mut buffer = Vec::new();
        let mut digits = Vec::new();
        for digit in 0..self.digits() {
            let mut pair = <[ExtendedPoly; 2]>::default();
            for (i, ring) in self.rings(params).enumerate() {
                let b = read_limb(parts, params, ring, &mut buffer)?;
                let mut a = params.limbs().limb()?;
                place.uniform_into(&self.seed, digit, i, ring, &mut a);
                for (half, limb) in pair.iter_mut().zip([b, a]) {
                    half.push(limb, i < self.level.limbs());
                }
            }
            digits.push(pair);
        }
        Ok(SwitchingKey {
            fingerprint: *params.fingerprint(),
            seed: self.seed,
            level: self.level,
            shape: self.shape,
            digits,
        })
    }
}

/// The table of a stream, checked.
fn read_table<R: Read>(
    parts: &mut PartReader<R>,
    params: &Parameters,
) -> Result<Vec<Entry>, SerialError> {
    let what = "the table of keys";
    let table = parts.part_up_to(what, MAX_KEYS * ENTRY as u64)?;
    if table.len() % ENTRY != 0 {
        let found = format!("{} bytes", table.len());
        return Err(SerialError::value(what, found, "a multiple of 48 bytes"));
    }
    let entries = table
        .chunks_exact(ENTRY)
        .map(|bytes| Entry::from_bytes(bytes, params));
    let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    let order = |pair: &[Entry]| {
        let [a, b] = [pair[0], pair[1]].map(|entry| (entry.kind, entry.level));
        a < b
    };
    if !entries.windows(2).all(order) {
        let found = "a key twice or out of order";
        return Err(SerialError::value(what, found, "ascending order"));
    }
    // The ephemeral secret of one generation is not that of another.
    let seed_of = |kind| entries.iter().find(|e| e.kind == kind).map(|e| e.seed);
    for entry in &entries {
        let KeyKind::FromEphemeral { weight, .. } = entry.kind else {
            continue;
        };
        if seed_of(KeyKind::ToEphemeral(weight)) != Some(entry.seed) {
            let what = "the key to the ephemeral secret";
            let found = "missing or of another key generation than the key from it";
            return Err(SerialError::value(what, found, "both of one generation"));
        }
    }
    Ok(entries)
}

impl EvaluationKeys {
    /// Writes all keys.
    ///
    /// # Errors
    /// [`SerialError::Io`]; [`SerialError::Parameters`] for keys of other parameters than `params`.
    pub fn write_to(&self, params: &Parameters, out: &mut impl Write) -> Result<(), SerialError> {
        for key in self.keys.values() {
            let header = Header {
                kind: Kind::EvaluationKeys,
                fingerprint: key.fingerprint,
                key: self.id,
            };
            header.check_params(params)?;
        }
        let header = Header::new(Kind::EvaluationKeys, params, self.id);
        let mut parts = PartWriter::new(out, &header)?;
        let entries: Vec<_> = self
            .keys
            .iter()
            .map(|(&(kind, level), key)| Entry {
                kind,
                level,
                seed: key.seed,
                shape: key.shape,
            })
            .collect();
        let table: Vec<_> = entries.iter().flat_map(|e| e.to_bytes()).collect();
        parts.part(&table)?;
        let mut buffer = Vec::new();
        for key in self.keys.values() {
            for [b, _] in &key.digits {
                write_limbs(&mut parts, params.q(), &b.q, &mut buffer)?;
                write_limbs(&mut parts, params.p(), &b.p, &mut buffer)?;
            }
        }
        Ok(())
    }

    /// Reads all keys, on the calling thread. Whose they are: [`Self::id`].
    ///
    /// # Errors
    /// [`SerialError::Parameters`] for keys of other parameters; the others for what are no keys or damaged ones; or when
    /// the pool's budget is exhausted.
    pub fn read_from(params: &Parameters, input: &mut impl Read) -> Result<Self, SerialError> {
        let (mut parts, header) = PartReader::open(input, Kind::EvaluationKeys, Some(params))?;
        let mut keys = BTreeMap::new();
        for entry in read_table(&mut parts, params)? {
            let key = entry.read_key(&mut parts, params, header.key)?;
            keys.insert((entry.kind, entry.level), Arc::new(key));
        }
        Ok(Self::new(params, header.key, keys))
    }

    /// Bytes of a stream of these keys.
    fn stream_bytes<'a>(params: &Parameters, entries: impl Iterator<Item = &'a Entry>) -> u64 {
        let (mut count, mut bytes) = (0, 0);
        for entry in entries {
            count += ENTRY as u64;
            bytes += entry.bytes(params);
        }
        HEADER_BYTES + part_bytes(count) + bytes
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn save(&self, params: &Parameters, path: &Path) -> Result<(), SerialError> {
        file::save(path, |out| self.write_to(params, out))
    }

    /// Reads a file, in parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`SerialError::File`], for the reasons of [`Self::read_from`].
    pub fn load(params: &Parameters, path: &Path) -> Result<Self, SerialError> {
        Self::load_parallel(params, path).map_err(|e| e.of(path))
    }

    fn load_parallel(params: &Parameters, path: &Path) -> Result<Self, SerialError> {
        let file = open_regular(path)?;
        let input = BufReader::new(Section::new(&file, 0));
        let (mut parts, header) = PartReader::open(input, Kind::EvaluationKeys, Some(params))?;
        let entries = read_table(&mut parts, params)?;
        let found = file.metadata().map_err(doing("reading its size"))?.len();
        let expected = Self::stream_bytes(params, entries.iter());
        if found != expected {
            return Err(SerialError::Size { found, expected });
        }
        // Where each key starts.
        let (mut part, mut at) = (
            parts.next_part(),
            Self::stream_bytes(params, [].iter()) + (ENTRY * entries.len()) as u64,
        );
        let mut places = Vec::with_capacity(entries.len());
        for entry in entries {
            places.push((entry, part, at));
            part += entry.parts(params);
            at += entry.bytes(params);
        }
        let read = |(entry, part, at): (Entry, u64, u64)| {
            let section = BufReader::with_capacity(BUFFER_BYTES, Section::new(&file, at));
            let key = entry.read_key(&mut parts.fork(section, part), params, header.key)?;
            Ok(((entry.kind, entry.level), Arc::new(key)))
        };
        let keys: Result<_, SerialError> = places.into_par_iter().map(read).collect();
        Ok(Self::new(params, header.key, keys?))
    }
}
