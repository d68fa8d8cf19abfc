//! Stages that work on real numbers: packed complex, real and imaginary parts are separated and joined again.

use ckks_scheme::{Ciphertext, EvalError, Evaluator, KeyRequest, Level, Scale};

use super::approach::Approach;
use super::circuit::{Circuit, Tally, Wire};
use super::custom::{Evaluation, Function};
use super::{Depth, Operand, PreparedBlock, PreparedPointwise, Setting, StageError};
use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::layout::Packing;
use crate::noise::rounding_std;
use crate::spec::{Form, ScaleChain, TensorSpec};

/// Levels and bits of an imaginary chain on which the depth of functions is counted.
const COUNTED_LEVELS: usize = 64;
const COUNTED_PRIME: u64 = 1 << 45;

/// Levels that a function takes, rescale of sums included.
pub(super) fn depth(f: &dyn Function, from: Form) -> Result<Depth, LayerError> {
    let scale = Scale::new((COUNTED_PRIME as f64).sqrt());
    let chain = ScaleChain::new(scale, vec![COUNTED_PRIME; COUNTED_LEVELS]);
    let top = Level::new(COUNTED_LEVELS);
    let argument = f.argument_scale(COUNTED_PRIME as f64).unwrap_or(scale);
    let (level, _, _) = count(f, &chain, top, argument)?;
    let levels = top.limbs() - level.limbs();
    Ok(Depth::Levels(levels + levels_to_approach(from)))
}

/// Levels that it may take to bring an argument to its scale.
pub(super) fn levels_to_approach(from: Form) -> usize {
    match from {
        Form::Sums | Form::Refreshed => 1,
        Form::Squares | Form::Values => 0,
    }
}

/// Output level and scale of a function, and what it does to one ciphertext.
fn count(
    f: &dyn Function,
    chain: &ScaleChain,
    level: Level,
    scale: Scale,
) -> Result<(Level, Scale, Tally), LayerError> {
    let circuit = Circuit::count(chain);
    let named = LayerError::eval(f.name());
    let x = circuit.counted(level, scale).map_err(&named)?;
    let y = f.run(&circuit, x, 0.0)?;
    let (level, scale) = (y.level(), y.scale());
    drop(y);
    Ok((level, scale, circuit.into_tally()))
}

/// A real function for one input.
#[derive(Debug)]
pub(super) struct PreparedReal<F> {
    function: F,
    input: TensorSpec,
    output: TensorSpec,
    nominal: Scale,
    approach: Approach,
    /// Packed complex, parts of doubled values are taken: their scale is twice that of the values.
    components: usize,
    tally: Tally,
    error: StageError,
    /// Predicted deviation of the function's own error, and how errors of its argument pass at most.
    own_error: f64,
    slope: f64,
}

