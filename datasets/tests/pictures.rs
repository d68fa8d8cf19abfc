//! PNG and JPEG files written by Pillow: classes, order, colours, sizes.
#![allow(clippy::unwrap_used)]

#[path = "support/common.rs"]
mod common;

use std::fs;

use common::{SHAPE, bytes, fixture, golden, open_fixture, refusal, with_shape};
use datasets::{DataError, Fit, Limits, OpenOptions, Pixels, Shape, Split, open};
use tempfile::TempDir;

fn with_classes(names: &[&str]) -> OpenOptions {
    OpenOptions {
        classes: Some(names.iter().map(|&name| name.to_owned()).collect()),
        ..OpenOptions::default()
    }
}

/// A folder with copies of golden pictures under these names.
fn copies(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in files {
        let to = dir.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixture(from), to).unwrap();
    }
    dir
}

#[test]
fn folders_in_sorted_order_are_the_classes() {
    let data = open_fixture("by_class", &OpenOptions::default());
    assert_eq!((data.shape(), data.num_images()), (SHAPE, Some(4)));
    assert_eq!(data.num_classes(), Some(2));
    assert_eq!(data.class_names().unwrap(), ["cat", "dog"]);
    let name = data.image_name(1).unwrap();
    assert!(name.ends_with("by_class/cat/2.png"), "{name}");
    assert_eq!(data.image_name(4), None);
    data.check_range(0, 4).unwrap();
    let images = data.read(0, 4).unwrap();
    assert_eq!(images.labels().unwrap(), [0, 0, 1, 1]);
    assert_eq!(bytes(images.view()), golden(&[0, 2, 1, 3]));
    let some = data.read(1, 2).unwrap();
    assert_eq!(
        (bytes(some.view()), some.labels().unwrap()),
        (golden(&[2, 1]), &[0, 1][..])
    );
}

#[test]
fn classes_that_are_wanted_are_found_by_name() {
    let data = open_fixture("by_class", &with_classes(&["dog", "bird", "cat"]));
    assert_eq!(data.read(0, 4).unwrap().labels().unwrap(), [2, 2, 0, 0]);
    assert_eq!(data.class_names().unwrap(), ["dog", "bird", "cat"]);
    // No name is known: the sorted order counts.
    let data = open_fixture("by_class", &with_classes(&["Hund", "Katze"]));
    assert_eq!(data.read(0, 4).unwrap().labels().unwrap(), [0, 0, 1, 1]);

    let refused = |names| refusal(&fixture("by_class"), &with_classes(names));
    let error = refused(&["Hund", "Katze", "Maus"]);
    assert!(
        matches!(
            error,
            DataError::WrongClasses {
                found: 2,
                expected: 3,
                ..
            }
        ),
        "{error}"
    );
    let error = refused(&["cat", "Hund"]);
    assert!(
        matches!(&error, DataError::ForeignClass { dir, .. } if dir.ends_with("dog")),
        "{error}"
    );
}

#[test]
fn flat_folders_and_files_have_no_labels() {
    let dir = copies(&[
        ("by_class/cat/0.png", "b.PNG"),
        ("by_class/dog/1.png", "a.png"),
        ("by_class/dog/3.png", "B.png"),
        ("plain.npz", ".hidden.npz"),
        ("make.py", "notes.txt"),
    ]);
    let data = open(dir.path(), &with_shape(SHAPE)).unwrap();
    let images = data.read(0, 3).unwrap();
    assert_eq!((images.labels(), data.num_classes()), (None, None));
    assert_eq!(bytes(images.view()), golden(&[3, 1, 0]));
    let one = open_fixture("by_class/dog/3.png", &OpenOptions::default());
    assert_eq!(bytes(one.read(0, 1).unwrap().view()), golden(&[3]));
}

#[test]
fn files_of_folders_in_a_class_come_folder_by_folder() {
    let dir = copies(&[
        ("by_class/cat/0.png", "class/z.png"),
        ("by_class/dog/1.png", "class/a/2.png"),
        ("by_class/cat/2.png", "class/a/1.png"),
        ("by_class/dog/3.png", "class/b.png"),
    ]);
    let data = open(dir.path(), &OpenOptions::default()).unwrap();
    assert_eq!(
        bytes(data.read(0, 4).unwrap().view()),
        golden(&[3, 0, 2, 1])
    );
}

