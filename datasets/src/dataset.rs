//! The one trait that everything that yields images implements.

use crate::{DataError, Images, Shape};

/// A source of images of one shape, in a fixed order: the same range always gives the same images.
///
/// Implement it to run your own images through everything that takes a data set.
pub trait Dataset: Send + Sync {
    /// What it is, for people: `"CIFAR-10 test split"`.
    fn name(&self) -> &str;

    /// Shape of every image.
    fn shape(&self) -> Shape;

    /// How many images it has; `None` if it makes as many as are asked for.
    fn num_images(&self) -> Option<usize>;

    /// A number that all labels are below; `None` if the images have no labels.
    ///
    /// It is the number of classes where the source says how many there are, otherwise the largest label plus one.
    fn num_classes(&self) -> Option<usize>;

    /// Names of the classes, in the order of the labels, where they are known. Names are safe to print.
    fn class_names(&self) -> Option<&[String]> {
        None
    }

    /// What image `index` is called, for people, where it has a name of its own: that of its file. It is safe to print.
    fn image_name(&self, index: usize) -> Option<String> {
        let _ = index;
        None
    }

    /// Whether images `offset .. offset + count` are there to be read.
    ///
    /// Sources with one file per image look at the header of each of these files. Pixels are not read.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if not; what is wrong with a file.
    fn check_range(&self, offset: usize, count: usize) -> Result<(), DataError> {
        match self.num_images() {
            Some(available) => check_bounds(self.name(), available, offset, count),
            None => Ok(()),
        }
    }

    /// Images `offset .. offset + count`.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if it has fewer; whatever reading them can come up with.
    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError>;
}

/// Whether images `offset .. offset + count` are among `available` ones.
pub(crate) fn check_bounds(
    dataset: &str,
    available: usize,
    offset: usize,
    count: usize,
) -> Result<(), DataError> {
    let needed = offset as u128 + count as u128;
    if needed > available as u128 {
        return Err(DataError::OutOfRange {
            dataset: dataset.to_owned(),
            offset,
            count,
            needed,
            available,
        });
    }
    Ok(())
}
