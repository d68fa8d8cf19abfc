//! CIFAR-10 and CIFAR-100 in their official binary layouts.
//!
//! A record is one or two label bytes, then 3072 pixels: 1024 red, 1024 green, 1024 blue, each plane row by row.
//! Learning Multiple Layers of Features from Tiny Images, Alex Krizhevsky, 2009; <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::fmt;
use std::fs;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::text::shown;
use crate::{DataError, Dataset, Images, Shape, regular};

const PIXELS: usize = Shape::CIFAR.values();

/// Larger files are refused unread. The official ones have at most 50,000 records.
const MOST_RECORDS: u64 = 1 << 20;

/// Which of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CifarVariant {
    /// 10 classes, one label byte.
    Cifar10,
    /// 100 classes: a byte with the coarse label (20 of them), then one with the class.
    Cifar100,
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// The images to test on: 10,000 for CIFAR.
    #[default]
    Test,
    /// The images to train on: 50,000 for CIFAR.
    Train,
}

impl CifarVariant {
    const ALL: [Self; 2] = [Self::Cifar10, Self::Cifar100];

    /// `"CIFAR-10"` or `"CIFAR-100"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
        }
    }

    /// The data set with this many classes.
    #[must_use]
    pub fn with_classes(classes: usize) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|variant| variant.num_classes() == classes)
    }

    /// 10 or 100.
    #[must_use]
    pub const fn num_classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// Bytes of one image with its labels.
    #[must_use]
    pub const fn record_bytes(self) -> usize {
        self.labels().len() + PIXELS
    }

    /// The files of a split, in the order in which their images are numbered.
    #[must_use]
    pub const fn file_names(self, split: Split) -> &'static [&'static str] {
        match (self, split) {
            (Self::Cifar10, Split::Test) => &["test_batch.bin"],
            (Self::Cifar10, Split::Train) => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            (Self::Cifar100, Split::Test) => &["test.bin"],
            (Self::Cifar100, Split::Train) => &["train.bin"],
        }
    }

    /// The label bytes of a record: what each says and how many values it can have. The last one is the class.
    const fn labels(self) -> &'static [(&'static str, usize)] {
        match self {
            Self::Cifar10 => &[("label", 10)],
            Self::Cifar100 => &[("coarse label", 20), ("label", 100)],
        }
    }
}

impl fmt::Display for CifarVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Test => "test split",
            Self::Train => "training split",
        })
    }
}

/// One split of CIFAR-10 or CIFAR-100 in a folder, images in file order.
///
/// [`Cifar::open`] looks at every record's labels, so that a foreign file is found before anything is computed;
/// pixels are read when asked for. Any number of records is accepted, so a file may be a part of the official one.
#[derive(Clone, Debug)]
pub struct Cifar {
    variant: CifarVariant,
    name: String,
    files: Vec<(PathBuf, usize)>,
}

impl Cifar {
    /// Opens a split in `dir`, which is the folder with the files itself or the parent of it.
    ///
    /// `variant` says which of the two data sets is wanted; with `None` it is the one that is there.
    ///
    /// # Errors
    /// Where there is no such folder, no data set in it, the wrong one, more than one that fits; where a file is missing,
    /// truncated or foreign (size and label range are checked; checksums are for downloads only).
    pub fn open(
        dir: impl AsRef<Path>,
        split: Split,
        variant: Option<CifarVariant>,
    ) -> Result<Self, DataError> {
        let (variant, folder) = find(dir.as_ref(), split, variant)?;
        let name = format!("{variant} {split}");
        let names = variant.file_names(split);
        let files = names
            .iter()
            .map(|file| {
                let path = folder.join(file);
                if !path.is_file() {
                    return Err(DataError::MissingFile {
                        path,
                        dataset: name.clone(),
                        expected: names.len(),
                    });
                }
                let records = check_file(&path, variant)?;
                Ok((path, records))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            variant,
            name,
            files,
        })
    }

    /// Which of the two data sets it is.
    #[must_use]
    pub fn variant(&self) -> CifarVariant {
        self.variant
    }
}

impl Dataset for Cifar {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> Shape {
        Shape::CIFAR
    }

    fn num_images(&self) -> Option<usize> {
        Some(self.files.iter().map(|(_, records)| records).sum())
    }

    fn num_classes(&self) -> Option<usize> {
        Some(self.variant.num_classes())
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        self.check_range(offset, count)?;
        let mut pixels = vec![0; count * PIXELS];
        let mut labels = Vec::with_capacity(count);
        let mut skip = offset;
        for (path, records) in &self.files {
            let from = skip.min(*records);
            let read = labels.len();
            let take = (records - from).min(count - read);
            read_records(
                path,
                self.variant,
                from,
                &mut pixels[read * PIXELS..(read + take) * PIXELS],
                &mut labels,
            )?;
            skip -= from;
        }
        Ok(Images::new(Shape::CIFAR, offset, pixels, Some(labels)))
    }
}

