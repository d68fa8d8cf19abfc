//! Files: written so that they appear under their name only when they are whole, read only where they are regular.

use super::SerialError;
use super::error::doing;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// End of the names of files that are being written.
const SUFFIX: &str = ".part";

/// Bytes that are read or written at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// How often a temporary file is created anew when somebody else removes it at once.
const ATTEMPTS: usize = 16;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Whom the process's umask admits.
    Shared,
    /// The owner alone: mode 0600.
    Private,
}

impl Access {
    #[cfg(unix)]
    fn permissions(self) -> Option<Permissions> {
        use std::os::unix::fs::PermissionsExt;
        // The umask takes its part of it.
        let mode = match self {
            Self::Shared => 0o666,
            Self::Private => 0o600,
        };
        Some(Permissions::from_mode(mode))
    }

    #[cfg(not(unix))]
    fn permissions(self) -> Option<Permissions> {
        None
    }
}

/// A file that is being written. Under its name appears either all of it, by [`Self::commit`], or nothing: a process that is
/// killed leaves the old file, if there was one.
///
/// The bytes go to a temporary file in the same folder, whose name is that of the file between a dot and `.part`. It is
/// removed when this is dropped. What a killed process has left is removed by the next one that writes the same file:
/// the temporary files of living processes are locked.
#[derive(Debug)]
pub struct AtomicFile {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl AtomicFile {
    /// Starts a file that whoever the umask admits may read.
    ///
    /// # Errors
    /// [`SerialError::File`] if the folder cannot be written to.
    pub fn create(target: &Path) -> Result<Self, SerialError> {
        Self::start(target, Access::Shared)
    }

    /// Starts a file that its owner alone may read.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_private(target: &Path) -> Result<Self, SerialError> {
        Self::start(target, Access::Private)
    }

    fn start(target: &Path, access: Access) -> Result<Self, SerialError> {
        Self::try_start(target, access)
            .map_err(|source| doing("creating a temporary file beside it")(source).of(target))
    }

