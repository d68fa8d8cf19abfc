//! The passphrase of a secret key, from a file or a pipe.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::args::PassphraseArgs;
use crate::error::CliError;

/// Longest passphrase in bytes.
const MOST: usize = 4096;

impl PassphraseArgs {
    /// The passphrase, if a file is named: its first line, without the end of the line.
    pub fn read(&self) -> Result<Option<Zeroizing<String>>, CliError> {
        self.passphrase_file.as_deref().map(read).transpose()
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let refused = |reason: String| CliError::Passphrase {
        path: path.to_owned(),
        reason,
    };
    // Room for all of it: a buffer that grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 3));
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    file.take(MOST as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(error.to_string()))?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() > MOST {
        let found = if line.is_empty() { "no" } else { "a longer" };
        return Err(refused(format!(
            "{found} first line, expected 1 to {MOST} bytes"
        )));
    }
    let text = str::from_utf8(line).map_err(|_| refused("no text, expected UTF-8".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}
