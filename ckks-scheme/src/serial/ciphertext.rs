//! Ciphertexts, whole and seeded.

use super::SerialError;
use super::frame::{Fields, Header, Kind, PartReader, PartWriter};
use super::limbs::{read_poly, write_limbs};
use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::keys::{KeyId, PublicSeed};
use crate::noise::Tracked;
use crate::params::Parameters;
use crate::seeded::SeededCiphertext;
use std::io::{Read, Write};

/// Bytes of a description.
pub(super) const DESCRIPTION: usize = 80;

/// The form of a ciphertext whose second polynomial is a seed; that of any other is its number of polynomials.
pub(super) const SEEDED: u32 = 1;

/// What precedes the polynomials.
pub(super) struct Description {
    pub(super) form: u32,
    pub(super) level: Level,
    pub(super) scale: Scale,
    pub(super) tracked: Tracked,
    seed: PublicSeed,
}

impl Description {
    /// Of a ciphertext that is not seeded.
    pub(super) fn of(ct: &Ciphertext) -> Self {
        Self {
            form: ct.parts.len() as u32,
            level: ct.level(),
            scale: ct.scale,
            tracked: ct.tracked,
            seed: [0; 32],
        }
    }

    pub(super) fn to_bytes(&self) -> [u8; DESCRIPTION] {
        let mut bytes = [0; DESCRIPTION];
        bytes[..4].copy_from_slice(&self.form.to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.level.limbs() as u32).to_le_bytes());
        let numbers = [
            self.scale.value(),
            self.tracked.error_std,
            self.tracked.systematic,
            self.tracked.max,
            self.tracked.rms,
        ];
        for (bytes, number) in bytes[8..48].chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        bytes[48..].copy_from_slice(&self.seed);
        bytes
    }

    pub(super) fn from_bytes(
        bytes: &[u8; DESCRIPTION],
        params: &Parameters,
    ) -> Result<Self, SerialError> {
        let mut fields = Fields::new(bytes);
        let form = fields.u32();
        if !(SEEDED..=3).contains(&form) {
            let expected = "1 (seeded), 2 or 3";
            return Err(SerialError::value("number of polynomials", form, expected));
        }
        let level = Level::new(fields.u32() as usize);
        let scale = fields.f64();
        let scale = Scale::checked(scale)
            .ok_or_else(|| SerialError::value("scale", scale, "a positive finite number"))?;
        let tracked = Tracked {
            error_std: fields.f64(),
            systematic: fields.f64(),
            max: fields.f64(),
            rms: fields.f64(),
        };
        let seed = fields.bytes();
        if form != SEEDED && seed != [0; 32] {
            return Err(SerialError::value("seed", "given", "none in this form"));
        }
        let description = Self {
            form,
            level,
            scale,
            tracked,
            seed,
        };
        description.check(params)?;
        Ok(description)
    }

    /// What both sides hold to.
    pub(super) fn check(&self, params: &Parameters) -> Result<(), SerialError> {
        if !params.has_level(self.level) {
            let expected = format!("1 to {}", params.max_level());
            return Err(SerialError::value("level", self.level, expected));
        }
        let Tracked {
            error_std,
            systematic,
            max,
            rms,
        } = self.tracked;
        for (what, value) in [
            ("deviation of the error", error_std),
            ("systematic error", systematic),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let expected = "a finite number, 0 or more";
                return Err(SerialError::value(what, value, expected));
            }
        }
        // What nobody has declared is infinite.
        for (what, value) in [
            ("bound of the values", max),
            ("root mean square of the values", rms),
        ] {
            if value.is_nan() || value < 0.0 {
                return Err(SerialError::value(what, value, "0 or more"));
            }
        }
        Ok(())
    }
}

/// A ciphertext in either form.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    Whole(&'a Ciphertext),
    Seeded(&'a SeededCiphertext),
}

impl Stored<'_> {
    /// Writes description and polynomials.
    pub(super) fn write<W: Write>(
        self,
        parts: &mut PartWriter<W>,
        params: &Parameters,
    ) -> Result<(), SerialError> {
        let (description, polynomials) = match self {
            Self::Whole(ct) => (Description::of(ct), &ct.parts[..]),
            Self::Seeded(ct) => {
                let description = Description {
                    form: SEEDED,
                    level: ct.level(),
                    scale: ct.scale,
                    tracked: ct.tracked,
                    seed: ct.seed,
                };
                (description, std::slice::from_ref(&ct.first))
            }
        };
        description.check(params)?;
        parts.part(&description.to_bytes())?;
        let rings = &params.q()[..description.level.limbs()];
        let mut buffer = Vec::new();
        for polynomial in polynomials {
            write_limbs(parts, rings, polynomial.iter(), &mut buffer)?;
        }
        Ok(())
    }
}

