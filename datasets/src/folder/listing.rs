//! What lies in a folder, in an order that depends on names only.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::text::{plain, shown};
use crate::{DataError, Limits, OpenOptions, arrays, picture};

/// Folders in the folder of a class are looked into to this depth.
const DEEPEST: usize = 8;

/// What a folder holds, each kind sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Files that are arrays by their names, without `labels.npy`.
    pub(crate) arrays: Vec<PathBuf>,
    /// PNG and JPEG files.
    pub(crate) pictures: Vec<PathBuf>,
    /// Folders.
    pub(crate) folders: Vec<PathBuf>,
}

/// Looks into a folder. Names that begin with a dot are left out.
pub(crate) fn content(dir: &Path, limits: &Limits) -> Result<Content, DataError> {
    content_within(dir, limits, &mut 0)
}

/// Looks into a folder, after `entries` others in folders beside it.
fn content_within(dir: &Path, limits: &Limits, entries: &mut usize) -> Result<Content, DataError> {
    let io = |source| DataError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut content = Content::default();
    for entry in fs::read_dir(dir).map_err(io)? {
        *entries += 1;
        if *entries > limits.images {
            return Err(DataError::TooLarge {
                path: dir.to_owned(),
                what: "files and folders",
                found: *entries as u64,
                limit: limits.images as u64,
            });
        }
        let path = entry.map_err(io)?.path();
        if path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        {
            continue;
        }
        if path.is_dir() {
            content.folders.push(path);
        } else if picture::is_picture(&path) {
            content.pictures.push(path);
        } else if picture::is_other_picture(&path) {
            return Err(DataError::Unsupported {
                path,
                expected: "PNG or JPEG files",
            });
        } else if arrays::is_array(&path)
            && path.file_name() != Some(OsStr::new(arrays::LABELS_FILE))
        {
            content.arrays.push(path);
        }
    }
    content.arrays.sort();
    content.pictures.sort();
    content.folders.sort();
    Ok(content)
}

/// The files of a data set, at least one.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) labels: Option<Labels>,
}

/// A label for each file, and the names of the classes.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    of_files: Vec<usize>,
    names: Vec<String>,
}

impl Labels {
    pub(crate) fn of_files(&self) -> &[usize] {
        &self.of_files
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

impl Folder {
    pub(crate) fn of_one(file: &Path) -> Self {
        Self::flat(vec![file.to_owned()])
    }

    /// Files without labels.
    pub(crate) fn flat(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            labels: None,
        }
    }

    /// Every folder is a class.
    pub(crate) fn by_class(folders: &[PathBuf], options: &OpenOptions) -> Result<Self, DataError> {
        let limits = &options.limits;
        let (labels, names) = classes(folders, options)?;
        let (mut entries, mut files) = (0, Vec::new());
        let mut of_files = Vec::new();
        for (dir, label) in folders.iter().zip(labels) {
            let before = files.len();
            collect(dir, DEEPEST, limits, &mut entries, &mut files)?;
            if files.len() == before {
                return Err(DataError::EmptyClass { dir: dir.clone() });
            }
            files[before..].sort_by(|a, b| a.parent().cmp(&b.parent()).then_with(|| a.cmp(b)));
            of_files.resize(files.len(), label);
        }
        Ok(Self {
            files,
            labels: Some(Labels { of_files, names }),
        })
    }
}

/// The label of each folder, and the names of all classes.
fn classes(
    folders: &[PathBuf],
    options: &OpenOptions,
) -> Result<(Vec<usize>, Vec<String>), DataError> {
    let file_name = |dir: &PathBuf| {
        let name = dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let parent = |dir: &PathBuf| shown(dir.parent().unwrap_or(dir));
    if folders.len() > options.limits.classes {
        return Err(DataError::WrongClasses {
            dataset: folders.first().map_or_else(String::new, parent),
            found: folders.len(),
            expected: options.limits.classes,
        });
    }
    let found: Vec<_> = folders.iter().map(file_name).collect();
    let in_order = || (0..folders.len()).collect();
    let Some(wanted) = &options.classes else {
        let names = found.iter().map(|name| plain(name)).collect();
        return Ok((in_order(), names));
    };
    let labels: Vec<_> = found
        .iter()
        .map(|name| wanted.iter().position(|class| class == name))
        .collect();
    if labels.iter().all(Option::is_none) {
        if folders.len() != wanted.len() {
            return Err(DataError::WrongClasses {
                dataset: folders.first().map_or_else(String::new, parent),
                found: folders.len(),
                expected: wanted.len(),
            });
        }
        return Ok((in_order(), wanted.clone()));
    }
    let labels = labels
        .into_iter()
        .zip(folders)
        .map(|(label, dir)| {
            label.ok_or_else(|| DataError::ForeignClass {
                dir: dir.clone(),
                expected: wanted.len(),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok((labels, wanted.clone()))
}

/// Appends the pictures of a folder and of those in it.
fn collect(
    dir: &Path,
    depth: usize,
    limits: &Limits,
    entries: &mut usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    let content = content_within(dir, limits, entries)?;
    files.extend(content.pictures);
    if let Some(inner) = content.folders.first()
        && depth == 0
    {
        return Err(DataError::TooLarge {
            path: inner.clone(),
            what: "folders above it in its class",
            found: DEEPEST as u64 + 1,
            limit: DEEPEST as u64,
        });
    }
    content
        .folders
        .iter()
        .try_for_each(|inner| collect(inner, depth - 1, limits, entries, files))
}
