//! A plan: everything that is decided before a run, as data that people read, files keep and runs obey.

mod svg;

use crate::cost::KeySteps;
use ckks_scheme::{Level, ParamsLiteral};
use he_layers::{Chw, Grid, Packing};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the file format.
pub const FORMAT: u32 = 1;

/// How a batch will be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// Its checksum, hexadecimal; empty where the layers come from elsewhere.
    pub model_checksum: String,
    /// Images.
    pub batch: usize,
    /// Images that one set of ciphertexts holds.
    pub images_per_group: usize,
    /// Sets of ciphertexts, run one after another.
    pub groups: usize,
    /// Ring, primes and digits.
    pub params: ParamsLiteral,
    /// Base-2 logarithm of the nominal scale S.
    pub log_scale: u32,
    /// One image a slot or two.
    pub packing: Packing,
    /// Cells of an image.
    pub grid: Grid,
    /// Levels that switching keys are made for.
    pub key_steps: KeySteps,
    /// Threads.
    pub threads: usize,
    /// Stem, blocks and head.
    pub stages: Vec<StagePlan>,
    /// Switching keys.
    pub keys: usize,
    /// Their bytes.
    pub key_bytes: u64,
    /// Predicted high-water mark of the limb pool, keys included.
    pub pool_bytes: u64,
    /// Predicted peak of the process's resident memory.
    pub predicted_peak_bytes: u64,
    /// Predicted seconds of the inference, all groups.
    pub predicted_seconds_infer: f64,
    /// Predicted bound on the largest logit error that noise causes; 0 if none was predicted.
    pub predicted_max_logit_error: f64,
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagePlan {
    /// Name of the layer.
    pub name: String,
    /// Shape of one image's maps that come out.
    pub shape: Chw,
    /// Ciphertexts that go in.
    pub ciphertexts_in: usize,
    /// Ciphertexts that come out.
    pub ciphertexts_out: usize,
    /// Level of what goes in.
    pub level_in: Level,
    /// Level of what comes out.
    pub level_out: Level,
    /// Channel blocks of the input that are taken, absorbed and let go at a time.
    pub group_blocks: usize,
    /// Rotations.
    pub rotations: u64,
    /// Predicted peak of the limb pool during the stage, keys included.
    pub pool_bytes: u64,
    /// Predicted seconds for one group.
    pub seconds: f64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.params;
        let gb = |bytes: u64| bytes as f64 / 1e9;
        writeln!(
            f,
            "{}, {} image{}: {} packing, grid {}, {} group{} of up to {} images",
            self.model,
            self.batch,
            if self.batch == 1 { "" } else { "s" },
            self.packing,
            self.grid,
            self.groups,
            if self.groups == 1 { "" } else { "s" },
            self.images_per_group
        )?;
        writeln!(
            f,
            "N = 2^{}, {} primes of {} bits and {} special ones, {} digits, scale 2^{}",
            p.log_n,
            p.q_bits.len(),
            p.q_bits.iter().max().unwrap_or(&0),
            p.p_bits.len(),
            p.digits,
            self.log_scale
        )?;
        writeln!(
            f,
            "\n{:<22}{:>14}{:>14}{:>10}{:>7}{:>11}{:>9}{:>9}",
            "stage", "maps out", "ciphertexts", "level", "group", "rotations", "GB", "seconds"
        )?;
        for s in &self.stages {
            writeln!(
                f,
                "{:<22}{:>14}{:>14}{:>10}{:>7}{:>11}{:>9.2}{:>9.1}",
                s.name,
                s.shape.to_string(),
                format!("{} to {}", s.ciphertexts_in, s.ciphertexts_out),
                format!("{} to {}", s.level_in, s.level_out),
                s.group_blocks,
                s.rotations,
                gb(s.pool_bytes),
                s.seconds
            )?;
        }
        write!(
            f,
            "\n{} switching keys, {:.2} GB; limb pool {:.2} GB, process {:.2} GB; {:.1} s on {} thread{}, {:.3} s an image; noise moves logits by at most {:.2e}",
            self.keys,
            gb(self.key_bytes),
            gb(self.pool_bytes),
            gb(self.predicted_peak_bytes),
            self.predicted_seconds_infer,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            self.predicted_seconds_infer / self.batch as f64,
            self.predicted_max_logit_error
        )
    }
}
