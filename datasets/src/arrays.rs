//! Arrays of numbers: `.npy`, `.npz` and `.safetensors` files.

mod layout;
mod npy;
mod npz;
mod number;
mod safetensors;
mod stored;

use std::path::Path;

use layout::Order;
use number::Kind;
use stored::{Container, Stored};

use crate::dataset::check_bounds;
use crate::images::PixelBuffer;
use crate::text::shown;
use crate::{DataError, Dataset, Images, OpenOptions, Shape, Split, picture};

/// The file with the labels of the arrays beside it.
pub(crate) const LABELS_FILE: &str = "labels.npy";

const ARRAYS: [&str; 3] = ["npy", "npz", "safetensors"];

/// Names of arrays with images and with labels, most wanted first.
const IMAGES: [&str; 5] = ["images", "x", "data", "pixels", "inputs"];
const LABELS: [&str; 3] = ["labels", "y", "targets"];
/// The same for the parts of a data set.
const TEST: [&[&str]; 2] = [&["x_test", "test_images"], &["y_test", "test_labels"]];
const TRAIN: [&[&str]; 2] = [&["x_train", "train_images"], &["y_train", "train_labels"]];

/// Whether the name is that of a file with arrays.
pub(crate) fn is_array(path: &Path) -> bool {
    picture::has_extension(path, &ARRAYS)
}

/// Images in an array of numbers, and labels in another one.
///
/// The array is `[image][channel][row][column]`, `[image][row][column][channel]`, `[image][row][column]` (one channel) or, if
/// the shape is given, `[image][value]`. It has integers, 0..=255, or floating-point numbers of 16 to 64 bits, which are
/// rounded to 32. Pixels are read from the file when they are asked for; of a compressed array, all that lies before
/// them is unpacked too.
///
/// In a file of several arrays the images are called `x_test` or `test_images` (training: `x_train`, `train_images`), or
/// `images`, `x`, `data`, `pixels`, `inputs`, or are the one array besides the labels. Labels are called `y_test`,
/// `test_labels` and so on, or `labels`, `y`, `targets`, or lie beside the file in `labels.npy`. Case does not matter.
#[derive(Clone, Debug)]
pub struct Arrays {
    name: String,
    images: Stored,
    order: Order,
    full_scale: Option<f64>,
    labels: Option<Vec<usize>>,
    class_names: Option<Vec<String>>,
    num_classes: Option<usize>,
}

impl Arrays {
    /// Headers and labels are read here.
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, DataError> {
        let container = Container::open(path)?;
        let names = choose(path, container.names(), options.split)?;
        let images = container.array(names.images, options)?;
        let order = Order::find(&images, options)?;
        let beside = path.with_file_name(LABELS_FILE);
        let labels = match names.labels {
            Some(name) => Some(container.array(name, options)?),
            None if beside.exists() && beside != path => {
                let file = Container::open(&beside)?;
                Some(file.array(&file.names()[0], options)?)
            }
            None => None,
        };
        let labels = labels.map(|array| read_labels(&array, order.images, options));
        let labels = labels.transpose()?;
        let num_classes = labels.as_ref().map(|labels| match &options.classes {
            Some(names) => names.len(),
            None => labels.iter().max().map_or(0, |largest| largest + 1),
        });
        Ok(Self {
            name: images.to_string(),
            images,
            order,
            full_scale: options.full_scale,
            class_names: labels.as_ref().and(options.classes.clone()),
            labels,
            num_classes,
        })
    }

