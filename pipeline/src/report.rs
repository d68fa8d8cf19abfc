//! What a run reports: the numbers of the JSON files, and the same as a table for people.
//!
//! Units: seconds of wall time; bytes; GB is 10^9 bytes. Fractions are 0..=1, `None` (JSON `null`) without labels.

mod eval;
mod sides;
mod warnings;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::answers::{Answer, SpoiledGroup};
use crate::checkpoint::CheckpointReport;
use crate::decisions::Decisions;
use crate::screening::Leaving;
use crate::units::gb;

pub use eval::{EvalReport, FamilyReport, LayerInput, LeftFirst, RoundedReport};
pub use sides::{
    DecryptReport, EXACT, EncryptReport, FloodingRecord, KeygenReport, Prediction, RunReport,
    SEEDED,
};
pub use warnings::{blanked_warning, decrypt_blanked, out_of_range_warning, spoiled_warning};

/// Encrypted inference on a batch, compared with the plaintext network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferReport {
    /// Name of the network.
    pub model: String,
    /// Its checksum in hexadecimal digits.
    pub model_checksum: String,
    /// Name of the data set.
    pub data: String,
    /// Number of the first image in the data set.
    pub offset: usize,
    /// How slots are used: `real` or `complex`.
    pub packing: String,
    /// Cells of an image in a ciphertext: `ROWSxCOLUMNS`.
    pub grid: String,
    /// Groups of images, run one after another.
    pub groups: usize,
    /// Everything that was decided before the run.
    pub plan: Decisions,
    /// Name of the processor.
    pub processor: String,
    /// Commit of the sources that the program was built from, or `unknown`.
    pub revision: String,
    /// Seed of keys and encryptions; `None` for the system's randomness.
    pub seed: Option<u64>,
    /// Images of the batch. What follows up to [`Self::max_logit_error_rounded`] is of those that have an answer.
    pub images: usize,
    /// Share of the labels that the encrypted logits predict.
    pub accuracy_encrypted: Option<f64>,
    /// Share of the labels that the plaintext logits predict.
    pub accuracy_plain: Option<f64>,
    /// Share of the images for which both predict the same class.
    pub agreement: f64,
    /// Largest absolute difference between an encrypted and a plaintext logit.
    pub max_logit_error: f64,
    /// Standard deviation of the plaintext logits over images and classes.
    pub logit_std: f64,
    /// [`Self::agreement`] with the network whose weights are rounded as in the encrypted run.
    pub agreement_rounded: f64,
    /// [`Self::max_logit_error`] against that network: the noise alone.
    pub max_logit_error_rounded: f64,
    /// The plan's estimate of [`Self::max_logit_error`]; `None` if it has none.
    pub predicted_max_logit_error: Option<f64>,
    /// The plan's estimate of [`Self::max_logit_error_rounded`]; `None` if it has none.
    pub predicted_max_logit_error_rounded: Option<f64>,
    /// Images for which some activation input leaves its declared range in the plaintext network.
    pub images_out_of_range: usize,
    /// These images, each with the first activation that it leaves.
    pub out_of_range: Vec<Leaving>,
    /// Numbers of the images in whose place the mean picture was encrypted. They have no answer.
    pub images_blanked: Vec<usize>,
    /// Images without an answer because their group of ciphertexts is spoiled.
    pub images_spoiled: usize,
    /// These groups.
    pub spoiled: Vec<SpoiledGroup>,
    /// Wall time in seconds to make all keys.
    pub seconds_keygen: f64,
    /// Time to touch the buffer pool's pages.
    pub seconds_warmup: f64,
    /// Time to encode and encrypt the images.
    pub seconds_encrypt: f64,
    /// Time from ciphertexts and evaluation keys in memory to encrypted logits in memory, everything between included.
    pub seconds_infer: f64,
    /// Time on processors, of all threads, for [`Self::seconds_infer`]; `None` where the system does not tell.
    pub seconds_processor_infer: Option<f64>,
    /// Time to decrypt and decode the logits.
    pub seconds_decrypt: f64,
    /// [`Self::seconds_infer`] divided by [`Self::images`].
    pub seconds_per_image: f64,
    /// High-water mark of the process's resident memory in bytes; `None` where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
    /// High-water mark of the limb pool in bytes.
    pub pool_high_water_bytes: u64,
    /// Size of all evaluation keys in bytes, as resident.
    pub key_bytes: u64,
    /// Logarithm of the ring degree N, base 2.
    pub log_n: u32,
    /// Logarithm of the product of all primes, special ones included, base 2.
    pub log_qp: f64,
    /// Security in bits; 0 for parameters that are for tests only.
    pub security_bits: u32,
    /// Threads of the pool that computed.
    pub threads: usize,
    /// Name of the kernel of the arithmetic.
    pub kernel: String,
    /// Whether keys and encryptions came from a seed: reproducible, not secure.
    pub seeded: bool,
    /// Ciphertexts refreshed in the whole run.
    pub bootstraps: usize,
    /// The stem, the blocks and the head, in order.
    pub stages: Vec<StageReport>,
    /// The plan's estimate of [`Self::seconds_infer`].
    pub predicted_seconds_infer: f64,
    /// The plan's upper bound of [`Self::peak_rss_bytes`].
    pub predicted_peak_bytes: u64,
    /// The logits of every image, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<Vec<LogitsRecord>>,
    /// What every operation took, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<OperationReport>>,
    /// What checkpoints took, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointReport>,
}

