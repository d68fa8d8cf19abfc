//! Readers as functions of a file's bytes: the entry points of fuzzing, and what the corpus is replayed by.

use std::fs;
use std::path::{Path, PathBuf};

use datasets::{
    Cifar, CifarVariant, DataError, Dataset, Fit, Images, Limits, OpenOptions, Shape, Split, open,
};
use flate2::Crc;
use tempfile::TempDir;

/// Whether the bytes were read.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of the folder that their inputs are in.
pub const TARGETS: [(&str, Target); 5] = [
    ("cifar", fuzz_cifar),
    ("picture", fuzz_picture),
    ("npy", fuzz_npy),
    ("npz", fuzz_npz),
    ("safetensors_images", fuzz_safetensors),
];

/// What the corpus begins with: golden files, by target.
#[allow(dead_code, reason = "the fuzzer reads them from the corpus")]
pub fn seeds() -> Vec<(&'static str, &'static str)> {
    let of = |target, files: &[&'static str]| -> Vec<(&'static str, &'static str)> {
        files.iter().map(|file| (target, *file)).collect()
    };
    [
        of(
            "picture",
            &[
                "colour.jpg",
                "grey.jpeg",
                "kinds/bits.png",
                "kinds/clear.png",
                "kinds/grey.png",
                "kinds/grey16.png",
                "kinds/opaque.png",
                "kinds/palette.png",
                "kinds/rgb.png",
            ],
        ),
        of("cifar", &["cifar10.bin", "cifar100.bin"]),
        of("npy", &["f2.npy", "f4.npy", "i8.npy", "nhwc.npy", "u1.npy"]),
        of("npz", &["packed.npz", "plain.npz"]),
        of(
            "safetensors_images",
            &["bf16.safetensors", "f16.safetensors", "u1.safetensors"],
        ),
    ]
    .concat()
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../datasets/tests/fixtures")
        .join(name)
}

thread_local! {
    /// A folder for each thread of the tests: making one takes longer than reading a file.
    static DIR: TempDir = tempfile::tempdir().unwrap();
}

/// Small enough that what goes beyond them is seen in the memory that the fuzzer allows.
const LIMITS: Limits = Limits {
    images: 1 << 12,
    image_values: 1 << 18,
    picture_bytes: 1 << 20,
    unpacked_bytes: 1 << 22,
    classes: 1 << 10,
};

/// Reads the first images of a file of this name, of any shape and fitted to one.
fn read_as(name: &str, bytes: &[u8]) -> bool {
    let path = DIR.with(|dir| dir.path().join(name));
    fs::write(&path, bytes).unwrap();
    let shape = Shape {
        channels: 3,
        height: 4,
        width: 7,
    };
    let mut was_read = false;
    for (shape, fit) in [(None, Fit::Exact), (Some(shape), Fit::Crop)] {
        let options = OpenOptions {
            shape,
            fit,
            limits: LIMITS,
            ..OpenOptions::default()
        };
        let read = open(&path, &options).and_then(|data| {
            let count = data.num_images().unwrap_or(0).min(3);
            data.check_range(0, count)?;
            data.read(0, count)
        });
        was_read |= judged(read);
    }
    was_read
}

/// Whether images were read; they or the error are as they should be.
fn judged(read: Result<Images, DataError>) -> bool {
    match &read {
        Ok(images) => {
            let values = images.view().to_f64();
            assert_eq!(values.len(), images.len() * images.shape().values());
            assert!(images.shape().values() <= LIMITS.image_values);
            assert!(values.iter().all(|value| value.is_finite()));
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
    read.is_ok()
}

/// As the test split of each of the two data sets. Labels of all images are checked, three are read.
pub fn fuzz_cifar(bytes: &[u8]) -> bool {
    let folder = DIR.with(|dir| dir.path().join("cifar"));
    fs::create_dir_all(&folder).unwrap();
    let mut was_read = false;
    for variant in [CifarVariant::Cifar10, CifarVariant::Cifar100] {
        let path = folder.join(variant.file_names(Split::Test)[0]);
        fs::write(&path, bytes).unwrap();
        let read = Cifar::open(&folder, Split::Test, Some(variant)).and_then(|data| {
            let count = data.num_images().unwrap_or(0);
            data.read(count.saturating_sub(3), count.min(3))
        });
        if let Ok(images) = &read {
            assert_eq!(bytes.len() % variant.record_bytes(), 0);
            let labels = images.labels().unwrap_or_default();
            assert!(labels.iter().all(|label| *label < variant.num_classes()));
        }
        was_read |= judged(read);
        fs::remove_file(&path).unwrap();
    }
    was_read
}

/// As it is, and once more with right checksums of the chunks: no mutation would get past them.
pub fn fuzz_picture(bytes: &[u8]) -> bool {
    let was_read = read_as("picture.png", bytes);
    if bytes.starts_with(b"\x89PNG") {
        read_as("picture.png", &with_checksums(bytes));
    }
    was_read
}

pub fn fuzz_npy(bytes: &[u8]) -> bool {
    read_as("images.npy", bytes)
}

pub fn fuzz_npz(bytes: &[u8]) -> bool {
    read_as("images.npz", bytes)
}

pub fn fuzz_safetensors(bytes: &[u8]) -> bool {
    read_as("images.safetensors", bytes)
}

/// A PNG file with the checksums that belong to its chunks, as far as their lengths lead.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 8;
    while let Some(length) = out.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let end = at + 8 + length;
        if out.len() < end + 4 {
            break;
        }
        let mut crc = Crc::new();
        crc.update(&out[at + 4..end]);
        out[end..end + 4].copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
    out
}
