//! One run made by several processes together, each of which computes some channel blocks of every tensor.
//!
//! Every process keeps its own blocks of the tensors and the sums of its own blocks of the outputs. In a step it applies the
//! stages (squares, refreshes) to its own blocks of the tensor that is read. What products read of them then goes to all
//! processes, which rotate it and add it to their sums. What is rescaled, squared, refreshed, summed and rotated at the end is
//! shared out so; the rotations of inputs are made by everyone. The order of all sums is that of one process, so the result is
//! the same to the last bit.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;

use ckks_scheme::{Ciphertext, Evaluator};
use rayon::prelude::*;

use super::prepared::PreparedProgram;
use super::reader::{Blocks, Read, Reader, stage_blocks};
use super::run::Run;
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;

/// The channel blocks of every tensor that are one process's: `part`, `part + parts`, `part + 2 parts` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    part: usize,
    parts: usize,
}

impl Share {
    /// Share `part` (from 0) of `parts`; nothing if there is no such part.
    pub fn new(part: usize, parts: usize) -> Option<Self> {
        (part < parts).then_some(Self { part, parts })
    }

    /// The share of a process that is alone.
    pub fn whole() -> Self {
        Self { part: 0, parts: 1 }
    }

    /// Number of this share, from 0.
    pub fn part(self) -> usize {
        self.part
    }

    /// Number of shares.
    pub fn parts(self) -> usize {
        self.parts
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

impl PreparedProgram {
    /// Begins one process's share of a run on `input`, which all processes get. It goes on with [`Run::step_shared`] and
    /// [`Run::finish_shared`].
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_share<'a>(
        &'a self,
        evaluator: &'a Evaluator,
        input: EncryptedTensor,
        share: Share,
    ) -> Result<Run<'a>, LayerError> {
        let per_block = input.spec().layout.ciphertexts_per_block();
        let mut run = self.begin(evaluator, input)?;
        run.share = share;
        for tensor in run.tensors.values_mut() {
            let mut index = 0;
            tensor.retain(|_| {
                index += 1;
                share.owns((index - 1) / per_block)
            });
        }
        Ok(run)
    }
}

