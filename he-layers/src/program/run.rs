//! The encrypted run, step by step: a tensor is taken channel block by channel block, for all its readers, and freed.

use std::collections::BTreeMap;
use std::ops::Range;

use ckks_scheme::{Ciphertext, Evaluator};
use rayon::prelude::*;

use super::accumulator::{Accumulator, Rotations};
use super::prepared::{PreparedProgram, Step};
use super::reader::{Read, Reader, stage_blocks};
use super::share::{Nobody, Share};
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::linear::LinearMap;

/// An encrypted run of a prepared program. It holds no secret and can be sent to another thread between steps.
#[derive(Debug)]
pub struct Run<'a> {
    pub(super) program: &'a PreparedProgram,
    pub(super) evaluator: &'a Evaluator,
    /// The channel blocks of every tensor that this process computes and keeps.
    pub(super) share: Share,
    /// Tensors that are finished and not read yet, by the number of their value.
    pub(super) tensors: BTreeMap<usize, Vec<Ciphertext>>,
    /// Sums under way, by the number of their node.
    pub(super) sums: BTreeMap<usize, Accumulator<'a>>,
    pub(super) done: usize,
}

impl PreparedProgram {
    /// Begins a run on `input`.
    ///
    /// # Errors
    /// [`LayerError::ForeignTensor`] if that is not as [`Self::input`] says.
    pub fn begin<'a>(
        &'a self,
        evaluator: &'a Evaluator,
        input: EncryptedTensor,
    ) -> Result<Run<'a>, LayerError> {
        self.input().check_same(&self.name, input.spec())?;
        Ok(Run {
            program: self,
            evaluator,
            share: Share::whole(),
            tensors: BTreeMap::from([(0, input.into_parts().1)]),
            sums: BTreeMap::new(),
            done: 0,
        })
    }

    /// The whole run, with `blocks_at_a_time` channel blocks at a time in every step. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`LayerError::ForeignTensor`], [`LayerError::Eval`].
    pub fn forward(
        &self,
        evaluator: &Evaluator,
        input: EncryptedTensor,
        blocks_at_a_time: usize,
    ) -> Result<EncryptedTensor, LayerError> {
        let mut run = self.begin(evaluator, input)?;
        while !run.is_done() {
            run.step(blocks_at_a_time)?;
        }
        run.finish()
    }
}

