//! Pointwise stages: functions of single numbers, and what becomes of them on ciphertexts.
//!
//! A stage is a description without ring or keys ([`Pointwise`]). For a layout, level and scale it becomes a
//! [`PreparedPointwise`], which knows its keys, operations, memory and error, and runs on one ciphertext after another.
//! [`Square`], [`Polynomial`] and [`Refresh`] are bundled. A function of one's own implements [`Function`] and becomes a
//! stage as [`Custom`].

mod approach;
mod circuit;
mod custom;
mod polynomial;
mod real;
mod refresh;
mod rescaled;
mod square;

use std::fmt;

use ckks_scheme::bootstrap::FourierSeries;
use ckks_scheme::{Ciphertext, EvalError, Evaluator, KeyRequest, Level};

pub use circuit::{Circuit, Wire};
pub use custom::{Custom, Evaluation, Function};
pub use polynomial::{PolyOutput, Polynomial};
pub use refresh::{RELU_PERIOD, Refresh, RefreshLimits, Refresher};
pub(crate) use rescaled::Rescaled;
pub use square::Square;

use crate::cost::OpCounts;
use crate::error::LayerError;
use crate::spec::{Form, ScaleChain, TensorSpec};
use crate::tensor::PlainTensor;

/// Levels that a stage needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The output stands so many levels below the input.
    Levels(usize),
    /// The output stands at `output`, whatever the input's level is, which has to be at least `input`.
    Refresh {
        /// Least level of the input.
        input: Level,
        /// Level of the output.
        output: Level,
    },
}

/// A pointwise stage: a function of single numbers, the same for all pixels of a channel.
pub trait Pointwise: fmt::Debug + Send + Sync {
    /// Name for reports and errors.
    fn name(&self) -> &str;

    /// Checks that the stage can take `found` channels.
    ///
    /// # Errors
    /// [`LayerError::Channels`], and those of invalid parameters.
    fn check_channels(&self, found: usize) -> Result<(), LayerError>;

    /// The function in the clear, of a value of channel `channel`.
    fn evaluate(&self, x: f64, channel: usize) -> f64;

    /// The function that [`Self::evaluate`] approximates, of the same value; nothing where it is the function itself.
    fn stands_for(&self, _x: f64, _channel: usize) -> Option<f64> {
        None
    }

    /// [`Self::evaluate`] of all `values` of channel `channel`, in place.
    fn evaluate_all(&self, values: &mut [f64], channel: usize) {
        for v in values {
            *v = self.evaluate(*v, channel);
        }
    }

    /// What is compared with [`Self::declared`]: `|x|`, or `|x + t|` for a square.
    fn magnitude(&self, x: f64, _channel: usize) -> f64 {
        x.abs()
    }

    /// Largest [`Self::magnitude`] of channel `channel` that the encrypted run is built for; infinite without a limit.
    fn declared(&self, channel: usize) -> f64;

    /// Largest absolute value and root mean square of what the stage reads in channel `channel`, as far as it is declared.
    fn input_size(&self, channel: usize) -> (f64, f64) {
        (self.declared(channel), self.declared(channel))
    }

    /// Mean and standard deviation of what channel `channel` gives over data, as far as they are known: what the correction
    /// and the prediction of rounded weights use.
    fn moments(&self, _channel: usize) -> (f64, f64) {
        (0.0, 0.0)
    }

    /// Form of what it gives.
    fn output_form(&self) -> Form {
        Form::Values
    }

    /// Levels that it takes from an input of form `from`.
    ///
    /// # Errors
    /// [`LayerError::NoRefresher`] for a refresh without what refreshes.
    fn depth(&self, from: Form, setting: &Setting<'_>) -> Result<Depth, LayerError>;

    /// Fixes the stage for an input.
    ///
    /// # Errors
    /// If the stage does not fit the input: layout, level, scale or declared range.
    fn prepare(
        &self,
        input: &TensorSpec,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn PreparedPointwise>, LayerError>;

    /// The function that a refresh applies to values brought to [-1, 1]; nothing for other stages.
    fn refresh_function(&self) -> Option<&FourierSeries> {
        None
    }

    /// Whether it is the implicit rescale of sums.
    #[doc(hidden)]
    fn is_rescale(&self) -> bool {
        false
    }
}

/// What a network is prepared in: the primes with the nominal scale, and what refreshes.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Primes and nominal scale.
    pub chain: &'a ScaleChain,
    /// What carries out refreshes: one for each function that is applied.
    pub refreshers: &'a [Refresher],
}

/// Standard deviations of the errors that a stage makes, in value units: of its argument and of its result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageError {
    /// Error of the argument, as if the input had it.
    pub argument: f64,
    /// Error of the result.
    pub result: f64,
    /// Coefficient of `-x^3` of an error that is the same for equal values: what a sine is off by.
    pub cubic: f64,
}

/// A stage prepared for one layout, level and scale of its input.
pub trait PreparedPointwise: fmt::Debug + Send + Sync {
    /// What it reads.
    fn input(&self) -> &TensorSpec;

    /// What it gives, in the same layout.
    fn output(&self) -> &TensorSpec;

