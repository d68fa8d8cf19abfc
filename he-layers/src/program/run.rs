//! The encrypted run, step by step: a tensor is taken channel block by channel block, for all its readers, and freed.

use std::collections::BTreeMap;
use std::ops::Range;

use ckks_scheme::{Ciphertext, EvalError, Evaluator, Level};
use rayon::prelude::*;

use super::accumulator::{Accumulator, Rotations};
use super::counts::Joining;
use super::prepared::{Entry, PreparedProgram, PreparedValue};
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::linear::LinearMap;
use crate::pointwise::{Operand, PreparedBlock, Shared};
use crate::spec::Form;

/// An encrypted run of a prepared program. It holds no secret and can be sent to another thread between steps.
#[derive(Debug)]
pub struct Run<'a> {
    pub(super) program: &'a PreparedProgram,
    pub(super) evaluator: &'a Evaluator,
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

/// What one ciphertext becomes for the readers of its tensor.
#[derive(Default)]
struct Read {
    /// Rotations, by the number of the value.
    rotations: BTreeMap<usize, Rotations>,
    /// What is added as it is, with the number of the node.
    lifted: Vec<(usize, Ciphertext)>,
}

/// What the stages of some channel blocks need to know of each block, by the number of the stage's value.
type Blocks<'a> = BTreeMap<usize, Vec<Box<dyn PreparedBlock + 'a>>>;

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
    /// [`LayerError::Step`] after the last; [`LayerError::Eval`] and others, for instance when the memory is exhausted.
    pub fn step(&mut self, blocks_at_a_time: usize) -> Result<(), LayerError> {
        let program = self.program;
        let Some(step) = program.steps.get(self.done) else {
            return Err(LayerError::Step {
                program: program.name.clone(),
                found: self.done,
                steps: program.steps(),
            });
        };
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
    /// [`LayerError::Unready`] before that.
    pub fn finish(mut self) -> Result<EncryptedTensor, LayerError> {
        let program = self.program;
        match self.tensors.remove(&program.output) {
            Some(output) if self.is_done() => {
                EncryptedTensor::new(program.output().clone(), output)
            }
            _ => Err(LayerError::Unready {
                program: program.name.clone(),
                done: self.done,
                steps: program.steps(),
            }),
        }
    }

    fn accumulator(&self, node: usize) -> Accumulator<'a> {
        let value = self.program.nodes[node].value;
        Accumulator::new(self.evaluator, &self.program.values[value].spec)
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

        let mut rotations: BTreeMap<usize, Vec<Rotations>> = BTreeMap::new();
        for (index, read) in reads.into_iter().enumerate() {
            for (value, rotated) in read.rotations {
                rotations.entry(value).or_default().push(rotated);
            }
            for (node, ct) in read.lifted {
                let name = &program.nodes[node].name;
                self.sums_of(node)
                    .add(first + index, ct)
                    .map_err(LayerError::eval(name))?;
            }
        }
        for (value, inputs) in rotations {
            for &(node, product) in &program.values[value].products {
                let prepared = &program.nodes[node];
                let product = &prepared.products[product];
                let (map, scale) = (&product.map, product.weight_scale);
                self.sums_of(node)
                    .absorb(map, scale, blocks.clone(), &inputs)
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

/// What the stages among `values` need to know of channel blocks.
fn stage_blocks<'a>(
    program: &'a PreparedProgram,
    values: &[usize],
    blocks: Range<usize>,
) -> Result<Blocks<'a>, LayerError> {
    let mut all = Blocks::new();
    for &value in values {
        if let Some(stage) = &program.values[value].stage {
            let of_blocks = blocks.clone().map(|block| stage.stage.block(block));
            all.insert(value, of_blocks.collect::<Result<_, _>>()?);
        }
    }
    Ok(all)
}

/// Reads the ciphertexts of some channel blocks, the part, for all their readers.
struct Reader<'a> {
    program: &'a PreparedProgram,
    /// Spreads limbs where the part has fewer ciphertexts than there are threads.
    evaluator: &'a Evaluator,
    stages: Blocks<'a>,
    /// Index of the part's first ciphertext in its tensor.
    first: usize,
    per_block: usize,
}

