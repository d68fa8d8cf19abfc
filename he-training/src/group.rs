//! What a training reads.

use ckks_scheme::Ciphertext;

/// The encrypted features and labels of one group of images.
#[derive(Debug)]
pub struct Group {
    /// One ciphertext for each block of features.
    pub features: Vec<Ciphertext>,
    /// The labels, see [`crate::FeatureLayout::pack_labels`].
    pub labels: Ciphertext,
    /// Number of images, which is not secret.
    pub images: usize,
}
