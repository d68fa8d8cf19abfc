//! A polynomial activation on ciphertexts.

use ckks_scheme::{
    Chebyshev, Ciphertext, EvalError, Evaluator, KeyRequest, Level, PolyError, Scale,
};
use num_complex::Complex64;

use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::layout::Packing;
use crate::noise::rounding_std;
use crate::poly_activation::{PolyActivation, PolyOutput, bound_of, largest};
use crate::prepared::approach::Approach;
use crate::prepared::pointwise::{Pointwise, map_values};
use crate::spec::{ScaleChain, TensorSpec};

/// A polynomial activation for one input: anything to values at the nominal scale.
///
/// A polynomial on `[-h, h]` wants its argument at the prime of its level over `h`: products of such scales, divided by the
/// next prime, stay where they are. The product with an integer that leads there is free, because what comes in is
/// rescaled anyway or stands lower.
#[derive(Debug)]
pub(crate) struct PolyStage {
    act: PolyActivation,
    input: TensorSpec,
    output: TensorSpec,
    approach: Approach,
    /// One for each polynomial.
    steps: Vec<Step>,
    /// Packed complex, parts of doubled values are taken: their scale is twice that of the values.
    components: usize,
}

/// A polynomial of the list: level at which it begins, scale and bound of what it gives.
#[derive(Debug)]
struct Step {
    level: Level,
    scale: Scale,
    bound: f64,
}

