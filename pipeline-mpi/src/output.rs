//! Where reports and messages go.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pipeline::progress::{Progress, Unit};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::error::RankError;

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
    ///
    /// # Errors
    /// [`RankError::Write`].
    pub fn new(json: Option<&Path>) -> Result<Self, RankError> {
        match json {
            None => Ok(Self::Table),
            Some(path) if path.as_os_str() == "-" => Ok(Self::Json),
            Some(path) => {
                check_writable(path)?;
                Ok(Self::Both(path.to_owned()))
            }
        }
    }

    /// Writes the report.
    ///
    /// # Errors
    /// [`RankError::Write`], [`RankError::Stdout`].
    pub fn write<R: Serialize + Display>(&self, report: &R) -> Result<(), RankError> {
        let json = serde_json::to_string_pretty(report).expect("a report is JSON") + "\n";
        match self {
            Self::Table => print(&format!("{report}\n")),
            Self::Json => print(&json),
            Self::Both(path) => {
                write_whole(path, json.as_bytes())?;
                print(&format!("{report}\n"))
            }
        }
    }
}

fn print(text: &str) -> Result<(), RankError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(RankError::Stdout)
}

/// Finds out before the work whether a file can be written after it.
///
/// # Errors
/// [`RankError::Write`].
pub fn check_writable(path: &Path) -> Result<(), RankError> {
    if path.is_dir() {
        let source = io::Error::other("it is a folder");
        return Err(failed(path, source));
    }
    beside(path).map(drop)
}

/// Writes a file so that it appears under its name only when it is whole.
///
/// # Errors
/// [`RankError::Write`].
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), RankError> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // A terminal or a pipe.
        return fs::write(path, content).map_err(|source| failed(path, source));
    }
    let mut file = beside(path)?;
    file.write_all(content)
        .map_err(|source| failed(path, source))?;
    file.persist(path).map_err(|e| failed(path, e.error))?;
    Ok(())
}

fn beside(path: &Path) -> Result<NamedTempFile, RankError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Less what the user's umask takes away, as for any file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file = builder.prefix(".polyphase-").tempfile_in(folder);
    file.map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> RankError {
    RankError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Messages on standard error, a line each: under mpirun there is no terminal for a progress bar.
#[derive(Debug, Default)]
pub struct Lines(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    name: String,
    begun: Instant,
    total: Option<u64>,
    unit: Unit,
    done: u64,
}

impl Lines {
    fn line(text: &str) {
        // Without standard error there is nobody to tell.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl Progress for Lines {
    fn begin(&self, task: &str, total: Option<u64>, unit: Unit) {
        let running = Running {
            name: task.to_owned(),
            begun: Instant::now(),
            total,
            unit,
            done: 0,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    fn stage(&self, _: &str) {}

    fn advance(&self, units: u64) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &mut *running else {
            return;
        };
        running.done += units;
        if let (Some(total), Unit::Things(things), "encrypted inference") =
            (running.total, running.unit, running.name.as_str())
        {
            let (done, seconds) = (running.done, running.begun.elapsed().as_secs_f64());
            Self::line(&format!(
                "{}: {done} of {total} {things}, {seconds:.1} s",
                running.name
            ));
        }
    }

    fn finish(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            let seconds = running.begun.elapsed().as_secs_f64();
            Self::line(&format!("{}: {seconds:.1} s", running.name));
        }
    }

    fn note(&self, sentence: &str) {
        Self::line(sentence);
    }
}
