//! What a training did.

use std::fmt;

use serde::Serialize;

use super::TrainSettings;
use crate::checkpoint::CheckpointReport;
use crate::units::gb;

/// A training under encryption, beside the same in the clear.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainReport {
    /// Name of the network that gives the features.
    pub model: String,
    /// Name of the data.
    pub data: String,
    /// `ridge` or `softmax`.
    pub loss: String,
    /// Settings of the loss, and which of them were given.
    pub settings: TrainSettings,
    /// Images trained on.
    pub images: usize,
    /// Images that leave a declared range, or whose features are longer than declared.
    pub images_left_out: usize,
    /// Images that the head was tried on.
    pub test_images: usize,
    /// Of those that were to be.
    pub test_images_left_out: usize,
    /// Classes of the labels, and of the head.
    pub classes: usize,
    /// Features of an image.
    pub features: usize,
    /// Share of the test images that the encrypted head classified right.
    pub accuracy_encrypted: f64,
    /// The same for the head trained in the clear by the same algorithm, on features in the clear.
    pub accuracy_plain: f64,
    /// The same for plain logistic regression on the same features.
    pub accuracy_reference: f64,
    /// Largest error of an encrypted feature, in the features' deviations over the network's own images.
    pub largest_feature_error: f64,
    /// Largest difference of a weight from that of the training in the clear, relative to the largest of these.
    pub largest_weight_difference: f64,
    /// All differences of weights together: the root of the sum of their squares, relative to that of the weights' squares.
    pub weight_difference: f64,
    /// [`Self::largest_weight_difference`] from the training in the clear on the features that the server has, decrypted by the client:
    /// what the training adds to the errors of features.
    pub largest_weight_difference_same_features: f64,
    /// [`Self::weight_difference`] from that training.
    pub weight_difference_same_features: f64,
    /// Wall time from images to refreshed features: encryption, network, transposition, refreshes. Without keys, and without what an
    /// earlier process has done.
    pub seconds_features: f64,
    /// Wall time from features to the head.
    pub seconds_train: f64,
    /// The same over the number of steps.
    pub seconds_per_step: f64,
    /// Wall time of the scores of all test images, features not included.
    pub seconds_scores: f64,
    /// Iterations, or mini-batches.
    pub steps: usize,
    /// Ciphertexts refreshed in all.
    pub bootstraps: usize,
    /// Ciphertexts refreshed by the training.
    pub bootstraps_train: usize,
    /// Estimate of the network's part of `seconds_features` before the run, for all images.
    pub predicted_seconds_features: f64,
    /// Estimate of `seconds_train` before the run.
    pub predicted_seconds_train: f64,
    /// Estimate of `peak_rss_bytes` before the run.
    pub predicted_peak_bytes: u64,
    /// Size of the training's switching keys in bytes.
    pub key_bytes: u64,
    /// Largest resident memory of the process in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Largest size of all limbs in use in bytes, client and server together.
    pub pool_high_water_bytes: u64,
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Base-2 logarithm of the modulus, special primes included.
    pub log_qp: f64,
    /// Bits of security; 0 for an insecure ring.
    pub security_bits: u32,
    /// Threads that computed.
    pub threads: usize,
    /// Kernel of the arithmetic.
    pub kernel: String,
    /// Whether keys and encryptions came from a seed: not secure.
    pub seeded: bool,
    /// The processor, where it says its name.
    pub processor: String,
    /// Revision of the program.
    pub revision: String,
    /// What checkpoints took, where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointReport>,
}

impl fmt::Display for TrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} head on {} features of {}, {} classes: {} images of {}, {} left out",
            self.loss,
            self.features,
            self.model,
            self.classes,
            self.images,
            self.data,
            self.images_left_out,
        )?;
        writeln!(f, "{}", self.settings)?;
        writeln!(
            f,
            "accuracy on {} other images: {:.4} encrypted, {:.4} in the clear, {:.4} by logistic regression",
            self.test_images, self.accuracy_encrypted, self.accuracy_plain, self.accuracy_reference,
        )?;
        writeln!(
            f,
            "largest error of a feature: {:.4} deviations; largest difference of a weight: {:.5} of the largest weight, {:.5} in the norm",
            self.largest_feature_error, self.largest_weight_difference, self.weight_difference,
        )?;
        writeln!(
            f,
            "from the same training in the clear on the same features: {:.5} and {:.5}",
            self.largest_weight_difference_same_features, self.weight_difference_same_features,
        )?;
        writeln!(
            f,
            "features {:.1} s, training {:.1} s ({} steps, {:.2} s each), scores {:.1} s",
            self.seconds_features,
            self.seconds_train,
            self.steps,
            self.seconds_per_step,
            self.seconds_scores,
        )?;
        write!(
            f,
            "{} refreshes, keys {:.2} GB, N = 2^{}, log QP = {:.0}, {}-bit security, {} threads",
            self.bootstraps,
            gb(self.key_bytes),
            self.log_n,
            self.log_qp,
            self.security_bits,
            self.threads,
        )?;
        if let Some(bytes) = self.peak_rss_bytes {
            write!(f, ", peak memory {:.2} GB", gb(bytes))?;
        }
        match &self.checkpoint {
            Some(checkpoint) => write!(f, "\n{checkpoint}"),
            None => Ok(()),
        }
    }
}
