//! Refreshing: ciphertexts of few primes become ciphertexts of many, of the same values.

use std::sync::Arc;

use ckks_scheme::bootstrap::{BootstrapOutline, FourierSeries, Reduction};
use ckks_scheme::{
    BootstrapError, BootstrapParams, Bootstrapper, Ciphertext, Content, CosineBootstrapper,
    Evaluator, KeyRequest, Level, Scale,
};

use super::approach::Approach;
use super::{Depth, Operand, Pointwise, PreparedBlock, PreparedPointwise, Setting, StageError};
use crate::checks::check_array;
use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::layout::Packing;
use crate::spec::{Form, TensorSpec};

/// What a bootstrapping takes and how well it does it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefreshLimits {
    /// Lowest level of a ciphertext that can be refreshed.
    pub input_level: Level,
    /// Level of a refreshed ciphertext.
    pub output_level: Level,
    /// Slots that it refreshes: all of a ciphertext's for layouts of this crate.
    pub slots: usize,
    /// What the slots may hold.
    pub content: Content,
    /// Largest absolute value of a real component at [`Self::scale`]. At another scale, inversely as much. Less than the
    /// bootstrapping's own keeps values on the straight part of its sine.
    pub max_value: f64,
    /// The scale that it is made for.
    pub scale: Scale,
    /// Standard deviation of the error that a refresh adds to a real component, for values at [`Self::scale`].
    pub error_std: f64,
    /// Largest error of the approximation, of values of [`Self::max_value`] at [`Self::scale`]; it falls with the third power
    /// of the value.
    pub largest_error: f64,
    /// Limb memory of one refresh, in bytes, its result included.
    pub working_bytes: u64,
    /// Bytes of one limb.
    pub limb_bytes: u64,
}

/// What carries out the refreshes of a network: a bootstrapping and what is known of it. A planner has the latter alone.
#[derive(Clone, Debug)]
pub struct Refresher {
    /// What it applies to values brought to [-1, 1]; nothing: they stay what they are.
    function: Option<FourierSeries>,
    bootstrapper: Option<Arc<dyn Bootstrapper>>,
    limits: RefreshLimits,
    keys: KeyRequest,
}

impl Refresher {
    /// A refresher of any bootstrapping that leaves values what they are.
    pub fn new(bootstrapper: Arc<dyn Bootstrapper>, limits: RefreshLimits) -> Self {
        Self {
            function: None,
            keys: bootstrapper.request(),
            bootstrapper: Some(bootstrapper),
            limits,
        }
    }

    /// The scheme's own bootstrapping.
    ///
    /// # Errors
    /// Those of the series that its function is.
    pub fn of(bootstrapper: CosineBootstrapper) -> Result<Self, BootstrapError> {
        let limits = RefreshLimits::of(bootstrapper.outline());
        Ok(Self {
            function: unit_series(bootstrapper.params())?,
            ..Self::new(Arc::new(bootstrapper), limits)
        })
    }

    /// As [`Self::of`], to plan with: nothing is encoded, and nothing can be run.
    ///
    /// # Errors
    /// As there.
    pub fn outlined(outline: &BootstrapOutline) -> Result<Self, BootstrapError> {
        Ok(Self {
            function: unit_series(outline.params())?,
            bootstrapper: None,
            limits: RefreshLimits::of(outline),
            keys: outline.request(),
        })
    }

    /// A refresher from level `input` to level `output` that is good for counting levels alone.
    pub fn levels_only(input: Level, output: Level) -> Self {
        let limits = RefreshLimits {
            input_level: input,
            output_level: output,
            slots: 0,
            content: Content::Complex,
            max_value: 1.0,
            scale: Scale::new(1.0),
            error_std: 0.0,
            largest_error: 0.0,
            working_bytes: 0,
            limb_bytes: 1,
        };
        Self {
            function: None,
            bootstrapper: None,
            limits,
            keys: KeyRequest::new(),
        }
    }

    /// The same for a function, of values brought to [-1, 1].
    pub fn with_function(self, function: Option<FourierSeries>) -> Self {
        Self { function, ..self }
    }

    /// What it takes.
    pub fn limits(&self) -> &RefreshLimits {
        &self.limits
    }
}

impl RefreshLimits {
    /// Those of a bootstrapping of the scheme.
    fn of(outline: &BootstrapOutline) -> Self {
        let params = outline.params();
        // Beside the third power the approximation has an error that does not fall with the value. It is not known apart: what
        // the third power gives at a quarter of the range stands for it.
        Self {
            input_level: params.input_level(),
            output_level: params.output_level(),
            slots: params.slots(),
            content: params.literal().content,
            max_value: params.literal().max_value,
            scale: params.output_scale(),
            error_std: outline
                .error_std()
                .hypot(outline.approximation_error() / 64.0),
            largest_error: outline.approximation_error(),
            working_bytes: outline.working_bytes(),
            limb_bytes: params.scheme().limb_bytes(),
        }
    }
}

