//! Parameter sets.

use super::SerialError;
use super::file;
use super::frame::{Fields, Header, Kind, PartReader, PartWriter};
use crate::exec::KernelChoice;
use crate::keys::KeyId;
use crate::params::{Parameters, ParamsLiteral};
use std::io::{Read, Write};
use std::path::Path;

/// Bytes before the sizes of the primes.
const FIXED: usize = 24;
/// Most primes of either kind that are read.
const MAX_PRIMES: usize = 1024;

impl Parameters {
    /// Writes the literal that the set was built from.
    ///
    /// # Errors
    /// [`SerialError::Io`].
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), SerialError> {
        let ParamsLiteral {
            log_n,
            q_bits,
            p_bits,
            digits,
        } = self.literal();
        let mut payload = Vec::new();
        for number in [*log_n, q_bits.len() as u32, p_bits.len() as u32, 0] {
            payload.extend(number.to_le_bytes());
        }
        payload.extend((*digits as u64).to_le_bytes());
        // Primes have at most 50 bits.
        payload.extend(q_bits.iter().chain(p_bits).map(|&bits| bits as u8));
        let header = Header::new(Kind::Parameters, self, KeyId::NONE);
        PartWriter::new(out, &header)?.part(&payload)
    }

    /// Reads a literal and builds its set, always with the check of its security.
    ///
    /// # Errors
    /// [`SerialError::Param`] for a set that cannot be built or is not secure; [`SerialError::Parameters`] if it is not the
    /// set that was written; the others for what is no such stream.
    pub fn read_from(
        input: &mut impl Read,
        kernel: KernelChoice,
        budget_bytes: Option<u64>,
    ) -> Result<Self, SerialError> {
        let what = "the parameters";
        let (mut parts, header) = PartReader::open(input, Kind::Parameters, None)?;
        header.check_key(KeyId::NONE)?;
        let payload = parts.part_up_to(what, (FIXED + 2 * MAX_PRIMES) as u64)?;
        if payload.len() < FIXED {
            let found = format!("{} bytes", payload.len());
            return Err(SerialError::value(what, found, "24 bytes or more"));
        }
        let mut fields = Fields::new(&payload);
        let log_n = fields.u32();
        let [q, p, zero] = [fields.u32(), fields.u32(), fields.u32()];
        let digits = fields.u64();
        let primes = payload.len() - FIXED;
        if u64::from(q) + u64::from(p) != primes as u64 || zero != 0 {
            let found = format!("{q} and {p} (and {zero})");
            let expected = format!("{primes} together (and 0)");
            return Err(SerialError::value(
                "number of ciphertext and special primes",
                found,
                expected,
            ));
        }
        let bits: Vec<u32> = payload[FIXED..].iter().map(|&b| b.into()).collect();
        let (q_bits, p_bits) = bits.split_at(q as usize);
        let literal = ParamsLiteral {
            log_n,
            q_bits: q_bits.to_vec(),
            p_bits: p_bits.to_vec(),
            digits: usize::try_from(digits).unwrap_or(usize::MAX),
        };
        let params = Self::from_literal(&literal, kernel, budget_bytes)?;
        header.check_params(&params)?;
        Ok(params)
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
    pub fn load(
        path: &Path,
        kernel: KernelChoice,
        budget_bytes: Option<u64>,
    ) -> Result<Self, SerialError> {
        file::load(path, |input| Self::read_from(input, kernel, budget_bytes))
    }
}