    fn try_start(target: &Path, access: Access) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        if target.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A new file would take the place of a device or a pipe, of `/dev/null` for instance.
        if fs::metadata(target).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("it is a device or a pipe"));
        }
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let folder = folder_of(target);
        remove_left_over(folder, &prefix)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        let permissions = access.permissions();
        if let Some(permissions) = permissions {
            builder.permissions(permissions);
        }
        for _ in 0..ATTEMPTS {
            let temporary = builder.tempfile_in(folder)?;
            // Another writer may have found the file before it was locked. Where the file system has no locks, nobody can
            // mistake the file for a left-over either.
            let busy = matches!(
                temporary.as_file().try_lock(),
                Err(TryLockError::WouldBlock)
            );
            if !busy && temporary.path().try_exists()? {
                let target = target.to_owned();
                return Ok(Self { temporary, target });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Waits until all bytes are on the disk and gives the file its name.
    ///
    /// # Errors
    /// [`SerialError::File`] if the system refuses; the old file is untouched then.
    pub fn commit(self) -> Result<(), SerialError> {
        let target = self.target;
        let failed = |what| {
            let target = target.clone();
            move |source| doing(what)(source).of(&target)
        };
        let file = self.temporary.as_file();
        file.sync_all().map_err(failed("writing to the disk"))?;
        let renamed = self.temporary.persist(&target).map_err(|e| e.error);
        renamed.map_err(failed("giving it its name"))?;
        sync_folder(folder_of(&target)).map_err(failed("writing its folder to the disk"))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file_mut().flush()
    }
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes the temporary files of this name whose writers are gone.
fn remove_left_over(folder: &Path, prefix: &std::ffi::OsStr) -> io::Result<()> {
    let (prefix, suffix) = (prefix.as_encoded_bytes(), SUFFIX.as_bytes());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let middle = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(suffix));
        // The random part of our names has no dot: a file whose own name goes on with one is another file's.
        let ours = middle.is_some_and(|middle| !middle.contains(&b'.'));
        if !ours || !entry.file_type()?.is_file() {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        if file.try_lock().is_ok() {
            match fs::remove_file(entry.path()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Writes a public file.
pub(super) fn save(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<AtomicFile>) -> Result<(), SerialError>,
) -> Result<(), SerialError> {
    let mut out = save_to(path)?;
    write(&mut out).map_err(|e| e.of(path))?;
    commit(out)
}

/// Starts a public file.
pub(super) fn save_to(path: &Path) -> Result<BufWriter<AtomicFile>, SerialError> {
    let file = AtomicFile::create(path)?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
}

/// Ends it.
pub(super) fn commit(mut out: BufWriter<AtomicFile>) -> Result<(), SerialError> {
    let flushed = out.flush();
    flushed.map_err(|e| doing("writing")(e).of(&out.get_ref().target))?;
    let (file, _) = out.into_parts();
    file.commit()
}

/// Writes a secret file; no buffer keeps what is in it.
pub(super) fn save_private(
    path: &Path,
    write: impl FnOnce(&mut AtomicFile) -> Result<(), SerialError>,
) -> Result<(), SerialError> {
    let mut out = AtomicFile::create_private(path)?;
    write(&mut out).map_err(|e| e.of(path))?;
    out.commit()
}

/// Opens a regular file. A pipe or a device, which may never end, is refused.
///
/// # Errors
/// [`SerialError::File`].
pub fn open_regular(path: &Path) -> Result<File, SerialError> {
    let failed = |e| doing("opening")(e).of(path);
    let check = |is_file: bool| {
        if is_file {
            return Ok(());
        }
        let found = "a folder, pipe or device";
        Err(SerialError::value("this", found, "a regular file").of(path))
    };
    // A pipe would make the opening wait for its writer.
    check(fs::metadata(path).map_err(failed)?.is_file())?;
    let file = File::open(path).map_err(failed)?;
    check(file.metadata().map_err(failed)?.is_file())?;
    Ok(file)
}

/// Reads a whole public file.
pub(super) fn load<T>(
    path: &Path,
    read: impl FnOnce(&mut BufReader<File>) -> Result<T, SerialError>,
) -> Result<T, SerialError> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, open_regular(path)?);
    let value = read(&mut input).and_then(|value| {
        expect_end(&mut input)?;
        Ok(value)
    });
    value.map_err(|e| e.of(path))
}

/// Reads a whole secret file, which others must not be able to read; no buffer keeps what is in it.
pub(super) fn load_private<T>(
    path: &Path,
    read: impl FnOnce(&mut File) -> Result<T, SerialError>,
) -> Result<T, SerialError> {
    let mut input = open_regular(path)?;
    let value = check_private(&input)
        .and_then(|()| read(&mut input))
        .and_then(|value| {
            expect_end(&mut input)?;
            Ok(value)
        });
    value.map_err(|e| e.of(path))
}

#[cfg(unix)]
fn check_private(file: &File) -> Result<(), SerialError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(doing("reading its mode"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(SerialError::Exposed { mode })
    }
}

#[cfg(not(unix))]
fn check_private(_: &File) -> Result<(), SerialError> {
    Ok(())
}

/// # Errors
/// [`SerialError::Trailing`] if something follows.
pub(super) fn expect_end(input: &mut impl Read) -> Result<(), SerialError> {
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => return Err(SerialError::Trailing),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(doing("reading")(e)),
        }
    }
}

/// Reads of one file at an offset of its own: several readers may share the file.
pub(super) struct Section<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> Section<'a> {
    pub(super) fn new(file: &'a File, at: u64) -> Self {
        Self { file, at }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(self.file, out, self.at);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(self.file, out, self.at);
        let read = read?;
        self.at += read as u64;
        Ok(read)
    }
}
