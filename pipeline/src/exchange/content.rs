//! What a file of ciphertexts says about itself.

use std::path::Path;

use ckks_scheme::serial::SerialError;
use serde::{Deserialize, Serialize};

use super::{ClientSpec, ExchangeError};

/// Version of the description that is written and read.
const FORMAT: u32 = 1;
/// Most bytes of a description.
const MOST_BYTES: usize = 4096;

/// What the ciphertexts of a file hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holds {
    /// Images, from a client to a server.
    Images,
    /// Logits, from a server to a client.
    Logits,
}

impl Holds {
    fn words(self) -> &'static str {
        match self {
            Self::Images => "encrypted images",
            Self::Logits => "encrypted logits",
        }
    }
}

/// The description of a file of ciphertexts: JSON in the metadata of the scheme's format for sequences. It says nothing of
/// the images but their number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    format: u32,
    /// What the ciphertexts hold.
    pub holds: Holds,
    /// Images, group by group; the last group may have fewer than it has room for.
    pub images: usize,
    /// [`ClientSpec::id`] of the spec that they are encrypted for.
    pub spec: String,
}

impl Content {
    /// Describes so many images, or their logits.
    pub fn new(holds: Holds, images: usize, spec: &ClientSpec) -> Self {
        Self {
            format: FORMAT,
            holds,
            images,
            spec: spec.id(),
        }
    }

    /// The description as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and words are JSON")
    }

    /// Reads a description of `holds` for `spec` from the file `path`.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] for what is no description; [`ExchangeError::Content`] for one of something else.
    pub fn parse(
        bytes: &[u8],
        path: &Path,
        holds: Holds,
        spec: &ClientSpec,
    ) -> Result<Self, ExchangeError> {
        let no_description = |found: String| {
            ExchangeError::Serial(SerialError::File {
                path: path.to_owned(),
                source: Box::new(SerialError::Value {
                    what: "the description of its ciphertexts",
                    found,
                    expected: "one that this program writes".to_owned(),
                }),
            })
        };
        if bytes.len() > MOST_BYTES {
            return Err(no_description(format!("{} bytes", bytes.len())));
        }
        let this: Self = serde_json::from_slice(bytes)
            .map_err(|e| no_description(format!("not understood at its byte {}", e.column())))?;
        let differs = |what, found: String, expected: String| ExchangeError::Content {
            path: path.to_owned(),
            what,
            found,
            expected,
        };
        if this.format != FORMAT {
            let (found, expected) = (this.format.to_string(), FORMAT.to_string());
            return Err(differs("the format of its description", found, expected));
        }
        if this.holds != holds {
            let (found, expected) = (this.holds.words(), holds.words());
            return Err(differs(
                "what it holds",
                found.to_owned(),
                expected.to_owned(),
            ));
        }
        let id = spec.id();
        if this.spec != id {
            let shown = |id: &str| -> String {
                let digits = id.chars().filter(char::is_ascii_hexdigit);
                digits.take(16).collect()
            };
            let expected = format!("{} ({})", shown(&id), spec.model);
            let what = "the client spec that it was encrypted for";
            return Err(differs(what, shown(&this.spec), expected));
        }
        if this.images == 0 {
            return Err(differs(
                "its number of images",
                "0".to_owned(),
                "1 or more".to_owned(),
            ));
        }
        Ok(this)
    }

    /// Ciphertexts of so many images, or of their logits; nothing if no number of 64 bits is enough.
    pub fn ciphertexts(images: usize, holds: Holds, spec: &ClientSpec) -> Option<u64> {
        let grouping = spec.grouping();
        let in_last = usize::from(grouping.in_last(images) > 0);
        let of_group = |is_last| spec.tensor(holds, is_last).layout.ciphertexts();
        let full = grouping.count(images) - in_last;
        let count = full.checked_mul(of_group(false))?;
        let count = count.checked_add(in_last.checked_mul(of_group(true))?)?;
        u64::try_from(count).ok()
    }
}