impl<F: Function + Clone + 'static> PreparedReal<F> {
    pub(super) fn boxed(
        function: &F,
        input: &TensorSpec,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn PreparedPointwise>, LayerError> {
        let chain = setting.chain;
        let name = function.name();
        let channels = input.layout.shape().channels;
        function.check_channels(channels)?;
        let declared = (0..channels)
            .map(|c| function.declared(c))
            .fold(0.0, f64::max);
        chain.check_range(name, input, declared)?;
        let components = match input.layout.packing() {
            Packing::Real => 1,
            Packing::Complex => 2,
        };
        // The argument's scale that the function wants at a level; else the nominal one.
        let target = |level| {
            let wanted = function.argument_scale(chain.prime(name, level)?);
            Ok(wanted.map_or(chain.scale().value(), Scale::value) / components as f64)
        };
        let approach = match input.form {
            Form::Refreshed => Approach::close(name, input, chain, target)?,
            Form::Sums | Form::Squares | Form::Values => {
                Approach::near(name, input, chain, target)?
            }
        };
        let argument = Scale::new(components as f64 * approach.scale().value());
        let (level, scale, tally) = count(function, chain, approach.level(), argument)?;
        let output = TensorSpec {
            layout: input.layout.clone(),
            form: Form::Values,
            level,
            scale,
        };
        chain.check_range(name, &output, function.bound())?;
        let slots = input.layout.slots();
        // Errors of the real part's imaginary slots land in the imaginary part's, and the other way round.
        let own = function.error(&Evaluation {
            slots,
            argument,
            prime: chain.prime(name, approach.level())?,
            result: scale,
            rescales: tally.rescales,
        });
        let error = StageError {
            argument: approach.predicted_error(slots, 0.0),
            result: own * (components as f64).sqrt(),
            cubic: 0.0,
        };
        Ok(Box::new(Self {
            function: function.clone(),
            input: input.clone(),
            output,
            nominal: chain.scale(),
            approach,
            components,
            tally,
            error,
            own_error: own,
            slope: function.largest_slope(declared),
        }))
    }

    /// Level at which the conjugation happens.
    fn conjugate_level(&self) -> Level {
        Level::new(self.approach.level().limbs() + self.approach.rescales().min(1))
    }

    /// Real and, packed complex, imaginary parts, as real ciphertexts.
    fn parts(&self, evaluator: &Evaluator, ct: Ciphertext) -> Result<Vec<Ciphertext>, EvalError> {
        let z = self.approach.begin(evaluator, ct)?;
        if self.components == 1 {
            return Ok(vec![self.approach.end(evaluator, z)?]);
        }
        let conjugate = if self.approach.rescales() > 0 {
            evaluator.conjugate_rescale(&z)?
        } else {
            evaluator.conjugate(&z)?
        };
        let z = self.approach.end(evaluator, z)?;
        // conj(a + ib) - (a + ib) = -2ib.
        let mut imaginary = conjugate.try_clone()?;
        evaluator.sub_assign(&mut imaginary, &z)?;
        evaluator.mul_i_assign(&mut imaginary);
        let mut real = z;
        evaluator.add_assign(&mut real, &conjugate)?;
        let mut parts = vec![real, imaginary];
        parts.iter_mut().for_each(|part| part.reinterpret(0.5));
        Ok(parts)
    }

    fn run(
        &self,
        evaluator: &Evaluator,
        x: Operand<'_>,
        declared: f64,
    ) -> Result<Ciphertext, LayerError> {
        let named = LayerError::eval(self.function.name());
        let packing = self.input.layout.packing();
        let mut ct = x.into_ciphertext().map_err(&named)?;
        let slots = packing.modulus(declared);
        ct.declare_values(slots, slots);
        let circuit = Circuit::run(evaluator, self.nominal);
        let mut parts = Vec::with_capacity(self.components);
        for mut part in self.parts(evaluator, ct).map_err(&named)? {
            part.declare_values(declared, declared);
            let (std, systematic) = (part.tracked().error_std, part.tracked().systematic);
            let y = self
                .function
                .run(&circuit, Wire::encrypted(part), declared)?;
            // Product by product, errors of high powers would seem to grow without measure.
            parts.extend(y.into_ciphertext().map(|mut y| {
                let passed = (self.slope * std).hypot(self.own_error);
                y.declare_error(passed, self.slope * systematic);
                y
            }));
        }
        let imaginary = (parts.len() > 1).then(|| parts.pop()).flatten();
        let mut y = parts.pop().expect("a real part");
        if let Some(mut imaginary) = imaginary {
            evaluator.mul_i_assign(&mut imaginary);
            evaluator.add_assign(&mut y, &imaginary).map_err(&named)?;
        }
        let slots = packing.modulus(self.function.bound());
        y.declare_values(slots, slots);
        Ok(y)
    }
}

impl<F: Function + Clone + 'static> PreparedPointwise for PreparedReal<F> {
    fn input(&self) -> &TensorSpec {
        &self.input
    }

    fn output(&self) -> &TensorSpec {
        &self.output
    }

    fn request_keys(&self, keys: &mut KeyRequest) {
        keys.extend(&self.tally.keys);
        if self.components > 1 {
            keys.conjugation(self.conjugate_level());
        }
    }

    fn count_ops(&self, counts: &mut OpCounts) {
        let n = self.input.layout.ciphertexts();
        self.approach.count_ops(counts, n);
        if self.components > 1 {
            let op = match self.approach.rescales() {
                0 => Op::Conjugate,
                _ => Op::ConjugateRescale,
            };
            counts.add(op, self.conjugate_level(), n);
            // The parts, apart and joined again.
            for level in [self.approach.level(), self.output.level] {
                counts.add(Op::MulI, level, n);
            }
            counts.add(Op::Add, self.approach.level(), 2 * n);
            counts.add(Op::Add, self.output.level, n);
        }
        counts.extend_times(&self.tally.counts, n * self.components);
    }

    fn working_limbs(&self) -> usize {
        // The other part, before or after the function, and a copy of what came in.
        let parts = 2 * self.conjugate_level().limbs() * self.components;
        self.tally.most_held + 2 * parts
    }

    fn error(&self) -> StageError {
        self.error
    }

    fn block(&self, block: usize) -> Result<Box<dyn PreparedBlock + '_>, LayerError> {
        let layout = &self.input.layout;
        let channels = layout.shape().channels;
        let declared: Vec<f64> = (0..channels).map(|c| self.function.declared(c)).collect();
        let plane = layout.channel_plane(block, &declared);
        let declared = plane.iter().fold(0.0, |m: f64, v| m.max(*v));
        Ok(Box::new(RealBlock {
            stage: self,
            declared,
        }))
    }
}

struct RealBlock<'a, F> {
    stage: &'a PreparedReal<F>,
    /// Largest declared value of the block's channels.
    declared: f64,
}

impl<F: Function + Clone + 'static> PreparedBlock for RealBlock<'_, F> {
    fn apply(&self, evaluator: &Evaluator, x: Operand<'_>) -> Result<Ciphertext, LayerError> {
        self.stage.run(evaluator, x, self.declared)
    }
}

/// Error of a function that says nothing of its own: that of so many rescales at the lower of its scales.
pub(super) fn rescale_error(at: &Evaluation) -> f64 {
    let scale = Scale::new(at.argument.value().min(at.result.value()));
    rounding_std(at.slots, scale) * (at.rescales as f64).sqrt()
}
