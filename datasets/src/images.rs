//! Images in memory in NCHW order, and views of consecutive ones.

use std::fmt;
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

impl fmt::Display for Shape {
    /// `3 x 32 x 32`: channels, rows, columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.channels, self.height, self.width)
    }
}

/// Pixels as they were read, `[image][channel][row][column]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pixels<'a> {
    /// Whole numbers 0..=255, of which 255 means 1.0.
    Bytes(&'a [u8]),
    /// Finite numbers that a network is fed with as they are: 0..=1 for pictures, anything for arrays.
    Values(&'a [f32]),
}

/// Pixels that are being collected: bytes as long as all are bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PixelBuffer {
    Bytes(Vec<u8>),
    Values(Vec<f32>),
}

impl PixelBuffer {
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        match self {
            Self::Bytes(all) => all.extend_from_slice(bytes),
            Self::Values(all) => all.extend(bytes.iter().map(|&byte| f32::from(byte) / 255.0)),
        }
    }

    pub(crate) fn push_values(&mut self, values: &[f32]) {
        if let Self::Bytes(bytes) = self {
            let bytes = std::mem::take(bytes);
            *self = Self::Values(Vec::with_capacity(bytes.len() + values.len()));
            self.push_bytes(&bytes);
        }
        if let Self::Values(all) = self {
            all.extend_from_slice(values);
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bytes(all) => all.len(),
            Self::Values(all) => all.len(),
        }
    }

    fn view(&self) -> Pixels<'_> {
        match self {
            Self::Bytes(all) => Pixels::Bytes(all),
            Self::Values(all) => Pixels::Values(all),
        }
    }
}

/// Images of one shape that lie in memory one after the other, with or without labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    shape: Shape,
    first: usize,
    pixels: PixelBuffer,
    labels: Option<Vec<usize>>,
}

impl Images {
    /// Images from bytes, of which 255 means 1.0, `[image][channel][row][column]`; `first` is the number of the first one in
    /// its data set.
    ///
    /// # Panics
    /// If the pixels are not a whole number of images, or if there are labels and not one for each image.
    #[must_use]
    pub fn new(shape: Shape, first: usize, pixels: Vec<u8>, labels: Option<Vec<usize>>) -> Self {
        Self::collected(shape, first, PixelBuffer::Bytes(pixels), labels)
    }

    /// Images from values that a network is fed with as they are, otherwise as [`Images::new`].
    ///
    /// # Panics
    /// As [`Images::new`].
    #[must_use]
    pub fn from_values(
        shape: Shape,
        first: usize,
        values: Vec<f32>,
        labels: Option<Vec<usize>>,
    ) -> Self {
        Self::collected(shape, first, PixelBuffer::Values(values), labels)
    }

    pub(crate) fn collected(
        shape: Shape,
        first: usize,
        pixels: PixelBuffer,
        labels: Option<Vec<usize>>,
    ) -> Self {
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
            pixels: self.pixels.view(),
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
        self.len() == 0
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    shape: Shape,
    first: usize,
    pixels: Pixels<'a>,
    labels: Option<&'a [usize]>,
}

impl<'a> Batch<'a> {
    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let values = match self.pixels {
            Pixels::Bytes(all) => all.len(),
            Pixels::Values(all) => all.len(),
        };
        values / self.shape.values()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// The pixels as they were read.
    #[must_use]
    pub fn pixels(&self) -> Pixels<'a> {
        self.pixels
    }

    /// What a network is fed with, `[image][channel][row][column]`: bytes divided by 255, so in 0..=1, values as they are.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match self.pixels {
            Pixels::Bytes(all) => all.iter().map(|&byte| f64::from(byte) / 255.0).collect(),
            Pixels::Values(all) => all.iter().map(|&value| f64::from(value)).collect(),
        }
    }

    /// As [`Batch::to_f64`], rounded to `f32`.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match self.pixels {
            Pixels::Bytes(all) => all.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
            Pixels::Values(all) => all.to_vec(),
        }
    }

    /// Images `range` of this view, counted from its own first one.
    ///
    /// # Panics
    /// If the range leaves the view.
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Batch<'a> {
        let values = self.shape.values();
        let part = range.start * values..range.end * values;
        Batch {
            shape: self.shape,
            first: self.first + range.start,
            pixels: match self.pixels {
                Pixels::Bytes(all) => Pixels::Bytes(&all[part]),
                Pixels::Values(all) => Pixels::Values(&all[part]),
            },
            labels: self.labels.map(|labels| &labels[range]),
        }
    }
}
