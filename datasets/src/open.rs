//! One way to open anything that holds images.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::arrays::{self, Arrays};
use crate::cifar::{self, Cifar, CifarVariant, Split};
use crate::folder::{self, Folder, ImageFolder};
use crate::text::shown;
use crate::{DataError, Dataset, Shape, picture};

/// What [`open`] can read, for messages.
const KINDS: &str =
    "CIFAR's binary files, PNG or JPEG files, or one .npy, .npz or .safetensors file";

/// What is wanted of the images. The default takes everything as it is there.
///
/// ```
/// use datasets::{OpenOptions, Shape, Split};
///
/// let options = OpenOptions {
///     shape: Some(Shape { channels: 1, height: 28, width: 28 }),
///     split: Split::Train,
///     ..OpenOptions::default()
/// };
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// The shape that every image must have. `None` takes the shape of the data.
    pub shape: Option<Shape>,
    /// Names of the classes, in the order of the labels that are wanted. `None` takes what the data say.
    ///
    /// Folders of pictures that have these names get these labels, in whatever order the names are. If no folder has one
    /// of the names, there must be as many folders as names, and folders in sorted order are the classes.
    /// Other labels must be below the number of names. CIFAR must have as many classes.
    pub classes: Option<Vec<String>>,
    /// Which part, where there are several: CIFAR, folders `train` and `test` or `val`, arrays `x_train` and `x_test`.
    pub split: Split,
    /// Where an array has its channels. `None` finds out by the shape.
    pub layout: Option<Layout>,
    /// The number in an array that means 1.0: all are divided by it. Positive and finite.
    ///
    /// With `None`, integers must be 0..=255 and are divided by 255; other numbers are taken as they are.
    pub full_scale: Option<f64>,
    /// What happens to pictures of another height or width.
    pub fit: Fit,
    /// How much is read at most.
    pub limits: Limits,
}

impl OpenOptions {
    /// Whether the options themselves make sense; `path` is for messages.
    fn check(&self, path: &Path) -> Result<(), DataError> {
        if let Some(found) = self.full_scale
            && !(found.is_finite() && found > 0.0)
        {
            return Err(DataError::FullScale { found });
        }
        match self.shape {
            Some(shape) => self.limits.check_shape(path, shape),
            None => Ok(()),
        }
    }
}

/// The order of an array's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[image][channel][row][column]`, PyTorch's.
    Nchw,
    /// `[image][row][column][channel]`, TensorFlow's.
    Nhwc,
}

/// What happens to a picture whose height or width is not the wanted one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// It is an error.
    #[default]
    Exact,
    /// It is resized to the wanted height and width. The aspect ratio is lost.
    Stretch,
    /// It is resized to cover the wanted height and width; what sticks out on two sides is cut off.
    Crop,
}

/// How much is read at most. What goes beyond is an error, before memory is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Images in a data set, and entries in all of a folder.
    pub images: usize,
    /// Values in one image: channels times rows times columns.
    pub image_values: usize,
    /// Bytes of one PNG or JPEG file.
    pub picture_bytes: u64,
    /// Bytes of one array that is compressed, after unpacking.
    pub unpacked_bytes: u64,
    /// Classes.
    pub classes: usize,
}

impl Default for Limits {
    /// 2^24 images of at most 2^26 values, pictures of 64 MiB, arrays of 4 GiB unpacked, 2^20 classes.
    fn default() -> Self {
        Self {
            images: 1 << 24,
            image_values: 1 << 26,
            picture_bytes: 64 << 20,
            unpacked_bytes: 4 << 30,
            classes: 1 << 20,
        }
    }
}

impl Limits {
    /// Refuses a shape with too many values, or with none.
    pub(crate) fn check_shape(&self, path: &Path, shape: Shape) -> Result<(), DataError> {
        let found = [shape.channels, shape.height, shape.width]
            .into_iter()
            .fold(1u64, |product, side| product.saturating_mul(side as u64));
        let limit = self.image_values as u64;
        if found == 0 || found > limit {
            return Err(DataError::TooLarge {
                path: path.to_owned(),
                what: "values in one image",
                found,
                limit,
            });
        }
        Ok(())
    }
}

