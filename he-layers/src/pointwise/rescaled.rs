//! Sums made into values: the rescale that a linear map needs when it reads sums without a stage between.

use ckks_scheme::{Ciphertext, Evaluator, KeyRequest, Scale};

use super::{Depth, Operand, Pointwise, PreparedBlock, PreparedPointwise, Setting, StageError};
use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::noise::rounding_std;
use crate::spec::{Form, TensorSpec};

const NAME: &str = "rescaled";

/// The identity on numbers; sums become values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rescaled;

impl Pointwise for Rescaled {
    fn name(&self) -> &str {
        NAME
    }

    fn check_channels(&self, _found: usize) -> Result<(), LayerError> {
        Ok(())
    }

    fn evaluate(&self, x: f64, _channel: usize) -> f64 {
        x
    }

    fn declared(&self, _channel: usize) -> f64 {
        f64::INFINITY
    }

    fn depth(&self, from: Form, _setting: &Setting<'_>) -> Result<Depth, LayerError> {
        Ok(Depth::Levels(usize::from(from == Form::Sums)))
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn PreparedPointwise>, LayerError> {
        let mut output = input.clone();
        if input.form == Form::Sums {
            output.level = setting.chain.below(NAME, input.level, 1, 1)?;
            output.scale =
                Scale::new(input.scale.value() / setting.chain.prime(NAME, input.level)?);
            output.form = Form::Values;
        }
        Ok(Box::new(PreparedRescaled {
            input: input.clone(),
            output,
        }))
    }

    fn is_rescale(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct PreparedRescaled {
    input: TensorSpec,
    output: TensorSpec,
}

impl PreparedPointwise for PreparedRescaled {
    fn input(&self) -> &TensorSpec {
        &self.input
    }

    fn output(&self) -> &TensorSpec {
        &self.output
    }

    fn takes_rescaled(&self) -> bool {
        true
    }

    fn request_keys(&self, _keys: &mut KeyRequest) {}

    fn count_ops(&self, counts: &mut OpCounts) {
        if self.input.form == Form::Sums {
            counts.add(
                Op::Rescale,
                self.input.level,
                self.input.layout.ciphertexts(),
            );
        }
    }

    fn error(&self) -> StageError {
        let argument = match self.input.form {
            Form::Sums => rounding_std(self.input.layout.slots(), self.output.scale),
            Form::Squares | Form::Values | Form::Refreshed => 0.0,
        };
        StageError {
            argument,
            ..StageError::default()
        }
    }

    fn block(&self, _block: usize) -> Result<Box<dyn PreparedBlock + '_>, LayerError> {
        Ok(Box::new(Rescale))
    }
}

struct Rescale;

impl PreparedBlock for Rescale {
    fn apply(&self, evaluator: &Evaluator, x: Operand<'_>) -> Result<Ciphertext, LayerError> {
        x.into_values(evaluator).map_err(LayerError::eval(NAME))
    }
}
