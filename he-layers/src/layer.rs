//! The traits of layers: a description, and what it becomes for a given input.

use std::fmt;

use ckks_scheme::{Ciphertext, Evaluator, KeyRequest};
use num_complex::Complex64;

use crate::cost::OpCounts;
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// Which weights a reference computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The weights as they are.
    Exact,
    /// The weights as the encrypted run rounds them, its mean correction included.
    Rounded,
}

/// A layer: cheap, in the clear, without keys.
pub trait Layer: fmt::Debug + Send + Sync {
    /// Name for reports and errors.
    fn name(&self) -> &str;

    /// Shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// If the layer does not fit the shape.
    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError>;

    /// The layer in the clear: what its encrypted form approximates.
    ///
    /// # Errors
    /// If the layer does not fit the input's shape.
    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError>;

    /// The layer in the clear, with `disturb` called on every tensor at the place where the encrypted layer rescales it:
    /// to find out by simulation what the errors made there do to the output. Layers that do not rescale are as
    /// [`Self::forward_plain`].
    ///
    /// # Errors
    /// As [`Self::forward_plain`].
    fn forward_disturbed(
        &self,
        x: &PlainTensor,
        disturb: &mut dyn FnMut(&mut PlainTensor),
    ) -> Result<PlainTensor, LayerError> {
        let _ = disturb;
        self.forward_plain(x)
    }

    /// Fixes the layer for inputs of `input` in a network over `chain`.
    ///
    /// # Errors
    /// If the layer does not fit the input: shape, layout, level, scale or declared range.
    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError>;
}

/// A layer prepared for one layout, level and scale of its input.
pub trait PreparedLayer: fmt::Debug + Send + Sync {
    /// Name for reports and errors.
    fn name(&self) -> &str;

    /// What it reads.
    fn input(&self) -> &TensorSpec;

    /// What it gives.
    fn output(&self) -> &TensorSpec;

    /// The switching keys that it needs, each at the level of use.
    fn required_keys(&self) -> KeyRequest;

    /// What it does when it takes `group_blocks` channel blocks of its input at a time.
    fn op_counts(&self, group_blocks: usize) -> OpCounts;

    /// Most limbs (of `8 N` bytes) that its ciphertexts hold at any moment, input and output included; temporaries of single
    /// operations come on top.
    fn peak_limbs(&self, group_blocks: usize) -> usize;

    /// Predicted standard deviation of the error of each output channel, in value units, given that of each input channel.
    /// Against [`Weights::Rounded`] it is noise alone, against [`Weights::Exact`] the rounding of the weights is included; there, what a
    /// linear layer reads is taken to vary around its mean as squares of Gaussian values around zero do, which is more than
    /// squares of offset values do.
    fn predicted_error(&self, input_std: &[f64], against: Weights) -> Vec<f64>;

    /// The layer on plain slot vectors, as the encrypted run computes, but without noise.
    ///
    /// # Errors
    /// [`LayerError::Count`] if `x` is not of the input's layout.
    fn forward_slots(
        &self,
        x: &[Vec<Complex64>],
        weights: Weights,
    ) -> Result<Vec<Vec<Complex64>>, LayerError>;

    /// Starts an encrypted run that takes its input group by group of channel blocks.
    ///
    /// # Errors
    /// [`LayerError::Eval`], for instance if accumulators do not fit the memory budget.
    fn begin<'a>(&'a self, evaluator: &'a Evaluator) -> Result<Box<dyn LayerRun + 'a>, LayerError>;

    /// The encrypted layer: takes `x` apart, `group_blocks` (at least 1) channel blocks at a time, each let go once it is
    /// absorbed. Parallel over ciphertexts (current rayon pool).
    ///
    /// # Errors
    /// [`LayerError::ForeignTensor`] if `x` is not as [`Self::input`] says, [`LayerError::Eval`].
    fn forward(
        &self,
        evaluator: &Evaluator,
        x: EncryptedTensor,
        group_blocks: usize,
    ) -> Result<EncryptedTensor, LayerError> {
        self.input().check_same(self.name(), x.spec())?;
        let group = group_blocks.max(1) * self.input().layout.ciphertexts_per_block();
        let mut ciphertexts = x.into_parts().1.into_iter().peekable();
        let mut run = self.begin(evaluator)?;
        while ciphertexts.peek().is_some() {
            run.absorb(ciphertexts.by_ref().take(group).collect())?;
        }
        run.finish(group_blocks)
    }
}

/// An encrypted run that takes its input in pieces.
pub trait LayerRun {
    /// Takes the ciphertexts of the next channel blocks of the input, in the order of the layout, and lets them go.
    ///
    /// # Errors
    /// [`LayerError::Count`] for part of a block or more blocks than there are, [`LayerError::ForeignTensor`],
    /// [`LayerError::Eval`].
    fn absorb(&mut self, ciphertexts: Vec<Ciphertext>) -> Result<(), LayerError>;

    /// Ends the run, when all blocks are absorbed. Layers of several products take `group_blocks` channel blocks at a time
    /// in the later ones.
    ///
    /// # Errors
    /// [`LayerError::Count`] if blocks are missing, [`LayerError::Eval`].
    fn finish(self: Box<Self>, group_blocks: usize) -> Result<EncryptedTensor, LayerError>;
}

/// [`Layer::forward_disturbed`] of a layer that activates its input: nothing else is disturbed.
pub(crate) fn forward_of_disturbed(
    layer: &dyn Layer,
    x: &PlainTensor,
    disturb: &mut dyn FnMut(&mut PlainTensor),
) -> Result<PlainTensor, LayerError> {
    let mut x = x.clone();
    disturb(&mut x);
    layer.forward_plain(&x)
}
