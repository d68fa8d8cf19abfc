//! Reading the official layouts, and saying what is wrong with files that are something else.
#![allow(clippy::unwrap_used)]

#[path = "support/common.rs"]
mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use common::bytes;
use datasets::{Cifar, CifarVariant, DataError, Dataset, OpenOptions, Shape, Split, open};
use proptest::prelude::*;
use tempfile::TempDir;

/// Pixel `at` of image `i` in these files.
fn pixel(i: usize, at: usize) -> u8 {
    (i * 31 + at * 7 + at / 1024) as u8
}

/// Writes images `first .. first + count`; labels count up.
fn write(path: &Path, variant: CifarVariant, first: usize, count: usize) {
    let mut bytes = Vec::new();
    for i in first..first + count {
        if variant == CifarVariant::Cifar100 {
            bytes.push((i % 20) as u8);
        }
        bytes.push((i % variant.num_classes()) as u8);
        bytes.extend((0..3072).map(|at| pixel(i, at)));
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn folder_with(files: &[(&str, CifarVariant, usize)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, variant, count) in files {
        write(&dir.path().join(name), *variant, 0, *count);
    }
    dir
}

use CifarVariant::{Cifar10, Cifar100};

#[test]
fn cifar_reads_both_layouts_from_the_folder_or_its_parent() {
    let dir = folder_with(&[
        ("c10/test_batch.bin", Cifar10, 25),
        ("c100/test.bin", Cifar100, 130),
    ]);
    for (variant, folder, count) in [(Cifar10, "c10", 25), (Cifar100, "c100", 130)] {
        for (dir, wanted) in [
            (dir.path().join(folder), None),
            (dir.path().join(folder), Some(variant)),
            (dir.path().to_owned(), Some(variant)),
        ] {
            let data = Cifar::open(dir, Split::Test, wanted).unwrap();
            assert_eq!(
                (data.variant(), data.num_images(), data.num_classes()),
                (variant, Some(count), Some(variant.num_classes()))
            );
            let images = data.read(3, count - 3).unwrap();
            assert_eq!((images.len(), images.view().first()), (count - 3, 3));
            for i in [0, 7, count - 4] {
                assert_eq!(images.labels().unwrap()[i], (i + 3) % variant.num_classes());
                let image = images.view().range(i..i + 1);
                assert!(
                    bytes(image)
                        .iter()
                        .enumerate()
                        .all(|(at, &p)| p == pixel(i + 3, at))
                );
                assert_eq!(image.to_f64()[1025], f64::from(pixel(i + 3, 1025)) / 255.0);
            }
        }
    }
}

#[test]
fn cifar_training_files_are_one_sequence() {
    let dir = tempfile::tempdir().unwrap();
    for (k, count) in [4, 3, 5, 2, 6].into_iter().enumerate() {
        let first = [0, 4, 7, 12, 14][k];
        write(
            &dir.path().join(format!("data_batch_{}.bin", k + 1)),
            Cifar10,
            first,
            count,
        );
    }
    let data = Cifar::open(dir.path(), Split::Train, None).unwrap();
    assert_eq!(data.num_images(), Some(20));
    for (offset, count) in [(0, 20), (4, 3), (3, 10), (19, 1), (20, 0), (6, 7)] {
        let images = data.read(offset, count).unwrap();
        assert_eq!(
            images.labels().unwrap(),
            (offset..offset + count).map(|i| i % 10).collect::<Vec<_>>()
        );
        for i in 0..count {
            assert_eq!(
                bytes(images.view().range(i..i + 1))[2000],
                pixel(offset + i, 2000)
            );
        }
    }

    fs::remove_file(dir.path().join("data_batch_3.bin")).unwrap();
    let error = Cifar::open(dir.path(), Split::Train, None).unwrap_err();
    assert!(matches!(error, DataError::MissingFile { .. }));
    assert!(
        error
            .to_string()
            .contains("data_batch_3.bin: found no such file; expected one of the 5 files"),
        "{error}"
    );
}

#[test]
fn cifar_range_beyond_the_end_is_refused() {
    let dir = folder_with(&[("test_batch.bin", Cifar10, 25)]);
    let data = Cifar::open(dir.path(), Split::Test, None).unwrap();
    for (offset, count) in [(0, 26), (20, 6), (25, 1), (usize::MAX, 1), (26, 0)] {
        let error = data.read(offset, count).unwrap_err();
        assert!(matches!(error, DataError::OutOfRange { available: 25, .. }));
    }
    assert_eq!(
        data.read(20, 6).unwrap_err().to_string(),
        "CIFAR-10 test split: found 25 images; expected at least 26 (6 from number 20 on)"
    );
}

#[test]
fn cifar_truncated_and_foreign_sizes_are_refused() {
    let dir = folder_with(&[("test_batch.bin", Cifar10, 25)]);
    let path = dir.path().join("test_batch.bin");
    let whole = fs::read(&path).unwrap();
    for size in [0, 1, 3072, 3074, 25 * 3073 - 1] {
        fs::write(&path, &whole[..size]).unwrap();
        let error = Cifar::open(dir.path(), Split::Test, None).unwrap_err();
        let DataError::FileSize {
            found_bytes,
            record_bytes: 3073,
            ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!(found_bytes, size as u64);
    }
    // The other data set under this one's name.
    write(&path, Cifar100, 0, 25);
    let error = Cifar::open(dir.path(), Split::Test, None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("found 76850 bytes; expected a positive multiple of 3073"),
        "{error}"
    );
}

#[test]
fn cifar_foreign_labels_are_refused_on_opening() {
    let dir = folder_with(&[
        ("c10/test_batch.bin", Cifar10, 25),
        ("c100/test.bin", Cifar100, 25),
    ]);
    for (variant, file, record, at, label, says) in [
        (
            Cifar10,
            "c10/test_batch.bin",
            24,
            0,
            10,
            "found label 10 in record 24; expected a number below 10",
        ),
        (
            Cifar100,
            "c100/test.bin",
            0,
            0,
            20,
            "found coarse label 20 in record 0; expected a number below 20",
        ),
        (
            Cifar100,
            "c100/test.bin",
            13,
            1,
            100,
            "found label 100 in record 13; expected a number below 100",
        ),
    ] {
        let path = dir.path().join(file);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[record * variant.record_bytes() + at] = label;
        fs::write(&path, damaged).unwrap();
        let error = Cifar::open(dir.path(), Split::Test, Some(variant)).unwrap_err();
        assert!(matches!(error, DataError::Label { .. }));
        assert!(error.to_string().contains(says), "{error}");
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn cifar_folder_is_found_or_the_error_says_what_is_there() {
    let dir = folder_with(&[
        ("a/test_batch.bin", Cifar10, 2),
        ("b/test.bin", Cifar100, 2),
    ]);
    let open = |path: &str, split, wanted| {
        Cifar::open(dir.path().join(path), split, wanted).map(|data| data.variant())
    };
    let message = |path, split, wanted| open(path, split, wanted).unwrap_err().to_string();

    assert_eq!(open("", Split::Test, Some(Cifar100)).unwrap(), Cifar100);
    assert!(
        message("", Split::Test, None).contains("found CIFAR-10 in "),
        "{}",
        message("", Split::Test, None)
    );
    assert!(
        message("a", Split::Test, Some(Cifar100)).ends_with("found CIFAR-10; expected CIFAR-100")
    );
    assert!(message("c", Split::Test, None).ends_with("found nothing there; expected a folder with test_batch.bin (CIFAR-10) or test.bin (CIFAR-100)"));
    assert!(
        message("a/test_batch.bin", Split::Test, None).contains("found a file; expected a folder")
    );
    assert!(
        message("", Split::Train, Some(Cifar100))
            .ends_with("expected train.bin (CIFAR-100), there or in a folder in it")
    );
}

#[test]
fn open_finds_cifar_by_the_number_of_classes() {
    let dir = folder_with(&[
        ("a/test_batch.bin", Cifar10, 2),
        ("b/test.bin", Cifar100, 3),
    ]);
    let open = |path: &str, classes: Option<usize>, shape| {
        let options = OpenOptions {
            classes: classes.map(|count| (0..count).map(|c| c.to_string()).collect()),
            shape,
            ..OpenOptions::default()
        };
        open(dir.path().join(path), &options)
    };
    for (classes, images) in [(10, 2), (100, 3)] {
        let data = open("", Some(classes), Some(Shape::CIFAR)).unwrap();
        assert_eq!(
            (data.num_classes(), data.num_images()),
            (Some(classes), Some(images))
        );
    }
    assert_eq!(open("b", None, None).unwrap().num_images(), Some(3));
    let message = |path, classes, shape| open(path, classes, shape).err().unwrap().to_string();
    assert!(message("a", Some(100), None).ends_with("found CIFAR-10; expected CIFAR-100"));
    assert_eq!(
        message("a", Some(7), None),
        "CIFAR-10 test split: found 10 classes; expected 7 classes"
    );
    let small = Shape {
        height: 28,
        ..Shape::CIFAR
    };
    assert_eq!(
        message("a", None, Some(small)),
        "CIFAR-10 test split: found images of 3 x 32 x 32; expected images of 3 x 28 x 32"
    );
}

#[test]
fn batches_cover_all_images_once() {
    let dir = folder_with(&[("test_batch.bin", Cifar10, 25)]);
    let images = Cifar::open(dir.path(), Split::Test, None)
        .unwrap()
        .read(2, 21)
        .unwrap();
    for (size, lens) in [
        (1, vec![1; 21]),
        (8, vec![8, 8, 5]),
        (7, vec![7; 3]),
        (21, vec![21]),
        (512, vec![21]),
    ] {
        let batches: Vec<_> = images.batches(NonZeroUsize::new(size).unwrap()).collect();
        assert_eq!(
            batches.iter().map(|batch| batch.len()).collect::<Vec<_>>(),
            lens
        );
        assert_eq!(
            batches
                .iter()
                .flat_map(|batch| bytes(*batch))
                .collect::<Vec<_>>(),
            bytes(images.view())
        );
        assert_eq!(
            batches
                .iter()
                .flat_map(|batch| batch.labels().unwrap())
                .copied()
                .collect::<Vec<_>>(),
            images.labels().unwrap()
        );
        for (k, batch) in batches.iter().enumerate() {
            assert_eq!(batch.first(), 2 + k * size);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn prop_cifar_never_panics_on_foreign_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64), records in 0usize..3, hundred: bool) {
        let variant = if hundred { Cifar100 } else { Cifar10 };
        let dir = folder_with(&[(variant.file_names(Split::Test)[0], variant, records)]);
        let path = dir.path().join(variant.file_names(Split::Test)[0]);
        let mut whole = fs::read(&path).unwrap();
        whole.extend(&bytes);
        fs::write(&path, &whole).unwrap();
        match Cifar::open(dir.path(), Split::Test, None) {
            Ok(data) => {
                prop_assert!(bytes.is_empty() && records > 0);
                prop_assert_eq!(data.read(0, records).unwrap().len(), records);
            }
            Err(error) => {
                let size_is_told = matches!(error, DataError::FileSize { .. });
                prop_assert!(size_is_told && (!bytes.is_empty() || records == 0));
            }
        }
    }
}
