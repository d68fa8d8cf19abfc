//! The one trait that everything that yields images implements.

use crate::{DataError, Images, Shape};

/// A source of images of one shape, in a fixed order: the same range always gives the same images.
///
/// Implement it to run your own images through everything that takes a data set.
pub trait Dataset {
    /// What it is, for people: `"CIFAR-10 test split"`.
    fn name(&self) -> &str;

    /// Shape of every image.
    fn shape(&self) -> Shape;

    /// How many images it has; `None` if it makes as many as are asked for.
    fn num_images(&self) -> Option<usize>;

    /// How many classes the labels tell apart; `None` if the images have no labels.
    fn num_classes(&self) -> Option<usize>;

    /// Whether images `offset .. offset + count` are there to be read.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if not.
    fn check_range(&self, offset: usize, count: usize) -> Result<(), DataError> {
        let needed = offset as u128 + count as u128;
        match self.num_images() {
            Some(available) if needed > available as u128 => Err(DataError::OutOfRange {
                dataset: self.name().to_owned(),
                offset,
                count,
                needed,
                available,
            }),
            _ => Ok(()),
        }
    }

    /// Images `offset .. offset + count`.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if it has fewer; whatever reading them can come up with.
    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError>;
}
