//! The images that `--data` means for a model.

use std::path::Path;

use datasets::{Dataset, OpenOptions, Shape, Split, Synthetic};
use he_layers::Chw;
use he_models::Model;
use pipeline::client::ClientSpec;

use crate::error::CliError;

/// Seed of the synthetic images: everybody's are the same.
const SYNTHETIC_SEED: u64 = 0;

/// The test images at `path`, or synthetic ones where there is none; refused if they are nothing for the model.
pub fn open(path: Option<&Path>, model: &Model) -> Result<Box<dyn Dataset>, CliError> {
    open_for(path, model.input_shape(), model.classes())
}

/// The same for a client that knows the spec only.
pub fn open_for_spec(path: Option<&Path>, spec: &ClientSpec) -> Result<Box<dyn Dataset>, CliError> {
    open_for(path, spec.input.tensor.layout.shape(), &spec.classes)
}

fn open_for(
    path: Option<&Path>,
    shape: Chw,
    classes: &[String],
) -> Result<Box<dyn Dataset>, CliError> {
    match path {
        Some(path) => open_part(path, Split::Test, shape, classes),
        None => Ok(Box::new(Synthetic::with_shape(
            SYNTHETIC_SEED,
            of_images(shape),
        )?)),
    }
}

fn of_images(shape: Chw) -> Shape {
    Shape {
        channels: shape.channels,
        height: shape.height,
        width: shape.width,
    }
}

/// One part of the images at `path`; refused if they are nothing for the model.
pub fn open_split(path: &Path, split: Split, model: &Model) -> Result<Box<dyn Dataset>, CliError> {
    open_part(path, split, model.input_shape(), model.classes())
}

/// One part of the images at `path`, of so many classes whatever they are called.
pub fn open_classes(
    path: &Path,
    split: Split,
    model: &Model,
    classes: usize,
) -> Result<Box<dyn Dataset>, CliError> {
    let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    open_part(path, split, model.input_shape(), &names)
}

fn open_part(
    path: &Path,
    split: Split,
    shape: Chw,
    classes: &[String],
) -> Result<Box<dyn Dataset>, CliError> {
    let options = OpenOptions {
        shape: Some(of_images(shape)),
        split,
        classes: Some(classes.to_vec()),
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
