//! The pre-activation residual block, input-stationary: the stream is taken group by group, activated, rotated, added to
//! all sums of the first convolution and let go; what the skip needs stays behind at the block's last level.

use ckks_scheme::{Ciphertext, EvalError, Evaluator, KeyRequest, Level};
use num_complex::Complex64;
use rayon::prelude::*;

use crate::conv::compile;
use crate::cost::{Op, OpCounts};
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::layer::{LayerRun, PreparedLayer, Weights};
use crate::prepared::accumulator::Accumulator;
use crate::prepared::add_slots;
use crate::prepared::pointwise::Pointwise;
use crate::prepared::reader::{LinearStage, Reader};
use crate::prepared::square::SquareStage;
use crate::residual::PreActBlock;
use crate::spec::{ScaleChain, TensorSpec};

/// A pre-activation block for one input: sums at level `l` to sums at level `l - 2`.
#[derive(Debug)]
pub(crate) struct PreparedBlock {
    name: String,
    /// The stream through the first activation into the first convolution and, if there is one, the shortcut. The shortcut's
    /// products are taken at the block's last level, so that they join the second convolution's sums as they are.
    first: Reader,
    second: Reader,
    /// Level to which an identity skip is dropped; `None` with a shortcut.
    skip: Option<Level>,
}

impl PreparedBlock {
    pub(crate) fn new(
        block: &PreActBlock,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Self, LayerError> {
        let name = &block.name;
        let output_shape = block.output_shape(input.layout.shape())?;
        let inner_layout = input
            .layout
            .with_shape(block.conv1.output_shape(input.layout.shape())?)?;
        let output_layout = input.layout.with_shape(output_shape)?;
        let last = chain.below(name, input.level, 2, 2)?;

        let square = SquareStage::new(&block.act1, input, chain)?;
        let conv1 = compile(&block.conv1, &input.layout, &inner_layout)?;
        let mut stages = vec![LinearStage::after(
            &square,
            conv1,
            square.output().level,
            chain,
        )?];
        let skip = match &block.shortcut {
            Some(shortcut) => {
                let map = compile(shortcut, &input.layout, &output_layout)?;
                stages.push(LinearStage::after(&square, map, last, chain)?);
                None
            }
            None => {
                if !square.scale().matches(chain.scale()) {
                    return Err(LayerError::StreamScale {
                        layer: name.clone(),
                        found_log2: square.scale().log2(),
                        expected_log2: chain.scale().log2(),
                    });
                }
                Some(chain.below(name, last, 1, 1)?)
            }
        };
        let first = Reader::new(input.clone(), Some(square), stages);

        let inner = first.stages()[0].output().clone();
        let square = SquareStage::new(&block.act2, &inner, chain)?;
        let conv2 = compile(&block.conv2, &inner_layout, &output_layout)?;
        let stage = LinearStage::after(&square, conv2, last, chain)?;
        let second = Reader::new(inner, Some(square), vec![stage]);
        Ok(Self {
            name: name.clone(),
            first,
            second,
            skip,
        })
    }

    fn conv1(&self) -> &LinearStage {
        &self.first.stages()[0]
    }

    fn shortcut(&self) -> Option<&LinearStage> {
        self.first.stages().get(1)
    }

    fn conv2(&self) -> &LinearStage {
        &self.second.stages()[0]
    }

    fn square<'a>(&self, reader: &'a Reader) -> &'a SquareStage {
        reader
            .square()
            .expect("both convolutions of a block are read through activations")
    }
}

impl PreparedLayer for PreparedBlock {
    fn name(&self) -> &str {
        &self.name
    }

    fn input(&self) -> &TensorSpec {
        self.first.input()
    }

    fn output(&self) -> &TensorSpec {
        self.conv2().output()
    }

    fn required_keys(&self) -> KeyRequest {
        let mut keys = KeyRequest::new();
        self.first.request_keys(&mut keys);
        self.second.request_keys(&mut keys);
        keys
    }

    fn op_counts(&self, group_blocks: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        self.first.count_ops(&mut counts, group_blocks);
        self.second.count_ops(&mut counts, group_blocks);
        if self.skip.is_some() {
            counts.add(
                Op::Lift,
                self.output().level,
                self.output().layout.ciphertexts(),
            );
        }
        counts
    }