/// Opens images: what they are is found out from names and first bytes.
///
/// `path` is one of
/// - a folder with CIFAR's official binary files, or the parent of one: [`Cifar`];
/// - a folder of PNG or JPEG files, flat (no labels) or by class, or the parent of such folders called `train` and `test`
///   or `val`: [`ImageFolder`];
/// - a PNG or JPEG file;
/// - a `.npy`, `.npz` or `.safetensors` file, or a folder with one of them: [`Arrays`].
///
/// Headers and labels are read here, pixels when they are asked for.
///
/// # Errors
/// Where nothing, or more than one thing, is found; where it is damaged, or not what `options` want.
pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Box<dyn Dataset>, DataError> {
    let path = path.as_ref();
    options.check(path)?;
    let metadata = fs::metadata(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == ErrorKind::NotFound {
            DataError::Nothing {
                path,
                expected: KINDS,
            }
        } else {
            DataError::Io { path, source }
        }
    })?;
    if metadata.is_dir() {
        return open_folder(path, options, true);
    }
    if arrays::is_array(path) {
        return Ok(Box::new(Arrays::open(path, options)?));
    }
    if picture::is_picture(path) {
        let file = Folder::of_one(path);
        return Ok(Box::new(ImageFolder::new(path, file, options)?));
    }
    Err(DataError::Unsupported {
        path: path.to_owned(),
        expected: KINDS,
    })
}

/// `splits`: whether folders called `train` and `test` may be the parts of a data set.
fn open_folder(
    dir: &Path,
    options: &OpenOptions,
    splits: bool,
) -> Result<Box<dyn Dataset>, DataError> {
    if cifar::is_there(dir, options.split)? {
        return Ok(Box::new(open_cifar(dir, options)?));
    }
    let content = folder::content(dir, &options.limits)?;
    let mixed = |found| DataError::Mixed {
        dir: dir.to_owned(),
        found,
    };
    match (
        content.arrays.as_slice(),
        content.pictures.is_empty(),
        content.folders.is_empty(),
    ) {
        ([], true, true) => Err(DataError::NoDataset {
            dir: dir.to_owned(),
            expected: KINDS.to_owned(),
        }),
        ([], true, false) => {
            if splits && let Some(part) = split_folder(&content.folders, options.split) {
                return match part {
                    Some(part) => open_folder(part, options, false),
                    None => Err(DataError::NoDataset {
                        dir: dir.to_owned(),
                        expected: format!("a folder for the {}", options.split),
                    }),
                };
            }
            let listed = Folder::by_class(&content.folders, options)?;
            Ok(Box::new(ImageFolder::new(dir, listed, options)?))
        }
        ([], false, true) => {
            let listed = Folder::flat(content.pictures);
            Ok(Box::new(ImageFolder::new(dir, listed, options)?))
        }
        ([], false, false) => Err(mixed("pictures and folders")),
        ([array], true, _) => Ok(Box::new(Arrays::open(array, options)?)),
        ([_], false, _) => Err(mixed("pictures and an array file")),
        (arrays, ..) => Err(DataError::Ambiguous {
            dir: dir.to_owned(),
            found: arrays
                .iter()
                .take(3)
                .map(|array| shown(array))
                .collect::<Vec<_>>()
                .join(" and "),
        }),
    }
}

fn open_cifar(dir: &Path, options: &OpenOptions) -> Result<Cifar, DataError> {
    let classes = options.classes.as_ref().map(Vec::len);
    let data = Cifar::open(
        dir,
        options.split,
        classes.and_then(CifarVariant::with_classes),
    )?;
    let dataset = || data.name().to_owned();
    if let Some(expected) = options.shape
        && expected != data.shape()
    {
        return Err(DataError::WrongShape {
            what: dataset(),
            found: data.shape(),
            expected,
        });
    }
    let found = data.variant().num_classes();
    match classes {
        Some(expected) if expected != found => Err(DataError::WrongClasses {
            dataset: dataset(),
            found,
            expected,
        }),
        _ => Ok(data),
    }
}

/// Where all folders are parts of a data set by their names: the part that is wanted, if it is there.
#[expect(
    clippy::option_option,
    reason = "two questions: are they parts, is it there"
)]
fn split_folder(folders: &[PathBuf], split: Split) -> Option<Option<&Path>> {
    const TEST: [&str; 4] = ["test", "val", "valid", "validation"];
    const TRAIN: [&str; 1] = ["train"];
    let named = |folder: &Path, names: &[&str]| {
        names
            .iter()
            .any(|name| folder.file_name().is_some_and(|found| found == *name))
    };
    let parts = folders
        .iter()
        .all(|folder| named(folder, &TEST) || named(folder, &TRAIN));
    let wanted: &[&str] = match split {
        Split::Test => &TEST,
        Split::Train => &TRAIN,
    };
    parts.then(|| {
        wanted
            .iter()
            .find_map(|name| folders.iter().find(|folder| named(folder, &[name])))
            .map(|folder| folder.as_path())
    })
}
