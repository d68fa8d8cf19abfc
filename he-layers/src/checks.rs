//! What every description of a layer checks of its numbers.

use crate::error::LayerError;

/// Checks length and finiteness of an array of a layer.
pub(crate) fn check_array(
    layer: &str,
    what: &'static str,
    data: &[f64],
    expected: usize,
) -> Result<(), LayerError> {
    check_length(layer, what, data, expected)?;
    match data.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(LayerError::NotFinite {
            layer: layer.to_owned(),
            what,
            index,
            found: data[index],
        }),
        None => Ok(()),
    }
}

/// Checks the length of an array of a layer.
pub(crate) fn check_length(
    layer: &str,
    what: &'static str,
    data: &[f64],
    expected: usize,
) -> Result<(), LayerError> {
    if data.len() == expected {
        return Ok(());
    }
    Err(LayerError::ParameterLength {
        layer: layer.to_owned(),
        what,
        found: data.len(),
        expected,
    })
}

/// Checks that sizes of a layer are at least 1.
pub(crate) fn check_sizes(layer: &str, sizes: &[(&'static str, usize)]) -> Result<(), LayerError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((what, found)) => Err(LayerError::ParameterValue {
            layer: layer.to_owned(),
            what,
            found: *found,
            expected: "at least 1",
        }),
        None => Ok(()),
    }
}
