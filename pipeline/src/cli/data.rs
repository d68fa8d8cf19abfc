//! The images that `--data` means for a model.

use std::path::Path;

use datasets::{Cifar, CifarVariant, Dataset, Shape, Split, Synthetic};
use he_models::Model;

use crate::error::CliError;

/// Seed of the synthetic images: everybody's are the same.
const SYNTHETIC_SEED: u64 = 0;

/// The test split in `dir`, or synthetic images where there is none; refused if they are nothing for the model.
pub fn open(dir: Option<&Path>, model: &Model) -> Result<Box<dyn Dataset>, CliError> {
    let input = &model.spec().input;
    let expected = Shape {
        channels: input.channels,
        height: input.height,
        width: input.width,
    };
    let Some(dir) = dir else {
        return Ok(Box::new(Synthetic::with_shape(SYNTHETIC_SEED, expected)?));
    };
    // A folder may hold both data sets: the number of classes tells which one is meant.
    let data = Cifar::open(
        dir,
        Split::Test,
        CifarVariant::with_classes(model.classes().len()),
    )?;
    let mismatch = |found: String, expected: String| CliError::DataForModel {
        model: model.name().to_owned(),
        dataset: data.name().to_owned(),
        found,
        expected,
    };
    let shape = |shape: Shape| {
        format!(
            "images of {} x {} x {}",
            shape.channels, shape.height, shape.width
        )
    };
    if data.shape() != expected {
        return Err(mismatch(shape(data.shape()), shape(expected)));
    }
    if data.variant().num_classes() != model.classes().len() {
        let classes = |count| format!("{count} classes");
        return Err(mismatch(
            classes(data.variant().num_classes()),
            classes(model.classes().len()),
        ));
    }
    Ok(Box::new(data))
}

/// Refuses more images than there are after the first `offset`.
pub fn check_left(data: &dyn Dataset, offset: usize, count: usize) -> Result<(), CliError> {
    match data.num_images() {
        Some(images) if count > images.saturating_sub(offset) => Err(CliError::ImagesLeft {
            dataset: data.name().to_owned(),
            left: images.saturating_sub(offset),
            offset,
            count,
        }),
        _ => Ok(()),
    }
}
