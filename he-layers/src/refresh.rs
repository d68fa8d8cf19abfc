//! Refreshing: ciphertexts of few primes become ciphertexts of many, of the same values.

use std::sync::Arc;

use ckks_scheme::{Bootstrapper, Content, CosineBootstrapper, Scale};

use crate::activation::check_array;
use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer};
use crate::prepared::pointwise::PreparedPointwise;
use crate::prepared::refresh::RefreshStage;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

/// What a bootstrapping takes and how well it does it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefreshLimits {
    /// Slots that it refreshes: all of a ciphertext's for layouts of this crate.
    pub slots: usize,
    /// What the slots may hold.
    pub content: Content,
    /// Largest absolute value of a real component at [`Self::scale`]. At another scale, inversely as much. Less than the
    /// bootstrapping's own keeps values on the straight part of its sine.
    pub max_value: f64,
    /// The scale that it is made for.
    pub scale: Scale,
    /// Standard deviation of the error that a refresh adds to a real component, for values at [`Self::scale`]: a sixth of
    /// a measured report's `predicted_error_bound`, or what was measured. Only predictions use it.
    pub error_std: f64,
}

impl RefreshLimits {
    /// Those of a bootstrapping of the scheme.
    pub fn of(bootstrapper: &CosineBootstrapper, error_std: f64) -> Self {
        let params = bootstrapper.params();
        Self {
            slots: params.slots(),
            content: params.literal().content,
            max_value: params.literal().max_value,
            scale: params.output_scale(),
            error_std,
        }
    }
}

/// A refresh: the identity on values, up to the precision of the bootstrapping.
///
/// Values are brought as near to the bootstrapping's range as an integer factor allows, which is part of the scale, and
/// come out at that scale, so that nothing has to be taken back: whoever reads them makes up for it in his own scale.
///
/// # Errors that add up
/// A modular reduction by a sine is off by a third power of the value: `(2 pi)^2 / 6 x^3` for values of `x` base primes. This
/// error is the same wherever the value is, so that sums over many equally large values add it up. The scheme's tracker
/// counts it apart and adds it linearly (`Tracked::systematic`); [`PreparedLayer::predicted_error`] takes all errors as
/// independent and can fall short there. Lower [`RefreshLimits::max_value`], or an arcsine, where sums are wide and values
/// large.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// Name for reports and errors.
    pub name: String,
    /// Who refreshes.
    pub bootstrapper: Arc<dyn Bootstrapper>,
    /// What that takes.
    pub limits: RefreshLimits,
    /// Largest absolute value of each channel that the encrypted run is built for.
    pub declared: Vec<f64>,
}

impl Refresh {
    /// A refresh of `declared.len()` channels.
    pub fn new(
        name: impl Into<String>,
        bootstrapper: Arc<dyn Bootstrapper>,
        limits: RefreshLimits,
        declared: Vec<f64>,
    ) -> Self {
        Self {
            name: name.into(),
            bootstrapper,
            limits,
            declared,
        }
    }

    pub(crate) fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        if found != self.declared.len() {
            return Err(LayerError::Channels {
                layer: self.name.clone(),
                found,
                expected: self.declared.len(),
            });
        }
        check_array(&self.name, "declared", &self.declared, found)
    }
}

impl Layer for Refresh {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.check_channels(input.channels)?;
        Ok(input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.check_channels(x.shape.channels)?;
        Ok(x.clone())
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        Ok(Box::new(PreparedPointwise(RefreshStage::new(
            self, input, chain,
        )?)))
    }
}
