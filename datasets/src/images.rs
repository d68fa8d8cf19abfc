//! Images in memory: 8-bit pixels in NCHW order, and views of consecutive ones.

use std::num::NonZeroUsize;
use std::ops::Range;

/// Shape of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Colour planes: 3 for red, green, blue.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl Shape {
    /// The shape of CIFAR's images: 3 x 32 x 32.
    pub const CIFAR: Self = Self {
        channels: 3,
        height: 32,
        width: 32,
    };

    /// Values in one image: `channels * height * width`.
    #[must_use]
    pub const fn values(self) -> usize {
        self.channels * self.height * self.width
    }
}

/// Images of one shape that lie in memory one after the other, with or without labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    shape: Shape,
    first: usize,
    pixels: Vec<u8>,
    labels: Option<Vec<usize>>,
}

impl Images {
    /// Images from their pixels, `[image][channel][row][column]`; `first` is the number of the first one in its data set.
    ///
    /// # Panics
    /// If the pixels are not a whole number of images, or if there are labels and not one for each image.
    #[must_use]
    pub fn new(shape: Shape, first: usize, pixels: Vec<u8>, labels: Option<Vec<usize>>) -> Self {
        assert!(
            shape.values() > 0 && pixels.len().is_multiple_of(shape.values()),
            "pixels are whole images"
        );
        if let Some(labels) = &labels {
            assert_eq!(
                labels.len() * shape.values(),
                pixels.len(),
                "one label for each image"
            );
        }
        Self {
            shape,
            first,
            pixels,
            labels,
        }
    }

    /// All of them, as a view.
    #[must_use]
    pub fn view(&self) -> Batch<'_> {
        Batch {
            shape: self.shape,
            first: self.first,
            pixels: &self.pixels,
            labels: self.labels.as_deref(),
        }
    }

    /// Consecutive sub-batches of `size` images; the last one has what is left.
    pub fn batches(&self, size: NonZeroUsize) -> impl ExactSizeIterator<Item = Batch<'_>> {
        let size = size.get();
        (0..self.len().div_ceil(size)).map(move |b| {
            self.view()
                .range(b * size..((b + 1) * size).min(self.len()))
        })
    }

    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Shape of every image.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The labels, one for each image, if there are any.
    #[must_use]
    pub fn labels(&self) -> Option<&[usize]> {
        self.labels.as_deref()
    }
}

/// A view of consecutive images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    shape: Shape,
    first: usize,
    pixels: &'a [u8],
    labels: Option<&'a [usize]>,
}

impl<'a> Batch<'a> {
    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.values()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Shape of every image.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The number of its first image in the data set that it came from.
    #[must_use]
    pub fn first(&self) -> usize {
        self.first
    }

    /// The labels, one for each image, if there are any.
    #[must_use]
    pub fn labels(&self) -> Option<&'a [usize]> {
        self.labels
    }

    /// The pixels as they were read, `[image][channel][row][column]`.
    #[must_use]
    pub fn pixels(&self) -> &'a [u8] {
        self.pixels
    }

    /// The pixels divided by 255, so in 0..=1, `[image][channel][row][column]`: what a network is fed with.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        self.pixels
            .iter()
            .map(|&pixel| f64::from(pixel) / 255.0)
            .collect()
    }

    /// Images `range` of this view, counted from its own first one.
    ///
    /// # Panics
    /// If the range leaves the view.
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Batch<'a> {
        let values = self.shape.values();
        Batch {
            shape: self.shape,
            first: self.first + range.start,
            pixels: &self.pixels[range.start * values..range.end * values],
            labels: self.labels.map(|labels| &labels[range]),
        }
    }
}