    /// Appends one image from its bytes in the file. Integers become bytes unless a full scale is given.
    fn decode(&self, image: usize, raw: &[u8], pixels: &mut PixelBuffer) -> Result<(), DataError> {
        let number = self.images.number;
        let refused = |found, expected| DataError::PixelValue {
            path: self.images.path.clone(),
            array: self.images.name.clone(),
            image,
            found,
            expected,
        };
        let values = raw.chunks_exact(number.bytes).map(|raw| number.value(raw));
        match (self.full_scale, number.kind) {
            (None, Kind::Unsigned | Kind::Signed) => {
                let bytes = values
                    .map(|value| match value {
                        0.0..=255.0 => Ok(value as u8),
                        _ => Err(refused(value, "0 to 255, or a full scale to divide by")),
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                pixels.push_bytes(&self.order.planes(bytes));
            }
            (scale, _) => {
                let scale = scale.unwrap_or(1.0);
                let scaled = values
                    .map(|value| match (value / scale) as f32 {
                        scaled if scaled.is_finite() => Ok(scaled),
                        _ => Err(refused(value, "a finite number")),
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                pixels.push_values(&self.order.planes(scaled));
            }
        }
        Ok(())
    }
}

impl Dataset for Arrays {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> Shape {
        self.order.shape
    }

    fn num_images(&self) -> Option<usize> {
        Some(self.order.images)
    }

    fn num_classes(&self) -> Option<usize> {
        self.num_classes
    }

    fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        check_bounds(&self.name, self.order.images, offset, count)?;
        let mut pixels = PixelBuffer::Bytes(Vec::new());
        let mut image = offset;
        self.images
            .records(self.order.shape.values(), offset, count, &mut |raw| {
                self.decode(image, raw, &mut pixels)?;
                image += 1;
                Ok(())
            })?;
        let labels = self.labels.as_ref();
        let labels = labels.map(|labels| labels[offset..offset + count].to_vec());
        Ok(Images::collected(self.order.shape, offset, pixels, labels))
    }
}

/// The arrays that are wanted of a file.
struct Chosen<'a> {
    images: &'a str,
    labels: Option<&'a str>,
}

fn choose<'a>(path: &Path, names: &'a [String], split: Split) -> Result<Chosen<'a>, DataError> {
    let ([split_images, split_labels], other) = match split {
        Split::Test => (TEST, TRAIN),
        Split::Train => (TRAIN, TEST),
    };
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    let first = |wanted: &[&str]| {
        wanted
            .iter()
            .find_map(|wanted| names.iter().find(|name| is(name, wanted)))
            .map(String::as_str)
    };
    let labels = first(split_labels).or_else(|| first(&LABELS));
    let images = first(split_images).or_else(|| first(&IMAGES)).or_else(|| {
        let known: [&[&str]; 4] = [&LABELS, split_labels, other[0], other[1]];
        let mut others = names
            .iter()
            .filter(|name| !known.iter().any(|list| list.iter().any(|k| is(name, k))));
        match (others.next(), others.next()) {
            (Some(only), None) => Some(only.as_str()),
            _ => None,
        }
    });
    let images = images.ok_or_else(|| DataError::ArrayNames {
        path: path.to_owned(),
        found: match names {
            [] => "no array".to_owned(),
            _ => format!("arrays {}", names.join(", ")),
        },
    })?;
    Ok(Chosen { images, labels })
}

/// All labels, whole numbers of any type.
fn read_labels(
    array: &Stored,
    images: usize,
    options: &OpenOptions,
) -> Result<Vec<usize>, DataError> {
    if !matches!(array.dims[..], [n] | [n, 1] if n == images) {
        return Err(DataError::ArrayShape {
            path: array.path.clone(),
            array: array.name.clone(),
            found: array.dims.clone(),
            expected: format!("one label for each of the {images} images"),
        });
    }
    let classes = options
        .classes
        .as_ref()
        .map_or(options.limits.classes, Vec::len);
    let mut labels = Vec::new();
    array.records(1, 0, images, &mut |raw| {
        let found = array.number.value(raw);
        if found < 0.0 || found >= classes as f64 || found.fract() != 0.0 || found.is_nan() {
            return Err(DataError::LabelValue {
                path: array.path.clone(),
                array: array.name.clone(),
                image: labels.len(),
                found,
                classes,
            });
        }
        labels.push(found as usize);
        Ok(())
    })?;
    Ok(labels)
}

impl std::fmt::Display for Stored {
    /// What it is, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "array `{}` of {}",
            crate::text::plain(&self.name),
            shown(&self.path)
        )
    }
}