    /// Adds the switching keys that it needs, each at the level of use.
    fn request_keys(&self, keys: &mut KeyRequest);

    /// Adds the switching keys that it needs at just these levels, whatever serves other operations: those of a refresh.
    fn request_fixed_keys(&self, _keys: &mut KeyRequest) {}

    /// Adds what it does to all ciphertexts of the tensor.
    fn count_ops(&self, counts: &mut OpCounts);

    /// Whether it uses the rescaled form of sums where another reader has made it ([`Operand::Sum`]).
    fn takes_rescaled(&self) -> bool {
        false
    }

    /// Most limbs that one ciphertext's run holds beside input and output, temporaries of single operations excepted.
    fn working_limbs(&self) -> usize {
        0
    }

    /// Errors that it makes.
    fn error(&self) -> StageError;

    /// Lets go of what carries out refreshes, and of its matrices: see
    /// [`PreparedProgram::release_refreshers`](crate::PreparedProgram::release_refreshers).
    fn release_refresher(&mut self) {}

    /// What the ciphertexts of channel block `block` have in common, made once for all of them.
    ///
    /// # Errors
    /// [`LayerError::Eval`], for instance when offsets cannot be encoded.
    fn block(&self, block: usize) -> Result<Box<dyn PreparedBlock + '_>, LayerError>;
}

/// A prepared stage for the ciphertexts of one channel block.
pub trait PreparedBlock: Sync {
    /// The stage on one ciphertext.
    ///
    /// # Errors
    /// [`LayerError::Eval`] and others, with the stage's name.
    fn apply(&self, evaluator: &Evaluator, x: Operand<'_>) -> Result<Ciphertext, LayerError>;
}

/// A ciphertext that is lent or given.
#[derive(Debug)]
pub enum Shared<'a> {
    /// Another reader needs it later.
    Lent(&'a Ciphertext),
    /// Nobody else reads it.
    Given(Ciphertext),
}

impl Shared<'_> {
    /// The ciphertext to read.
    pub fn get(&self) -> &Ciphertext {
        match self {
            Self::Lent(ct) => ct,
            Self::Given(ct) => ct,
        }
    }

    /// The ciphertext to keep: a copy if it is lent.
    ///
    /// # Errors
    /// [`EvalError`] when the pool's budget is exhausted.
    pub fn into_owned(self) -> Result<Ciphertext, EvalError> {
        match self {
            Self::Lent(ct) => Ok(ct.try_clone()?),
            Self::Given(ct) => Ok(ct),
        }
    }
}

/// The ciphertext that a stage reads. Sums may come with their rescaled form, if another reader has it already.
#[derive(Debug)]
pub enum Operand<'a> {
    /// A sum, not rescaled, and the same rescaled.
    Sum(Shared<'a>, Option<Ciphertext>),
    /// Squares or values.
    Value(Shared<'a>),
}

impl Operand<'_> {
    /// The ciphertext as it stands.
    ///
    /// # Errors
    /// As [`Shared::into_owned`].
    pub fn into_ciphertext(self) -> Result<Ciphertext, EvalError> {
        match self {
            Self::Sum(ct, _) | Self::Value(ct) => ct.into_owned(),
        }
    }

    /// The values at the nominal scale: sums are rescaled.
    ///
    /// # Errors
    /// [`EvalError`] of the rescale.
    pub fn into_values(self, evaluator: &Evaluator) -> Result<Ciphertext, EvalError> {
        match self {
            Self::Sum(_, Some(rescaled)) => Ok(rescaled),
            Self::Sum(sum, None) => evaluator.rescale(sum.get()),
            Self::Value(ct) => ct.into_owned(),
        }
    }
}

/// For each image, whether some value of it leaves what is declared for its channel. A value that is not a number does.
///
/// # Errors
/// [`LayerError::Channels`] if `x` has another number of channels.
pub fn images_out_of_range(
    stage: &dyn Pointwise,
    x: &PlainTensor,
) -> Result<Vec<bool>, LayerError> {
    stage.check_channels(x.shape.channels)?;
    let inside = |(c, map): (usize, &[f64])| {
        let declared = stage.declared(c);
        map.iter().all(|v| stage.magnitude(*v, c) <= declared)
    };
    let image = |n| {
        x.image(n)
            .chunks(x.shape.pixels().max(1))
            .enumerate()
            .all(inside)
    };
    Ok((0..x.n).map(|n| !image(n)).collect())
}

/// Largest magnitude of each channel over the batch.
///
/// # Errors
/// [`LayerError::Channels`] if `x` has another number of channels.
pub fn largest_inputs(stage: &dyn Pointwise, x: &PlainTensor) -> Result<Vec<f64>, LayerError> {
    stage.check_channels(x.shape.channels)?;
    let mut largest = vec![0.0f64; x.shape.channels];
    for (map, values) in x.data.chunks(x.shape.pixels().max(1)).enumerate() {
        let c = map % x.shape.channels;
        largest[c] = values
            .iter()
            .fold(largest[c], |m, v| m.max(stage.magnitude(*v, c)));
    }
    Ok(largest)
}