/// A ciphertext that was read, in the form in which it was stored.
pub(super) enum Received {
    Whole(Ciphertext),
    Seeded(SeededCiphertext),
}

impl Received {
    /// Reads description and polynomials.
    pub(super) fn read<R: Read>(
        parts: &mut PartReader<R>,
        params: &Parameters,
        id: KeyId,
    ) -> Result<Self, SerialError> {
        let mut bytes = [0; DESCRIPTION];
        parts.part("the description of a ciphertext", &mut bytes)?;
        let Description {
            form,
            level,
            scale,
            tracked,
            seed,
        } = Description::from_bytes(&bytes, params)?;
        let rings = &params.q()[..level.limbs()];
        let mut buffer = Vec::new();
        let mut polynomial = || read_poly(parts, params, rings, &mut buffer);
        if form == SEEDED {
            return Ok(Self::Seeded(SeededCiphertext {
                params: params.clone(),
                id,
                seed,
                first: polynomial()?,
                scale,
                tracked,
            }));
        }
        Ok(Self::Whole(Ciphertext {
            parts: (0..form).map(|_| polynomial()).collect::<Result<_, _>>()?,
            scale,
            tracked,
        }))
    }

    /// The ciphertext, expanded if it was seeded.
    pub(super) fn expand(self) -> Result<Ciphertext, SerialError> {
        match self {
            Self::Whole(ct) => Ok(ct),
            Self::Seeded(ct) => Ok(ct.expand()?),
        }
    }
}

fn write_one(
    ct: Stored<'_>,
    params: &Parameters,
    key: KeyId,
    out: &mut impl Write,
) -> Result<(), SerialError> {
    let header = Header::new(Kind::Ciphertext, params, key);
    ct.write(&mut PartWriter::new(out, &header)?, params)
}

fn read_one(
    params: &Parameters,
    key: KeyId,
    input: &mut impl Read,
) -> Result<Received, SerialError> {
    let (mut parts, header) = PartReader::open(input, Kind::Ciphertext, Some(params))?;
    header.check_key(key)?;
    Received::read(&mut parts, params, key)
}

impl Ciphertext {
    /// Writes a ciphertext of `params` under the secret key `key`. Many of them: [`super::CiphertextWriter`].
    ///
    /// # Errors
    /// [`SerialError::Io`]; [`SerialError::Value`] for a ciphertext of other parameters, or whose predicted error is no
    /// finite number.
    pub fn write_to(
        &self,
        params: &Parameters,
        key: KeyId,
        out: &mut impl Write,
    ) -> Result<(), SerialError> {
        write_one(Stored::Whole(self), params, key, out)
    }

    /// Reads a ciphertext of `params` under the secret key `key`; one that was stored seeded is expanded.
    ///
    /// # Errors
    /// [`SerialError::Parameters`] or [`SerialError::Key`] for one of other parameters or another key; the others for what
    /// is no ciphertext or a damaged one; or when the pool's budget is exhausted.
    pub fn read_from(
        params: &Parameters,
        key: KeyId,
        input: &mut impl Read,
    ) -> Result<Self, SerialError> {
        read_one(params, key, input)?.expand()
    }
}

impl SeededCiphertext {
    /// Writes it as it is, at half the size of the ciphertext that it expands to.
    ///
    /// # Errors
    /// [`SerialError::Io`].
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), SerialError> {
        write_one(Stored::Seeded(self), &self.params, self.id, out)
    }

    /// Reads what [`Self::write_to`] wrote.
    ///
    /// # Errors
    /// As [`Ciphertext::read_from`], and for a ciphertext that is not seeded.
    pub fn read_from(
        params: &Parameters,
        key: KeyId,
        input: &mut impl Read,
    ) -> Result<Self, SerialError> {
        match read_one(params, key, input)? {
            Received::Seeded(ct) => Ok(ct),
            Received::Whole(ct) => Err(SerialError::value(
                "number of polynomials",
                ct.parts(),
                "1, with a seed",
            )),
        }
    }
}