/// The folder that holds the split, and which data set it is.
fn find(
    dir: &Path,
    split: Split,
    wanted: Option<CifarVariant>,
) -> Result<(CifarVariant, PathBuf), DataError> {
    let expected = CifarVariant::ALL
        .into_iter()
        .filter(|variant| wanted.is_none_or(|wanted| wanted == *variant))
        .map(|variant| format!("{} ({variant})", variant.file_names(split)[0]))
        .collect::<Vec<_>>()
        .join(" or ");
    if !dir.is_dir() {
        let found = if dir.exists() {
            "found a file"
        } else {
            "found nothing there"
        };
        return Err(DataError::Folder {
            dir: dir.to_owned(),
            found,
            expected,
        });
    }

    let all = candidates(dir, split)?;

    let mut fitting: Vec<_> = all
        .iter()
        .filter(|(variant, _)| wanted.is_none_or(|wanted| wanted == *variant))
        .cloned()
        .collect();
    match (fitting.len(), all.first(), wanted) {
        (1, _, _) => Ok(fitting.remove(0)),
        (0, Some((found, _)), Some(wanted)) => Err(DataError::WrongDataset {
            dir: dir.to_owned(),
            found: found.name(),
            expected: wanted.name(),
        }),
        (0, _, _) => Err(DataError::NoDataset {
            dir: dir.to_owned(),
            expected,
        }),
        _ => {
            let found = fitting
                .iter()
                .map(|(variant, folder)| format!("{variant} in {}", shown(folder)));
            Err(DataError::Ambiguous {
                dir: dir.to_owned(),
                found: found.collect::<Vec<_>>().join(" and "),
            })
        }
    }
}

/// Whether the folder, or a folder in it, has a file of the split.
pub(crate) fn is_there(dir: &Path, split: Split) -> Result<bool, DataError> {
    Ok(!candidates(dir, split)?.is_empty())
}

/// All data sets with files for `split` in the folder itself; if there are none, in the folders in it.
fn candidates(dir: &Path, split: Split) -> Result<Vec<(CifarVariant, PathBuf)>, DataError> {
    let here = split_folders(dir, split);
    if !here.is_empty() {
        return Ok(here);
    }
    let mut inner = fs::read_dir(dir)
        .and_then(|entries| {
            entries
                .map(|e| Ok(e?.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(|source| DataError::Io {
            path: dir.to_owned(),
            source,
        })?;
    inner.sort();
    Ok(inner
        .iter()
        .flat_map(|folder| split_folders(folder, split))
        .collect())
}

/// The data sets whose files for `split` lie directly in `folder`: none, one, or both.
fn split_folders(folder: &Path, split: Split) -> Vec<(CifarVariant, PathBuf)> {
    CifarVariant::ALL
        .into_iter()
        .filter(|variant| {
            variant
                .file_names(split)
                .iter()
                .any(|file| folder.join(file).is_file())
        })
        .map(|variant| (variant, folder.to_owned()))
        .collect()
}

/// Checks size and labels of a file; how many records it has.
fn check_file(path: &Path, variant: CifarVariant) -> Result<usize, DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let (file, found_bytes) = regular::open(path)?;
    let record_bytes = variant.record_bytes();
    let limit = MOST_RECORDS * record_bytes as u64;
    if found_bytes > limit {
        return Err(DataError::TooLarge {
            path: path.to_owned(),
            what: "bytes",
            found: found_bytes,
            limit,
        });
    }
    if found_bytes == 0 || !found_bytes.is_multiple_of(record_bytes as u64) {
        return Err(DataError::FileSize {
            path: path.to_owned(),
            found_bytes,
            record_bytes,
            dataset: variant.name(),
        });
    }
    let records = usize::try_from(found_bytes / record_bytes as u64)
        .expect("files that fit a disk have few records");
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut labels = vec![0; variant.labels().len()];
    for record in 0..records {
        reader.read_exact(&mut labels).map_err(io)?;
        check_labels(path, variant, record, &labels)?;
        reader.seek_relative(PIXELS as i64).map_err(io)?;
    }
    Ok(records)
}

/// Reads records from number `from` on: as many as fill `pixels`, appending their labels.
fn read_records(
    path: &Path,
    variant: CifarVariant,
    from: usize,
    pixels: &mut [u8],
    labels: &mut Vec<usize>,
) -> Result<(), DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    if pixels.is_empty() {
        return Ok(());
    }
    let mut reader = BufReader::with_capacity(1 << 20, regular::open(path)?.0);
    reader
        .seek(SeekFrom::Start((from * variant.record_bytes()) as u64))
        .map_err(io)?;
    let mut record_labels = vec![0; variant.labels().len()];
    for (i, image) in pixels.chunks_exact_mut(PIXELS).enumerate() {
        reader.read_exact(&mut record_labels).map_err(io)?;
        labels.push(check_labels(path, variant, from + i, &record_labels)?);
        reader.read_exact(image).map_err(io)?;
    }
    Ok(())
}

/// Checks the label bytes of a record; its class.
fn check_labels(
    path: &Path,
    variant: CifarVariant,
    record: usize,
    labels: &[u8],
) -> Result<usize, DataError> {
    let mut class = 0;
    for (&found, &(kind, classes)) in labels.iter().zip(variant.labels()) {
        if usize::from(found) >= classes {
            let (path, dataset) = (path.to_owned(), variant.name());
            return Err(DataError::Label {
                path,
                record,
                kind,
                found,
                classes,
                dataset,
            });
        }
        class = found.into();
    }
    Ok(class)
}
