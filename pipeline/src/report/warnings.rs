//! What a person should know of images that leave their ranges.

use super::counted;
use crate::answers::SpoiledGroup;

/// What it means that images leave their ranges.
#[must_use]
pub fn out_of_range_warning(images: usize) -> String {
    format!(
        "warning: {} out of the declared range: under encryption such an image can spoil the others in its ciphertext, unless refreshes \
         apply all activations",
        counted(images, "image")
    )
}

/// What it means that images were left out.
#[must_use]
pub fn blanked_warning(images: &[usize]) -> String {
    format!(
        "warning: {} out of the declared range: the mean picture is encrypted instead, there will be no answer for {}",
        counted(images.len(), "image"),
        listed(images)
    )
}

/// How `decrypt` learns which images of a batch were left out.
#[must_use]
pub fn decrypt_blanked(positions: &[usize]) -> String {
    let list: Vec<String> = positions.iter().map(usize::to_string).collect();
    format!(
        "the file of encrypted images does not tell which: decrypt with --blanked {}",
        list.join(",")
    )
}

/// What it means that groups are spoiled.
#[must_use]
pub fn spoiled_warning(groups: &[SpoiledGroup]) -> String {
    let images = groups.iter().map(|group| group.images.len()).sum();
    let numbers: Vec<usize> = groups.iter().map(|group| group.group).collect();
    format!(
        "warning: no answer for {}: logits beyond what the declared ranges allow, so an image has left its range and spoiled all others of its group (group {})",
        counted(images, "image"),
        listed(&numbers)
    )
}

/// The first numbers, and how many more there are.
fn listed(numbers: &[usize]) -> String {
    const MOST: usize = 20;
    let first: Vec<String> = numbers.iter().take(MOST).map(usize::to_string).collect();
    match numbers.len().saturating_sub(MOST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
