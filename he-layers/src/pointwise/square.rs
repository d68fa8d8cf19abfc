//! The squaring activation `y = (x + t)^2`, one offset per channel: add, square, relinearise.

use ckks_scheme::{Ciphertext, EvalError, Evaluator, KeyRequest, Level, PeriodicPlain};
use num_complex::Complex64;

use super::approach::Approach;
use super::{Depth, Operand, Pointwise, PreparedBlock, PreparedPointwise, Setting, StageError};
use crate::checks::check_array;
use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::layout::{Layout, Packing};
use crate::rounding::periodic;
use crate::spec::{Form, TensorSpec, square_scale};

/// A squaring activation: `y = (x + t)^2`, `t` one number per channel.
///
/// Any quadratic `c2 x^2 + c1 x + c0` is `g (x + t)^2 + d`; `g` and `d` belong to the neighbours: `g` is a factor of the
/// next layer's weights and `d` goes into its [`tap_bias`](crate::Conv2d::tap_bias).
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    /// Name for reports and errors.
    pub name: String,
    /// Offset of each channel.
    pub t: Vec<f64>,
    /// Largest `|x + t|` that the encrypted run is built for, for each channel.
    pub declared: Vec<f64>,
    /// Mean of `(x + t)^2` over data, for each channel: the mean of what the next layer reads.
    pub second_moment: Vec<f64>,
}

impl Square {
    /// An activation of `t.len()` channels.
    ///
    /// # Errors
    /// [`LayerError::ParameterLength`] or [`LayerError::NotFinite`], as [`Self::validate`].
    pub fn new(
        name: impl Into<String>,
        t: Vec<f64>,
        declared: Vec<f64>,
        second_moment: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let activation = Self {
            name: name.into(),
            t,
            declared,
            second_moment,
        };
        activation.validate()?;
        Ok(activation)
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.t.len()
    }

    /// Checks that the three arrays agree and are finite.
    ///
    /// # Errors
    /// [`LayerError::ParameterLength`], [`LayerError::NotFinite`].
    pub fn validate(&self) -> Result<(), LayerError> {
        let expected = self.t.len();
        check_array(&self.name, "t", &self.t, expected)?;
        check_array(&self.name, "declared", &self.declared, expected)?;
        check_array(&self.name, "second_moment", &self.second_moment, expected)
    }

    fn cannot_read(&self, found: Form) -> LayerError {
        LayerError::Form {
            reader: self.name.clone(),
            found,
            expected: "sums or values",
        }
    }

    fn largest(&self, f: impl Fn(usize) -> f64) -> f64 {
        (0..self.channels()).map(f).fold(0.0, f64::max)
    }
}

impl Pointwise for Square {
    fn name(&self) -> &str {
        &self.name
    }

    fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        self.validate()?;
        LayerError::check_channels(&self.name, found, self.channels())
    }

    fn evaluate(&self, x: f64, channel: usize) -> f64 {
        let z = x + self.t[channel];
        z * z
    }

    fn magnitude(&self, x: f64, channel: usize) -> f64 {
        (x + self.t[channel]).abs()
    }

    fn declared(&self, channel: usize) -> f64 {
        self.declared[channel]
    }

    fn input_size(&self, channel: usize) -> (f64, f64) {
        let t = self.t[channel].abs();
        let rms = self.second_moment[channel].max(0.0).sqrt();
        (self.declared[channel] + t, rms + t)
    }

    fn moments(&self, channel: usize) -> (f64, f64) {
        // A Gaussian's square deviates by sqrt(2) times its mean.
        let mean = self.second_moment[channel];
        (mean, std::f64::consts::SQRT_2 * mean.abs())
    }

    fn output_form(&self) -> Form {
        Form::Squares
    }

    fn depth(&self, from: Form, _setting: &Setting<'_>) -> Result<Depth, LayerError> {
        let rescales = match from {
            Form::Sums | Form::Refreshed => 1,
            Form::Values => 0,
            Form::Squares => return Err(self.cannot_read(from)),
        };
        Ok(Depth::Levels(rescales))
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn PreparedPointwise>, LayerError> {
        let (name, chain) = (&self.name, setting.chain);
        self.check_channels(input.layout.shape().channels)?;
        if input.form == Form::Squares {
            return Err(self.cannot_read(input.form));
        }
        let approach = Approach::near(name, input, chain, |_| Ok(chain.scale().value()))?;
        chain.below(name, approach.level(), 0, 1)?;
        let output = TensorSpec {
            layout: input.layout.clone(),
            form: Form::Squares,
            level: approach.level(),
            scale: square_scale(approach.scale(), input.layout.packing()),
        };
        let sums = self.largest(|c| self.declared[c] + self.t[c].abs());
        chain.check_range(&self.name, input, sums)?;
        chain.check_range(
            &self.name,
            &output,
            self.largest(|c| self.declared[c].powi(2)),
        )?;
        Ok(Box::new(PreparedSquare {
            act: self.clone(),
            input: input.clone(),
            output,
            approach,
        }))
    }
}

/// A squaring activation for one input: sums at level `l` to squares at level `l - 1`, or values to squares at their level.
#[derive(Debug)]
struct PreparedSquare {
    act: Square,
    input: TensorSpec,
    output: TensorSpec,
    /// How the input comes to the nominal scale.
    approach: Approach,
}

/// The offsets of one channel block, encoded: for the values and for their conjugates.
struct Offsets<'a> {
    square: &'a PreparedSquare,
    offset: PeriodicPlain,
    conjugate: PeriodicPlain,
    /// Largest modulus of a slot value and root mean square, of the sums and of the values that are squared.
    sums: (f64, f64),
    values: (f64, f64),
}

