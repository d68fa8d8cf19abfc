//! The post-activation residual block: the input is taken group by group, rotated, added to all sums of the first
//! convolution and to the sums that the block ends with, and let go; the sums of the first convolution follow in the same
//! way through their activation and, if there is one, a refresh.

use ckks_scheme::{Ciphertext, EvalError, Evaluator, KeyRequest};
use num_complex::Complex64;
use rayon::prelude::*;

use crate::conv::compile;
use crate::cost::{Op, OpCounts};
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::layer::{LayerRun, PreparedLayer, Weights};
use crate::linear::conv::Conv2d;
use crate::poly_activation::largest;
use crate::post_act::PostActBlock;
use crate::prepared::accumulator::Accumulator;
use crate::prepared::add_slots;
use crate::prepared::pointwise::Pointwise;
use crate::prepared::poly::PolyStage;
use crate::prepared::reader::{LinearStage, Reader};
use crate::prepared::refresh::RefreshStage;
use crate::spec::{ScaleChain, TensorSpec};

/// Integers below this stand for the skip's factor too coarsely.
const LEAST_SKIP_FACTOR: f64 = (1u64 << 20) as f64;

/// A post-activation block for one input: values to values.
#[derive(Debug)]
pub(crate) struct PreparedPostAct {
    name: String,
    /// The input into the first convolution and, if there is one, the shortcut, whose products are taken at the level of the
    /// second convolution's sums.
    first: Reader,
    act1: PolyStage,
    refresh: Option<RefreshStage>,
    second: Reader,
    act2: PolyStage,
}

