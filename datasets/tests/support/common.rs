//! The golden files and what is in them; see `fixtures/make.py`.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use datasets::{Batch, DataError, Dataset, OpenOptions, Pixels, Shape, open};

/// Shape of the golden arrays, of which there are four images.
pub const SHAPE: Shape = Shape {
    channels: 3,
    height: 6,
    width: 5,
};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

pub fn open_fixture(name: &str, options: &OpenOptions) -> Box<dyn Dataset> {
    open(fixture(name), options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn refusal(path: &Path, options: &OpenOptions) -> DataError {
    let opened = open(path, options);
    match opened.and_then(|data| data.read(0, data.num_images().unwrap())) {
        Ok(_) => panic!("{} was read", path.display()),
        Err(error) => error,
    }
}

pub fn with_shape(shape: Shape) -> OpenOptions {
    OpenOptions {
        shape: Some(shape),
        ..OpenOptions::default()
    }
}

/// The golden pixels of images `numbers`, `[image][channel][row][column]`.
pub fn golden(numbers: &[usize]) -> Vec<u8> {
    let mut pixels = Vec::new();
    for n in numbers {
        for c in 0..SHAPE.channels {
            for y in 0..SHAPE.height {
                pixels.extend(
                    (0..SHAPE.width).map(|x| ((37 * n + 11 * c + 5 * y + 3 * x) % 128) as u8),
                );
            }
        }
    }
    pixels
}

pub fn bytes(batch: Batch<'_>) -> Vec<u8> {
    match batch.pixels() {
        Pixels::Bytes(bytes) => bytes.to_vec(),
        Pixels::Values(_) => panic!("found values, expected bytes"),
    }
}

/// A `.npy` file with this number type, shape and bytes.
pub fn npy(description: &str, dims: &[usize], values: &[u8]) -> Vec<u8> {
    let dims: String = dims.iter().map(|side| format!("{side}, ")).collect();
    let header =
        format!("{{'descr': '{description}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(values);
    file
}