impl PreparedSquare {
    fn layout(&self) -> &Layout {
        &self.input.layout
    }

    /// Level at which the conjugation happens: before the last rescale.
    fn conjugate_level(&self) -> Level {
        Level::new(self.output.level.limbs() + self.approach.rescales().min(1))
    }

    fn offsets(&self, block: usize) -> Result<Offsets<'_>, EvalError> {
        let layout = self.layout();
        let packing = layout.packing();
        let unit = packing.unit();
        let plane = periodic(layout.channel_plane(block, &self.act.t));
        let encode = |unit: Complex64| {
            let cells: Vec<_> = plane.iter().map(|t| unit * t).collect();
            PeriodicPlain::new(&cells, self.approach.scale())
        };
        let largest = |values: &[f64]| {
            let plane = layout.channel_plane(block, values);
            plane.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
        };
        let moments = layout.channel_plane(block, &self.act.second_moment);
        // Mean over the cells that hold a channel: errors are no smaller there because other cells are empty.
        let used = layout.channel_plane(block, &vec![1.0; self.act.channels()]);
        let used = used.iter().sum::<f64>().max(1.0);
        let rms = (moments.iter().sum::<f64>() / used).sqrt();
        let (declared, t) = (largest(&self.act.declared), largest(&self.act.t));
        let slots = |max: f64, rms: f64| (packing.modulus(max), packing.modulus(rms));
        Ok(Offsets {
            square: self,
            offset: encode(unit)?,
            conjugate: encode(unit.conj())?,
            sums: slots(declared + t, rms + t),
            values: slots(declared, rms),
        })
    }
}

impl Offsets<'_> {
    /// The values and, packed complex, their conjugates.
    fn values(
        &self,
        evaluator: &Evaluator,
        x: Operand<'_>,
    ) -> Result<(Ciphertext, Option<Ciphertext>), EvalError> {
        let complex = self.square.layout().packing() == Packing::Complex;
        let declare = |mut ct: Ciphertext| {
            ct.declare_values(self.sums.0, self.sums.1);
            ct
        };
        match x {
            Operand::Sum(sum, rescaled) => {
                let z = match rescaled {
                    Some(z) => z,
                    None => evaluator.rescale(sum.get())?,
                };
                // The conjugate's key switch divides by the prime as well.
                let conjugate = if complex {
                    Some(declare(evaluator.conjugate_rescale(sum.get())?))
                } else {
                    None
                };
                Ok((declare(z), conjugate))
            }
            Operand::Value(ct) => {
                let approach = &self.square.approach;
                let z = approach.begin(evaluator, declare(ct.into_owned()?))?;
                let conjugate = match (complex, approach.rescales()) {
                    (false, _) => None,
                    (true, 0) => Some(evaluator.conjugate(&z)?),
                    (true, _) => Some(evaluator.conjugate_rescale(&z)?),
                };
                Ok((approach.end(evaluator, z)?, conjugate))
            }
        }
    }

    fn run(&self, evaluator: &Evaluator, x: Operand<'_>) -> Result<Ciphertext, EvalError> {
        let (mut z, conjugate) = self.values(evaluator, x)?;
        evaluator.add_periodic_assign(&mut z, &self.offset)?;
        z.declare_values(self.values.0, self.values.1);
        let square = match conjugate {
            None => evaluator.square(&z)?,
            Some(mut conjugate) => {
                evaluator.add_periodic_assign(&mut conjugate, &self.conjugate)?;
                conjugate.declare_values(self.values.0, self.values.1);
                evaluator.square_pair(&z, &conjugate)?
            }
        };
        drop(z);
        evaluator.relinearize(square)
    }
}

impl PreparedBlock for Offsets<'_> {
    fn apply(&self, evaluator: &Evaluator, x: Operand<'_>) -> Result<Ciphertext, LayerError> {
        self.run(evaluator, x)
            .map_err(LayerError::eval(&self.square.act.name))
    }
}

impl PreparedPointwise for PreparedSquare {
    fn input(&self) -> &TensorSpec {
        &self.input
    }

    fn output(&self) -> &TensorSpec {
        &self.output
    }

    fn takes_rescaled(&self) -> bool {
        true
    }

    fn request_keys(&self, keys: &mut KeyRequest) {
        keys.relin(self.output.level);
        if self.layout().packing() == Packing::Complex {
            keys.conjugation(self.conjugate_level());
        }
    }

    fn count_ops(&self, counts: &mut OpCounts) {
        let n = self.layout().ciphertexts();
        let level = self.output.level;
        counts.add(Op::Relinearize, level, n);
        self.approach.count_ops(counts, n);
        match self.layout().packing() {
            Packing::Real => {
                counts.add(Op::AddPlane, level, n);
                counts.add(Op::Square, level, n);
            }
            Packing::Complex => {
                let op = match self.approach.rescales() {
                    0 => Op::Conjugate,
                    _ => Op::ConjugateRescale,
                };
                counts.add(op, self.conjugate_level(), n);
                counts.add(Op::AddPlane, level, 2 * n);
                counts.add(Op::SquareComplex, level, n);
            }
        }
    }

    fn error(&self) -> StageError {
        let argument = self.approach.predicted_error(self.layout().slots(), 0.0);
        StageError {
            argument,
            ..StageError::default()
        }
    }

    fn block(&self, block: usize) -> Result<Box<dyn PreparedBlock + '_>, LayerError> {
        let offsets = self.offsets(block);
        Ok(Box::new(offsets.map_err(LayerError::eval(&self.act.name))?))
    }
}