impl PreparedPostAct {
    pub(crate) fn new(
        block: &PostActBlock,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Self, LayerError> {
        let name = &block.name;
        let output_layout = input
            .layout
            .with_shape(block.output_shape(input.layout.shape())?)?;
        let inner_layout = input
            .layout
            .with_shape(block.conv1.output_shape(input.layout.shape())?)?;
        let linear = |conv: &Conv2d, from: &TensorSpec, to, level, spread: f64| {
            let map = compile(conv, &from.layout, to)?;
            let channels = conv.in_channels;
            let stage = LinearStage::new(map, from, level, chain, (&vec![0.0; channels], 0.0))?;
            Ok::<_, LayerError>(stage.with_spread(vec![spread; channels]))
        };

        // The input's values are not declared: those of the first sums stand for them.
        let spread = largest(&block.act1.declared);
        let conv1 = linear(&block.conv1, input, &inner_layout, input.level, spread)?;
        let act1 = PolyStage::new(&block.act1, conv1.output(), chain)?;
        let refresh = match &block.refresh {
            Some(refresh) => Some(RefreshStage::new(refresh, act1.output(), chain)?),
            None => None,
        };
        let inner = refresh.as_ref().map_or(act1.output(), Pointwise::output);

        // Both branches have the primes of the lower one.
        let join = inner.level.min(input.level);
        let conv2 = linear(
            &block.conv2,
            inner,
            &output_layout,
            join,
            block.act1.bound(),
        )?;
        let mut stages = vec![conv1];
        match &block.shortcut {
            Some(shortcut) => stages.push(linear(shortcut, input, &output_layout, join, spread)?),
            None => {
                let factor = conv2.output().scale.value() / input.scale.value();
                if factor < LEAST_SKIP_FACTOR {
                    return Err(LayerError::WeightScale {
                        layer: name.clone(),
                        found_log2: factor.log2(),
                        least_log2: LEAST_SKIP_FACTOR.log2(),
                    });
                }
            }
        }
        let act2 = PolyStage::new(&block.act2, conv2.output(), chain)?;
        Ok(Self {
            name: name.clone(),
            first: Reader::new(input.clone(), None, stages),
            second: Reader::new(inner.clone(), None, vec![conv2]),
            act1,
            refresh,
            act2,
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

    /// The input itself in the sums that the block ends with.
    fn skip(&self, evaluator: &Evaluator, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let sums = self.conv2().output();
        let mut sum = evaluator.zero(sums.level, sums.scale)?;
        evaluator.add_scaled_assign(&mut sum, x, 1.0)?;
        Ok(sum)
    }

    /// Activates and refreshes inner sums, the first of index `first`.
    fn between(
        &self,
        evaluator: &Evaluator,
        first: usize,
        sums: Vec<Ciphertext>,
    ) -> Result<Vec<Ciphertext>, LayerError> {
        let values = self.act1.apply_all(evaluator, first, sums)?;
        match &self.refresh {
            Some(refresh) => refresh.apply_all(evaluator, first, values),
            None => Ok(values),
        }
    }
}

impl PreparedLayer for PreparedPostAct {
    fn name(&self) -> &str {
        &self.name
    }

    fn input(&self) -> &TensorSpec {
        self.first.input()
    }

    fn output(&self) -> &TensorSpec {
        self.act2.output()
    }

    fn required_keys(&self) -> KeyRequest {
        let mut keys = KeyRequest::new();
        self.first.request_keys(&mut keys);
        self.act1.request_keys(&mut keys);
        if let Some(refresh) = &self.refresh {
            refresh.request_keys(&mut keys);
        }
        self.second.request_keys(&mut keys);
        self.act2.request_keys(&mut keys);
        keys
    }

    fn op_counts(&self, group_blocks: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        self.first.count_ops(&mut counts, group_blocks);
        self.act1.count_ops(&mut counts);
        if let Some(refresh) = &self.refresh {
            refresh.count_ops(&mut counts);
        }
        self.second.count_ops(&mut counts, group_blocks);
        if self.shortcut().is_none() {
            let sums = self.conv2().output();
            counts.add(Op::Lift, sums.level, sums.layout.ciphertexts());
        }
        self.act2.count_ops(&mut counts);
        counts
    }

    fn peak_limbs(&self, group_blocks: usize) -> usize {
        let whole = |spec: &TensorSpec| spec.limbs(spec.layout.ciphertexts());
        let (inner, sums) = (self.conv1().output(), self.conv2().output());
        // The sums that the block ends with begin with the skip.
        let skip = self.shortcut().map_or(whole(sums), LinearStage::sum_limbs);
        let first = self.conv1().sum_limbs() + skip + self.first.peak_limbs(group_blocks, 0);
        let between = self.conv1().sum_limbs() + whole(inner) + skip;
        let all = self.conv2().sum_limbs().max(skip);
        let rotations = self.second.group_limbs(group_blocks).into_iter().max();
        let group = group_blocks.max(1) * inner.layout.ciphertexts_per_block();
        let values = [Some(self.act1.output()), Some(self.second.input())];
        let values: usize = values
            .iter()
            .flatten()
            .map(|spec| spec.limbs(group.min(inner.layout.ciphertexts())))
            .sum();
        let second = all + whole(inner) + values + rotations.unwrap_or(0);
        let last = all + whole(sums) + whole(self.output());
        first.max(between).max(second).max(last)
    }

    fn predicted_error(&self, input_std: &[f64], against: Weights) -> Vec<f64> {
        let sums = self.conv1().predicted_error(input_std, against);
        let mut inner = self.act1.predicted_error(&sums);
        if let Some(refresh) = &self.refresh {
            inner = refresh.predicted_error(&inner);
        }
        let branch = self.conv2().predicted_error(&inner, against);
        let skip = match self.shortcut() {
            Some(shortcut) => shortcut.predicted_error(input_std, against),
            None => input_std.to_vec(),
        };
        let sums: Vec<f64> = branch.iter().zip(skip).map(|(a, b)| a.hypot(b)).collect();
        self.act2.predicted_error(&sums)
    }

    fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        weights: Weights,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        let inner = self.conv1().forward_slots(x, weights)?;
        let inner = self.act1.forward_slots(&inner)?;
        let mut sums = self.conv2().forward_slots(&inner, weights)?;
        match self.shortcut() {
            Some(shortcut) => add_slots(&mut sums, &shortcut.forward_slots(x, weights)?),
            None => add_slots(&mut sums, x),
        }
        self.act2.forward_slots(&sums)
    }

    fn begin<'a>(&'a self, evaluator: &'a Evaluator) -> Result<Box<dyn LayerRun + 'a>, LayerError> {
        Ok(Box::new(PostActRun {
            layer: self,
            evaluator,
            inner: Accumulator::new(evaluator, self.conv1().output()),
            sums: Accumulator::new(evaluator, self.conv2().output()),
            absorbed: 0,
        }))
    }
}

struct PostActRun<'a> {
    layer: &'a PreparedPostAct,
    evaluator: &'a Evaluator,
    inner: Accumulator<'a>,
    sums: Accumulator<'a>,
    absorbed: usize,
}

impl LayerRun for PostActRun<'_> {
    fn absorb(&mut self, ciphertexts: Vec<Ciphertext>) -> Result<(), LayerError> {
        let (layer, first, taken) = (self.layer, self.absorbed, ciphertexts.len());
        let named = LayerError::eval(&layer.name);
        layer
            .input()
            .check_group(&layer.name, first, &ciphertexts)?;
        if layer.shortcut().is_none() {
            let skip: Result<Vec<_>, _> = ciphertexts
                .par_iter()
                .map(|x| layer.skip(self.evaluator, x))
                .collect();
            for (index, ct) in skip.map_err(&named)?.into_iter().enumerate() {
                self.sums.add(first + index, ct).map_err(&named)?;
            }
        }
        let accumulators = &mut [&mut self.inner, &mut self.sums];
        layer
            .first
            .absorb(self.evaluator, first, ciphertexts, accumulators, None)
            .map_err(&named)?;
        self.absorbed += taken;
        Ok(())
    }

    fn finish(self: Box<Self>, group_blocks: usize) -> Result<EncryptedTensor, LayerError> {
        let Self {
            layer,
            evaluator,
            inner,
            mut sums,
            absorbed,
        } = *self;
        let named = LayerError::eval(&layer.name);
        layer.input().check_complete(absorbed)?;
        let inner = inner.finish(&[layer.conv1().map()]).map_err(&named)?;
        let mut inner = inner.into_iter();
        let per_block = layer.conv1().output().layout.ciphertexts_per_block();
        let mut first = 0;
        while inner.len() > 0 {
            let group: Vec<_> = inner
                .by_ref()
                .take(group_blocks.max(1) * per_block)
                .collect();
            let taken = group.len();
            let values = layer.between(evaluator, first, group)?;
            layer
                .second
                .absorb(evaluator, first, values, &mut [&mut sums], None)
                .map_err(&named)?;
            first += taken;
        }
        let mut maps = vec![layer.conv2().map()];
        maps.extend(layer.shortcut().map(LinearStage::map));
        let sums = sums.finish(&maps).map_err(&named)?;
        let values = layer.act2.apply_all(evaluator, 0, sums)?;
        EncryptedTensor::new(layer.output().clone(), values)
    }
}