/// One stage of an encrypted inference, over all groups of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// Name of the stem, the block or the head.
    pub name: String,
    /// Wall time in seconds, of all groups of images together.
    pub seconds: f64,
    /// Ciphertexts that come out of it, for one group of images.
    pub ciphertexts: usize,
    /// Primes left to the ciphertexts that go in.
    pub level_in: usize,
    /// Primes left to the ciphertexts that come out.
    pub level_out: usize,
    /// The limb pool's peak during the stage in bytes.
    pub bytes: u64,
}

/// The logits of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitsRecord {
    /// Number of the image in its data set.
    pub index: usize,
    /// Number of its class; `None` where the data has no labels.
    pub label: Option<usize>,
    /// Whether it has an answer, and why not.
    pub answer: Answer,
    /// The class with the largest decrypted logit; `None` without an answer.
    pub class: Option<usize>,
    /// Decrypted logits, one per class; `None` without an answer.
    pub encrypted: Option<Vec<f64>>,
    /// Logits of the plaintext network.
    pub plain: Vec<f64>,
}

/// One kind of operation in the profile of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationReport {
    /// Name of the operation.
    pub operation: String,
    /// How often it ran.
    pub count: u64,
    /// Time in it, added up over threads.
    pub seconds: f64,
    /// Its part of the time in all operations.
    pub share: f64,
}

