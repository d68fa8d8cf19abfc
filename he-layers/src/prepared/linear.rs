//! Prepared layers of one product: convolutions, pooling, stems, heads.

use ckks_scheme::{Ciphertext, Evaluator, KeyRequest};
use num_complex::Complex64;

use crate::cost::OpCounts;
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::layer::{LayerRun, PreparedLayer, Weights};
use crate::linear::map::LinearMap;
use crate::prepared::accumulator::Accumulator;
use crate::prepared::pointwise::Pointwise;
use crate::prepared::reader::{LinearStage, Reader};
use crate::prepared::square::SquareStage;
use crate::spec::{ScaleChain, TensorSpec};

/// A linear map, with or without an activation before it.
#[derive(Debug)]
pub(crate) struct PreparedLinear {
    name: String,
    reader: Reader,
}

impl PreparedLinear {
    /// A map that reads squares (or anything else as it stands); `mean` is the mean of each input channel.
    pub(crate) fn new(
        map: LinearMap,
        input: &TensorSpec,
        chain: &ScaleChain,
        mean: &[f64],
    ) -> Result<Self, LayerError> {
        let name = map.name().to_owned();
        let stage = LinearStage::new(map, input, input.level, chain, (mean, 1.0))?;
        Ok(Self {
            name,
            reader: Reader::new(input.clone(), None, vec![stage]),
        })
    }

    /// A map that reads sums through an activation.
    pub(crate) fn after(
        square: SquareStage,
        map: LinearMap,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Self, LayerError> {
        let name = map.name().to_owned();
        let stage = LinearStage::after(&square, map, square.output().level, chain)?;
        Ok(Self {
            name,
            reader: Reader::new(input.clone(), Some(square), vec![stage]),
        })
    }

    fn stage(&self) -> &LinearStage {
        &self.reader.stages()[0]
    }
}

impl PreparedLayer for PreparedLinear {
    fn name(&self) -> &str {
        &self.name
    }

    fn input(&self) -> &TensorSpec {
        self.reader.input()
    }

    fn output(&self) -> &TensorSpec {
        self.stage().output()
    }

    fn required_keys(&self) -> KeyRequest {
        let mut keys = KeyRequest::new();
        self.reader.request_keys(&mut keys);
        keys
    }

    fn op_counts(&self, group_blocks: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        self.reader.count_ops(&mut counts, group_blocks);
        counts
    }

    fn peak_limbs(&self, group_blocks: usize) -> usize {
        let sums = self.stage().sum_limbs();
        let outputs = self.output().limbs(self.output().layout.ciphertexts());
        // Inner sums that are rotated live beside the outputs that they become.
        let finishing = if self.stage().has_giants() {
            sums + outputs
        } else {
            sums
        };
        finishing.max(sums + self.reader.peak_limbs(group_blocks, 0))
    }

    fn predicted_error(&self, input_std: &[f64], against: Weights) -> Vec<f64> {
        match self.reader.square() {
            Some(square) => self
                .stage()
                .predicted_error(&square.predicted_error(input_std), against),
            None => self.stage().predicted_error(input_std, against),
        }
    }

    fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        weights: Weights,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        match self.reader.square() {
            Some(square) => self
                .stage()
                .forward_slots(&square.forward_slots(x)?, weights),
            None => self.stage().forward_slots(x, weights),
        }
    }

    fn begin<'a>(&'a self, evaluator: &'a Evaluator) -> Result<Box<dyn LayerRun + 'a>, LayerError> {
        let accumulator = Accumulator::new(evaluator, self.output());
        Ok(Box::new(LinearRun {
            layer: self,
            evaluator,
            accumulator,
            absorbed: 0,
        }))
    }
}

struct LinearRun<'a> {
    layer: &'a PreparedLinear,
    evaluator: &'a Evaluator,
    accumulator: Accumulator<'a>,
    absorbed: usize,
}

impl LayerRun for LinearRun<'_> {
    fn absorb(&mut self, ciphertexts: Vec<Ciphertext>) -> Result<(), LayerError> {
        let layer = self.layer;
        layer
            .input()
            .check_group(&layer.name, self.absorbed, &ciphertexts)?;
        let (first, taken) = (self.absorbed, ciphertexts.len());
        layer
            .reader
            .absorb(
                self.evaluator,
                first,
                ciphertexts,
                &mut [&mut self.accumulator],
                None,
            )
            .map_err(LayerError::eval(&layer.name))?;
        self.absorbed += taken;
        Ok(())
    }

    fn finish(self: Box<Self>, _group_blocks: usize) -> Result<EncryptedTensor, LayerError> {
        let layer = self.layer;
        layer.input().check_complete(self.absorbed)?;
        let sums = self
            .accumulator
            .finish(&[layer.stage().map()])
            .map_err(LayerError::eval(&layer.name))?;
        EncryptedTensor::new(layer.output().clone(), sums)
    }
}
