//! What ranks tell each other besides keys and ciphertexts.

use std::path::PathBuf;

use pipeline::he_layers::Rotating;
use pipeline::report::{OperationReport, StageReport};
use serde::{Deserialize, Serialize};

/// How a batch is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Every group of images is computed by one server
    Groups,
    /// Every group is computed by all servers together: each has some channel blocks of every tensor
    Channels,
}

/// A rank and its machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Name of the machine.
    pub host: String,
    /// Threads that compute.
    pub threads: usize,
    /// Upper bound of the rank's resident memory in bytes.
    pub memory_bytes: u64,
    /// Kernel of the arithmetic.
    pub kernel: String,
    /// Whether all ranks are on this machine.
    pub is_alone: bool,
}

/// From the client to a server.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Make this plan ready.
    Plan {
        /// The plan, as in a file.
        plan: String,
        /// How the batch is shared out.
        split: Split,
        /// Where the rotations of inputs are made if servers share the channels of a group.
        rotating: Rotating,
    },
    /// The keys are broadcast next.
    KeysByBroadcast,
    /// The keys are in this file.
    KeysIn(PathBuf),
    /// The images of this group come next.
    Group(usize),
    /// There are no more groups.
    End,
}

/// A server has keys, and memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Time to get the keys.
    pub seconds_keys: f64,
    /// Time to touch the pool's pages.
    pub seconds_warmup: f64,
}

/// A server has finished a group. The logits come next, from one server of those that had a part in it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// Number of the group.
    pub group: usize,
    /// What its stages took.
    pub stages: Vec<StageReport>,
    /// Wall time from ciphertexts to ciphertexts in seconds.
    pub seconds: f64,
    /// Time on processors, of all threads, from the images' first byte to the logits' last, in seconds; nothing where the
    /// system does not tell.
    pub seconds_processor: Option<f64>,
    /// What it exchanged with other servers.
    pub exchanged: Exchanged,
}

/// What a server exchanged with those that compute its groups together with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchanged {
    /// Bytes that it gave; what goes to all others counts once.
    pub bytes_given: u64,
    /// Bytes that came to it.
    pub bytes_received: u64,
    /// Wall time, and in it that in which it waited for others.
    pub seconds: f64,
    /// Time on processors, of all threads; nothing where the system does not tell.
    pub seconds_processor: Option<f64>,
}

impl Exchanged {
    /// No bytes and no seconds: a server that has exchanged nothing.
    pub const NOTHING: Self = Self {
        bytes_given: 0,
        bytes_received: 0,
        seconds: 0.0,
        seconds_processor: Some(0.0),
    };

    /// Bytes and seconds of two times added up. There is no processor time where either has none.
    pub fn and(self, more: Self) -> Self {
        let processor = self.seconds_processor.zip(more.seconds_processor);
        Self {
            bytes_given: self.bytes_given + more.bytes_given,
            bytes_received: self.bytes_received + more.bytes_received,
            seconds: self.seconds + more.seconds,
            seconds_processor: processor.map(|(a, b)| a + b),
        }
    }
}

/// What a server says in the end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Farewell {
    /// What every operation took.
    pub operations: Vec<OperationReport>,
    /// High-water mark of the resident memory in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Time on processors, of all threads, in seconds; nothing where the system does not tell.
    pub seconds_processor: Option<f64>,
}