impl Reader<'_> {
    /// Takes ciphertext `index` of the part, as it is in value `number`, through all its readers.
    fn visit(
        &self,
        number: usize,
        index: usize,
        mut ct: Ciphertext,
        read: &mut Read,
    ) -> Result<(), LayerError> {
        let value = &self.program.values[number];
        if let Some(&(max, rms)) = value.sizes.get(self.block(index)) {
            ct.declare_values(max, rms);
        }
        let named = LayerError::eval(&self.program.name);
        let mut rescaled = match self.program.needs_rescaled(value) {
            true => Some(self.evaluator.rescale(&ct).map_err(&named)?),
            false => None,
        };
        for &node in &value.adds {
            let lifted = self
                .lifted(node, value, &ct, rescaled.as_ref())
                .map_err(LayerError::eval(&self.program.nodes[node].name))?;
            read.lifted.push((node, lifted));
        }
        let mut ct = Some(ct);
        for (position, &child) in value.children.iter().enumerate() {
            let last = position + 1 == value.children.len() && value.products.is_empty();
            let operand = self.operand(value, child, last, &mut ct, &mut rescaled)?;
            let stage = &self.stages[&child][index / self.per_block];
            let mut y = stage.apply(self.evaluator, operand)?;
            let level = self.program.values[child].spec.level;
            if y.level() > level {
                self.evaluator.drop_level(&mut y, level).map_err(&named)?;
            }
            self.visit(child, index, y, read)?;
        }
        drop(rescaled);
        if let (Some(ct), false) = (ct, value.products.is_empty()) {
            let steps = &value.steps[self.first + index];
            let rotations = self.rotations(ct, steps).map_err(&named)?;
            read.rotations.insert(number, rotations);
        }
        Ok(())
    }

    /// The channel block of ciphertext `index` of the part.
    fn block(&self, index: usize) -> usize {
        (self.first + index) / self.per_block
    }

    /// What a stage reads: the ciphertext itself for the last reader.
    fn operand<'c>(
        &self,
        value: &PreparedValue,
        child: usize,
        last: bool,
        ct: &'c mut Option<Ciphertext>,
        rescaled: &mut Option<Ciphertext>,
    ) -> Result<Operand<'c>, LayerError> {
        let named = LayerError::eval(&self.program.name);
        let entry = self.program.entry(child);
        if let Entry::Dropped(level) = entry {
            let source = rescaled.as_ref().or(ct.as_ref());
            let source = source.expect("kept until the last reader");
            let dropped = self.evaluator.copy_at_level(source, level);
            return Ok(Operand::Value(Shared::Given(dropped.map_err(&named)?)));
        }
        let shares = self.program.shares_rescaled(child);
        let shared = match (last, ct) {
            (true, ct) => Shared::Given(ct.take().expect("kept until the last reader")),
            (false, Some(ct)) => Shared::Lent(ct),
            (false, None) => unreachable!("only the last reader takes it"),
        };
        Ok(match value.spec.form {
            // Stages that are dropped to a level come first, so that nobody else needs it.
            Form::Sums if shares => Operand::Sum(shared, rescaled.take()),
            Form::Sums => Operand::Sum(shared, None),
            Form::Squares | Form::Values | Form::Refreshed => Operand::Value(shared),
        })
    }

    /// A value as a summand of a node: at its level and scale.
    fn lifted(
        &self,
        node: usize,
        value: &PreparedValue,
        ct: &Ciphertext,
        rescaled: Option<&Ciphertext>,
    ) -> Result<Ciphertext, EvalError> {
        let sums = &self.program.values[self.program.nodes[node].value].spec;
        let values = rescaled.unwrap_or(ct);
        match self.program.joining(value, node) {
            Joining::Copied => Ok(ct.try_clone()?),
            Joining::Lifted => {
                let below = Level::new(sums.level.limbs() - 1);
                let copy = self.evaluator.copy_at_level(values, below)?;
                self.evaluator.lift(copy, sums.level)
            }
            Joining::Scaled => {
                let mut sum = self.evaluator.zero(sums.level, sums.scale)?;
                self.evaluator.add_scaled_assign(&mut sum, values, 1.0)?;
                Ok(sum)
            }
        }
    }

    fn rotations(&self, ct: Ciphertext, steps: &[i64]) -> Result<Rotations, EvalError> {
        let moved: Vec<i64> = steps.iter().copied().filter(|s| *s != 0).collect();
        let turned = self.evaluator.rotate_many(&ct, &moved)?;
        let mut rotations: Rotations = moved.into_iter().zip(turned).collect();
        if steps.contains(&0) {
            rotations.insert(0, ct);
        }
        Ok(rotations)
    }
}
