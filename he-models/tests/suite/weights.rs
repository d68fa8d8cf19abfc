//! What can be wrong with weights.

use he_models::{Model, ModelError};
use safetensors::Dtype;
use sha2::{Digest, Sha256};

use crate::network::{Extents, Network, Tensor};

fn network() -> Network {
    Network::random(&Extents::small(), 3)
}

/// The error that loading gives after `spoil`.
fn error(spoil: impl FnOnce(&mut Network)) -> ModelError {
    let mut network = network();
    network.model().unwrap();
    spoil(&mut network);
    network.model().unwrap_err()
}

#[test]
fn missing_tensor_is_named_with_its_shape() {
    let error = error(|n| drop(n.tensors.remove("block1.shortcut.weight")));
    let text = "weights of model `mine`: tensor `block1.shortcut.weight` is missing, expected shape [3, 2, 1, 1]";
    assert_eq!(error.to_string(), text);
}

#[test]
fn unused_tensors_are_counted_and_the_first_is_named() {
    let error = error(|n| {
        n.tensors
            .insert("stem.bias".into(), Tensor::f32(&[2], &[0.0; 2]));
        n.tensors
            .insert("block7.act1.g".into(), Tensor::f32(&[2], &[1.0; 2]));
    });
    assert!(
        matches!(&error, ModelError::UnusedTensors { count: 2, tensor, .. } if tensor == "block7.act1.g")
    );
}

#[test]
fn wrong_shape_is_an_error_even_with_the_right_number_of_values() {
    let error =
        error(|n| n.tensors.get_mut("block1.conv1.weight").unwrap().shape = vec![2, 3, 3, 3]);
    let ModelError::TensorShape {
        tensor,
        found,
        expected,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (tensor.as_str(), found, expected),
        ("block1.conv1.weight", vec![2, 3, 3, 3], vec![3, 2, 3, 3])
    );
}

#[test]
fn values_that_are_not_finite_are_found() {
    for bad in [f32::NAN, f32::INFINITY] {
        let error = error(|n| {
            let tensor = n.tensors.get_mut("fc.weight").unwrap();
            tensor.bytes[4 * 5..4 * 6].copy_from_slice(&bad.to_le_bytes());
        });
        assert!(
            matches!(&error, ModelError::TensorValue { tensor, index: 5, .. } if tensor == "fc.weight")
        );
    }
}

#[test]
fn zero_gain_is_an_error() {
    let error = error(|n| {
        drop(
            n.tensors
                .insert("final.g".into(), Tensor::f32(&[3], &[0.1, 0.2, 0.0])),
        )
    });
    assert!(
        matches!(&error, ModelError::TensorValue { tensor, index: 2, .. } if tensor == "final.g"),
        "{error}"
    );
}

#[test]
fn other_types_than_f16_and_f32_are_errors() {
    let error = error(|n| {
        let tensor = n.tensors.get_mut("fc.bias").unwrap();
        tensor.dtype = Dtype::I32;
    });
    assert_eq!(
        error.to_string(),
        "weights of model `mine`: tensor `fc.bias` is of type I32, expected F16 or F32"
    );
}

#[test]
fn f16_weights_are_the_rounded_f32_weights() {
    let mut network = network();
    let images = network.images(2);
    let mut rounded = network.clone();
    for tensor in rounded.tensors.values_mut() {
        let halves: Vec<half::f16> = tensor
            .values()
            .into_iter()
            .map(half::f16::from_f64)
            .collect();
        let exact: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
        *tensor = Tensor::f32(&tensor.shape, &exact);
    }
    let expected = rounded.model().unwrap().logits(&images).unwrap();
    for tensor in network.tensors.values_mut() {
        let halves = tensor.values().into_iter().map(half::f16::from_f64);
        tensor.bytes = halves.flat_map(half::f16::to_le_bytes).collect();
        tensor.dtype = Dtype::F16;
    }
    assert_eq!(network.model().unwrap().logits(&images).unwrap(), expected);
}

#[test]
fn truncated_and_foreign_files_are_errors() {
    let network = network();
    let weights = network.weights();
    for bytes in [
        &weights[..weights.len() - 1],
        &weights[..100],
        &[],
        b"not a safetensors file",
    ] {
        let error = Model::new(network.spec.clone(), bytes).unwrap_err();
        assert!(matches!(error, ModelError::WeightsFormat { .. }), "{error}");
    }
}

#[test]
fn checksum_is_checked_where_there_is_one() {
    let mut network = network();
    let sum: String = Sha256::digest(network.weights())
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    network.spec.weights.sha256 = Some(sum.clone());
    network.model().unwrap();
    let bias = network.tensors.get_mut("fc.bias").unwrap();
    bias.bytes[0] ^= 1;
    let error = network.model().unwrap_err();
    assert!(
        matches!(&error, ModelError::WeightsChecksum { expected, .. } if *expected == sum.to_lowercase())
    );
}
