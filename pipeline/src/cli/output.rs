//! Reports: a table on standard output, JSON in a file or there.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::visible::{visible, visible_json};
use crate::error::CliError;

/// Where a report goes.
#[derive(Debug)]
pub enum Output {
    /// A table to standard output.
    Table,
    /// JSON to standard output, and nothing else.
    Json,
    /// JSON to a file, a table to standard output.
    Both(PathBuf),
}

impl Output {
    /// What `--json` asks for. A file that cannot be written is an error now, not after the work.
    pub fn new(json: Option<&Path>) -> Result<Self, CliError> {
        match json {
            None => Ok(Self::Table),
            Some(path) if path.as_os_str() == OsStr::new("-") => Ok(Self::Json),
            Some(path) => {
                check_writable(path)?;
                Ok(Self::Both(path.to_owned()))
            }
        }
    }

    /// Writes the report.
    pub fn write<R: Serialize + Display>(&self, report: &R) -> Result<(), CliError> {
        let json = || serde_json::to_string_pretty(report).map(|text| text + "\n");
        match self {
            Self::Table => print_table(report),
            Self::Json => print(&visible_json(&json()?)),
            Self::Both(path) => {
                write_whole(path, json()?.as_bytes())?;
                print_table(report)
            }
        }
    }
}

/// Finds out before the work whether a file can be written after it.
pub fn check_writable(path: &Path) -> Result<(), CliError> {
    if path.is_dir() {
        let source = io::Error::other("it is a folder");
        return Err(CliError::Write {
            path: path.to_owned(),
            source,
        });
    }
    if replaceable(path) {
        temporary_beside(path)?;
    }
    Ok(())
}

/// Size of a file that was written; 0 for one that is no regular file.
pub fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Size of the files in a folder.
pub fn folder_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| file_bytes(&entry.path())).sum()
}

/// Prints a line at once.
pub fn print_line(line: &str) -> Result<(), CliError> {
    print(&visible(&format!("{line}\n")))
}

fn print_table(report: &impl Display) -> Result<(), CliError> {
    print(&visible(&format!("{report}\n")))
}

fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CliError::Stdout)
}

/// Writes a file so that it appears under its name only when it is whole.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let failed = |source| CliError::Write {
        path: path.to_owned(),
        source,
    };
    if !replaceable(path) {
        return fs::write(path, content).map_err(failed);
    }
    let mut file = temporary_beside(path)?;
    file.write_all(content).map_err(failed)?;
    file.persist(target(path))
        .map_err(|error| failed(error.error))?;
    Ok(())
}

/// Whether a new file may take the place of what is there: not that of a terminal, a pipe or a folder.
fn replaceable(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |found| found.is_file())
}

/// The file itself, where the path is a link to it.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn temporary_beside(path: &Path) -> Result<NamedTempFile, CliError> {
    let target = target(path);
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let failed = |source| CliError::Write {
        path: path.to_owned(),
        source,
    };
    if !folder.is_dir() {
        return Err(failed(io::Error::other("its folder is not there")));
    }
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Less what the user's umask takes away, as for any file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
        .prefix(".polyphase-")
        .tempfile_in(folder)
        .map_err(failed)
}
