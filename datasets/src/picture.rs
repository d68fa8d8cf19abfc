//! One PNG or JPEG file as pixels of the wanted shape.
//!
//! Colours are converted only where nothing is lost: grey to three equal colours, three equal colours to grey, an opaque
//! alpha channel left out or added. Pictures of 8 bits become bytes; 16 bits are divided by 65535.

use std::fmt::Display;
use std::io::Cursor;
use std::path::Path;

use image::imageops::FilterType;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use crate::images::PixelBuffer;
use crate::open::{Fit, Limits};
use crate::text::shown;
use crate::{DataError, Shape, regular};

/// Bytes that a decoder may need besides the pixels.
const DECODER_BYTES: u64 = 16 << 20;
/// Bytes of a value in a decoder, at most: 16 bits, once read and once unpacked.
const DECODED_BYTES: u64 = 4;

const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];
/// Pictures by their names, of kinds that are not read.
const OTHER_PICTURES: [&str; 7] = ["bmp", "gif", "pgm", "ppm", "tif", "tiff", "webp"];

/// Whether the name is that of a PNG or JPEG file.
pub(crate) fn is_picture(path: &Path) -> bool {
    has_extension(path, &PICTURES)
}

/// Whether the name is that of a picture of a kind that is not read.
pub(crate) fn is_other_picture(path: &Path) -> bool {
    has_extension(path, &OTHER_PICTURES)
}

/// Whether the name ends in one of these, in any case.
pub(crate) fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    path.extension()
        .and_then(|found| found.to_str())
        .is_some_and(|found| wanted.iter().any(|name| found.eq_ignore_ascii_case(name)))
}

/// The shape of the picture in a file, by its header.
pub(crate) fn shape(path: &Path, limits: &Limits) -> Result<Shape, DataError> {
    let bytes = regular::read(path, limits.picture_bytes)?;
    let decoder = decoder(path, &bytes, limits)?;
    shape_of(path, &decoder, limits)
}

/// Checks the header of a file against the shape wanted.
pub(crate) fn check(
    path: &Path,
    wanted: Shape,
    fit: Fit,
    limits: &Limits,
) -> Result<(), DataError> {
    check_size(path, shape(path, limits)?, wanted, fit)
}

/// Appends the pixels of the picture in a file.
pub(crate) fn read(
    path: &Path,
    wanted: Shape,
    fit: Fit,
    limits: &Limits,
    pixels: &mut PixelBuffer,
) -> Result<(), DataError> {
    let bytes = regular::read(path, limits.picture_bytes)?;
    let decoder = decoder(path, &bytes, limits)?;
    let found = shape_of(path, &decoder, limits)?;
    check_size(path, found, wanted, fit)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(path, &error))?;

    let (width, height) = (wanted.width as u32, wanted.height as u32);
    if (image.width(), image.height()) != (width, height) {
        image = match fit {
            Fit::Exact => return Err(wrong_size(path, found, wanted)),
            Fit::Stretch => image.resize_exact(width, height, FilterType::Triangle),
            Fit::Crop => image.resize_to_fill(width, height, FilterType::Triangle),
        };
    }
    let colours = |expected| DataError::Colours {
        path: path.to_owned(),
        found: name(image.color()),
        expected,
    };
    let channels = usize::from(image.color().channel_count());
    if usize::from(image.color().bytes_per_pixel()) == channels {
        let planes = planes(image.as_bytes(), channels, wanted.channels, u8::MAX);
        pixels.push_bytes(&planes.ok_or_else(|| colours(wanted.channels))?);
    } else {
        let samples: Vec<u16> = image
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
            .collect();
        let planes = planes(&samples, channels, wanted.channels, u16::MAX);
        let planes = planes.ok_or_else(|| colours(wanted.channels))?;
        let values: Vec<f32> = planes.iter().map(|&v| f32::from(v) / 65535.0).collect();
        pixels.push_values(&values);
    }
    Ok(())
}

