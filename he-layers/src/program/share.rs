//! One run made by several processes together, each of which computes some channel blocks of every tensor.
//!
//! Every process keeps its own blocks of the tensors. In a step it applies the stages (squares, refreshes) to its own blocks of the
//! tensor that is read. Then either what products read goes to all, and each process rotates it and multiplies it for its own
//! blocks of the outputs; or each rotates and multiplies what it has, for all outputs, and what that adds up to goes to the
//! outputs' owners: [`Rotating`]. Rescaling, stages, products, and the rotations of sums at the end are shared out so. Sums are
//! exact, modulo primes and of [`MeanError`]s, so the result is that of one process to the last bit. Only the predicted errors of
//! ciphertexts may differ: a bound for the products of some inputs at a time is not that for all of them.

use std::error::Error;
use std::ops::Range;

use ckks_scheme::Ciphertext;
use serde::{Deserialize, Serialize};

use crate::rounding::MeanError;

/// Who makes the rotations of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotating {
    /// Every process rotates every input, and has the sums of its own outputs only: the least memory.
    Everywhere,
    /// The input's owner rotates and multiplies it, and gives others the sums of their outputs: the least work. In steps with fewer
    /// channel blocks than processes everyone rotates, so that all multiply.
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

    /// The same process's share in a step that reads so many channel blocks.
    pub(super) fn in_step(self, blocks: usize) -> Self {
        let rotating = match blocks < self.parts {
            true => Rotating::Everywhere,
            false => self.rotating,
        };
        Self { rotating, ..self }
    }

    /// Whether this process multiplies channel blocks of its own alone, in a step that is shared out.
    pub(super) fn reads_own(self) -> bool {
        !self.is_whole() && self.rotating == Rotating::Once
    }

    /// Whether this process rotates and multiplies what products read of a channel block.
    pub(super) fn reads(self, block: usize) -> bool {
        self.rotating == Rotating::Everywhere || self.owns(block)
    }

    /// Whether this process adds up products for a channel block of an output.
    pub(super) fn sums(self, block: usize) -> bool {
        self.rotating == Rotating::Once || self.owns(block)
    }

    /// The parts in which this process multiplies `blocks` channel blocks, `at_a_time` of them at a time: each part as ranges
    /// without gaps.
    pub(super) fn readings(self, blocks: usize, at_a_time: usize) -> Vec<Vec<Range<usize>>> {
        let at_a_time = at_a_time.max(1);
        if !self.reads_own() {
            return ranges(0..blocks, at_a_time)
                .map(|part| vec![part])
                .collect();
        }
        let own: Vec<Range<usize>> = (0..blocks)
            .filter(|block| self.owns(*block))
            .map(|block| block..block + 1)
            .collect();
        own.chunks(at_a_time).map(<[_]>::to_vec).collect()
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

/// What one process has of the sums of another's outputs.
#[derive(Debug, Default)]
pub struct Partial {
    /// Inner sums, output by output and there by giant step.
    pub sums: Vec<Ciphertext>,
    /// Mean errors of rounded weights, output by output and there cell by cell.
    pub errors: Vec<MeanError>,
}

/// Brings ciphertexts from processes of a run to others. All processes make the same calls in the same order.
pub trait Exchange {
    /// Process `owner` gives `own`, the others give nothing; all get the ciphertexts, in order, with everything that is known of
    /// them.
    ///
    /// # Errors
    /// When they do not come.
    fn broadcast(
        &mut self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Box<dyn Error + Send + Sync>>;

    /// Gives process `p` what is in `given[p]`, and gets at `p` what that process has for this one. Both lists have an entry for
    /// every process; that of this process itself is empty.
    ///
    /// # Errors
    /// When it does not come.
    fn swap(&mut self, given: Vec<Partial>) -> Result<Vec<Partial>, Box<dyn Error + Send + Sync>>;
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

    fn swap(&mut self, _: Vec<Partial>) -> Result<Vec<Partial>, Box<dyn Error + Send + Sync>> {
        self.broadcast(0, None).map(|_| Vec::new())
    }
}

/// Ciphertexts of other processes that did not come.
#[derive(Debug, thiserror::Error)]
#[error("program {program}: ciphertexts of {of} did not come: {source}")]
pub struct Missing {
    /// Name of the program.
    pub program: String,
    /// The processes whose ciphertexts they are.
    pub of: String,
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
