//! Residual blocks.

use crate::error::LayerError;
use crate::linear::Conv2d;
use crate::pointwise::{Polynomial, Refresh, Square};
use crate::program::{Layer, Program, Term, Value};

/// A pre-activation residual block: `h = act1(x)`, `x' = skip + conv2(act2(conv1(h)))`, where `skip` is `x`, or
/// `shortcut(h)` if there is a shortcut.
#[derive(Clone, Debug, PartialEq)]
pub struct PreActBlock {
    /// Name for reports and errors.
    pub name: String,
    /// Activation of the stream.
    pub act1: Square,
    /// First convolution.
    pub conv1: Conv2d,
    /// Activation between the convolutions.
    pub act2: Square,
    /// Second convolution.
    pub conv2: Conv2d,
    /// Strided (usually 1x1) convolution of `act1`'s output that takes the place of the identity.
    pub shortcut: Option<Conv2d>,
}

impl Layer for PreActBlock {
    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        let h = program.apply(x, self.act1.clone())?;
        let conv1 = vec![Term::linear(h, self.conv1.clone())];
        let inner = program.node(&self.name, &self.conv1.name, conv1)?;
        let inner = program.apply(inner, self.act2.clone())?;
        let skip = match &self.shortcut {
            Some(shortcut) => Term::linear(h, shortcut.clone()),
            None => Term::Add(x),
        };
        let sum = vec![Term::linear(inner, self.conv2.clone()), skip];
        program.node(&self.name, &self.conv2.name, sum)
    }
}

/// A post-activation residual block: `y = act2(skip + conv2(act1(conv1(x))))`, where `skip` is `x`, or `shortcut(x)` if
/// there is a shortcut. With `refresh`, the output of `act1` is refreshed.
#[derive(Clone, Debug)]
pub struct PostActBlock {
    /// Name for reports and errors.
    pub name: String,
    /// First convolution.
    pub conv1: Conv2d,
    /// Activation between the convolutions.
    pub act1: Polynomial,
    /// Refresh of what the second convolution reads.
    pub refresh: Option<Refresh>,
    /// Second convolution.
    pub conv2: Conv2d,
    /// Strided (usually 1x1) convolution of the input that takes the place of the identity.
    pub shortcut: Option<Conv2d>,
    /// Activation of the sum.
    pub act2: Polynomial,
}

impl Layer for PostActBlock {
    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        let conv1 = vec![Term::linear(x, self.conv1.clone())];
        let inner = program.node(&self.name, &self.conv1.name, conv1)?;
        let mut inner = program.apply(inner, self.act1.clone())?;
        if let Some(refresh) = &self.refresh {
            inner = program.apply(inner, refresh.clone())?;
        }
        let skip = match &self.shortcut {
            Some(shortcut) => Term::linear(x, shortcut.clone()),
            None => Term::Add(x),
        };
        let sum = vec![Term::linear(inner, self.conv2.clone()), skip];
        let sum = program.node(&self.name, &self.conv2.name, sum)?;
        program.apply(sum, self.act2.clone())
    }
}
