//! Files that somebody else made: damaged, cut off, lying about their size, or no files at all.
#![allow(clippy::unwrap_used)]

#[path = "support/common.rs"]
mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{fixture, npy, refusal, with_shape};
use datasets::{Cifar, DataError, Images, OpenOptions, Shape, Split, open};
use proptest::prelude::*;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// One golden file of each format and way of compression.
const FILES: [&str; 10] = [
    "f4.npy",
    "u1.npy",
    "plain.npz",
    "packed.npz",
    "u1.safetensors",
    "bf16.safetensors",
    "by_class/cat/0.png",
    "kinds/palette.png",
    "grey.jpeg",
    "colour.jpg",
];

/// Whether a format has checksums over what is read, so that any damage to pixels is noticed.
fn is_checked(name: &str) -> bool {
    name.ends_with(".png")
}

thread_local! {
    /// A folder for each thread of the tests: making one takes longer than reading a file.
    static DIR: TempDir = tempfile::tempdir().unwrap();
}

/// Writes `bytes` under the name of a golden file, opens and reads everything.
fn read_as(name: &str, bytes: &[u8]) -> Result<Images, DataError> {
    DIR.with(|dir| {
        let path = dir.path().join(Path::new(name).file_name().unwrap());
        fs::write(&path, bytes).unwrap();
        let data = open(&path, &OpenOptions::default())?;
        data.check_range(0, data.num_images().unwrap())?;
        data.read(0, data.num_images().unwrap())
    })
}

fn golden_file(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).unwrap()
}

#[test]
fn golden_files_are_read_from_anywhere() {
    for name in FILES {
        assert!(read_as(name, &golden_file(name)).is_ok(), "{name}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    for name in FILES {
        let whole = golden_file(name);
        for length in 0..whole.len() {
            let read = read_as(name, &whole[..length]);
            assert!(
                read.is_err(),
                "{name} cut off after {length} bytes of {}",
                whole.len()
            );
        }
    }
}

#[test]
fn bytes_that_follow_an_array_are_an_error() {
    for name in ["f4.npy", "u1.safetensors"] {
        let mut longer = golden_file(name);
        longer.push(0);
        assert!(
            matches!(read_as(name, &longer), Err(DataError::Damaged { .. })),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A panic or an abort fails the test; what is read after damage has the shape that was promised.
    #[test]
    fn prop_damaged_files_never_panic(
        file in 0..FILES.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_header: bool,
    ) {
        let name = FILES[file];
        let mut bytes = golden_file(name);
        let range = if in_header { bytes.len().min(160) } else { bytes.len() };
        let mut changed = false;
        for (at, value) in damage {
            let at = at.index(range);
            changed |= bytes[at] != value;
            bytes[at] = value;
        }
        match read_as(name, &bytes) {
            Ok(images) => {
                prop_assert!(!images.is_empty());
                prop_assert_eq!(images.view().to_f64().len(), images.len() * images.shape().values());
                prop_assert!(images.view().to_f64().iter().all(|value| value.is_finite()));
                if is_checked(name) && changed {
                    // Some bytes of a PNG file say nothing about pixels.
                    let original = read_as(name, &golden_file(name)).unwrap();
                    prop_assert_eq!(images, original);
                }
            }
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
        }
    }

    #[test]
    fn prop_foreign_bytes_are_errors(
        file in 0..FILES.len(),
        keep in 0usize..40,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let whole = golden_file(FILES[file]);
        let forged = [&whole[..keep], &bytes].concat();
        prop_assert!(read_as(FILES[file], &forged).is_err());
    }
}

/// Opens and reads a file that must be refused at once, whatever it claims.
fn refused_at_once(path: &Path, says: &str) {
    let begun = Instant::now();
    let error = refusal(path, &OpenOptions::default()).to_string();
    assert!(error.contains(says), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{says}: {:?}",
        begun.elapsed()
    );
}

#[test]
fn claims_beyond_the_file_are_refused_before_memory_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    for dims in [
        &[1 << 40, 3, 32, 32][..],
        &[1 << 22, 3, 1 << 20, 1 << 20],
        &[usize::MAX, 3, usize::MAX, 2],
        &[1, 1, usize::MAX, 0],
    ] {
        let path = write("claims.npy", &npy("<f8", dims, &[0; 64]));
        refused_at_once(&path, "claims.npy: found ");
    }
    for text in [
        r#"{"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,64]}}"#,
        r#"{"x":{"dtype":"F32","shape":[16,1,1,1],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"x":{"dtype":"F32","shape":[16,1,1,1],"data_offsets":[64,0]}}"#,
        r#"{"x":{"dtype":"F32","shape":[8,1,1,1],"data_offsets":[32,64]}}"#,
        r#"{"x":{"dtype":"F32","shape":[32,1,1,1],"data_offsets":[0,64]}}"#,
        &("[".repeat(100_000)),
        &(r#"{"x":"#.repeat(100_000)),
    ] {
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text.as_bytes());
        file.extend([0; 64]);
        let path = write("claims.safetensors", &file);
        refused_at_once(&path, "claims.safetensors: found damage");
    }
    for length in [u64::MAX, u64::MAX - 7, 1 << 40, 17] {
        let mut file = length.to_le_bytes().to_vec();
        file.extend([b' '; 16]);
        let path = write("header.safetensors", &file);
        refused_at_once(&path, "bytes in a file of 24");
    }
    let nested = format!("{{'shape': {}", "(".repeat(60_000));
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((nested.len() as u16).to_le_bytes());
    file.extend(nested.as_bytes());
    refused_at_once(&write("nested.npy", &file), "nested.npy: found damage");
}

/// A PNG header that claims these sides, with a correct checksum.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut png = golden_file("kinds/rgb.png");
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    png
}

#[test]
fn huge_pictures_are_refused_by_their_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.png");
    fs::write(&path, png_claiming(1 << 30, 1 << 30)).unwrap();
    refused_at_once(&path, "bomb.png: found ");
    // Within the limits, but the file ends too soon.
    fs::write(&path, png_claiming(4000, 4000)).unwrap();
    refused_at_once(&path, "bomb.png: found damage");
    let mut jpeg = golden_file("grey.jpeg");
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    let path = dir.path().join("bomb.jpg");
    fs::write(&path, jpeg).unwrap();
    refused_at_once(&path, "bomb.jpg: found 4294836225 values in one image");
}