#[test]
fn split_is_a_folder_where_folders_are_called_so() {
    let dir = copies(&[
        ("by_class/cat/0.png", "train/cat/0.png"),
        ("by_class/cat/2.png", "val/cat/2.png"),
        ("by_class/dog/1.png", "val/dog/1.png"),
    ]);
    let open = |split| {
        let options = OpenOptions {
            split,
            ..OpenOptions::default()
        };
        open(dir.path(), &options).unwrap()
    };
    assert_eq!(open(Split::Train).class_names().unwrap(), ["cat"]);
    let test = open(Split::Test);
    assert_eq!(bytes(test.read(0, 2).unwrap().view()), golden(&[2, 1]));
    fs::remove_dir_all(dir.path().join("train")).unwrap();
    let options = OpenOptions {
        split: Split::Train,
        ..OpenOptions::default()
    };
    let error = refusal(dir.path(), &options).to_string();
    assert!(
        error.contains("expected a folder for the training split"),
        "{error}"
    );
}

#[test]
fn colours_are_converted_only_if_nothing_is_lost() {
    let shape = |channels| Shape { channels, ..SHAPE };
    let read = |name: &str, channels| {
        let path = fixture("kinds").join(name);
        open(path, &with_shape(shape(channels))).and_then(|data| data.read(0, 1))
    };
    let rgb = golden(&[0]);
    let grey = &rgb[..30];
    let opaque = [255; 30];
    for (name, channels, expected) in [
        ("rgb.png", 3, rgb.clone()),
        ("palette.png", 3, rgb.clone()),
        ("opaque.png", 3, rgb.clone()),
        ("rgb.png", 4, [&rgb[..], &opaque].concat()),
        ("clear.png", 4, [&rgb[..], grey].concat()),
        ("grey.png", 1, grey.to_vec()),
        ("grey.png", 2, [grey, &opaque].concat()),
        ("grey.png", 3, [grey, grey, grey].concat()),
        ("grey_as_rgb.png", 1, grey.to_vec()),
    ] {
        assert_eq!(
            bytes(read(name, channels).unwrap().view()),
            expected,
            "{name}"
        );
    }
    for (name, channels, says) in [
        ("rgb.png", 1, "rgb.png: found colours; expected 1 channels"),
        (
            "clear.png",
            3,
            "found colours with transparent pixels; expected 3 channels",
        ),
        ("rgb.png", 5, "expected 5 channels"),
    ] {
        let error = read(name, channels).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    // Black and white, dithered by Pillow.
    let bits = read("bits.png", 1).unwrap();
    assert!(bytes(bits.view()).iter().all(|&p| p == 0 || p == 255));
    // 16 bits: golden pixels times 257, of 65535.
    let wide = read("grey16.png", 1).unwrap();
    assert!(matches!(wide.view().pixels(), Pixels::Values(_)));
    let expected: Vec<_> = grey.iter().map(|&p| f32::from(p) / 255.0).collect();
    assert_eq!(wide.view().to_f32(), expected);
}

#[test]
fn pictures_of_8_and_16_bits_are_read_together() {
    let dir = copies(&[("kinds/grey.png", "a.png"), ("kinds/grey16.png", "b.png")]);
    let images = open(dir.path(), &OpenOptions::default())
        .unwrap()
        .read(0, 2)
        .unwrap();
    let values = images.view().to_f64();
    assert_eq!(values[..30], values[30..]);
    assert_eq!(images.view().range(1..2).to_f64(), values[30..]);
}

#[test]
fn jpeg_pixels_are_those_of_pillow_nearly() {
    for (picture, array) in [
        ("grey.jpeg", "grey_jpeg.npy"),
        ("colour.jpg", "colour_jpg.npy"),
    ] {
        let found = open_fixture(picture, &OpenOptions::default());
        let expected = open_fixture(array, &OpenOptions::default());
        assert_eq!(found.shape(), expected.shape());
        let (found, expected) = (found.read(0, 1).unwrap(), expected.read(0, 1).unwrap());
        // Decoders may round the transform and the colours differently.
        for (a, b) in bytes(found.view()).iter().zip(bytes(expected.view())) {
            assert!(a.abs_diff(b) <= 2, "{picture}: {a} and {b}");
        }
    }
}

#[test]
fn picture_of_another_size_is_named_or_resized() {
    let shape = Shape {
        channels: 3,
        height: 12,
        width: 10,
    };
    let options = |fit| OpenOptions {
        fit,
        ..with_shape(shape)
    };
    let path = fixture("kinds/rgb.png");
    let error = refusal(&path, &options(Fit::Exact)).to_string();
    assert!(
        error.ends_with("rgb.png: found images of 3 x 6 x 5; expected images of 3 x 12 x 10"),
        "{error}"
    );

    let stretched = open(&path, &options(Fit::Stretch))
        .unwrap()
        .read(0, 1)
        .unwrap();
    let pillow = open_fixture("stretched.npy", &OpenOptions::default())
        .read(0, 1)
        .unwrap();
    for (a, b) in bytes(stretched.view()).iter().zip(bytes(pillow.view())) {
        assert!(a.abs_diff(b) <= 1, "{a} and {b}");
    }
    // Cropped from 6 x 5 to 6 x 3: the middle columns, nothing resized.
    let middle = OpenOptions {
        fit: Fit::Crop,
        ..with_shape(Shape { width: 3, ..SHAPE })
    };
    let cropped = open(&path, &middle).unwrap().read(0, 1).unwrap();
    let expected: Vec<_> = golden(&[0])
        .chunks(5)
        .flat_map(|row| row[1..4].to_vec())
        .collect();
    assert_eq!(bytes(cropped.view()), expected);
}

#[test]
fn check_range_finds_the_file_that_is_wrong_before_pixels_are_read() {
    let dir = copies(&[
        ("by_class/cat/0.png", "a.png"),
        ("grey.jpeg", "b.png"),
        ("by_class/cat/0.png", "c.png"),
    ]);
    let data = open(dir.path(), &OpenOptions::default()).unwrap();
    data.check_range(0, 1).unwrap();
    data.check_range(2, 1).unwrap();
    let error = data.check_range(0, 3).unwrap_err().to_string();
    assert!(
        error.contains("b.png: found images of 1 x 16 x 16; expected images of 3 x 6 x 5"),
        "{error}"
    );
    assert!(matches!(
        data.check_range(2, 2).unwrap_err(),
        DataError::OutOfRange { .. }
    ));
}

#[test]
fn folders_that_could_mean_several_things_are_refused() {
    let png = "by_class/cat/0.png";
    for (files, says) in [
        (
            &[(png, "a.png"), (png, "class/a.png")][..],
            "found pictures and folders",
        ),
        (
            &[(png, "a.png"), ("u1.npy", "a.npy")],
            "found pictures and an array file",
        ),
        (&[("u1.npy", "a.npy"), ("u1.npy", "b.npy")], "a.npy and "),
        (
            &[(png, "class/a.png"), ("make.py", "other/make.py")],
            "other: found no PNG or JPEG file",
        ),
        (
            &[("kinds/rgb.gif", "a.gif")],
            "a.gif: found a file of a kind that is not read",
        ),
        (&[("make.py", "make.py")], "found no data set in it"),
    ] {
        let dir = copies(files);
        let error = refusal(dir.path(), &OpenOptions::default()).to_string();
        assert!(error.contains(says), "{error}");
    }
    let error = refusal(&fixture("make.py"), &OpenOptions::default());
    assert!(matches!(error, DataError::Unsupported { .. }), "{error}");
    let error = refusal(&fixture("nothing"), &OpenOptions::default()).to_string();
    assert!(
        error.contains("nothing: found nothing there; expected a folder with")
            || error.contains("found nothing there; expected CIFAR's binary files"),
        "{error}"
    );
}

#[test]
fn limits_are_kept() {
    let limits = |limits| OpenOptions {
        limits,
        ..OpenOptions::default()
    };
    let usual = Limits::default();
    for (limited, what) in [
        (Limits { images: 1, ..usual }, "files and folders"),
        (
            Limits {
                image_values: 89,
                ..usual
            },
            "values in one image",
        ),
        (
            Limits {
                picture_bytes: 60,
                ..usual
            },
            "bytes",
        ),
    ] {
        let error = refusal(&fixture("by_class"), &limits(limited));
        assert!(
            matches!(&error, DataError::TooLarge { what: found, .. } if *found == what),
            "{error}"
        );
    }
    let error = refusal(
        &fixture("by_class"),
        &limits(Limits {
            classes: 1,
            ..usual
        }),
    );
    assert!(
        matches!(
            error,
            DataError::WrongClasses {
                found: 2,
                expected: 1,
                ..
            }
        ),
        "{error}"
    );
    for (limited, what) in [
        (Limits { images: 1, ..usual }, "images"),
        (
            Limits {
                image_values: 89,
                ..usual
            },
            "values in one image",
        ),
        (
            Limits {
                unpacked_bytes: 200,
                ..usual
            },
            "bytes in one compressed array",
        ),
    ] {
        let error = refusal(&fixture("packed.npz"), &limits(limited));
        assert!(
            matches!(&error, DataError::TooLarge { what: found, .. } if *found == what),
            "{error}"
        );
    }
}

/// A folder in itself by a link is not walked for ever.
#[cfg(unix)]
#[test]
fn links_in_a_circle_end() {
    let dir = copies(&[("by_class/cat/0.png", "class/0.png")]);
    std::os::unix::fs::symlink(dir.path().join("class"), dir.path().join("class/again")).unwrap();
    let error = refusal(dir.path(), &OpenOptions::default()).to_string();
    assert!(error.contains("folders above it in its class"), "{error}");
}
