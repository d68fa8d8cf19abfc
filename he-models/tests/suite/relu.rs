//! ReLU networks from the tensors of others, and the polynomial networks that stand for them.

use std::collections::BTreeMap;

use he_layers::{Chw, PlainTensor, PolyActivation};
use he_models::{ModelError, ReluNetwork, graph::InputSpec};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Two stages: an identity block and a strided one.
fn tensors() -> Tensors {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut tensors = Tensors::new();
    let mut add = |name: &str, outs: usize, ins: usize, kernel: usize| {
        let norm = (6.0 / (ins * kernel * kernel) as f32).sqrt();
        let mut random =
            |n: usize, size: f32| (0..n).map(|_| rng.random_range(-size..size)).collect();
        let weight: Vec<f32> = random(outs * ins * kernel * kernel, norm);
        let shape = vec![outs, ins, kernel, kernel];
        tensors.insert(format!("{name}.weight"), (shape, weight));
        tensors.insert(format!("{name}.bias"), (vec![outs], random(outs, 0.2)));
    };
    add("conv1", 3, 2, 3);
    add("layer1.0.conv1", 3, 3, 3);
    add("layer1.0.conv2", 3, 3, 3);
    add("layer2.0.conv1", 4, 3, 3);
    add("layer2.0.conv2", 4, 4, 3);
    add("layer2.0.shortcut", 4, 3, 1);
    let dense = (0..20).map(|i| (i as f32).sin()).collect();
    tensors.insert("fc.weight".to_owned(), (vec![5, 4], dense));
    tensors.insert(
        "fc.bias".to_owned(),
        (vec![5], vec![0.3, -0.1, 0.0, 0.2, 0.1]),
    );
    tensors
}

fn file(tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, (shape, _)), bytes)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
    safetensors::serialize(views, None).unwrap()
}

fn input() -> InputSpec {
    InputSpec {
        channels: 2,
        height: 8,
        width: 8,
        mean: vec![0.4, 0.5],
        std: vec![0.25, 0.2],
    }
}

fn network() -> ReluNetwork {
    ReluNetwork::from_safetensors("mine", input(), &file(&tensors())).unwrap()
}

fn images(n: usize) -> PlainTensor {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    PlainTensor::from_fn(n, Chw::new(2, 8, 8), |_, _, _, _| {
        rng.random_range(0.0..1.0)
    })
}

#[test]
fn relu_network_evaluates_by_its_definition() {
    // By the definition, in the simplest way: one image, padded maps, sums of products.
    let (network, x) = (network(), images(3));
    let tensors = tensors();
    let conv = |name: &str, x: &[Vec<Vec<f64>>], stride: usize| -> Vec<Vec<Vec<f64>>> {
        let (shape, weight) = &tensors[&format!("{name}.weight")];
        let bias = &tensors[&format!("{name}.bias")].1;
        let (k, size) = (shape[2], x[0].len());
        let at = |i: usize, y: usize, column: usize| {
            let inside = |v: usize| v.checked_sub(k / 2).filter(|v| *v < size);
            inside(y)
                .zip(inside(column))
                .map_or(0.0, |(y, column)| x[i][y][column])
        };
        let pixel = |o: usize, y: usize, column: usize| {
            let mut sum = f64::from(bias[o]);
            for i in 0..shape[1] {
                for (ky, kx) in (0..k * k).map(|tap| (tap / k, tap % k)) {
                    let w = weight[((o * shape[1] + i) * k + ky) * k + kx];
                    sum += f64::from(w) * at(i, y * stride + ky, column * stride + kx);
                }
            }
            sum
        };
        let out = size / stride;
        (0..shape[0])
            .map(|o| {
                (0..out)
                    .map(|y| (0..out).map(|c| pixel(o, y, c)).collect())
                    .collect()
            })
            .collect()
    };
    let zip = |a: &[Vec<Vec<f64>>], b: &[Vec<Vec<f64>>]| -> Vec<Vec<Vec<f64>>> {
        let line = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
        let map = |(a, b): (&Vec<Vec<f64>>, &Vec<Vec<f64>>)| a.iter().zip(b).map(line).collect();
        a.iter().zip(b).map(map).collect()
    };
    let relu = |mut x: Vec<Vec<Vec<f64>>>| {
        x.iter_mut()
            .flatten()
            .flatten()
            .for_each(|v| *v = v.max(0.0));
        x
    };
    let logits = network.forward_plain(&x).unwrap();
    for n in 0..3 {
        let pixel = |c, y, column| (x.at(n, c, y, column) - input().mean[c]) / input().std[c];
        let map = |c| {
            (0..8)
                .map(|y| (0..8).map(|column| pixel(c, y, column)).collect())
                .collect()
        };
        let image: Vec<Vec<Vec<f64>>> = (0..2).map(map).collect();
        let x = relu(conv("conv1", &image, 1));
        let inner = relu(conv("layer1.0.conv1", &x, 1));
        let x = relu(zip(&conv("layer1.0.conv2", &inner, 1), &x));
        let inner = relu(conv("layer2.0.conv1", &x, 2));
        let x = relu(zip(
            &conv("layer2.0.conv2", &inner, 1),
            &conv("layer2.0.shortcut", &x, 2),
        ));
        for class in 0..5 {
            let mut expected = f64::from(tensors["fc.bias"].1[class]);
            for (c, map) in x.iter().enumerate() {
                let mean = map.iter().flatten().sum::<f64>() / 16.0;
                expected += f64::from(tensors["fc.weight"].1[class * 4 + c]) * mean;
            }
            assert!((logits.at(n, class, 0, 0) - expected).abs() < 1e-9);
        }
    }
}

