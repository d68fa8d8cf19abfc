//! Families of pictures: what each is, and that it is the same however it is read.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use datasets::families::{Family, Photographs, families};
use datasets::{DataError, Dataset, Images, Shape, Synthetic};

fn shape(channels: usize, height: usize, width: usize) -> Shape {
    Shape {
        channels,
        height,
        width,
    }
}

fn of(data: &dyn Dataset, random: usize) -> Vec<Family<'_>> {
    let photographs = Photographs {
        data,
        first: 3,
        count: 4,
    };
    families(photographs, random, 1)
}

fn bytes(images: &Images) -> Vec<u8> {
    match images.view().pixels() {
        datasets::Pixels::Bytes(bytes) => bytes.to_vec(),
        datasets::Pixels::Values(_) => panic!("pictures are bytes"),
    }
}

fn all(family: &Family<'_>) -> Vec<u8> {
    bytes(&family.read(0, family.num_images().unwrap()).unwrap())
}

fn named<'a, 'b>(found: &'a [Family<'b>], name: &str) -> &'a Family<'b> {
    found.iter().find(|family| family.name() == name).unwrap()
}

#[test]
fn families_have_their_pictures_in_every_shape() {
    for shape in [
        shape(3, 32, 32),
        shape(1, 1, 1),
        shape(1, 28, 28),
        shape(2, 5, 9),
        shape(5, 7, 3),
        shape(1, 1, 300),
    ] {
        let data = Synthetic::with_shape(0, shape).unwrap();
        let found = of(&data, 2);
        let names: BTreeSet<&str> = found.iter().map(Family::name).collect();
        assert_eq!(names.len(), found.len());
        assert_eq!(found.len(), if shape.channels == 3 { 23 } else { 22 });
        for family in &found {
            let (name, count) = (family.name(), family.num_images().unwrap());
            assert_eq!(family.shape(), shape);
            let expected = match name {
                "drawings" => 10,
                "single colours" => 9_usize.pow(shape.channels.min(3) as u32),
                _ if name.starts_with("stripes") => count,
                _ if name.contains("noise") || name.starts_with("mixtures") => 2,
                _ => 4,
            };
            assert_eq!(count, expected, "{name}");
            // The same one by one and together, and another time.
            let count = count.min(20);
            let together = bytes(&family.read(0, count).unwrap());
            let one_by_one = (0..count).flat_map(|i| bytes(&family.read(i, 1).unwrap()));
            assert_eq!(one_by_one.collect::<Vec<u8>>(), together, "{name}");
            let again = of(&data, 2);
            assert_eq!(
                bytes(&named(&again, name).read(0, count).unwrap()),
                together
            );
            let error = family.read(expected, 1).unwrap_err();
            assert!(matches!(error, DataError::OutOfRange { .. }), "{error}");
        }
    }
}

#[test]
fn random_families_are_independent_and_follow_the_seed() {
    let data = Synthetic::new(0);
    let (found, photographs) = (
        of(&data, 3),
        Photographs {
            data: &data,
            first: 3,
            count: 4,
        },
    );
    let other = families(photographs, 3, 2);
    let mut seen = BTreeSet::new();
    for family in &found {
        let name = family.name();
        let random = ["noise", "drawings", "mixtures"];
        if random.iter().any(|kind| name.contains(kind)) {
            let pixels = all(family);
            assert_ne!(pixels, all(named(&other, name)), "{name}");
            let pictures = pixels.chunks_exact(3072).map(<[u8]>::to_vec);
            pictures.for_each(|picture| assert!(seen.insert(picture), "{name}"));
        } else {
            assert_eq!(all(family), all(named(&other, name)), "{name}");
        }
    }
}

#[test]
fn changed_photographs_are_what_their_names_say() {
    let data = Synthetic::new(0);
    let found = of(&data, 1);
    let photographs: Vec<f64> = bytes(&data.read(3, 4).unwrap())
        .into_iter()
        .map(f64::from)
        .collect();
    let clipped = |x: f64| x.clamp(0.0, 255.0);
    let at = |i: usize| photographs[i];
    let channel = |i: usize, c: usize| at(i / 3072 * 3072 + c * 1024 + i % 1024);
    let grey = |i: usize| (0..3).map(|c| channel(i, c)).sum::<f64>() / 3.0;
    let check = |name: &str, expected: &dyn Fn(usize) -> f64| {
        let pixels = all(named(&found, name));
        assert_eq!(pixels.len(), 4 * 3072);
        for (i, &pixel) in pixels.iter().enumerate() {
            let expected = clipped(expected(i));
            assert!(
                (f64::from(pixel) - expected).abs() <= 0.501,
                "{name}: {pixel}, {expected}"
            );
        }
    };
    check("contrast x2", &|i| 127.5 + 2.0 * (at(i) - 127.5));
    check("contrast x4", &|i| 127.5 + 4.0 * (at(i) - 127.5));
    check("brightness -50 %", &|i| 0.5 * at(i));
    check("brightness +50 %", &|i| 1.5 * at(i));
    check("saturation x3", &|i| grey(i) + 3.0 * (at(i) - grey(i)));
    check("inversion", &|i| 255.0 - at(i));
    check("sharpening x3", &|i| {
        let (y, x) = ((i / 32 % 32) as i64, (i % 32) as i64);
        let around = (-1..2).flat_map(|v: i64| (-1..2).map(move |u: i64| (v, u)));
        let cells = around.map(|(v, u)| {
            let (y, x) = ((y + v).clamp(0, 31), (x + u).clamp(0, 31));
            at(i / 1024 * 1024 + (32 * y + x) as usize)
        });
        at(i) + 3.0 * (at(i) - cells.sum::<f64>() / 9.0)
    });
}