impl fmt::Display for InferReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = match self.security_bits {
            0 => "not secure: parameters for tests".to_owned(),
            bits => format!("{bits}-bit security"),
        };
        writeln!(
            f,
            "{} ({}) on {} from image {}, revision {}, {}",
            self.model,
            self.model_checksum.get(..12).unwrap_or("no checksum"),
            self.data,
            self.offset,
            self.revision,
            self.processor
        )?;
        writeln!(
            f,
            "N = 2^{}, log QP = {:.0}, {security}; {}, kernel {}",
            self.log_n,
            self.log_qp,
            counted(self.threads, "thread"),
            self.kernel
        )?;
        if self.seeded {
            writeln!(f, "{SEEDED}")?;
        }
        writeln!(
            f,
            "\n{:<28}{:>12}{:>12}",
            counted(self.images, "image"),
            "encrypted",
            "plaintext"
        )?;
        writeln!(
            f,
            "{:<28}{:>12}{:>12}",
            "accuracy",
            optional(self.accuracy_encrypted, 4),
            optional(self.accuracy_plain, 4)
        )?;
        writeln!(
            f,
            "\n{:<28}{:>12}{:>12}",
            "compared with weights", "exact", "as rounded"
        )?;
        writeln!(
            f,
            "{:<28}{:>12.4}{:>12.4}",
            "same top-1", self.agreement, self.agreement_rounded
        )?;
        writeln!(
            f,
            "{:<28}{:>12.6}{:>12.6}",
            "largest logit error", self.max_logit_error, self.max_logit_error_rounded
        )?;
        let predicted = |error: Option<f64>| match error {
            Some(error) => format!("{error:.6}"),
            None => "not predicted".to_owned(),
        };
        writeln!(
            f,
            "{:<27}{:>13}{:>14}",
            "  estimated before the run",
            predicted(self.predicted_max_logit_error),
            predicted(self.predicted_max_logit_error_rounded)
        )?;
        writeln!(
            f,
            "{:<28}{:>12.6}{:>12.6}",
            "  in deviations of logits",
            self.max_logit_error / self.logit_std,
            self.max_logit_error_rounded / self.logit_std
        )?;
        write_stages(f, &self.stages)?;
        if let Some(profile) = &self.profile {
            write_profile(f, profile)?;
        }
        writeln!(
            f,
            "\nkeys {:.1} s, warm-up {:.1} s, encryption {:.1} s, inference {:.1} s ({:.3} s an image), decryption {:.1} s",
            self.seconds_keygen,
            self.seconds_warmup,
            self.seconds_encrypt,
            self.seconds_infer,
            self.seconds_per_image,
            self.seconds_decrypt
        )?;
        write!(
            f,
            "peak memory {} GB: limb pool {:.2} GB, evaluation keys {:.2} GB",
            optional(self.peak_rss_bytes.map(gb), 2),
            gb(self.pool_high_water_bytes),
            gb(self.key_bytes)
        )?;
        if let Some(checkpoint) = &self.checkpoint {
            write!(f, "\n{checkpoint}")?;
        }
        if !self.images_blanked.is_empty() {
            write!(f, "\n{}", blanked_warning(&self.images_blanked))?;
        } else if self.images_out_of_range > 0 {
            write!(f, "\n{}", out_of_range_warning(self.images_out_of_range))?;
        }
        if !self.spoiled.is_empty() {
            write!(f, "\n{}", spoiled_warning(&self.spoiled))?;
        }
        Ok(())
    }
}

fn write_stages(f: &mut fmt::Formatter<'_>, stages: &[StageReport]) -> fmt::Result {
    let total: f64 = stages.iter().map(|stage| stage.seconds).sum();
    writeln!(
        f,
        "\n{:<22}{:>10}{:>8}{:>13}{:>10}{:>10}",
        "stage", "seconds", "share", "ciphertexts", "level", "GB"
    )?;
    for stage in stages {
        writeln!(
            f,
            "{:<22}{:>10.2}{:>6.1} %{:>13}{:>10}{:>10.2}",
            stage.name,
            stage.seconds,
            percent(stage.seconds, total),
            stage.ciphertexts,
            format!("{} to {}", stage.level_in, stage.level_out),
            gb(stage.bytes)
        )?;
    }
    Ok(())
}

fn write_profile(f: &mut fmt::Formatter<'_>, profile: &[OperationReport]) -> fmt::Result {
    writeln!(
        f,
        "\n{:<32}{:>10}{:>12}{:>8}",
        "operation", "count", "seconds", "share"
    )?;
    for row in profile {
        writeln!(
            f,
            "{:<32}{:>10}{:>12.3}{:>6.1} %",
            row.operation,
            row.count,
            row.seconds,
            100.0 * row.share
        )?;
    }
    Ok(())
}

/// `1 image`, `2 images`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A number with so many decimals, or a dash.
fn optional(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| number(value, decimals))
}

/// A number with so many decimals; those far from one with an exponent, since a file may hold any.
fn number(value: f64, decimals: usize) -> String {
    let least = 0.5 * 10f64.powi(-(decimals as i32));
    if value == 0.0 || (least..1e9).contains(&value.abs()) {
        format!("{value:.decimals$}")
    } else {
        format!("{value:.2e}")
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        100.0 * part / whole
    } else {
        0.0
    }
}
