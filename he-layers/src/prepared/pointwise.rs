//! Layers that take every ciphertext by itself and keep its layout: activations and refreshes.

use std::fmt;

use ckks_scheme::{Ciphertext, Evaluator, KeyRequest};
use num_complex::Complex64;
use rayon::prelude::*;

use crate::cost::OpCounts;
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::layer::{LayerRun, PreparedLayer, Weights};
use crate::layout::{Layout, Packing};
use crate::spec::TensorSpec;

/// A function of single numbers, on ciphertexts.
pub(crate) trait Pointwise: fmt::Debug + Send + Sync {
    /// What the ciphertexts of a channel block have in common.
    type Block: Sync;

    fn name(&self) -> &str;

    fn input(&self) -> &TensorSpec;

    /// Of the same layout.
    fn output(&self) -> &TensorSpec;

    fn request_keys(&self, keys: &mut KeyRequest);

    fn count_ops(&self, counts: &mut OpCounts);

    /// Error deviations by channel.
    fn predicted_error(&self, input_std: &[f64]) -> Vec<f64>;

    /// The function on plain slots.
    fn forward_slots(&self, x: &[Vec<Complex64>]) -> Result<Vec<Vec<Complex64>>, LayerError>;

    /// What the function needs to know of channel block `block`.
    fn block(&self, block: usize) -> Result<Self::Block, LayerError>;

    /// The function on one ciphertext of a channel block.
    fn apply(
        &self,
        evaluator: &Evaluator,
        block: &Self::Block,
        ct: Ciphertext,
    ) -> Result<Ciphertext, LayerError>;

    /// The function on the ciphertexts of whole channel blocks, the first of index `first`, in parallel.
    fn apply_all(
        &self,
        evaluator: &Evaluator,
        first: usize,
        cts: Vec<Ciphertext>,
    ) -> Result<Vec<Ciphertext>, LayerError> {
        let per_block = self.input().layout.ciphertexts_per_block();
        let blocks = (first / per_block..(first + cts.len()) / per_block)
            .map(|block| self.block(block))
            .collect::<Result<Vec<_>, _>>()?;
        cts.into_par_iter()
            .enumerate()
            .map(|(index, ct)| self.apply(evaluator, &blocks[index / per_block], ct))
            .collect()
    }
}

/// [`Pointwise::forward_slots`] of a function that is the same in all channels.
pub(crate) fn map_values(
    layout: &Layout,
    x: &[Vec<Complex64>],
    f: impl Fn(f64) -> f64 + Sync,
) -> Result<Vec<Vec<Complex64>>, LayerError> {
    layout.check_slots(x)?;
    let value = |z: &Complex64| match layout.packing() {
        Packing::Real => Complex64::new(f(z.re), 0.0),
        Packing::Complex => Complex64::new(f(z.re), f(z.im)),
    };
    Ok(x.par_iter()
        .map(|slots| slots.iter().map(value).collect())
        .collect())
}

/// Such a function as a layer of its own.
#[derive(Debug)]
pub(crate) struct PreparedPointwise<P>(pub(crate) P);

impl<P: Pointwise> PreparedLayer for PreparedPointwise<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn input(&self) -> &TensorSpec {
        self.0.input()
    }

    fn output(&self) -> &TensorSpec {
        self.0.output()
    }

    fn required_keys(&self) -> KeyRequest {
        let mut keys = KeyRequest::new();
        self.0.request_keys(&mut keys);
        keys
    }

    fn op_counts(&self, _group_blocks: usize) -> OpCounts {
        let mut counts = OpCounts::default();
        self.0.count_ops(&mut counts);
        counts
    }

    fn peak_limbs(&self, group_blocks: usize) -> usize {
        let layout = &self.input().layout;
        let n = layout.ciphertexts();
        let group = (group_blocks.max(1) * layout.ciphertexts_per_block()).min(n);
        let alive = |done: usize| self.input().limbs(n - done) + self.output().limbs(done);
        // Outputs of a group appear while its inputs are still there.
        (0..n)
            .step_by(group)
            .map(|done| alive(done) + self.output().limbs(group.min(n - done)))
            .fold(alive(n), usize::max)
    }

    fn predicted_error(&self, input_std: &[f64], _against: Weights) -> Vec<f64> {
        self.0.predicted_error(input_std)
    }

    fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        _weights: Weights,
    ) -> Result<Vec<Vec<Complex64>>, LayerError> {
        self.0.forward_slots(x)
    }

    fn begin<'a>(&'a self, evaluator: &'a Evaluator) -> Result<Box<dyn LayerRun + 'a>, LayerError> {
        Ok(Box::new(PointwiseRun {
            function: &self.0,
            evaluator,
            done: Vec::new(),
        }))
    }
}

struct PointwiseRun<'a, P> {
    function: &'a P,
    evaluator: &'a Evaluator,
    done: Vec<Ciphertext>,
}

impl<P: Pointwise> LayerRun for PointwiseRun<'_, P> {
    fn absorb(&mut self, ciphertexts: Vec<Ciphertext>) -> Result<(), LayerError> {
        let (f, first) = (self.function, self.done.len());
        f.input().check_group(f.name(), first, &ciphertexts)?;
        self.done
            .extend(f.apply_all(self.evaluator, first, ciphertexts)?);
        Ok(())
    }

    fn finish(self: Box<Self>, _group_blocks: usize) -> Result<EncryptedTensor, LayerError> {
        EncryptedTensor::new(self.function.output().clone(), self.done)
    }
}
