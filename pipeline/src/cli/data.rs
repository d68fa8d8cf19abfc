//! The images that `--data` means for a model.

use std::path::Path;

use datasets::{Dataset, OpenOptions, Shape, Synthetic};
use he_models::Model;

use crate::error::CliError;

/// Seed of the synthetic images: everybody's are the same.
const SYNTHETIC_SEED: u64 = 0;

/// The test images at `path`, or synthetic ones where there is none; refused if they are nothing for the model.
pub fn open(path: Option<&Path>, model: &Model) -> Result<Box<dyn Dataset>, CliError> {
    let input = &model.spec().input;
    let shape = Shape {
        channels: input.channels,
        height: input.height,
        width: input.width,
    };
    let Some(path) = path else {
        return Ok(Box::new(Synthetic::with_shape(SYNTHETIC_SEED, shape)?));
    };
    let options = OpenOptions {
        shape: Some(shape),
        classes: Some(model.classes().to_vec()),
        ..OpenOptions::default()
    };
    Ok(datasets::open(path, &options)?)
}

/// Refuses more images than there are after the first `offset`, and image files whose headers are wrong.
pub fn check_left(data: &dyn Dataset, offset: usize, count: usize) -> Result<(), CliError> {
    match data.num_images() {
        Some(images) if count > images.saturating_sub(offset) => Err(CliError::ImagesLeft {
            dataset: data.name().to_owned(),
            left: images.saturating_sub(offset),
            offset,
            count,
        }),
        _ => Ok(data.check_range(offset, count)?),
    }
}
