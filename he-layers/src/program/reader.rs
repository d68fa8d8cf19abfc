//! What becomes of the ciphertexts of a tensor for all its readers: stages are applied, copies lifted, rotations made.

use std::collections::BTreeMap;
use std::ops::Range;

use ckks_scheme::{Ciphertext, EvalError, Evaluator, Level};

use super::accumulator::Rotations;
use super::counts::Joining;
use super::prepared::{Entry, PreparedProgram, PreparedValue};
use crate::error::LayerError;
use crate::pointwise::{Operand, PreparedBlock, Shared};
use crate::spec::Form;

/// What one ciphertext becomes for the readers of its tensor.
#[derive(Default)]
pub(super) struct Read {
    /// What products read, before its rotations, by the number of the value: where rotating is left to others.
    pub unturned: BTreeMap<usize, Ciphertext>,
    /// Rotations, by the number of the value.
    pub rotations: BTreeMap<usize, Rotations>,
    /// What is added as it is, with the number of the node.
    pub lifted: Vec<(usize, Ciphertext)>,
}

impl Read {
    /// Nothing yet of the rotations of some values.
    pub fn unread(values: impl Iterator<Item = usize>) -> Self {
        Self {
            rotations: values.map(|value| (value, Rotations::new())).collect(),
            ..Self::default()
        }
    }
}

/// What the stages of some channel blocks need to know of each block, by the number of the stage's value.
pub(super) type Blocks<'a> = BTreeMap<usize, Vec<Box<dyn PreparedBlock + 'a>>>;

/// What the stages among `values` need to know of channel blocks.
pub(super) fn stage_blocks<'a>(
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
pub(super) struct Reader<'a> {
    pub program: &'a PreparedProgram,
    /// Spreads limbs where there are fewer ciphertexts at a time than threads.
    pub evaluator: &'a Evaluator,
    pub stages: Blocks<'a>,
    /// Index of the part's first ciphertext in its tensor.
    pub first: usize,
    pub per_block: usize,
    /// Whether it rotates what products read.
    pub turns: bool,
}

impl Reader<'_> {
    /// Takes ciphertext `index` of the part, as it is in value `number`, through all its readers.
    pub(super) fn visit(
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
        match ct {
            Some(ct) if value.products.is_empty() => drop(ct),
            Some(ct) if self.turns => {
                let rotations = self.turned(number, index, ct)?;
                read.rotations.insert(number, rotations);
            }
            Some(ct) => {
                read.unturned.insert(number, ct);
            }
            None => {}
        }
        Ok(())
    }

    /// The rotations that products read of ciphertext `index` of the part, as it is in value `number`.
    pub(super) fn turned(
        &self,
        number: usize,
        index: usize,
        ct: Ciphertext,
    ) -> Result<Rotations, LayerError> {
        let steps = &self.program.values[number].steps[self.first + index];
        self.rotations(ct, steps)
            .map_err(LayerError::eval(&self.program.name))
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