/// A decoder that has read the header.
fn decoder<'a>(
    path: &Path,
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<impl ImageDecoder + 'a, DataError> {
    let (format, ends) = match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => (ImageFormat::Png, png_ends(bytes)),
        Ok(ImageFormat::Jpeg) => (ImageFormat::Jpeg, jpeg_ends(bytes)),
        _ => return Err(damaged(path, &"its first bytes are of neither")),
    };
    if !ends {
        return Err(damaged(path, &"it has no end"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut memory = image::Limits::default();
    memory.max_alloc = Some(limits.image_values as u64 * DECODED_BYTES + DECODER_BYTES);
    reader.limits(memory);
    reader.into_decoder().map_err(|error| damaged(path, &error))
}

fn damaged(path: &Path, reason: &dyn Display) -> DataError {
    DataError::Damaged {
        path: path.to_owned(),
        format: "PNG or JPEG",
        reason: reason.to_string(),
    }
}

/// The shape that a header claims, if it is within the limits.
fn shape_of(path: &Path, decoder: &impl ImageDecoder, limits: &Limits) -> Result<Shape, DataError> {
    let (width, height) = decoder.dimensions();
    let channels = decoder.color_type().channel_count();
    let found = u64::from(width)
        .saturating_mul(height.into())
        .saturating_mul(channels.into());
    let limit = limits.image_values as u64;
    if found > limit {
        return Err(DataError::TooLarge {
            path: path.to_owned(),
            what: "values in one image",
            found,
            limit,
        });
    }
    Ok(Shape {
        channels: channels.into(),
        height: height as usize,
        width: width as usize,
    })
}

fn check_size(path: &Path, found: Shape, wanted: Shape, fit: Fit) -> Result<(), DataError> {
    let fits = (found.height, found.width) == (wanted.height, wanted.width);
    if fit == Fit::Exact && !fits {
        return Err(wrong_size(path, found, wanted));
    }
    Ok(())
}

fn wrong_size(path: &Path, found: Shape, expected: Shape) -> DataError {
    DataError::WrongShape {
        what: shown(path),
        found,
        expected,
    }
}

/// Whether a PNG file has its last chunk, with its checksum. The decoder does without.
fn png_ends(bytes: &[u8]) -> bool {
    const END: &[u8; 8] = b"IEND\xae\x42\x60\x82";
    bytes.windows(END.len()).any(|window| window == END)
}

/// Whether a JPEG file has its end marker. The decoder fills up what is cut off with grey.
fn jpeg_ends(bytes: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    const END: [u8; 2] = [0xff, 0xd9];
    let mut at = 2;
    // Segments before the first scan are skipped by their length: a preview in one of them has an end of its own.
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == SCAN {
            break;
        }
    }
    bytes
        .get(at..)
        .is_some_and(|scans| scans.windows(2).any(|pair| pair == END))
}

/// Interleaved samples of `found` channels as planes `[channel][pixel]` of `wanted` channels; `None` if that loses something.
/// Two and four channels have alpha, of which `opaque` is the largest value.
fn planes<T: Copy + PartialEq>(
    samples: &[T],
    found: usize,
    wanted: usize,
    opaque: T,
) -> Option<Vec<T>> {
    if !(1..=4).contains(&wanted) {
        return None;
    }
    let split = |channels: usize| {
        let alpha = channels.is_multiple_of(2);
        (channels - usize::from(alpha), alpha)
    };
    let ((colours, has_alpha), (wanted_colours, wants_alpha)) = (split(found), split(wanted));
    let pixels = || samples.chunks_exact(found);
    if has_alpha && !wants_alpha && pixels().any(|pixel| pixel[colours] != opaque) {
        return None;
    }
    if wanted_colours < colours
        && pixels().any(|pixel| pixel[..colours].iter().any(|value| *value != pixel[0]))
    {
        return None;
    }
    let mut planes = Vec::with_capacity(samples.len() / found * wanted);
    for channel in 0..wanted_colours {
        planes.extend(pixels().map(|pixel| pixel[channel.min(colours - 1)]));
    }
    if wants_alpha {
        planes.extend(pixels().map(|pixel| if has_alpha { pixel[colours] } else { opaque }));
    }
    Some(planes)
}

/// Colours of a decoded picture, for messages.
fn name(colours: ColorType) -> &'static str {
    match colours.channel_count() {
        1 => "grey",
        2 => "grey with transparent pixels",
        3 => "colours",
        _ => "colours with transparent pixels",
    }
}
