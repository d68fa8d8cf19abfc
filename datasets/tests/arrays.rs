//! Arrays written by NumPy and safetensors: every number type, order and name that is promised, and what is refused.
#![allow(clippy::unwrap_used)]

#[path = "support/common.rs"]
mod common;

use std::fs;

use common::{SHAPE, bytes, fixture, golden, npy, open_fixture, refusal, with_shape};
use datasets::{DataError, Layout, OpenOptions, Shape, Split, open};

#[test]
fn integers_of_every_type_are_bytes() {
    for name in ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "big_i8"] {
        let data = open_fixture(&format!("{name}.npy"), &OpenOptions::default());
        assert_eq!(
            (data.shape(), data.num_images()),
            (SHAPE, Some(4)),
            "{name}"
        );
        assert_eq!((data.num_classes(), data.class_names()), (None, None));
        let images = data.read(0, 4).unwrap();
        assert_eq!(bytes(images.view()), golden(&[0, 1, 2, 3]), "{name}");
        assert_eq!(images.labels(), None);
    }
}

#[test]
fn floating_point_numbers_of_every_type_are_taken_as_they_are() {
    for file in [
        "f2.npy",
        "f4.npy",
        "f8.npy",
        "big_f4.npy",
        "f16.safetensors",
        "bf16.safetensors",
    ] {
        let data = open_fixture(file, &OpenOptions::default());
        let expected: Vec<_> = golden(&[1, 2])
            .iter()
            .map(|&p| f64::from(p) / 128.0)
            .collect();
        assert_eq!(data.read(1, 2).unwrap().view().to_f64(), expected, "{file}");
    }
    let truth = open_fixture("bool.npy", &OpenOptions::default())
        .read(3, 1)
        .unwrap();
    let odd: Vec<_> = golden(&[3]).iter().map(|p| f64::from(p % 2)).collect();
    assert_eq!(truth.view().to_f64(), odd);
}

