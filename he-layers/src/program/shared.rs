//! A process's part of a run that several make together: see [`Share`].

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;

use ckks_scheme::{Ciphertext, Evaluator};
use rayon::prelude::*;

use super::prepared::{PreparedProgram, Step};
use super::reader::{Blocks, Read, Reader, stage_blocks};
use super::run::Run;
use super::share::{Exchange, Missing, Partial, Share, ranges};
use super::state::check_count;
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::spec::TensorSpec;

impl PreparedProgram {
    /// The values that products read, of those of a step.
    pub(super) fn multiplied<'a>(
        &'a self,
        values: &'a [usize],
    ) -> impl Iterator<Item = usize> + Clone + 'a {
        let values = values.iter().copied();
        values.filter(|value| !self.values[*value].products.is_empty())
    }

    /// The values of a step of which ciphertext `index` goes to the other processes, where everyone rotates.
    fn carried<'a>(
        &'a self,
        values: &'a [usize],
        index: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let is_read = move |value: &usize| !self.values[*value].steps[index].is_empty();
        self.multiplied(values).filter(is_read)
    }

    /// A process's share in a step.
    pub(super) fn share_of(&self, step: &Step, share: Share) -> Share {
        share.in_step(self.values[step.tensor].spec.layout.blocks())
    }

    /// The parts in which a process multiplies a step's tensor: channel blocks, in ranges.
    pub(super) fn readings(
        &self,
        step: &Step,
        blocks_at_a_time: usize,
        share: Share,
    ) -> Vec<Vec<Range<usize>>> {
        let blocks = self.values[step.tensor].spec.layout.blocks();
        self.share_of(step, share)
            .readings(blocks, blocks_at_a_time)
    }

    /// Limbs that come to a process from the others in step `step`. In the last step the output comes too.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn received_limbs(&self, step: usize, share: Share) -> usize {
        if share.is_whole() {
            return 0;
        }
        let (is_last, step) = (step + 1 == self.steps(), &self.steps[step]);
        let foreign = |spec: &TensorSpec| {
            let (all, per_block) = (
                spec.layout.ciphertexts(),
                spec.layout.ciphertexts_per_block(),
            );
            (0..all).filter(move |index| !share.owns(index / per_block))
        };
        let inputs = match self.share_of(step, share).reads_own() {
            true => 0,
            false => foreign(&self.values[step.tensor].spec)
                .flat_map(|index| self.carried(&step.values, index))
                .map(|value| self.values[value].spec.limbs(1))
                .sum(),
        };
        let sums = step.finishes.iter().map(|node| {
            let sums = &self.values[self.nodes[*node].value].spec;
            sums.limbs(self.meeting(*node, share).taken())
        });
        let output = match is_last {
            true => self.output().limbs(foreign(self.output()).count()),
            false => 0,
        };
        inputs + sums.sum::<usize>() + output
    }

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
        let (program, step) = (self.program, self.next_step()?);
        match program.share_of(step, self.share) {
            share if share.reads_own() => self.read_own(step, blocks_at_a_time, share)?,
            share => self.read_all(step, blocks_at_a_time, share, exchange)?,
        }
        for &node in &step.finishes {
            self.meet(node, exchange)?;
        }
        self.end_step(step)
    }

    /// Multiplies the channel blocks of this process, for all outputs.
    fn read_own(&mut self, step: &Step, at_a_time: usize, share: Share) -> Result<(), LayerError> {
        let program = self.program;
        let layout = &program.values[step.tensor].spec.layout;
        let per_block = layout.ciphertexts_per_block();
        let tensor = self.tensors.remove(&step.tensor).unwrap_or_default();
        let mut left = tensor.into_iter();
        for part in program.readings(step, at_a_time, share) {
            let own: Vec<(usize, Vec<Ciphertext>)> = part
                .iter()
                .cloned()
                .flatten()
                .map(|block| (block, left.by_ref().take(per_block).collect()))
                .collect();
            let evaluator = self.spread_where_few(own.len() * per_block);
            let reads = own
                .into_par_iter()
                .map(|(block, part)| self.staged(&evaluator, &step.values, block, part, true))
                .collect::<Result<Vec<_>, LayerError>>()?;
            self.join(&part, reads.into_iter().flatten().collect(), share)?;
        }
        Ok(())
    }

    /// Multiplies the channel blocks of all processes, for the outputs of this one.
    fn read_all(
        &mut self,
        step: &Step,
        blocks_at_a_time: usize,
        share: Share,
        exchange: &mut dyn Exchange,
    ) -> Result<(), LayerError> {
        let program = self.program;
        let layout = &program.values[step.tensor].spec.layout;
        let (blocks, per_block) = (layout.blocks(), layout.ciphertexts_per_block());
        let at_a_time = blocks_at_a_time.clamp(1, blocks.max(1));
        let tensor = self.tensors.remove(&step.tensor).unwrap_or_default();
        let mut left = tensor.into_iter();
        // So many that every process has some to read.
        for window in ranges(0..blocks, at_a_time.saturating_mul(share.parts())) {
            let own = window.clone().filter(|block| share.owns(*block));
            let own: Vec<(usize, Vec<Ciphertext>)> = own
                .map(|block| (block, left.by_ref().take(per_block).collect()))
                .collect();
            let evaluator = self.spread_where_few(own.len() * per_block);
            let mut staged: BTreeMap<usize, Vec<Read>> = own
                .into_par_iter()
                .map(|(block, part)| {
                    let reads = self.staged(&evaluator, &step.values, block, part, false)?;
                    Ok((block, reads))
                })
                .collect::<Result<_, LayerError>>()?;
            for part in ranges(window, at_a_time) {
                let reads = self.gather(&step.values, part.clone(), &mut staged, exchange)?;
                self.join(&[part], reads, share)?;
            }
        }
        Ok(())
    }

    /// Brings the inner sums of a node to the owners of its outputs.
    fn meet(&mut self, node: usize, exchange: &mut dyn Exchange) -> Result<(), LayerError> {
        let (program, share) = (self.program, self.share);
        let prepared = &program.nodes[node];
        let cells = program.values[prepared.value].spec.layout.grid().cells();
        let mut sums = self
            .sums
            .remove(&node)
            .unwrap_or_else(|| self.accumulator(node));
        for window in program.meeting(node, share).windows() {
            let given = window.given.iter().zip(&window.outputs).enumerate();
            let given = given.map(|(to, (inner, outputs))| match to == share.part() {
                true => Partial::default(),
                false => sums.take(inner, outputs),
            });
            let given = given.collect();
            let taken = exchange
                .swap(given)
                .map_err(|source| self.missing("the others", source))?;
            let own = &window.outputs[share.part()];
            check_count("processes that gave sums", taken.len(), share.parts())?;
            let of_others = taken.into_iter().zip(&window.taken).enumerate();
            for (_, (partial, inner)) in of_others.filter(|(from, _)| *from != share.part()) {
                check_count("sums of a process", partial.sums.len(), inner.len())?;
                let errors = own.len() * cells;
                check_count("mean errors of a process", partial.errors.len(), errors)?;
                sums.put(inner, own, partial)
                    .map_err(LayerError::eval(&prepared.name))?;
            }
        }
        self.sums.insert(node, sums);
        Ok(())
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
        let mut of_owners = Vec::with_capacity(share.parts());
        for owner in 0..share.parts() {
            let count = (0..blocks).filter(|b| share.owner(*b) == owner).count() * per_block;
            let given = if owner == share.part() {
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

    /// What the readers of one channel block of this process make of it; with its rotations, if it `turns`.
    fn staged(
        &self,
        evaluator: &Evaluator,
        values: &[usize],
        block: usize,
        part: Vec<Ciphertext>,
        turns: bool,
    ) -> Result<Vec<Read>, LayerError> {
        let per_block = part.len();
        let reader = Reader {
            program: self.program,
            evaluator,
            stages: stage_blocks(self.program, values, block..block + 1)?,
            first: block * per_block,
            per_block,
            turns,
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

    /// Some channel blocks of all processes, each rotated here. What is added as it is stays with the block's owner, whose sums it
    /// joins.
    fn gather(
        &self,
        values: &[usize],
        blocks: Range<usize>,
        staged: &mut BTreeMap<usize, Vec<Read>>,
        exchange: &mut dyn Exchange,
    ) -> Result<Vec<Read>, LayerError> {
        let (program, share) = (self.program, self.share);
        let layout = &program.values[values[0]].spec.layout;
        let per_block = layout.ciphertexts_per_block();
        let first = blocks.start * per_block;
        let carried = |index: usize| program.carried(values, index);
        let mut reads: Vec<Read> = (0..blocks.len() * per_block)
            .map(|_| Read::unread(program.multiplied(values)))
            .collect();
        for owner in 0..share.parts() {
            let of_owner = blocks.clone().filter(|block| share.owner(*block) == owner);
            let mut own = None;
            if owner == share.part() {
                let mut given = Vec::new();
                for block in of_owner.clone() {
                    let staged = staged.remove(&block).unwrap_or_default();
                    for (index, mut read) in (block * per_block..).zip(staged) {
                        given.extend(carried(index).filter_map(|at| read.unturned.remove(&at)));
                        reads[index - first].lifted = read.lifted;
                    }
                }
                own = Some(given);
            }
            let indices = of_owner.flat_map(|block| block * per_block..(block + 1) * per_block);
            let count = indices.clone().map(|index| carried(index).count()).sum();
            if count == 0 {
                continue;
            }
            let mut all = self.broadcast(owner, own, count, exchange)?.into_iter();
            for index in indices {
                let read = &mut reads[index - first];
                for (at, ct) in carried(index).zip(all.by_ref()) {
                    read.unturned.insert(at, ct);
                }
            }
        }
        let evaluator = self.spread_where_few(reads.len());
        let reader = Reader {
            program,
            evaluator: &evaluator,
            stages: Blocks::new(),
            first,
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
        if self.share.is_whole() {
            return Ok(own.unwrap_or_default());
        }
        let all = exchange.broadcast(owner, own);
        let all = all.map_err(|source| self.missing(&format!("process {owner}"), source))?;
        check_count("ciphertexts of a process", all.len(), count)?;
        Ok(all)
    }

    fn missing(&self, of: &str, source: Box<dyn Error + Send + Sync>) -> LayerError {
        LayerError::Exchange(Box::new(Missing {
            program: self.program.name.clone(),
            of: of.to_owned(),
            source,
        }))
    }
}