impl<'a> Run<'a> {
    /// Steps that are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.done == self.program.steps()
    }

    /// Does the next step, `blocks_at_a_time` (at least 1) channel blocks at a time. Parallel on the current rayon pool over
    /// ciphertexts, and over the limbs of each where there are fewer ciphertexts than threads.
    ///
    /// # Errors
    /// [`LayerError::Step`] after the last; [`LayerError::Eval`] and others, for instance when the memory is exhausted;
    /// [`LayerError::Exchange`] for a share of a run.
    pub fn step(&mut self, blocks_at_a_time: usize) -> Result<(), LayerError> {
        if !self.share.is_whole() {
            return self.step_shared(blocks_at_a_time, &mut Nobody);
        }
        let (program, step) = (self.program, self.next_step()?);
        let layout = &program.values[step.tensor].spec.layout;
        let per_block = layout.ciphertexts_per_block();
        let tensor = self.tensors.remove(&step.tensor).unwrap_or_default();
        let mut left = tensor.into_iter();
        let mut block = 0;
        while left.len() > 0 {
            let part: Vec<_> = left
                .by_ref()
                .take(blocks_at_a_time.max(1) * per_block)
                .collect();
            let blocks = block..block + part.len() / per_block;
            block = blocks.end;
            self.absorb(&step.values, blocks, part)?;
        }
        drop(left);
        self.end_step(step)
    }

    pub(super) fn next_step(&self) -> Result<&'a Step, LayerError> {
        let program = self.program;
        program
            .steps
            .get(self.done)
            .ok_or_else(|| LayerError::Step {
                program: program.name.clone(),
                found: self.done,
                steps: program.steps(),
            })
    }

    /// Finishes the nodes that wait for nothing else.
    pub(super) fn end_step(&mut self, step: &Step) -> Result<(), LayerError> {
        let program = self.program;
        for &node in &step.finishes {
            let prepared = &program.nodes[node];
            let maps: Vec<&LinearMap> = prepared.products.iter().map(|p| &p.map).collect();
            let sums = self
                .sums
                .remove(&node)
                .unwrap_or_else(|| self.accumulator(node));
            let finished = sums
                .finish(&maps)
                .map_err(LayerError::eval(&prepared.name))?;
            self.tensors.insert(prepared.value, finished);
        }
        self.done += 1;
        Ok(())
    }

    /// The network's output, when all steps are done.
    ///
    /// # Errors
    /// [`LayerError::Unready`] before that; [`LayerError::Exchange`] for a share of a run.
    pub fn finish(mut self) -> Result<EncryptedTensor, LayerError> {
        if !self.share.is_whole() {
            return self.finish_shared(&mut Nobody);
        }
        let program = self.program;
        match self.tensors.remove(&program.output) {
            Some(output) if self.is_done() => {
                EncryptedTensor::new(program.output().clone(), output)
            }
            _ => Err(self.unready()),
        }
    }

    pub(super) fn unready(&self) -> LayerError {
        LayerError::Unready {
            program: self.program.name.clone(),
            done: self.done,
            steps: self.program.steps(),
        }
    }

    pub(super) fn accumulator(&self, node: usize) -> Accumulator<'a> {
        let value = self.program.nodes[node].value;
        Accumulator::new(self.evaluator, &self.program.values[value].spec, self.share)
    }

    /// Adds what all readers of a tensor, and of its stages, make of some channel blocks of it.
    fn absorb(
        &mut self,
        values: &[usize],
        blocks: Range<usize>,
        part: Vec<Ciphertext>,
    ) -> Result<(), LayerError> {
        let (program, evaluator) = (self.program, self.evaluator);
        let per_block = part.len() / blocks.len();
        let first = blocks.start * per_block;
        let are_few = part.len() < rayon::current_num_threads();
        let spread = are_few.then(|| evaluator.spread_limbs());
        let reader = Reader {
            program,
            evaluator: spread.as_ref().unwrap_or(evaluator),
            stages: stage_blocks(program, values, blocks.clone())?,
            first,
            per_block,
            turns: true,
        };
        let tensor = values[0];
        let reads: Vec<Read> = part
            .into_par_iter()
            .enumerate()
            .map(|(index, ct)| {
                let mut read = Read::default();
                reader.visit(tensor, index, ct, &mut read)?;
                Ok(read)
            })
            .collect::<Result<_, LayerError>>()?;
        drop(reader);
        self.join(&[blocks], reads, Share::whole())
    }

    /// Adds what was made of the ciphertexts of some channel blocks, in ranges; `share`: the process's share in this step.
    pub(super) fn join(
        &mut self,
        blocks: &[Range<usize>],
        reads: Vec<Read>,
        share: Share,
    ) -> Result<(), LayerError> {
        let program = self.program;
        let per_block = reads.len() / blocks.iter().map(Range::len).sum::<usize>().max(1);
        let ciphertexts = |part: &Range<usize>| part.start * per_block..part.end * per_block;
        let indices = blocks.iter().flat_map(ciphertexts);
        let mut rotations: BTreeMap<usize, Vec<Rotations>> = BTreeMap::new();
        for (index, read) in indices.zip(reads) {
            for (value, rotated) in read.rotations {
                rotations.entry(value).or_default().push(rotated);
            }
            for (node, ct) in read.lifted {
                let name = &program.nodes[node].name;
                self.sums_of(node)
                    .add(index, ct)
                    .map_err(LayerError::eval(name))?;
            }
        }
        for (value, inputs) in rotations {
            for &(node, product) in &program.values[value].products {
                let prepared = &program.nodes[node];
                let product = &prepared.products[product];
                let (map, scale) = (&product.map, product.weight_scale);
                self.sums_of(node)
                    .absorb(map, scale, blocks, &inputs, share)
                    .map_err(LayerError::eval(&prepared.name))?;
            }
        }
        Ok(())
    }

    fn sums_of(&mut self, node: usize) -> &mut Accumulator<'a> {
        let new = self.accumulator(node);
        self.sums.entry(node).or_insert(new)
    }
}