#[test]
fn noise_has_its_scale_and_its_spread() {
    let data = Synthetic::new(0);
    let found = of(&data, 200);
    for (kind, deviations) in [
        ("uniform noise", 70.0..77.0),
        // Clipped at 3 times 32, at 64 and at 128.
        ("Gaussian noise", 60.0..75.0),
        ("black-and-white noise", 124.0..128.0),
    ] {
        for cell in [1, 2, 4, 8] {
            let pixels = all(named(&found, &format!("{kind}, cells of {cell}")));
            for (i, pixel) in pixels.iter().enumerate() {
                let (y, x) = (i / 32 % 32, i % 32);
                let corner = i - (y % cell) * 32 - x % cell;
                assert_eq!(*pixel, pixels[corner]);
            }
            let values: Vec<f64> = pixels.iter().map(|&p| f64::from(p)).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            assert!((mean - 127.5).abs() < 16.0, "{kind}: mean {mean}");
            assert!(
                deviations.contains(&variance.sqrt()),
                "{kind}, {cell}: {}",
                variance.sqrt()
            );
            // Neighbouring cells differ.
            let differ = pixels.chunks_exact(32).filter(|row| row[0] != row[cell]);
            assert!(differ.count() > pixels.len() / 32 / 5);
            let grey = pixels
                .chunks_exact(3072)
                .filter(|p| p[..1024] == p[1024..2048]);
            assert!((60..140).contains(&grey.count()));
        }
    }
}

#[test]
fn boards_have_every_period_and_colours_every_level() {
    let data = Synthetic::new(0);
    let found = of(&data, 1);
    let boards = all(named(&found, "stripes and checkerboards of every period"));
    let boards: BTreeSet<&[u8]> = boards.chunks_exact(3072).collect();
    // 4 kinds, 16 cells of 1 or 2 offsets, 8 colours; offsets of half a cell of 2 swap colours along diagonals.
    assert!(boards.len() > 900, "{}", boards.len());
    for cell in 1..=16 {
        for (kind, value) in [
            (
                0,
                &(|y: usize, _: usize| y / cell) as &dyn Fn(usize, usize) -> usize,
            ),
            (1, &|_, x| x / cell),
            (2, &|y, x| (y + x) / cell),
            (3, &|y, x| y / cell + x / cell),
        ] {
            for low in [0, 255] {
                let pixel = |i: usize| {
                    let odd = value(i / 32 % 32, i % 32) % 2 == 1;
                    if odd { 255 - low } else { low }
                };
                let picture: Vec<u8> = (0..3072).map(pixel).collect();
                assert!(boards.contains(&picture[..]), "kind {kind}, {cell}");
            }
        }
    }
    let colours = all(named(&found, "single colours"));
    let colours: BTreeSet<Vec<u8>> = colours
        .chunks_exact(3072)
        .map(|p| {
            assert!(
                p.chunks_exact(1024)
                    .all(|map| map.iter().all(|x| *x == map[0]))
            );
            vec![p[0], p[1024], p[2048]]
        })
        .collect();
    assert_eq!(colours.len(), 729);
    for corner in [[0, 0, 0], [255, 255, 255], [255, 0, 128]] {
        assert!(colours.contains(&corner[..]));
    }
}

#[test]
fn drawings_have_few_colours_and_most_have_marks() {
    let data = Synthetic::new(0);
    let pixels = all(named(&of(&data, 100), "drawings"));
    let mut marked = 0;
    for picture in pixels.chunks_exact(3072) {
        let colour = |i: usize| [picture[i], picture[1024 + i], picture[2048 + i]];
        let colours: BTreeSet<[u8; 3]> = (0..1024).map(colour).collect();
        assert!(colours.len() <= 6);
        marked += usize::from(colours.len() > 1);
    }
    assert!(marked > 400, "{marked}");
}

#[test]
fn mixtures_are_made_of_the_images_and_without_images_there_are_none() {
    let data = Synthetic::new(0);
    let photographs = bytes(&data.read(3, 4).unwrap());
    let pixels = all(named(&of(&data, 50), "mixtures of two images"));
    // The lighter of two, or one in the gaps of the other.
    let whole = pixels.chunks_exact(3072).filter(|picture| {
        picture.iter().enumerate().all(|(i, pixel)| {
            photographs
                .chunks_exact(3072)
                .any(|photo| photo[i] == *pixel)
        })
    });
    assert!((10..40).contains(&whole.count()));
    let none = Photographs {
        data: &data,
        first: 0,
        count: 0,
    };
    for family in families(none, 5, 0) {
        let (name, count) = (family.name(), family.num_images().unwrap());
        let made_of_images = name.starts_with("mixtures") || name.contains(" x");
        assert_eq!(
            count == 0,
            made_of_images || name.contains('%') || name == "inversion",
            "{name}"
        );
    }
}
