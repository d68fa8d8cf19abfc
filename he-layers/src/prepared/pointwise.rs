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
use crate::poly_activation::largest;
use crate::spec::TensorSpec;

/// A function of single numbers, on ciphertexts.
pub(crate) trait Pointwise: fmt::Debug + Send + Sync {
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

    /// The function on consecutive ciphertexts, the first of index `first`, in parallel.
    fn apply_all(
        &self,
        evaluator: &Evaluator,
        first: usize,
        cts: Vec<Ciphertext>,
    ) -> Result<Vec<Ciphertext>, LayerError>;
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

/// [`Pointwise::apply_all`] of a function of one ciphertext and its channel block.
pub(crate) fn map_ciphertexts(
    layout: &Layout,
    first: usize,
    cts: Vec<Ciphertext>,
    f: impl Fn(usize, Ciphertext) -> Result<Ciphertext, LayerError> + Sync,
) -> Result<Vec<Ciphertext>, LayerError> {
    let per_block = layout.ciphertexts_per_block();
    cts.into_par_iter()
        .enumerate()
        .map(|(index, ct)| f((first + index) / per_block, ct))
        .collect()
}

/// Declares what the slots of a ciphertext of channel block `block` hold, given the largest value of each channel; gives
/// the largest of the block.
pub(crate) fn declare_block(
    ct: &mut Ciphertext,
    layout: &Layout,
    block: usize,
    declared: &[f64],
) -> f64 {
    let declared = largest(&layout.channel_plane(block, declared));
    let slots = declared * layout.packing().unit().norm();
    ct.declare_values(slots, slots);
    declared
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