/// An archive with this array, compressed as well as can be.
fn packed(path: &Path, array: &[u8]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    archive.start_file("images.npy", options).unwrap();
    archive.write_all(array).unwrap();
    archive.finish().unwrap();
}

#[test]
fn compressed_arrays_cannot_claim_more_than_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.npz");
    packed(
        &path,
        &npy("|u1", &[1000, 1, 32, 32], &vec![0; 1000 * 1024]),
    );
    assert!(
        open(&path, &OpenOptions::default())
            .unwrap()
            .read(999, 1)
            .is_ok()
    );

    // The size in the directory and the shape agree on more than there is.
    let small = npy("|u1", &[1000, 1, 32, 32], &[0; 5000]);
    packed(&path, &small);
    let mut file = fs::read(&path).unwrap();
    let claim = |file: &mut Vec<u8>, size: u32| {
        let entry = file
            .windows(4)
            .position(|four| four == b"PK\x01\x02")
            .unwrap();
        file[entry + 24..entry + 28].copy_from_slice(&size.to_le_bytes());
    };
    claim(&mut file, (small.len() + 1000 * 1024 - 5000) as u32);
    fs::write(&path, &file).unwrap();
    refused_at_once(&path, "claims more bytes than the file can hold");

    let array = npy("|u1", &[60, 1, 32, 32], &[0; 5000]);
    packed(&path, &array);
    let mut file = fs::read(&path).unwrap();
    claim(&mut file, (array.len() + 60 * 1024 - 5000) as u32);
    fs::write(&path, &file).unwrap();
    refused_at_once(&path, "bomb.npz: cannot be read");
}

