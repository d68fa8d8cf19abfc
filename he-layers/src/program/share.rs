//! One run made by several processes together, each of which computes some channel blocks of every tensor.
//!
//! Every process keeps its own blocks of the tensors and the sums of its own blocks of the outputs. In a step it applies the
//! stages (squares, refreshes) to its own blocks of the tensor that is read. What products read of them then goes to all
//! processes, which add it to their sums. What is rescaled, squared, refreshed, multiplied, summed and rotated at the end is
//! shared out so. The rotations of inputs are made by everyone, or by the owner of the input, who gives all of them to the
//! others: [`Rotating`]. The order of all sums is that of one process, so the result is the same to the last bit.

use std::error::Error;
use std::ops::Range;

use ckks_scheme::Ciphertext;
use serde::{Deserialize, Serialize};

/// Who makes the rotations of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotating {
    /// Every process rotates every input: the fewest bytes between them.
    Everywhere,
    /// The input's owner rotates it, and gives all rotations to the others: the least work.
    Once,
}

/// The channel blocks of every tensor that are one process's: `part`, `part + parts`, `part + 2 parts` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    part: usize,
    parts: usize,
    rotating: Rotating,
}

impl Share {
    /// Share `part` (from 0) of `parts`; nothing if there is no such part.
    pub fn new(part: usize, parts: usize, rotating: Rotating) -> Option<Self> {
        (part < parts).then_some(Self {
            part,
            parts,
            rotating,
        })
    }

    /// The share of a process that is alone.
    pub fn whole() -> Self {
        Self {
            part: 0,
            parts: 1,
            rotating: Rotating::Once,
        }
    }

    /// Whether nobody else has a share.
    pub fn is_whole(self) -> bool {
        self.parts == 1
    }

    /// Number of this share, from 0.
    pub fn part(self) -> usize {
        self.part
    }

    /// Number of shares.
    pub fn parts(self) -> usize {
        self.parts
    }

    /// Who makes the rotations of inputs.
    pub fn rotating(self) -> Rotating {
        self.rotating
    }

    /// How many of some channel blocks belong to this share.
    pub fn count(self, blocks: Range<usize>) -> usize {
        blocks.filter(|block| self.owns(*block)).count()
    }

    /// Whether this process rotates what products read of a channel block.
    pub fn rotates(self, block: usize) -> bool {
        self.rotating == Rotating::Everywhere || self.owns(block)
    }

    /// Whether a channel block belongs to this share.
    pub fn owns(self, block: usize) -> bool {
        self.owner(block) == self.part
    }

    /// The share that a channel block belongs to.
    pub fn owner(self, block: usize) -> usize {
        block % self.parts
    }
}

/// Brings ciphertexts from one process of a run to all.
pub trait Exchange {
    /// Process `owner` gives `own`, the others give nothing; all get the ciphertexts, in order, with everything that is known of
    /// them. All processes call this in the same order.
    ///
    /// # Errors
    /// When they do not come.
    fn broadcast(
        &mut self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Box<dyn Error + Send + Sync>>;
}

/// What a share of a run has that was not told how to reach the other processes.
pub(super) struct Nobody;

impl Exchange for Nobody {
    fn broadcast(
        &mut self,
        _: usize,
        _: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Box<dyn Error + Send + Sync>> {
        Err("a share of a run goes on with `step_shared` and `finish_shared`".into())
    }
}

/// Ciphertexts of another process that did not come.
#[derive(Debug, thiserror::Error)]
#[error("program {program}: ciphertexts of process {owner} did not come: {source}")]
pub struct Missing {
    /// Name of the program.
    pub program: String,
    /// The process whose ciphertexts they are, from 0.
    pub owner: usize,
    /// What is said by what carries them.
    pub source: Box<dyn Error + Send + Sync>,
}

/// A range in pieces of `size`, which is at least 1.
pub(super) fn ranges(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(size)
        .map(move |first| first..end.min(first.saturating_add(size)))
}
