//! Functions of one's own as pointwise stages.

use std::fmt;

use super::circuit::{Circuit, Wire};
use super::real::{self, PreparedReal};
use super::{Depth, Pointwise, PreparedPointwise, Setting};
use crate::error::LayerError;
use crate::spec::{Form, TensorSpec};
use ckks_scheme::Scale;

/// A function of real numbers, written once as a circuit. Levels, keys, operations, memory and error follow from it.
///
/// The crate's documentation has an example, a cubic; `examples/own_activation.rs` runs it in a network.
pub trait Function: fmt::Debug + Send + Sync {
    /// Name for reports and errors.
    fn name(&self) -> &str;

    /// The function in the clear.
    fn evaluate(&self, x: f64) -> f64;

    /// The function that [`Self::evaluate`] approximates, of the same value; nothing where it is the function itself.
    fn stands_for(&self, _x: f64) -> Option<f64> {
        None
    }

    /// Largest `|x|` of channel `channel` that the encrypted run is built for.
    fn declared(&self, channel: usize) -> f64;

    /// The function on a real ciphertext whose values are at most `declared`. Wires carry levels and scales only while the
    /// circuit is counted, so it must not depend on anything else.
    ///
    /// # Errors
    /// What the circuit's operations give, see [`Self::failed`].
    fn run(&self, circuit: &Circuit<'_>, x: Wire, declared: f64) -> Result<Wire, LayerError>;

    /// Checks that the function can take `found` channels.
    ///
    /// # Errors
    /// [`LayerError::Channels`]; by default none.
    fn check_channels(&self, _found: usize) -> Result<(), LayerError> {
        Ok(())
    }

    /// The scale that the argument should have where the first product is divided by `prime`; the nominal one if nothing is
    /// said. By default the prime: products of such values, divided by the next prime, stay at about this scale.
    fn argument_scale(&self, prime: f64) -> Option<Scale> {
        Some(Scale::new(prime))
    }

    /// Bound on `|f(x)|` over the declared range of channel 0; by default from 1025 points.
    fn bound(&self) -> f64 {
        let range = self.declared(0);
        let points = (0..=1024).map(|k| self.evaluate(range * (f64::from(k) / 512.0 - 1.0)));
        points.fold(0.0, |m, y| m.max(y.abs()))
    }

    /// Largest slope on `[-range, range]`: how errors of the argument pass at most. By default from 1025 points.
    fn largest_slope(&self, range: f64) -> f64 {
        let step = range / 512.0;
        let value = |k: u32| self.evaluate(step * f64::from(k) - range);
        let slopes = (0..1024).map(|k| (value(k + 1) - value(k)).abs() / step);
        slopes.fold(0.0, f64::max)
    }

    /// Mean and standard deviation of what channel `channel` gives over data.
    fn moments(&self, _channel: usize) -> (f64, f64) {
        let bound = self.bound();
        (0.0, bound / 3.0)
    }

    /// Predicted standard deviation of its own error.
    fn error(&self, at: &Evaluation) -> f64 {
        real::rescale_error(at)
    }

    /// Names the function in the error of an operation.
    fn failed(&self, error: ckks_scheme::EvalError) -> LayerError {
        LayerError::eval(self.name())(error)
    }
}

/// What the error of a function depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Complex slots of a ciphertext.
    pub slots: usize,
    /// Scale of the argument.
    pub argument: Scale,
    /// The prime that the first product is divided by.
    pub prime: f64,
    /// Scale of the result.
    pub result: Scale,
    /// Rescales of the circuit.
    pub rescales: usize,
}

/// A [`Function`] as a pointwise stage.
#[derive(Clone, Debug)]
pub struct Custom<F>(pub F);

impl<F: Function + Clone + 'static> Pointwise for Custom<F> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        self.0.check_channels(found)
    }

    fn evaluate(&self, x: f64, _channel: usize) -> f64 {
        self.0.evaluate(x)
    }

    fn stands_for(&self, x: f64, _channel: usize) -> Option<f64> {
        self.0.stands_for(x)
    }

    fn declared(&self, channel: usize) -> f64 {
        self.0.declared(channel)
    }

    fn moments(&self, channel: usize) -> (f64, f64) {
        self.0.moments(channel)
    }

    fn depth(&self, from: Form, _setting: &Setting<'_>) -> Result<Depth, LayerError> {
        real::depth(&self.0, from)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn PreparedPointwise>, LayerError> {
        PreparedReal::boxed(&self.0, input, setting)
    }
}