#[test]
fn damage_in_an_archive_is_found_by_its_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.npz");
    let mut file = golden_file("plain.npz");
    let pixels = common::golden(&[1]);
    let at = file
        .windows(90)
        .position(|window| window == pixels)
        .unwrap();
    file[at] ^= 1;
    fs::write(&path, file).unwrap();
    let data = open(&path, &OpenOptions::default()).unwrap();
    let error = data.read(0, 4).unwrap_err().to_string();
    assert!(error.contains("damaged.npz: cannot be read"), "{error}");
    assert!(data.read(0, 1).is_ok());
    let error = data.read(3, 1).unwrap_err().to_string();
    assert!(error.contains("damaged.npz: cannot be read"), "{error}");
}

#[test]
fn archives_with_64_bit_counts_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.npz");
    let mut file = golden_file("plain.npz");
    let end = file
        .windows(4)
        .position(|four| four == b"PK\x05\x06")
        .unwrap();
    let mut locator = b"PK\x06\x07".to_vec();
    locator.extend([0; 16]);
    file.splice(end..end, locator);
    fs::write(&path, file).unwrap();
    refused_at_once(&path, "zip64 archive: save arrays beyond 2 GiB as .npy");
}

#[test]
fn sparse_files_are_not_read_to_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test_batch.bin");
    File::create(&path)
        .unwrap()
        .set_len(3073 * 20_000_000)
        .unwrap();
    let begun = Instant::now();
    let error = Cifar::open(dir.path(), Split::Test, None).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::TooLarge {
                found: 61_460_000_000,
                ..
            }
        ),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    for (name, says) in [
        ("sparse.png", "expected 1 to 67108864"),
        ("sparse.npz", "sparse.npz: found damage"),
        ("sparse.safetensors", "no safetensors header"),
        ("sparse.npy", "not NumPy's"),
    ] {
        let path = dir.path().join(name);
        File::create(&path).unwrap().set_len(60 << 30).unwrap();
        let begun = Instant::now();
        let error = refusal(&path, &OpenOptions::default()).to_string();
        assert!(
            error.contains(says) || name.ends_with("safetensors"),
            "{error}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["pipe.png", "pipe.npy", "pipe.npz", "pipe.safetensors"] {
        let path = dir.path().join(name);
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let error = refusal(&path, &OpenOptions::default());
        assert!(matches!(error, DataError::NotAFile { .. }), "{error}");
    }
    let path = dir.path().join("device.npy");
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let error = refusal(&path, &OpenOptions::default());
    assert!(matches!(error, DataError::NotAFile { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn names_cannot_move_the_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let class = dir.path().join("\u{1b}[2Jcat\n");
    fs::create_dir(&class).unwrap();
    fs::copy(fixture("kinds/rgb.png"), class.join("\u{7}.png")).unwrap();
    let data = open(dir.path(), &OpenOptions::default()).unwrap();
    assert_eq!(data.class_names().unwrap(), ["\\u{1b}[2Jcat\\n"]);
    let shape = Shape {
        channels: 1,
        height: 1,
        width: 1,
    };
    let error = refusal(dir.path(), &with_shape(shape)).to_string();
    assert!(
        error.contains("\\u{1b}[2Jcat\\n/\\u{7}.png: found images of 3 x 6 x 5"),
        "{error}"
    );

    let header = r#"{"\u001b[2J":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.push(0);
    let path = dir.path().join("x.safetensors");
    fs::write(&path, file).unwrap();
    let error = refusal(&path, &OpenOptions::default()).to_string();
    assert!(error.contains("array `\\u{1b}[2J`"), "{error}");
}

/// A file that shrinks after it was opened.
#[test]
fn files_that_shrink_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["u1.npy", "plain.npz", "u1.safetensors"] {
        let path = dir.path().join(name);
        fs::copy(fixture(name), &path).unwrap();
        let data = open(&path, &OpenOptions::default()).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(200)
            .unwrap();
        let error = data.read(0, 4).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}: ")), "{error}");
    }
}
