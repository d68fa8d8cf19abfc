//! Folders of PNG and JPEG files, flat or by class.

mod listing;

use std::path::Path;

pub(crate) use listing::{Folder, content};

use crate::dataset::check_bounds;
use crate::images::PixelBuffer;
use crate::text::shown;
use crate::{DataError, Dataset, Fit, Images, Limits, OpenOptions, Shape, picture};

/// PNG and JPEG files in a fixed order.
///
/// Flat: by name, no labels. By class, as torchvision's `ImageFolder` has them: every folder is a class, in the order of
/// the names; its files, those of folders in it too, are sorted by folder, then by name. Names are compared byte by byte.
/// Names that begin with a dot are left out, and so are files that are no pictures by their names.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    name: String,
    shape: Shape,
    fit: Fit,
    limits: Limits,
    folder: Folder,
}

impl ImageFolder {
    /// The first picture's header is checked here, the others' by [`Dataset::check_range`].
    pub(crate) fn new(
        path: &Path,
        folder: Folder,
        options: &OpenOptions,
    ) -> Result<Self, DataError> {
        let (fit, limits) = (options.fit, options.limits);
        let first = &folder.files[0];
        let shape = match options.shape {
            Some(shape) => {
                picture::check(first, shape, fit, &limits)?;
                shape
            }
            None => picture::shape(first, &limits)?,
        };
        Ok(Self {
            name: format!("pictures of {}", shown(path)),
            shape,
            fit,
            limits,
            folder,
        })
    }
}

impl Dataset for ImageFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn num_images(&self) -> Option<usize> {
        Some(self.folder.files.len())
    }

    fn num_classes(&self) -> Option<usize> {
        self.class_names().map(<[_]>::len)
    }

    fn class_names(&self) -> Option<&[String]> {
        self.folder.labels.as_ref().map(|labels| labels.names())
    }

    fn image_name(&self, index: usize) -> Option<String> {
        self.folder.files.get(index).map(|file| shown(file))
    }

    fn check_range(&self, offset: usize, count: usize) -> Result<(), DataError> {
        check_bounds(&self.name, self.folder.files.len(), offset, count)?;
        self.folder.files[offset..offset + count]
            .iter()
            .try_for_each(|file| picture::check(file, self.shape, self.fit, &self.limits))
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        check_bounds(&self.name, self.folder.files.len(), offset, count)?;
        let range = offset..offset + count;
        let mut pixels = PixelBuffer::Bytes(Vec::new());
        for file in &self.folder.files[range.clone()] {
            picture::read(file, self.shape, self.fit, &self.limits, &mut pixels)?;
        }
        let labels = self.folder.labels.as_ref();
        let labels = labels.map(|labels| labels.of_files()[range].to_vec());
        Ok(Images::collected(self.shape, offset, pixels, labels))
    }
}
