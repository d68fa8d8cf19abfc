//! A refresh of ciphertexts.

use ckks_scheme::{Ciphertext, Content, Evaluator, KeyRequest, Level};
use num_complex::Complex64;

use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::layout::Packing;
use crate::poly_activation::largest;
use crate::prepared::approach::Approach;
use crate::prepared::pointwise::{Pointwise, map_values};
use crate::refresh::Refresh;
use crate::spec::{ScaleChain, TensorSpec};

/// A refresh for one input: anything that has the levels left to values at the bootstrapping's output level.
#[derive(Debug)]
pub(crate) struct RefreshStage {
    refresh: Refresh,
    input: TensorSpec,
    output: TensorSpec,
    approach: Approach,
}

impl RefreshStage {
    pub(crate) fn new(
        refresh: &Refresh,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Self, LayerError> {
        let (name, limits) = (&refresh.name, &refresh.limits);
        refresh.check_channels(input.layout.shape().channels)?;
        if limits.content == Content::Real && input.layout.packing() == Packing::Complex {
            return Err(LayerError::RefreshContent {
                layer: name.clone(),
            });
        }
        if limits.slots != input.layout.slots() {
            return Err(LayerError::ParameterValue {
                layer: name.clone(),
                what: "number of slots refreshed",
                found: limits.slots,
                expected: "all slots of the layout",
            });
        }
        let max = largest(&refresh.declared);
        chain.check_range(name, input, max)?;
        // Without any declared value there is nothing to scale.
        let max = if max > 0.0 { max } else { limits.max_value };
        let limit = limits.scale.value() * limits.max_value / max;
        let approach = Approach::within(name, input, chain, limit)?;
        let least = refresh.bootstrapper.input_level();
        if approach.level() < least {
            return Err(LayerError::Level {
                layer: name.clone(),
                found: input.level,
                least: Level::new(least.limbs() + approach.rescales()),
                most: chain.max_level(),
            });
        }
        let output = TensorSpec {
            layout: input.layout.clone(),
            level: refresh.bootstrapper.output_level(),
            scale: approach.scale(),
        };
        chain.below(name, output.level, 0, 1)?;
        Ok(Self {
            refresh: refresh.clone(),
            input: input.clone(),
            output,
            approach,
        })
    }
}

impl Pointwise for RefreshStage {
    /// The largest declared value of its channels.
    type Block = f64;

    fn name(&self) -> &str {
        &self.refresh.name
    }

    fn input(&self) -> &TensorSpec {
        &self.input
    }

    fn output(&self) -> &TensorSpec {
        &self.output
    }

    fn request_keys(&self, keys: &mut KeyRequest) {
        keys.extend(&self.refresh.bootstrapper.request());
    }

    /// The rescales before it; what a bootstrapping does is its own.
    fn count_ops(&self, counts: &mut OpCounts) {
        let n = self.input.layout.ciphertexts();
        for above in 1..=self.approach.rescales() {
            let level = Level::new(self.approach.level().limbs() + above);
            counts.add(Op::Rescale, level, n);
        }
    }

    fn predicted_error(&self, input_std: &[f64]) -> Vec<f64> {
        let slots = self.input.layout.slots();
        let limits = &self.refresh.limits;
        let own = limits.error_std * limits.scale.value() / self.output.scale.value();
        input_std
            .iter()
            .map(|std| self.approach.predicted_error(slots, *std).hypot(own))
            .collect()
    }

    fn forward_slots(&self, x: &[Vec<Complex64>]) -> Result<Vec<Vec<Complex64>>, LayerError> {
        map_values(&self.input.layout, x, |x| x)
    }

    fn block(&self, block: usize) -> Result<f64, LayerError> {
        let declared = &self.refresh.declared;
        Ok(largest(&self.input.layout.channel_plane(block, declared)))
    }

    fn apply(
        &self,
        evaluator: &Evaluator,
        declared: &f64,
        mut ct: Ciphertext,
    ) -> Result<Ciphertext, LayerError> {
        let slots = self.input.layout.packing().modulus(*declared);
        ct.declare_values(slots, slots);
        let named = LayerError::eval(self.name());
        let ct = self.approach.begin(evaluator, ct).map_err(&named)?;
        let ct = self.approach.end(evaluator, ct).map_err(&named)?;
        self.refresh
            .bootstrapper
            .bootstrap(evaluator, &ct)
            .map_err(LayerError::refresh(self.name()))
    }
}