/// The function of a bootstrapping, of values brought to [-1, 1].
fn unit_series(params: &BootstrapParams) -> Result<Option<FourierSeries>, BootstrapError> {
    let literal = params.literal();
    match &literal.reduction {
        Reduction::Fourier(fourier) if !fourier.function.is_identity() => {
            let period = literal.log_message_ratio.exp2();
            let series = fourier.function.series(fourier.harmonics, 1.0, period);
            series.map(Some)
        }
        Reduction::Fourier(_) | Reduction::Cosine(_) => Ok(None),
    }
}

/// A refresh: the identity on values, or a function of them, up to the precision of the bootstrapping. What refreshes is
/// given when the network is prepared ([`Setting::refreshers`]).
///
/// Values are brought as near to the bootstrapping's range as an integer factor allows, which is part of the scale, and
/// come out at that scale. Their readers divide it out of their weights.
///
/// # Errors that add up
/// A modular reduction by a sine is off by a third power of the value: `(2 pi)^2 / 6 x^3` for values of `x` base primes. This
/// error is the same wherever the value is, so that sums over many equally large values add it up. The scheme's tracker
/// counts it apart and adds it linearly (`Tracked::systematic`). A smaller [`RefreshLimits::max_value`] or an arcsine helps
/// where sums are wide and values large.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// Name for reports and errors.
    pub name: String,
    /// Largest absolute value of each channel that the encrypted run is built for.
    pub declared: Vec<f64>,
    /// What is applied to values brought to [-1, 1] by the largest declared one, and multiplied back; nothing: values stay
    /// what they are. Beyond the range a series goes on periodically, so that a value out of range harms no other.
    pub function: Option<FourierSeries>,
    /// Whether the function stands for a ReLU, or is what is meant.
    pub is_relu: bool,
}

/// Period of the series of a ReLU over the largest value, as the scheme's presets have it.
pub const RELU_PERIOD: f64 = 2.5;

impl Refresh {
    /// Most harmonics of the series that a refresh applies.
    pub const MAX_HARMONICS: usize = FourierSeries::MAX_HARMONICS;

    /// A refresh of `declared.len()` channels.
    pub fn new(name: impl Into<String>, declared: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            declared,
            function: None,
            is_relu: false,
        }
    }

    /// A refresh that applies a ReLU, by [`FourierSeries::relu`] of `harmonics` harmonics. The error is largest at the kink:
    /// 0.0032 of the largest declared value for 31 harmonics, 0.0018 for 63.
    ///
    /// # Errors
    /// [`LayerError::Refresh`] for a number of harmonics that no series has.
    pub fn relu(
        name: impl Into<String>,
        declared: Vec<f64>,
        harmonics: usize,
    ) -> Result<Self, LayerError> {
        let name = name.into();
        let series = FourierSeries::relu(harmonics, 1.0, RELU_PERIOD);
        let function = Some(series.map_err(LayerError::refresh(&name))?);
        Ok(Self {
            name,
            declared,
            function,
            is_relu: true,
        })
    }

    /// The largest declared value; 1 if all are zero.
    fn range(&self) -> f64 {
        match self.declared.iter().fold(0.0, |m: f64, v| m.max(*v)) {
            0.0 => 1.0,
            range => range,
        }
    }

    fn refresher<'a>(&self, setting: &Setting<'a>) -> Result<&'a Refresher, LayerError> {
        let serves = |r: &&Refresher| r.function == self.function;
        let found = setting.refreshers.iter().find(serves);
        found.ok_or_else(|| LayerError::NoRefresher {
            stage: self.name.clone(),
        })
    }
}

impl Pointwise for Refresh {
    fn name(&self) -> &str {
        &self.name
    }

    fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        LayerError::check_channels(&self.name, found, self.declared.len())?;
        check_array(&self.name, "declared", &self.declared, found)
    }

    fn evaluate(&self, x: f64, _channel: usize) -> f64 {
        match &self.function {
            None => x,
            Some(series) => self.range() * series.evaluate(x / self.range()),
        }
    }

    fn stands_for(&self, x: f64, _channel: usize) -> Option<f64> {
        self.is_relu.then_some(x.max(0.0))
    }

    fn declared(&self, channel: usize) -> f64 {
        self.declared[channel]
    }

    fn moments(&self, _channel: usize) -> (f64, f64) {
        // Declared ranges are several deviations wide.
        (0.0, self.range() / 4.0)
    }

    fn refresh_function(&self) -> Option<&FourierSeries> {
        self.function.as_ref()
    }

    fn output_form(&self) -> Form {
        Form::Refreshed
    }

    fn depth(&self, from: Form, setting: &Setting<'_>) -> Result<Depth, LayerError> {
        let limits = self.refresher(setting)?.limits;
        let rescale = usize::from(from == Form::Sums);
        Ok(Depth::Refresh {
            input: Level::new(limits.input_level.limbs() + rescale),
            output: limits.output_level,
        })
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn PreparedPointwise>, LayerError> {
        let (name, chain) = (&self.name, setting.chain);
        let refresher = self.refresher(setting)?;
        let limits = &refresher.limits;
        self.check_channels(input.layout.shape().channels)?;
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
        let max = self.range();
        chain.check_range(name, input, max)?;
        let limit = limits.scale.value() * limits.max_value / max;
        let approach = Approach::within(name, input, chain, limit)?;
        let least = limits.input_level;
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
            form: Form::Refreshed,
            level: limits.output_level,
            scale: approach.scale(),
        };
        chain.below(name, output.level, 0, 1)?;
        Ok(Box::new(PreparedRefresh {
            refresh: self.clone(),
            refresher: refresher.clone(),
            input: input.clone(),
            output,
            approach,
        }))
    }
}

/// A refresh for one input: anything that has the levels left to values at the bootstrapping's output level.
#[derive(Debug)]
struct PreparedRefresh {
    refresh: Refresh,
    refresher: Refresher,
    input: TensorSpec,
    output: TensorSpec,
    approach: Approach,
}

impl PreparedPointwise for PreparedRefresh {
    fn input(&self) -> &TensorSpec {
        &self.input
    }

    fn output(&self) -> &TensorSpec {
        &self.output
    }

    fn request_keys(&self, _keys: &mut KeyRequest) {}

    fn request_fixed_keys(&self, keys: &mut KeyRequest) {
        keys.extend(&self.refresher.keys);
    }

    fn count_ops(&self, counts: &mut OpCounts) {
        let n = self.input.layout.ciphertexts();
        self.approach.count_ops(counts, n);
        counts.add(Op::Refresh, self.output.level, n);
    }

    fn working_limbs(&self) -> usize {
        let limits = &self.refresher.limits;
        let refresh = limits.working_bytes.div_ceil(limits.limb_bytes.max(1)) as usize;
        // The input, and its copy at the scale of the refresh.
        refresh + 4 * self.input.level.limbs()
    }

    fn error(&self) -> StageError {
        let limits = &self.refresher.limits;
        let unit = limits.scale.value() / self.output.scale.value();
        StageError {
            argument: self
                .approach
                .predicted_error(self.input.layout.slots(), 0.0),
            result: limits.error_std * unit,
            cubic: limits.largest_error * unit / (limits.max_value * unit).powi(3),
        }
    }

    fn release_refresher(&mut self) {
        self.refresher.bootstrapper = None;
    }

    fn block(&self, block: usize) -> Result<Box<dyn PreparedBlock + '_>, LayerError> {
        let layout = &self.input.layout;
        let plane = layout.channel_plane(block, &self.refresh.declared);
        let declared = plane.iter().fold(0.0, |m: f64, v| m.max(*v));
        let slots = layout.packing().modulus(declared);
        Ok(Box::new(RefreshBlock { stage: self, slots }))
    }
}

struct RefreshBlock<'a> {
    stage: &'a PreparedRefresh,
    /// Largest modulus of a slot of the block.
    slots: f64,
}

impl PreparedBlock for RefreshBlock<'_> {
    fn apply(&self, evaluator: &Evaluator, x: Operand<'_>) -> Result<Ciphertext, LayerError> {
        let PreparedRefresh {
            refresh,
            refresher,
            approach,
            ..
        } = self.stage;
        let named = LayerError::eval(&refresh.name);
        let mut ct = x.into_ciphertext().map_err(&named)?;
        ct.declare_values(self.slots, self.slots);
        let ct = approach.begin(evaluator, ct).map_err(&named)?;
        let ct = approach.end(evaluator, ct).map_err(&named)?;
        let Some(bootstrapper) = &refresher.bootstrapper else {
            return Err(LayerError::NoRefresher {
                stage: refresh.name.clone(),
            });
        };
        bootstrapper
            .bootstrap(evaluator, &ct)
            .map_err(LayerError::refresh(&refresh.name))
    }
}
