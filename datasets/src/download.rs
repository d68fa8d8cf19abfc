//! CIFAR's archives from their official home (cargo feature `download`).
//!
//! [`fetch`] writes into a temporary folder beside the place where the data will be, checks the archive's SHA-256,
//! unpacks it, opens what came out, and only then moves it to its name. Whatever goes wrong, nothing is left behind.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use tar::EntryType;
use tempfile::TempDir;

use crate::text::{plain, shown};
use crate::{Cifar, CifarVariant, DataError, Split};

/// No archive is read beyond this: CIFAR's have about 170 MB.
const MAX_ARCHIVE_BYTES: u64 = 1 << 30;
/// How long a silent server is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A compressed archive (`.tar.gz`) of a data set in its binary layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The data set in it.
    pub variant: CifarVariant,
    /// Where it is.
    pub url: String,
    /// SHA-256 of the archive, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The one folder in it.
    pub folder: String,
}

impl Archive {
    /// The archive on the authors' site.
    #[must_use]
    pub fn official(variant: CifarVariant) -> Self {
        let (file, sha256, folder) = match variant {
            CifarVariant::Cifar10 => (
                "cifar-10-binary.tar.gz",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                "cifar-10-batches-bin",
            ),
            CifarVariant::Cifar100 => (
                "cifar-100-binary.tar.gz",
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                "cifar-100-binary",
            ),
        };
        let url = format!("https://www.cs.toronto.edu/~kriz/{file}");
        Self {
            variant,
            url,
            sha256: sha256.to_owned(),
            folder: folder.to_owned(),
        }
    }
}

/// How far a download is: bytes read, and bytes in all if the server said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the archive read so far.
    pub done_bytes: u64,
    /// Bytes of the archive.
    pub total_bytes: Option<u64>,
}

/// What [`fetch`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Downloaded, checked, and put into this folder.
    Downloaded(PathBuf),
    /// The folder was there already, whole; nothing was downloaded.
    AlreadyThere(PathBuf),
}

/// An error of downloading.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server could not be reached or did not deliver.
    #[error(
        "download of {url}: {}; expected the archive: check the network, or fetch it elsewhere and unpack it by hand",
        plain(reason)
    )]
    Network {
        /// What was asked for.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// What came is not the archive.
    #[error(
        "download of {url}: found SHA-256 {found} over {bytes} bytes; expected {expected}: it was altered or cut off on its way"
    )]
    Checksum {
        /// What was asked for.
        url: String,
        /// SHA-256 of what came.
        found: String,
        /// SHA-256 of the archive.
        expected: String,
        /// How much came.
        bytes: u64,
    },
    /// The archive holds something that it should not.
    #[error(
        "archive from {url}: found {kind} {entry:?}; expected nothing but files directly in {folder:?}"
    )]
    Entry {
        /// Where the archive came from.
        url: String,
        /// What kind of entry it is.
        kind: &'static str,
        /// Its path in the archive.
        entry: String,
        /// The one folder that it should have.
        folder: String,
    },
    /// The archive cannot be unpacked.
    #[error("archive from {url}: found damage ({source}); expected a tar.gz archive")]
    Unpack {
        /// Where the archive came from.
        url: String,
        /// What the decoder said.
        source: io::Error,
    },
    /// There is something at the place where the data should go, and it is not the data.
    #[error(
        "{}: found something that is not a whole {dataset} ({reason}); expected nothing there: move it away",
        shown(path)
    )]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What should go there.
        dataset: &'static str,
        /// What is wrong with it.
        reason: Box<DataError>,
    },
    /// The unpacked files are not the data set.
    #[error("archive from {url}: {source}")]
    Content {
        /// Where the archive came from.
        url: String,
        /// What is wrong with them.
        source: Box<DataError>,
    },
    /// The system could not write.
    #[error("{}: cannot be written: {source}", shown(path))]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("download of {url}: interrupted")]
    Interrupted {
        /// What was asked for.
        url: String,
    },
}

/// Downloads `archive` and puts its folder into `to`, which is created if it is not there.
///
/// `progress` is called for every block that arrives; [`ControlFlow::Break`] stops the download.
/// A folder that is there and whole is left alone.
///
/// # Errors
/// See [`DownloadError`]. After any of them `to` is as it was before.
pub fn fetch(
    archive: &Archive,
    to: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Fetched, DownloadError> {
    let target = to.join(&archive.folder);
    if target.symlink_metadata().is_ok() {
        return match check(archive, &target) {
            Ok(()) => Ok(Fetched::AlreadyThere(target)),
            Err(reason) => Err(DownloadError::Occupied {
                path: target,
                dataset: archive.variant.name(),
                reason: Box::new(reason),
            }),
        };
    }
    let made = !to.exists();
    fs::create_dir_all(to).map_err(cannot_write(to))?;
    let fetched = fetch_into(archive, to, &target, progress);
    if made && fetched.is_err() {
        // It is empty but for what others may have put there meanwhile, and then it stays.
        let _ = fs::remove_dir(to);
    }
    fetched
}

/// Makes an error of the system's one about `path`.
fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::Write { path, source }
}