impl Run<'_> {
    /// This process's share of the next step; `blocks_at_a_time` is the same for all of them. Parallel over ciphertexts (current
    /// rayon pool), and over the limbs of each where there are fewer ciphertexts than threads.
    ///
    /// # Errors
    /// As [`Self::step`]; [`LayerError::Exchange`].
    pub fn step_shared(
        &mut self,
        blocks_at_a_time: usize,
        exchange: &mut dyn Exchange,
    ) -> Result<(), LayerError> {
        let (program, step, share) = (self.program, self.next_step()?, self.share);
        let layout = &program.values[step.tensor].spec.layout;
        let (blocks, per_block) = (layout.blocks(), layout.ciphertexts_per_block());
        let at_a_time = blocks_at_a_time.clamp(1, blocks);
        let tensor = self.tensors.remove(&step.tensor).unwrap_or_default();
        let mut left = tensor.into_iter();
        // So many that every process has stages to apply.
        for window in ranges(0..blocks, at_a_time.saturating_mul(share.parts)) {
            let own = window.clone().filter(|block| share.owns(*block));
            let own: Vec<(usize, Vec<Ciphertext>)> = own
                .map(|block| (block, left.by_ref().take(per_block).collect()))
                .collect();
            let evaluator = self.spread_where_few(own.len() * per_block);
            let mut staged: BTreeMap<usize, Vec<Read>> = own
                .into_par_iter()
                .map(|(block, part)| {
                    let reads = self.staged(&evaluator, &step.values, block, part)?;
                    Ok((block, reads))
                })
                .collect::<Result<_, LayerError>>()?;
            for part in ranges(window, at_a_time) {
                let reads = self.gather(&step.values, part.clone(), &mut staged, exchange)?;
                self.join(part.clone(), part.start * per_block, reads)?;
            }
        }
        drop(left);
        self.end_step(step)
    }

    /// The network's output, when all steps are done; all processes get it.
    ///
    /// # Errors
    /// As [`Self::finish`]; [`LayerError::Exchange`].
    pub fn finish_shared(
        mut self,
        exchange: &mut dyn Exchange,
    ) -> Result<EncryptedTensor, LayerError> {
        let (program, share) = (self.program, self.share);
        let spec = program.output();
        let (blocks, per_block) = (spec.layout.blocks(), spec.layout.ciphertexts_per_block());
        let mut own = match self.tensors.remove(&program.output) {
            Some(output) if self.is_done() => Some(output),
            _ => return Err(self.unready()),
        };
        let mut of_owners = Vec::with_capacity(share.parts);
        for owner in 0..share.parts {
            let count = (0..blocks).filter(|b| share.owner(*b) == owner).count() * per_block;
            let given = if owner == share.part {
                own.take()
            } else {
                None
            };
            of_owners.push(self.broadcast(owner, given, count, exchange)?.into_iter());
        }
        let output = (0..blocks)
            .flat_map(|block| {
                of_owners[share.owner(block)]
                    .by_ref()
                    .take(per_block)
                    .collect::<Vec<_>>()
            })
            .collect();
        EncryptedTensor::new(spec.clone(), output)
    }

    /// An evaluator that spreads limbs where it has fewer ciphertexts at a time than threads.
    fn spread_where_few(&self, ciphertexts: usize) -> Evaluator {
        if ciphertexts < rayon::current_num_threads() {
            return self.evaluator.spread_limbs();
        }
        self.evaluator.clone()
    }

    /// What the stages make of one channel block of this process.
    fn staged(
        &self,
        evaluator: &Evaluator,
        values: &[usize],
        block: usize,
        part: Vec<Ciphertext>,
    ) -> Result<Vec<Read>, LayerError> {
        let per_block = part.len();
        let reader = Reader {
            program: self.program,
            evaluator,
            stages: stage_blocks(self.program, values, block..block + 1)?,
            first: block * per_block,
            per_block,
            turns: false,
        };
        part.into_par_iter()
            .enumerate()
            .map(|(index, ct)| {
                let mut read = Read::default();
                reader.visit(values[0], index, ct, &mut read)?;
                Ok(read)
            })
            .collect()
    }

    /// Some channel blocks of all processes, rotated. What is added as it is stays with the block's owner, whose sums it joins.
    fn gather(
        &self,
        values: &[usize],
        blocks: Range<usize>,
        staged: &mut BTreeMap<usize, Vec<Read>>,
        exchange: &mut dyn Exchange,
    ) -> Result<Vec<Read>, LayerError> {
        let (program, share) = (self.program, self.share);
        let per_block = program.values[values[0]]
            .spec
            .layout
            .ciphertexts_per_block();
        let has_products = |value: &&usize| !program.values[**value].products.is_empty();
        let multiplied: Vec<usize> = values.iter().filter(has_products).copied().collect();
        let mut reads: Vec<Read> = Vec::new();
        reads.resize_with(blocks.len() * per_block, Read::default);
        for owner in 0..share.parts {
            let of_owner = blocks.clone().filter(|block| share.owner(*block) == owner);
            let indices: Vec<usize> = of_owner
                .clone()
                .flat_map(|block| (0..per_block).map(move |at| block * per_block + at))
                .map(|index| index - blocks.start * per_block)
                .collect();
            let mut own = None;
            if owner == share.part {
                let mut given = Vec::with_capacity(indices.len() * multiplied.len());
                let of_blocks = of_owner.filter_map(|block| staged.remove(&block)).flatten();
                for (mut read, &index) in of_blocks.zip(&indices) {
                    given.extend(multiplied.iter().filter_map(|v| read.unturned.remove(v)));
                    reads[index].lifted = read.lifted;
                }
                own = Some(given);
            }
            let count = indices.len() * multiplied.len();
            if count == 0 {
                continue;
            }
            let mut all = self.broadcast(owner, own, count, exchange)?.into_iter();
            for index in indices {
                reads[index].unturned = multiplied.iter().copied().zip(all.by_ref()).collect();
            }
        }
        let evaluator = self.spread_where_few(reads.len());
        let reader = Reader {
            program,
            evaluator: &evaluator,
            stages: Blocks::new(),
            first: blocks.start * per_block,
            per_block,
            turns: true,
        };
        reads
            .par_iter_mut()
            .enumerate()
            .try_for_each(|(index, read)| {
                for (value, ct) in std::mem::take(&mut read.unturned) {
                    read.rotations
                        .insert(value, reader.turned(value, index, ct)?);
                }
                Ok::<_, LayerError>(())
            })?;
        Ok(reads)
    }

    fn broadcast(
        &self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
        count: usize,
        exchange: &mut dyn Exchange,
    ) -> Result<Vec<Ciphertext>, LayerError> {
        if self.share.parts == 1 {
            return Ok(own.unwrap_or_default());
        }
        let all = exchange.broadcast(owner, own);
        let all = all.map_err(|source| {
            let program = self.program.name.clone();
            LayerError::Exchange(Box::new(Missing {
                program,
                owner,
                source,
            }))
        })?;
        match all.len() {
            found if found == count => Ok(all),
            found => Err(LayerError::Count {
                what: "ciphertexts of a process",
                found,
                expected: count,
            }),
        }
    }
}

/// A range in pieces of `size`.
fn ranges(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(size)
        .map(move |first| first..end.min(first.saturating_add(size)))
}