impl PolyStage {
    pub(crate) fn new(
        act: &PolyActivation,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Self, LayerError> {
        let name = &act.name;
        act.check_channels(input.layout.shape().channels)?;
        chain.check_range(name, input, largest(&act.declared))?;
        let components = match input.layout.packing() {
            Packing::Real => 1,
            Packing::Complex => 2,
        };
        // The argument's scale for the polynomial at a level.
        let wanted = |p: &Chebyshev, level| {
            let (from, to) = p.interval();
            Ok::<_, LayerError>(chain.prime(name, level)? / (to / 2.0 - from / 2.0))
        };
        let approach = Approach::near(name, input, chain, |level| {
            Ok(wanted(&act.polynomials[0], level)? / components as f64)
        })?;
        let mut level = approach.level();
        let mut steps = Vec::with_capacity(act.polynomials.len());
        for (index, p) in act.polynomials.iter().enumerate() {
            let begin = level;
            level = chain.below(name, level, p.depth(), 1)?;
            let scale = match (act.polynomials.get(index + 1), act.output) {
                (Some(next), _) => wanted(next, level)?,
                (None, PolyOutput::Value) => chain.scale().value(),
                (None, PolyOutput::Gate) => {
                    let argument = components as f64 * approach.scale().value();
                    chain.scale().value() * chain.prime(name, level)? / argument
                }
            };
            steps.push(Step {
                level: begin,
                scale: Scale::new(scale),
                bound: bound_of(p),
            });
        }
        if act.output == PolyOutput::Gate {
            level = chain.below(name, level, 1, 1)?;
        }
        let output = chain.value_form(input.layout.clone(), level);
        chain.check_range(name, &output, act.bound())?;
        Ok(Self {
            act: act.clone(),
            input: input.clone(),
            output,
            approach,
            steps,
            components,
        })
    }

    /// Scale of the argument of the first polynomial.
    fn argument_scale(&self) -> Scale {
        Scale::new(self.components as f64 * self.approach.scale().value())
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

    /// The activation of one real ciphertext.
    fn activate(
        &self,
        evaluator: &Evaluator,
        x: &Ciphertext,
        bound: f64,
    ) -> Result<Ciphertext, PolyError> {
        let mut steps = self.act.polynomials.iter().zip(&self.steps);
        let (first, step) = steps.next().expect("checked to be there");
        let mut p = evaluator.polynomial(x, first, step.scale)?;
        let mut bound_of_p = step.bound;
        for (polynomial, step) in steps {
            p.declare_values(bound_of_p, bound_of_p);
            p = evaluator.polynomial(&p, polynomial, step.scale)?;
            bound_of_p = step.bound;
        }
        if self.act.output == PolyOutput::Gate {
            let x = evaluator.copy_at_level(x, p.level())?;
            p = evaluator.relinearize_rescale(evaluator.mul(&x, &p)?)?;
        }
        p.declare_values(bound, bound);
        Ok(p)
    }
}

impl Pointwise for PolyStage {
    /// The largest declared value of its channels.
    type Block = f64;

    fn name(&self) -> &str {
        &self.act.name
    }

    fn input(&self) -> &TensorSpec {
        &self.input
    }

    fn output(&self) -> &TensorSpec {
        &self.output
    }

    fn request_keys(&self, keys: &mut KeyRequest) {
        // All products down to the last.
        keys.relin(self.approach.level());
        if self.components > 1 {
            let level = self.approach.level().limbs() + self.approach.rescales().min(1);
            keys.conjugation(Level::new(level));
        }
    }

    /// Products of a polynomial of degree `d` are counted as `sqrt(2 d) + log2 d`, at its first level.
    fn count_ops(&self, counts: &mut OpCounts) {
        let n = self.input.layout.ciphertexts();
        let first = self.approach.level().limbs();
        for above in 1..=self.approach.rescales() {
            counts.add(Op::Rescale, Level::new(first + above), n);
        }
        if self.components > 1 {
            let level = Level::new(first + self.approach.rescales().min(1));
            counts.add(Op::ConjugateRescale, level, n);
        }
        for (p, step) in self.act.polynomials.iter().zip(&self.steps) {
            let degree = p.degree().max(1) as f64;
            let products = ((2.0 * degree).sqrt() + degree.log2()).ceil() as usize;
            counts.add(Op::SquareReal, step.level, n * self.components * products);
            counts.add(Op::Relinearize, step.level, n * self.components * products);
        }
        if self.act.output == PolyOutput::Gate {
            let level = Level::new(self.output.level.limbs() + 1);
            counts.add(Op::SquareReal, level, n * self.components);
            counts.add(Op::Relinearize, level, n * self.components);
        }
    }

    /// An upper estimate: errors pass with the largest slope, and `T_k` of an argument in error is off by `k^2` times that.
    fn predicted_error(&self, input_std: &[f64]) -> Vec<f64> {
        let slots = self.input.layout.slots();
        let slope = self.act.largest_slope();
        let mut own: f64 = 0.0;
        let mut argument = self.argument_scale();
        for (p, step) in self.act.polynomials.iter().zip(&self.steps) {
            let (from, to) = p.interval();
            // Every T_k comes from a rescale at the argument's scale, in units of half the interval.
            let rounding = rounding_std(slots, argument) / (to / 2.0 - from / 2.0);
            let terms = p.coeffs().iter().enumerate().skip(1);
            let sum: f64 = terms.map(|(k, c)| (c * (k * k) as f64).powi(2)).sum();
            let passed = own * largest_slope_of(p);
            // The sum is `quotient * T_g + remainder` again and again, all rescaled to its scale; T_g^2 is 1/2 on average.
            let sums = rounding_std(slots, step.scale) * 1.5f64.powi(p.depth() as i32 - 1).sqrt();
            own = passed.hypot(rounding * sum.sqrt()).hypot(sums);
            argument = step.scale;
        }
        if self.act.output == PolyOutput::Gate {
            let (from, to) = self.act.interval();
            own = (own * from.abs().max(to)).hypot(rounding_std(slots, self.output.scale));
        }
        // Errors of the real part's imaginary slots land in the imaginary part's, and the other way round.
        own *= (self.components as f64).sqrt();
        input_std
            .iter()
            .map(|std| (slope * self.approach.predicted_error(slots, *std)).hypot(own))
            .collect()
    }

    fn forward_slots(&self, x: &[Vec<Complex64>]) -> Result<Vec<Vec<Complex64>>, LayerError> {
        map_values(&self.input.layout, x, |x| self.act.evaluate(x))
    }

    fn block(&self, block: usize) -> Result<f64, LayerError> {
        let declared = &self.act.declared;
        Ok(largest(&self.input.layout.channel_plane(block, declared)))
    }

    fn apply(
        &self,
        evaluator: &Evaluator,
        declared: &f64,
        mut ct: Ciphertext,
    ) -> Result<Ciphertext, LayerError> {
        let name = self.name();
        let packing = self.input.layout.packing();
        let slots = packing.modulus(*declared);
        ct.declare_values(slots, slots);
        let mut parts = self.parts(evaluator, ct).map_err(LayerError::eval(name))?;
        let bound = self.act.bound();
        let mut activated = Vec::with_capacity(parts.len());
        for mut part in parts.drain(..) {
            part.declare_values(*declared, *declared);
            let y = self.activate(evaluator, &part, bound);
            activated.push(y.map_err(LayerError::poly(name))?);
        }
        let imaginary = (activated.len() > 1).then(|| activated.pop()).flatten();
        let mut y = activated.pop().expect("a real part");
        if let Some(mut imaginary) = imaginary {
            evaluator.mul_i_assign(&mut imaginary);
            evaluator
                .add_assign(&mut y, &imaginary)
                .map_err(LayerError::eval(name))?;
        }
        let slots = packing.modulus(bound);
        y.declare_values(slots, slots);
        Ok(y)
    }
}

fn largest_slope_of(p: &Chebyshev) -> f64 {
    // |T_k'| <= k^2 on [-1, 1].
    let (from, to) = p.interval();
    let terms = p.coeffs().iter().enumerate();
    let sum: f64 = terms.map(|(k, c)| c.abs() * (k * k) as f64).sum();
    sum / (to / 2.0 - from / 2.0)
}