    fn peak_limbs(&self, group_blocks: usize) -> usize {
        let kept = self.skip.map_or(0, |level| 2 * level.limbs());
        let shortcut = self.shortcut().map_or(0, LinearStage::sum_limbs);
        let skip = kept * self.input().layout.ciphertexts() + shortcut;
        let inner = self
            .conv1()
            .output()
            .limbs(self.conv1().output().layout.ciphertexts());
        let first = self.conv1().sum_limbs() + shortcut + self.first.peak_limbs(group_blocks, kept);
        let between = if self.conv1().has_giants() {
            self.conv1().sum_limbs() + inner + skip
        } else {
            0
        };
        let outputs = self.output().limbs(self.output().layout.ciphertexts());
        let sums = self.conv2().sum_limbs().max(outputs).max(shortcut);
        let second = sums + self.second.peak_limbs(group_blocks, 0);
        let last = if self.conv2().has_giants() {
            sums + outputs
        } else {
            sums
        };
        first.max(between).max(second).max(last)
    }

    fn predicted_error(&self, input_std: &[f64], against: Weights) -> Vec<f64> {
        let squares = self.square(&self.first).predicted_error(input_std);
        let inner = self.conv1().predicted_error(&squares, against);
        let skip = match self.shortcut() {
            Some(shortcut) => shortcut.predicted_error(&squares, against),
            None => self.square(&self.first).rescaled_std(input_std),
        };
        let branch = self
            .conv2()
            .predicted_error(&self.square(&self.second).predicted_error(&inner), against);
        branch.iter().zip(skip).map(|(a, b)| a.hypot(b)).collect()
    }

    fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        weights: Weights,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        let squares = self.square(&self.first).forward_slots(x)?;
        let inner = self.conv1().forward_slots(&squares, weights)?;
        let mut y = self
            .conv2()
            .forward_slots(&self.square(&self.second).forward_slots(&inner)?, weights)?;
        match self.shortcut() {
            Some(shortcut) => add_slots(&mut y, &shortcut.forward_slots(&squares, weights)?),
            None => add_slots(&mut y, x),
        }
        Ok(y)
    }

    fn begin<'a>(&'a self, evaluator: &'a Evaluator) -> Result<Box<dyn LayerRun + 'a>, LayerError> {
        Ok(Box::new(BlockRun {
            layer: self,
            evaluator,
            inner: Accumulator::new(evaluator, self.conv1().output()),
            output: Accumulator::new(evaluator, self.output()),
            skip: Vec::new(),
            absorbed: 0,
        }))
    }
}

struct BlockRun<'a> {
    layer: &'a PreparedBlock,
    evaluator: &'a Evaluator,
    inner: Accumulator<'a>,
    output: Accumulator<'a>,
    /// The stream at the level below the output's.
    skip: Vec<Ciphertext>,
    absorbed: usize,
}

impl LayerRun for BlockRun<'_> {
    fn absorb(&mut self, ciphertexts: Vec<Ciphertext>) -> Result<(), LayerError> {
        let layer = self.layer;
        layer
            .input()
            .check_group(&layer.name, self.absorbed, &ciphertexts)?;
        let (first, taken) = (self.absorbed, ciphertexts.len());
        let accumulators = &mut [&mut self.inner, &mut self.output];
        let kept = layer
            .first
            .absorb(self.evaluator, first, ciphertexts, accumulators, layer.skip)
            .map_err(LayerError::eval(&layer.name))?;
        self.skip.extend(kept);
        self.absorbed += taken;
        Ok(())
    }

    fn finish(self: Box<Self>, group_blocks: usize) -> Result<EncryptedTensor, LayerError> {
        let Self {
            layer,
            evaluator,
            inner,
            mut output,
            skip,
            absorbed,
        } = *self;
        let named = LayerError::eval(&layer.name);
        layer.input().check_complete(absorbed)?;
        let mut inner = inner
            .finish(&[layer.conv1().map()])
            .map_err(&named)?
            .into_iter();
        let lift = |ct| evaluator.lift(ct, layer.output().level);
        let lifted: Result<Vec<_>, EvalError> = skip.into_par_iter().map(lift).collect();
        for (index, ct) in lifted.map_err(&named)?.into_iter().enumerate() {
            output.add(index, ct).map_err(&named)?;
        }
        let group = group_blocks.max(1) * layer.second.input().layout.ciphertexts_per_block();
        let mut first = 0;
        while inner.len() > 0 {
            let ciphertexts: Vec<_> = inner.by_ref().take(group).collect();
            let taken = ciphertexts.len();
            layer
                .second
                .absorb(evaluator, first, ciphertexts, &mut [&mut output], None)
                .map_err(&named)?;
            first += taken;
        }
        let mut maps = vec![layer.conv2().map()];
        maps.extend(layer.shortcut().map(LinearStage::map));
        let sums = output.finish(&maps).map_err(&named)?;
        EncryptedTensor::new(layer.output().clone(), sums)
    }
}
