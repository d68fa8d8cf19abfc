//! Layers: thin descriptions that become nodes of a [`Program`].

mod blocks;

use std::sync::Arc;

use crate::error::LayerError;
use crate::linear::{Conv2d, Dense, Linear};
use crate::pointwise::{Custom, Function, Pointwise, Polynomial, Refresh, Square};
use crate::program::{Layer, Program, Term, Value};

pub use blocks::{PostActBlock, PreActBlock};

impl Layer for Linear {
    fn name(&self) -> &str {
        Linear::name(self)
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        let name = Linear::name(self);
        program.node(name, name, vec![Term::linear(x, self.clone())])
    }
}

impl Layer for Conv2d {
    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        Linear::from(self.clone()).add_to(program, x)
    }
}

impl Layer for Dense {
    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        Linear::from(self.clone()).add_to(program, x)
    }
}

/// A pointwise stage as a layer.
impl Layer for Arc<dyn Pointwise> {
    fn name(&self) -> &str {
        self.as_ref().name()
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        program.apply_shared(x, self.clone())
    }
}

impl<F: Function + Clone + 'static> Layer for Custom<F> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        program.apply(x, self.clone())
    }
}

impl Layer for Square {
    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        program.apply(x, self.clone())
    }
}

impl Layer for Polynomial {
    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        program.apply(x, self.clone())
    }
}

impl Layer for Refresh {
    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, program: &mut Program, x: Value) -> Result<Value, LayerError> {
        program.apply(x, self.clone())
    }
}
