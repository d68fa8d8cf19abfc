//! What the commands of client and server report.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OperationReport, StageReport, counted, optional, write_profile, write_stages};
use crate::answers::{Answer, SpoiledGroup};
use crate::checkpoint::CheckpointReport;
use crate::screening::Leaving;
use crate::units::gb;

/// A warning for whoever takes keys or encryptions from a seed.
pub const SEEDED: &str = "keys and encryptions from a seed: reproducible, not secure";
/// A warning for whoever has exact logits.
pub const EXACT: &str = "these logits are exact decryptions, for the key's owner alone: whoever else learns them learns about the secret key (others: polyphase decrypt --share-with-server N)";

/// New keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeygenReport {
    /// Name of the network.
    pub model: String,
    /// Its checksum in hexadecimal digits.
    pub model_checksum: String,
    /// Identity of the secret key, as files of ciphertexts carry it.
    pub key: String,
    /// Images that a group of ciphertexts holds.
    pub images_per_group: usize,
    /// Number of switching keys.
    pub keys: usize,
    /// Size of all evaluation keys in bytes, as resident.
    pub key_bytes: u64,
    /// Size of the folder for the server in bytes.
    pub file_bytes: u64,
    /// Logarithm of the ring degree N, base 2.
    pub log_n: u32,
    /// Logarithm of the product of all primes, special ones included, base 2.
    pub log_qp: f64,
    /// Security in bits.
    pub security_bits: u32,
    /// Time to make all keys.
    pub seconds_keygen: f64,
    /// Time to write them.
    pub seconds_write: f64,
    /// Whether the keys came from a seed: reproducible, not secure.
    pub seeded: bool,
    /// Threads that computed.
    pub threads: usize,
    /// High-water mark of the process's resident memory in bytes; `None` where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
}

/// Encrypted images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncryptReport {
    /// Name of the network that they are for.
    pub model: String,
    /// Name of the data set.
    pub data: String,
    /// Number of the first image in the data set.
    pub offset: usize,
    /// Images encrypted.
    pub images: usize,
    /// Groups of images.
    pub groups: usize,
    /// Images that leave a declared range of the network; `None` where the network was not there to tell.
    pub out_of_range: Option<Vec<Leaving>>,
    /// Positions in the batch, from 0, of those in whose place the mean picture was encrypted: `decrypt --blanked`.
    pub blanked: Vec<usize>,
    /// Ciphertexts.
    pub ciphertexts: u64,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Time to read, encode, encrypt and write the images.
    pub seconds_encrypt: f64,
    /// Whether the encryptions came from a seed: reproducible, not secure.
    pub seeded: bool,
    /// Threads that computed.
    pub threads: usize,
    /// High-water mark of the process's resident memory in bytes; `None` where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
}

/// An encrypted inference by a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Name of the network.
    pub model: String,
    /// Its checksum in hexadecimal digits.
    pub model_checksum: String,
    /// Images classified.
    pub images: usize,
    /// Groups of images, run one after another.
    pub groups: usize,
    /// Time to read the evaluation keys.
    pub seconds_load: f64,
    /// Time to touch the buffer pool's pages.
    pub seconds_warmup: f64,
    /// Time from ciphertexts and evaluation keys in memory to encrypted logits in memory, everything between included.
    pub seconds_infer: f64,
    /// [`Self::seconds_infer`] divided by [`Self::images`].
    pub seconds_per_image: f64,
    /// Size of the file of encrypted logits in bytes.
    pub file_bytes: u64,
    /// Size of all evaluation keys in bytes, as resident.
    pub key_bytes: u64,
    /// Ciphertexts refreshed in the whole run.
    pub bootstraps: usize,
    /// The stem, the blocks and the head, in order.
    pub stages: Vec<StageReport>,
    /// The plan's estimate of [`Self::seconds_infer`] for the batch that it was made for.
    pub predicted_seconds_infer: f64,
    /// The plan's upper bound of [`Self::peak_rss_bytes`].
    pub predicted_peak_bytes: u64,
    /// High-water mark of the process's resident memory in bytes; `None` where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
    /// High-water mark of the limb pool in bytes.
    pub pool_high_water_bytes: u64,
    /// Threads that computed.
    pub threads: usize,
    /// Name of the kernel of the arithmetic.
    pub kernel: String,
    /// What every operation took, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<OperationReport>>,
    /// What checkpoints took, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointReport>,
}

