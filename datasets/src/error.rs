//! What can be wrong with a data set.

use std::io;
use std::path::PathBuf;

/// An error of reading images: what, what was found, what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The folder is not there, or is not a folder.
    #[error("data folder {}: {found}; expected a folder with {expected}", dir.display())]
    Folder {
        /// The folder that was asked for.
        dir: PathBuf,
        /// What is there instead.
        found: &'static str,
        /// The files that make a data set.
        expected: String,
    },
    /// Neither the folder nor a folder in it holds a data set.
    #[error("data folder {}: found no data set in it; expected {expected}, there or in a folder in it", dir.display())]
    NoDataset {
        /// The folder that was asked for.
        dir: PathBuf,
        /// The files that were looked for.
        expected: String,
    },
    /// More than one data set fits.
    #[error("data folder {}: found {found}; expected one data set: name its own folder", dir.display())]
    Ambiguous {
        /// The folder that was asked for.
        dir: PathBuf,
        /// The data sets in it.
        found: String,
    },
    /// A data set of another kind than the one asked for.
    #[error("data folder {}: found {found}; expected {expected}", dir.display())]
    WrongDataset {
        /// The folder that was asked for.
        dir: PathBuf,
        /// The kind that it holds.
        found: &'static str,
        /// The kind that was asked for.
        expected: &'static str,
    },
    /// One file of several is not there.
    #[error("{}: found no such file; expected one of the {expected} files of the {dataset}", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// What it belongs to.
        dataset: String,
        /// How many files that has.
        expected: usize,
    },
    /// The size is not that of whole records: the file is truncated, or is something else.
    #[error("{}: found {found_bytes} bytes; expected a positive multiple of {record_bytes} (a {dataset} record): the file is truncated or foreign", path.display())]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found_bytes: u64,
        /// Bytes of one record.
        record_bytes: usize,
        /// What the records were expected to be.
        dataset: &'static str,
    },
    /// A label that the data set cannot have: the file is something else.
    #[error("{}: found {kind} {found} in record {record}; expected a number below {classes}: the file is damaged or not {dataset}", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// The record, counted from 0.
        record: usize,
        /// Which of the record's labels.
        kind: &'static str,
        /// The label found.
        found: u8,
        /// How many classes there are.
        classes: usize,
        /// What the file was expected to be.
        dataset: &'static str,
    },
    /// Fewer images than were asked for.
    #[error(
        "{dataset}: found {available} images; expected at least {needed} ({count} from number {offset} on)"
    )]
    OutOfRange {
        /// What has too few.
        dataset: String,
        /// The first image asked for.
        offset: usize,
        /// How many were asked for.
        count: usize,
        /// `offset + count`.
        needed: u128,
        /// How many there are.
        available: usize,
    },
    /// More images than memory can be had for.
    #[error("{dataset}: found too little memory for {count} images at once; expected fewer")]
    Memory {
        /// What they were asked of.
        dataset: String,
        /// How many were asked for.
        count: usize,
    },
    /// Synthetic images cannot have this shape.
    #[error(
        "synthetic images: found {channels} x {height} x {width}; expected 1 to 3 channels and equal sides, a power of two from 4 to 64"
    )]
    SyntheticShape {
        /// Channels asked for.
        channels: usize,
        /// Rows asked for.
        height: usize,
        /// Columns asked for.
        width: usize,
    },
    /// The system could not read a file or a folder.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
