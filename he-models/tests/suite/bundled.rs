//! The models that come with the library.

use he_models::{Layers, Model};

use crate::fold::images_like_cifar;

#[test]
fn unknown_models_are_told_what_there_is() {
    let error = Model::open("resnet50").unwrap_err();
    let text =
        "unknown model `resnet50`; bundled: resnet20, resnet34, tiny, or a path to a .ron file";
    assert_eq!(error.to_string(), text);
}

#[test]
fn bundled_models_are_named_as_their_files() {
    for name in he_models::bundled_names() {
        let model = Model::bundled(name).unwrap();
        assert_eq!(model.name(), name);
        assert_eq!(model.spec().weights.file, format!("{name}.safetensors"));
        let provenance = &model.spec().provenance;
        assert!(provenance.origin.is_some() && provenance.licence.is_some());
    }
}

#[test]
fn bundled_networks_have_their_topology() {
    let shape = |name: &str| {
        let model = Model::bundled(name).unwrap();
        let Layers { stem, blocks, head } = model.layers();
        let widths: Vec<usize> = blocks.iter().map(|b| b.conv2.out_channels).collect();
        let strided = blocks.iter().filter(|b| b.projection.is_some()).count();
        (stem.out_channels, widths, strided, head.bias.len())
    };
    let repeated = |stages: &[(usize, usize)]| {
        stages
            .iter()
            .flat_map(|&(n, width)| std::iter::repeat_n(width, n))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shape("resnet20"),
        (16, repeated(&[(3, 16), (3, 32), (3, 64)]), 2, 10)
    );
    assert_eq!(
        shape("resnet34"),
        (16, repeated(&[(3, 16), (4, 32), (6, 64), (3, 128)]), 3, 100)
    );
    assert_eq!(shape("tiny"), (4, vec![4, 8], 1, 10));
}

#[test]
fn synthetic_images_stay_in_the_ranges_of_bundled_models() {
    for name in he_models::bundled_names() {
        let model = Model::bundled(name).unwrap();
        let evaluation = model.evaluate(&images_like_cifar(&model, 32)).unwrap();
        assert_eq!(evaluation.out_of_range, Vec::<usize>::new(), "{name}");
        assert!(evaluation.logit_std() > 0.2, "{name}");
    }
}