#[test]
fn any_range_is_the_same_images() {
    for file in ["u1.npy", "plain.npz", "u1.safetensors"] {
        let data = open_fixture(file, &OpenOptions::default());
        for (offset, count) in [(0, 4), (0, 0), (4, 0), (1, 3), (3, 1)] {
            let images = data.read(offset, count).unwrap();
            let numbers: Vec<_> = (offset..offset + count).collect();
            assert_eq!(bytes(images.view()), golden(&numbers), "{file}");
            assert_eq!((images.view().first(), images.shape()), (offset, SHAPE));
        }
        for (offset, count) in [(0, 5), (4, 1), (usize::MAX, 2)] {
            let error = data.read(offset, count).unwrap_err();
            assert!(
                matches!(error, DataError::OutOfRange { available: 4, .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn order_of_dimensions_is_found_by_the_shape() {
    let last = open_fixture("nhwc.npy", &OpenOptions::default());
    assert_eq!(last.shape(), SHAPE);
    assert_eq!(bytes(last.read(2, 2).unwrap().view()), golden(&[2, 3]));

    let first = OpenOptions {
        layout: Some(Layout::Nchw),
        ..OpenOptions::default()
    };
    assert_eq!(
        open_fixture("nhwc.npy", &first).shape(),
        Shape {
            channels: 6,
            height: 5,
            width: 3
        }
    );

    let flat = open_fixture("flat.npy", &with_shape(SHAPE));
    assert_eq!(
        flat.read(0, 4).unwrap().view().to_f32(),
        golden(&[0, 1, 2, 3])
            .iter()
            .map(|&p| f32::from(p) / 128.0)
            .collect::<Vec<_>>()
    );
    let error = refusal(&fixture("flat.npy"), &OpenOptions::default());
    assert!(matches!(error, DataError::ArrayShape { .. }), "{error}");

    let grey = open_fixture("grey.npy", &OpenOptions::default());
    assert_eq!(
        grey.shape(),
        Shape {
            channels: 1,
            height: 6,
            width: 5
        }
    );
    assert_eq!(bytes(grey.read(1, 1).unwrap().view()), golden(&[1])[..30]);
}

#[test]
fn order_that_could_be_either_must_be_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("either.npy");
    fs::write(
        &path,
        npy("|u1", &[1, 2, 5, 3], &(0..30).collect::<Vec<_>>()),
    )
    .unwrap();
    let error = refusal(&path, &OpenOptions::default()).to_string();
    assert!(
        error.contains("expected one order that fits: give the shape or the layout"),
        "{error}"
    );
    for (layout, channels, second) in [(Layout::Nchw, 2, 1), (Layout::Nhwc, 3, 3)] {
        let layout = OpenOptions {
            layout: Some(layout),
            ..OpenOptions::default()
        };
        let data = open(&path, &layout).unwrap();
        assert_eq!(data.shape().channels, channels);
        assert_eq!(bytes(data.read(0, 1).unwrap().view())[1], second);
    }
}

#[test]
fn shape_that_is_not_wanted_is_refused_with_both() {
    let wanted = Shape {
        channels: 3,
        height: 4,
        width: 4,
    };
    let error = refusal(&fixture("u1.npy"), &with_shape(wanted)).to_string();
    assert!(error.contains("u1.npy: found array `u1` of shape [4, 3, 6, 5]; expected images of 3 x 4 x 4: [N, 3, 4, 4] or [N, 4, 4, 3]"), "{error}");
}

#[test]
fn labels_lie_in_the_file_or_beside_it() {
    let all = [0, 7, 4, 1];
    for file in [
        "plain.npz",
        "u1.safetensors",
        "bf16.safetensors",
        "beside/pictures.npy",
        "beside",
    ] {
        let data = open_fixture(file, &OpenOptions::default());
        assert_eq!(data.num_classes(), Some(8), "{file}");
        assert_eq!(data.read(0, 4).unwrap().labels().unwrap(), all, "{file}");
        assert_eq!(data.read(2, 1).unwrap().labels().unwrap(), [4], "{file}");
    }
    let names: Vec<_> = ('a'..='j').map(String::from).collect();
    let options = |classes: &[String]| OpenOptions {
        classes: Some(classes.to_vec()),
        ..OpenOptions::default()
    };
    let data = open_fixture("plain.npz", &options(&names));
    assert_eq!(
        (data.num_classes(), data.class_names()),
        (Some(10), Some(&names[..]))
    );
    let error = refusal(&fixture("plain.npz"), &options(&names[..7])).to_string();
    assert!(
        error.contains(
            "found label 7 of image 1 in array `labels`; expected a whole number below 7"
        ),
        "{error}"
    );
}

#[test]
fn split_chooses_the_arrays() {
    for (split, numbers, labels) in [
        (Split::Train, [0, 1], [0, 7]),
        (Split::Test, [2, 3], [4, 1]),
    ] {
        let options = OpenOptions {
            split,
            ..OpenOptions::default()
        };
        let images = open_fixture("packed.npz", &options).read(0, 2).unwrap();
        assert_eq!(bytes(images.view()), golden(&numbers));
        assert_eq!(images.labels().unwrap(), labels);
        let second = open_fixture("packed.npz", &options).read(1, 1).unwrap();
        assert_eq!(bytes(second.view()), golden(&numbers[1..]));
    }
    let error = refusal(&fixture("nameless.npz"), &OpenOptions::default()).to_string();
    assert!(
        error.contains("found arrays first, second; expected an array called `images`"),
        "{error}"
    );
}

#[test]
fn numbers_that_are_no_pixels_are_refused() {
    let refused = |file| refusal(&fixture(file), &OpenOptions::default()).to_string();
    for (file, says) in [
        (
            "nan.npy",
            "found NaN in image 2 of array `nan`; expected a finite number",
        ),
        (
            "negative.npy",
            "found -1 in image 0 of array `negative`; expected 0 to 255",
        ),
        (
            "wide.npy",
            "in image 0 of array `wide`; expected 0 to 255, or a full scale",
        ),
        (
            "complex.npy",
            "array `complex` of type `<c8`; expected real numbers",
        ),
        ("records.npy", "an array of records"),
        ("fortran.npy", "Fortran order (numpy.ascontiguousarray"),
    ] {
        let error = refused(file);
        assert!(error.contains(says), "{error}");
    }
    // The image with the NaN is the third.
    let nan = open_fixture("nan.npy", &OpenOptions::default());
    assert!(nan.read(0, 2).is_ok() && nan.read(3, 1).is_ok());
}

#[test]
fn full_scale_divides() {
    let scaled = |full_scale| OpenOptions {
        full_scale: Some(full_scale),
        ..OpenOptions::default()
    };
    let wide = open_fixture("wide.npy", &scaled(65535.0))
        .read(0, 4)
        .unwrap();
    let expected: Vec<_> = golden(&[0, 1, 2, 3])
        .iter()
        .map(|&p| f32::from(p) / 255.0)
        .collect();
    assert_eq!(wide.view().to_f32(), expected);
    let negative = open_fixture("negative.npy", &scaled(1.0))
        .read(0, 1)
        .unwrap();
    assert_eq!(negative.view().to_f64()[0], -1.0);
    for full_scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = refusal(&fixture("wide.npy"), &scaled(full_scale));
        assert!(matches!(error, DataError::FullScale { .. }), "{error}");
    }
}