#[test]
fn polynomials_in_the_place_of_relus_give_the_same_logits() {
    let (network, x) = (network(), images(20));
    let ranges = network.measure_ranges(&x).unwrap();
    let names: Vec<&str> = ranges.iter().map(|r| r.name.as_str()).collect();
    let blocks = [
        "layer1.0.conv1",
        "layer1.0.sum",
        "layer2.0.conv1",
        "layer2.0.sum",
    ];
    assert_eq!(names, [&["conv1"][..], &blocks].concat());
    let exact = network.forward_plain(&x).unwrap();
    let largest = |degree, margin| {
        let relu = |name: &str, declared| PolyActivation::relu(name, degree, declared);
        let folded = network.with_polynomials(&ranges, margin, relu).unwrap();
        let (logits, outside) = folded.forward_plain(&x).unwrap();
        let outside = outside.iter().filter(|out| **out).count();
        if outside > 0 {
            return (f64::INFINITY, outside);
        }
        // As layers one after another, the same.
        let layers = folded.layers(None);
        let y = layers
            .iter()
            .fold(x.clone(), |x, layer| layer.forward_plain(&x).unwrap());
        assert_eq!(y, logits);
        let pairs = logits.data.iter().zip(&exact.data);
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        (difference, outside)
    };
    // Errors fall with the degree: units and folds are right.
    let (coarse, outside) = largest(63, 1.2);
    assert_eq!(outside, 0);
    let (fine, _) = largest(1023, 1.2);
    assert!(fine < 2e-3 && fine < coarse / 8.0, "{fine} {coarse}");
    // Without room to spare, values leave the ranges: all images but a few.
    let (_, outside) = largest(63, 0.5);
    assert!(outside > 15, "{outside}");
}

#[test]
fn tensors_and_ranges_of_another_network_are_refused() {
    let load = |tensors: &Tensors| ReluNetwork::from_safetensors("mine", input(), &file(tensors));
    let spoilt = |spoil: fn(&mut Tensors)| {
        let mut tensors = tensors();
        spoil(&mut tensors);
        load(&tensors).unwrap_err()
    };
    let error = spoilt(|t| drop(t.remove("layer1.0.conv2.weight")));
    assert!(matches!(error, ModelError::MissingTensor { .. }), "{error}");
    let error = spoilt(|t| drop(t.remove("layer2.0.shortcut.weight")));
    assert!(error.to_string().contains("shape"), "{error}");
    let error = spoilt(|t| drop(t.insert("layer4.0.conv1.weight".into(), (vec![1], vec![0.0]))));
    assert!(matches!(error, ModelError::UnusedTensors { .. }), "{error}");
    let error = spoilt(|t| drop(t.insert("fc.bias".into(), (vec![4], vec![0.0; 4]))));
    assert!(matches!(error, ModelError::TensorShape { .. }), "{error}");
    let mut no_std = input();
    no_std.std[1] = 0.0;
    let error = ReluNetwork::from_safetensors("mine", no_std, &file(&tensors())).unwrap_err();
    assert!(
        error.to_string().starts_with("model `mine`: input.std is"),
        "{error}"
    );

    let network = network();
    let ranges = network.measure_ranges(&images(2)).unwrap();
    let relu = |name: &str, declared| PolyActivation::relu(name, 7, declared);
    let refused = |ranges: &[_], margin| {
        let error = network.with_polynomials(ranges, margin, relu).unwrap_err();
        assert!(matches!(error, ModelError::Value { .. }), "{error}");
    };
    refused(&ranges[1..], 1.2);
    refused(&ranges, 0.0);
    let mut swapped = ranges.clone();
    swapped.swap(1, 2);
    refused(&swapped, 1.2);
}
