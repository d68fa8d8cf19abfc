//! Small files of text with a checksum: one line with a name, the format's version and the checksum, and RON after that.
//!
//! The checksum finds damage, not forgery.

use std::io::{Read, Write};
use std::path::Path;

use ckks_scheme::serial::{AtomicFile, SerialError, open_regular};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest file in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// A kind of file.
pub(crate) struct Sealed {
    /// What it is, with its article: `a client spec`.
    pub a: &'static str,
    /// `the client spec`.
    pub the: &'static str,
    /// `the first line of a client spec`.
    pub first_line: &'static str,
    /// How the file begins.
    pub magic: &'static str,
    /// Version that is written and read.
    pub format: u16,
    /// What is hashed, so that hashes of different things never meet.
    pub context: &'static str,
}

impl Sealed {
    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn save<T: Serialize>(&self, value: &T, path: &Path) -> Result<(), SerialError> {
        let mut file = AtomicFile::create(path)?;
        let written = file.write_all(self.to_text(value).as_bytes());
        written.map_err(|source| {
            let what = "writing";
            of(path, SerialError::Io { what, source })
        })?;
        file.commit()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`SerialError::File`].
    pub fn load<T: DeserializeOwned>(&self, path: &Path) -> Result<T, SerialError> {
        let mut text = Vec::new();
        open_regular(path)?
            .take(MOST_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(|source| {
                let what = "reading";
                of(path, SerialError::Io { what, source })
            })?;
        self.parse(&text).map_err(|error| of(path, error))
    }

    /// The content of a file.
    pub fn to_text<T: Serialize>(&self, value: &T) -> String {
        let pretty = ron::ser::PrettyConfig::new().new_line("\n").depth_limit(2);
        let body = ron::ser::to_string_pretty(value, pretty);
        let body = body.expect("there is nothing that RON cannot write") + "\n";
        let checksum = self.checksum(body.as_bytes());
        format!("{}{} {checksum}\n{body}", self.magic, self.format)
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`SerialError`] for what is something else, or damaged.
    pub fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T, SerialError> {
        let found = text.len() as u64;
        if found > MOST_BYTES {
            return Err(SerialError::TooLarge {
                what: self.a,
                found,
                limit: MOST_BYTES,
            });
        }
        let expected = || format!("`{}{}` and a checksum", self.magic, self.format);
        let other = || value(self.first_line, "something else", expected());
        let rest = text.strip_prefix(self.magic.as_bytes());
        let rest = rest.ok_or_else(other)?;
        let end = rest.iter().position(|&byte| byte == b'\n');
        let (line, body) = rest.split_at(end.ok_or_else(other)?);
        let body = &body[1..];
        let line = str::from_utf8(line).map_err(|_| other())?;
        let (version, stored) = line.split_once(' ').ok_or_else(other)?;
        let found: u16 = version.parse().map_err(|_| other())?;
        if found != self.format {
            let newest = self.format;
            return Err(SerialError::Version { found, newest });
        }
        let what = self.the;
        if stored != self.checksum(body) {
            return Err(SerialError::Checksum { what });
        }
        let expected = "one that this program writes";
        let body = str::from_utf8(body).map_err(|_| value(what, "no text", expected))?;
        ron::from_str(body).map_err(|e| {
            // The words of the reader may be those of the file.
            let (line, column) = (e.span.start.line + 1, e.span.start.col);
            let found = format!("not understood in line {line}, column {column}");
            value(what, found, expected)
        })
    }

    fn checksum(&self, body: &[u8]) -> String {
        hex(&blake3::derive_key(self.context, body))
    }
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn value(
    what: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> SerialError {
    SerialError::Value {
        what,
        found: found.to_string(),
        expected: expected.into(),
    }
}

/// The same, said of a file.
pub(crate) fn of(path: &Path, source: SerialError) -> SerialError {
    SerialError::File {
        path: path.to_owned(),
        source: Box::new(source),
    }
}
