//! What a training is going to take, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::TrainSettings;
use crate::plan::Plan;
use crate::units::gb;

/// What a training is going to take. Seconds and bytes are estimates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainForecast {
    /// `ridge` or `softmax`.
    pub loss: String,
    /// Settings of the loss, and which of them were given.
    pub settings: TrainSettings,
    /// Images to train on, those that may be left out included.
    pub images: usize,
    /// Images to try the head on, those that may be left out included.
    pub test_images: usize,
    /// Classes of the labels, and of the head.
    pub classes: usize,
    /// Features of an image.
    pub features: usize,
    /// Declared bound of the norm of an image's features.
    pub norm_bound: f64,
    /// Groups of images to train on.
    pub groups: usize,
    /// Images that a group holds.
    pub images_per_group: usize,
    /// Ciphertexts of a group's features.
    pub ciphertexts_per_group: usize,
    /// Iterations, or mini-batches.
    pub steps: usize,
    /// Ciphertexts that the training refreshes.
    pub bootstraps_train: usize,
    /// Lowest level that can be refreshed.
    pub refresh_from: usize,
    /// Level of what was refreshed.
    pub refresh_to: usize,
    /// Size of the training's switching keys in bytes.
    pub key_bytes: u64,
    /// What transposing the features takes, beside the network, in bytes.
    pub transposition_bytes: u64,
    /// Largest resident memory while the head is trained, in bytes.
    pub train_bytes: u64,
    /// Largest resident memory of all of it, in bytes.
    pub predicted_peak_bytes: u64,
    /// Seconds of the network on all images.
    pub predicted_seconds_features: f64,
    /// Seconds of the training, from features to the head.
    pub predicted_seconds_train: f64,
    /// One run of the network up to its features.
    pub network: Plan,
}

impl fmt::Display for TrainForecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.network)?;
        writeln!(
            f,
            "\n{} head: {} features x {} classes, norm within {:.2}; {} groups of up to {} images, ciphertexts of a group: {}",
            self.loss,
            self.features,
            self.classes,
            self.norm_bound,
            self.groups,
            self.images_per_group,
            self.ciphertexts_per_group,
        )?;
        writeln!(f, "{}", self.settings)?;
        writeln!(
            f,
            "{} steps, {} refreshes from level {} to level {}, keys {:.2} GB, memory about {:.2} GB",
            self.steps,
            self.bootstraps_train,
            self.refresh_from,
            self.refresh_to,
            gb(self.key_bytes),
            gb(self.train_bytes),
        )?;
        writeln!(
            f,
            "transposing the features takes {:.2} GB beside the network; all of it about {:.2} GB",
            gb(self.transposition_bytes),
            gb(self.predicted_peak_bytes),
        )?;
        write!(
            f,
            "estimated: features {:.0} s, training {:.0} s, {:.2} s for each step",
            self.predicted_seconds_features,
            self.predicted_seconds_train,
            self.predicted_seconds_train / self.steps as f64,
        )
    }
}
