//! What can be wrong with a data set.

use std::io;
use std::path::PathBuf;

use crate::Shape;
use crate::text::{plain, shown};

/// An error of reading images: what, what was found, what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is nothing at the path.
    #[error("data {}: found nothing there; expected {expected}", shown(path))]
    Nothing {
        /// The path that was asked for.
        path: PathBuf,
        /// What can be read.
        expected: &'static str,
    },
    /// The folder is not there, or is not a folder.
    #[error(
        "data folder {}: {found}; expected a folder with {expected}",
        shown(dir)
    )]
    Folder {
        /// The folder that was asked for.
        dir: PathBuf,
        /// What is there instead.
        found: &'static str,
        /// The files that make a data set.
        expected: String,
    },
    /// Neither the folder nor a folder in it holds a data set.
    #[error(
        "data folder {}: found no data set in it; expected {expected}, there or in a folder in it",
        shown(dir)
    )]
    NoDataset {
        /// The folder that was asked for.
        dir: PathBuf,
        /// The files that were looked for.
        expected: String,
    },
    /// More than one data set fits.
    #[error(
        "data folder {}: found {found}; expected one data set: name its own folder",
        shown(dir)
    )]
    Ambiguous {
        /// The folder that was asked for.
        dir: PathBuf,
        /// The data sets in it.
        found: String,
    },
    /// A data set of another kind than the one asked for.
    #[error("data folder {}: found {found}; expected {expected}", shown(dir))]
    WrongDataset {
        /// The folder that was asked for.
        dir: PathBuf,
        /// The kind that it holds.
        found: &'static str,
        /// The kind that was asked for.
        expected: &'static str,
    },
    /// One file of several is not there.
    #[error(
        "{}: found no such file; expected one of the {expected} files of the {dataset}",
        shown(path)
    )]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// What it belongs to.
        dataset: String,
        /// How many files that has.
        expected: usize,
    },
    /// The size is not that of whole records: the file is truncated, or is something else.
    #[error(
        "{}: found {found_bytes} bytes; expected a positive multiple of {record_bytes} (a {dataset} record): the file is truncated or foreign",
        shown(path)
    )]
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
    #[error(
        "{}: found {kind} {found} in record {record}; expected a number below {classes}: the file is damaged or not {dataset}",
        shown(path)
    )]
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
    #[error("synthetic images: found {found}; expected 1 to 4096 channels, rows and columns")]
    SyntheticShape {
        /// The shape asked for.
        found: Shape,
    },
    /// A pipe, a device or a folder in the place of a file.
    #[error(
        "{}: found something that is not a regular file; expected one",
        shown(path)
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// More than [`Limits`](crate::Limits) allow, or nothing.
    #[error("{}: found {found} {what}; expected 1 to {limit}", shown(path))]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// How much there is, or claims to be.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A file that its format does not allow.
    #[error(
        "{}: found damage ({}); expected a whole {format} file",
        shown(path),
        plain(reason)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The format that its name or first bytes promise.
        format: &'static str,
        /// What the reader said.
        reason: String,
    },
    /// A kind of file that is not read.
    #[error(
        "{}: found a file of a kind that is not read; expected {expected}",
        shown(path)
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kinds that are read.
        expected: &'static str,
    },
    /// Images of another shape than the one asked for.
    #[error(
        "{}: found images of {found}; expected images of {expected}",
        plain(what)
    )]
    WrongShape {
        /// The file or the data set.
        what: String,
        /// The shape that its images have.
        found: Shape,
        /// The shape asked for.
        expected: Shape,
    },
    /// A picture whose colours cannot be converted without a loss.
    #[error(
        "{}: found {found}; expected {expected} channels, or colours that convert to them exactly",
        shown(path)
    )]
    Colours {
        /// The file.
        path: PathBuf,
        /// The colours of the picture.
        found: &'static str,
        /// The channels asked for.
        expected: usize,
    },
    /// Pictures in the folder itself and folders beside them.
    #[error(
        "{}: found {found}; expected one kind: pictures, folders of pictures, or one array file",
        shown(dir)
    )]
    Mixed {
        /// The folder.
        dir: PathBuf,
        /// The kinds found.
        found: &'static str,
    },
    /// A class without pictures.
    #[error(
        "{}: found no PNG or JPEG file; expected some in each folder: remove it if it is no class",
        shown(dir)
    )]
    EmptyClass {
        /// The folder of the class.
        dir: PathBuf,
    },
    /// A folder whose name is no class, beside folders whose names are.
    #[error(
        "{}: found no class of this name among the {expected} expected ones, but the other folders have such names",
        shown(dir)
    )]
    ForeignClass {
        /// The folder.
        dir: PathBuf,
        /// How many classes were expected.
        expected: usize,
    },
    /// Another number of classes than the one asked for.
    #[error(
        "{}: found {found} classes; expected {expected} classes",
        plain(dataset)
    )]
    WrongClasses {
        /// The data set.
        dataset: String,
        /// How many it has.
        found: usize,
        /// How many were asked for.
        expected: usize,
    },
    /// The arrays of a file have names that say nothing, or too much.
    #[error(
        "{}: found {}; expected an array called `images` or `x`, or one array besides the labels",
        shown(path),
        plain(found)
    )]
    ArrayNames {
        /// The file.
        path: PathBuf,
        /// The arrays that it has.
        found: String,
    },
    /// An array of a shape that is not one of images, or of labels.
    #[error(
        "{}: found array `{}` of shape {found:?}; expected {}",
        shown(path),
        plain(array),
        plain(expected)
    )]
    ArrayShape {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Its shape.
        found: Vec<usize>,
        /// Shapes that would do.
        expected: String,
    },
    /// An array of something else than numbers.
    #[error(
        "{}: found array `{}` of {}; expected real numbers of 8 to 64 bits",
        shown(path),
        plain(array),
        plain(found)
    )]
    ArrayType {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// What it holds.
        found: String,
    },
    /// A number that is no pixel.
    #[error(
        "{}: found {found} in image {image} of array `{}`; expected {expected}",
        shown(path),
        plain(array)
    )]
    PixelValue {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Number of the image.
        image: usize,
        /// The number found.
        found: f64,
        /// The numbers that are pixels.
        expected: &'static str,
    },
    /// A number that is no label.
    #[error(
        "{}: found label {found} of image {image} in array `{}`; expected a whole number below {classes}",
        shown(path),
        plain(array)
    )]
    LabelValue {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Number of the image.
        image: usize,
        /// The number found.
        found: f64,
        /// How many classes there are, or can be.
        classes: usize,
    },
    /// A full scale that nothing can be divided by.
    #[error("full scale of pixels: found {found}; expected a positive finite number")]
    FullScale {
        /// The number found.
        found: f64,
    },
    /// The system could not read a file or a folder.
    #[error("{}: cannot be read: {source}", shown(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