/// Downloads and unpacks in a temporary folder in `to`, then renames the result to `target`.
fn fetch_into(
    archive: &Archive,
    to: &Path,
    target: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Fetched, DownloadError> {
    let work = TempDir::with_prefix_in(".polyphase-download-", to).map_err(cannot_write(to))?;
    let file = work.path().join("archive.tar.gz");
    download(archive, &file, progress)?;
    let unpacked = work.path().join(&archive.folder);
    unpack(archive, &file, &unpacked)?;
    check(archive, &unpacked).map_err(|source| DownloadError::Content {
        url: archive.url.clone(),
        source: Box::new(source),
    })?;
    fs::rename(&unpacked, target).map_err(cannot_write(target))?;
    Ok(Fetched::Downloaded(target.to_owned()))
}

/// Whether both splits are there and sound.
fn check(archive: &Archive, folder: &Path) -> Result<(), DataError> {
    for split in [Split::Test, Split::Train] {
        Cifar::open(folder, split, Some(archive.variant))?;
    }
    Ok(())
}

/// Writes the archive to `file`, if its checksum is right.
fn download(
    archive: &Archive,
    file: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), DownloadError> {
    let url = || archive.url.clone();
    let network = |reason: String| DownloadError::Network { url: url(), reason };
    let write = |source| DownloadError::Write {
        path: file.to_owned(),
        source,
    };

    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .build();
    let response = config
        .new_agent()
        .get(&archive.url)
        .call()
        .map_err(|error| network(error.to_string()))?;
    let body = response.into_body();
    let total_bytes = body.content_length();
    let mut reader = body.into_with_config().limit(MAX_ARCHIVE_BYTES).reader();

    let mut out = BufWriter::new(File::create_new(file).map_err(write)?);
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    let mut done_bytes = 0;
    loop {
        if progress(Progress {
            done_bytes,
            total_bytes,
        })
        .is_break()
        {
            return Err(DownloadError::Interrupted { url: url() });
        }
        let read = reader
            .read(&mut block)
            .map_err(|error| network(error.to_string()))?;
        if read == 0 {
            break;
        }
        hash.update(&block[..read]);
        out.write_all(&block[..read]).map_err(write)?;
        done_bytes += read as u64;
    }
    out.flush().map_err(write)?;
    let found: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found != archive.sha256 {
        return Err(DownloadError::Checksum {
            url: url(),
            found,
            expected: archive.sha256.clone(),
            bytes: done_bytes,
        });
    }
    Ok(())
}

/// Unpacks the files of the archive into `folder`; anything but plain files directly in the archive's one folder is refused.
fn unpack(archive: &Archive, file: &Path, folder: &Path) -> Result<(), DownloadError> {
    let damaged = |source| DownloadError::Unpack {
        url: archive.url.clone(),
        source,
    };
    fs::create_dir(folder).map_err(cannot_write(folder))?;
    let packed = File::open(file).map_err(cannot_write(file))?;
    let mut packed = tar::Archive::new(GzDecoder::new(BufReader::new(packed)));
    for entry in packed.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let refused = |kind| DownloadError::Entry {
            url: archive.url.clone(),
            kind,
            entry: shown(&path).to_string(),
            folder: archive.folder.clone(),
        };
        let components: Vec<_> = path
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        let (home, name) = match components.as_slice() {
            [] => (None, None),
            [Component::Normal(home)] => (home.to_str(), None),
            [Component::Normal(home), Component::Normal(name)] => (home.to_str(), Some(name)),
            _ => return Err(refused("a file outside it")),
        };
        if home.is_some_and(|home| home != archive.folder) {
            return Err(refused("a file outside it"));
        }
        match (entry.header().entry_type(), name) {
            (EntryType::Directory, None) | (EntryType::XGlobalHeader, _) => {}
            (EntryType::Regular, Some(name)) => {
                let path = folder.join(name);
                let mut out = File::create_new(&path).map_err(cannot_write(&path))?;
                io::copy(&mut entry, &mut out).map_err(damaged)?;
            }
            (EntryType::Symlink | EntryType::Link, _) => return Err(refused("a link")),
            (EntryType::Directory, Some(_)) => return Err(refused("a folder")),
            _ => return Err(refused("a special file")),
        }
    }
    Ok(())
}