/// Decrypted logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecryptReport {
    /// Name of the network.
    pub model: String,
    /// Its checksum in hexadecimal digits.
    pub model_checksum: String,
    /// Images classified.
    pub images: usize,
    /// The noise that was added for others; `None` for exact logits, which are for the key's owner alone.
    pub flooding: Option<FloodingRecord>,
    /// One an image, in the order in which they were encrypted.
    pub predictions: Vec<Prediction>,
    /// Images without an answer because another one of their group has left its range.
    pub images_spoiled: usize,
    /// Their groups; images are numbered from 0 in the order in which they were encrypted.
    pub spoiled: Vec<SpoiledGroup>,
    /// Time to read, decrypt and decode the logits.
    pub seconds_decrypt: f64,
}

/// The noise in shared logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodingRecord {
    /// Results under this key that others may learn.
    pub results: u64,
    /// Bits of security that are left after that.
    pub bits: f64,
    /// Deviation of the noise in a logit.
    pub deviation: f64,
}

/// What an image is taken for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Number of the image in its batch.
    pub index: usize,
    /// Whether it has an answer, and why not.
    pub answer: Answer,
    /// The class with the largest logit; `None` without an answer.
    pub class: Option<usize>,
    /// Its name.
    pub name: Option<String>,
    /// One logit a class; `None` without an answer.
    pub logits: Option<Vec<f64>>,
}

impl fmt::Display for KeygenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "keys of {} for {}: {} switching keys, {:.2} GB in files, {:.2} GB in memory",
            self.key,
            self.model,
            self.keys,
            gb(self.file_bytes),
            gb(self.key_bytes)
        )?;
        writeln!(
            f,
            "N = 2^{}, log QP = {:.0}, {}-bit security; a group has room for {}",
            self.log_n,
            self.log_qp,
            self.security_bits,
            counted(self.images_per_group, "image")
        )?;
        if self.seeded {
            writeln!(f, "{SEEDED}")?;
        }
        write!(
            f,
            "keys {:.1} s, writing {:.1} s, peak memory {} GB, {}",
            self.seconds_keygen,
            self.seconds_write,
            optional(self.peak_rss_bytes.map(gb), 2),
            counted(self.threads, "thread")
        )
    }
}

impl fmt::Display for EncryptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} from image {} for {}, {}: {} ciphertexts, {:.1} MB",
            counted(self.images, "image"),
            self.data,
            self.offset,
            self.model,
            counted(self.groups, "group"),
            self.ciphertexts,
            self.file_bytes as f64 / 1e6
        )?;
        if self.seeded {
            writeln!(f, "{SEEDED}")?;
        }
        write!(
            f,
            "encryption {:.1} s, peak memory {} GB, {}",
            self.seconds_encrypt,
            optional(self.peak_rss_bytes.map(gb), 2),
            counted(self.threads, "thread")
        )
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} through {} ({}), {}; {}, kernel {}",
            counted(self.images, "encrypted image"),
            self.model,
            self.model_checksum.get(..12).unwrap_or("no checksum"),
            counted(self.groups, "group"),
            counted(self.threads, "thread"),
            self.kernel
        )?;
        write_stages(f, &self.stages)?;
        if let Some(profile) = &self.profile {
            write_profile(f, profile)?;
        }
        writeln!(
            f,
            "\nloading keys {:.1} s, warm-up {:.1} s, inference {:.1} s ({:.3} s an image)",
            self.seconds_load, self.seconds_warmup, self.seconds_infer, self.seconds_per_image
        )?;
        write!(
            f,
            "peak memory {} GB: limb pool {:.2} GB, evaluation keys {:.2} GB; encrypted logits {:.1} MB",
            optional(self.peak_rss_bytes.map(gb), 2),
            gb(self.pool_high_water_bytes),
            gb(self.key_bytes),
            self.file_bytes as f64 / 1e6
        )?;
        match &self.checkpoint {
            Some(checkpoint) => write!(f, "\n{checkpoint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DecryptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8}  {:>5}  class", "image", "")?;
        for p in &self.predictions {
            match (p.class, &p.name) {
                (Some(class), Some(name)) => write!(f, "\n{:>8}  {class:>5}  {name}", p.index)?,
                _ => write!(f, "\n{:>8}      -  no answer: {}", p.index, p.answer)?,
            }
        }
        match &self.flooding {
            Some(flooding) => write!(
                f,
                "\n\nlogits with noise of deviation {:.3e}: {:.1} bits of security after {} shared under this key",
                flooding.deviation,
                flooding.bits,
                counted(
                    usize::try_from(flooding.results).unwrap_or(usize::MAX),
                    "result"
                )
            ),
            None => Ok(()),
        }
    }
}
