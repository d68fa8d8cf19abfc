//! Activations by polynomials of any degree: one interpolation, or a list applied in turn.

use std::f64::consts::PI;

use ckks_scheme::{Chebyshev, Level, Scale};

use super::circuit::{Circuit, Wire};
use super::custom::{Evaluation, Function};
use super::real::{PreparedReal, levels_to_approach};
use super::{Depth, Pointwise, PreparedPointwise, Setting};
use crate::checks::check_array;
use crate::error::LayerError;
use crate::noise::rounding_std;
use crate::spec::{Form, TensorSpec};

/// What the last polynomial of an activation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolyOutput {
    /// The activation itself: `y = p(x)`.
    Value,
    /// A factor: `y = x p(x)`, for one more level. ReLU is one, with `p = (1 + sign) / 2`.
    Gate,
}

/// A polynomial activation, the same for all channels: `p` is a list of polynomials applied in turn, so that approximations
/// by composition fit in as well as a single polynomial.
///
/// It reads sums or values at any scale and gives values at the nominal scale (see [`TensorSpec`]). Packed complex, the
/// real and the imaginary parts are separated and evaluated each for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Polynomial {
    /// Name for reports and errors.
    pub name: String,
    /// The polynomials, in the order of application; the values of each lie in the interval of the next.
    pub polynomials: Vec<Chebyshev>,
    /// What the last of them gives.
    pub output: PolyOutput,
    /// Largest `|x|` that the encrypted run is built for, for each channel: within the first polynomial's interval.
    pub declared: Vec<f64>,
    /// Whether the polynomials stand for a ReLU, or are what is meant.
    pub is_relu: bool,
}

impl Polynomial {
    /// An activation of `declared.len()` channels.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn new(
        name: impl Into<String>,
        polynomials: Vec<Chebyshev>,
        output: PolyOutput,
        declared: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let activation = Self {
            name: name.into(),
            polynomials,
            output,
            declared,
            is_relu: false,
        };
        activation.validate()?;
        Ok(activation)
    }

    /// ReLU by one Chebyshev interpolation on the largest declared range. Its error falls as range over degree; a degree
    /// of `2^k - 1` takes `k` levels.
    ///
    /// # Errors
    /// [`LayerError::Poly`] if the range is not a positive number, and those of [`Self::validate`].
    pub fn relu(
        name: impl Into<String>,
        degree: usize,
        declared: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let name = name.into();
        let range = largest(&declared);
        let relu = Chebyshev::interpolate(|x| x.max(0.0), degree, (-range, range))
            .map_err(LayerError::poly(&name))?;
        let activation = Self::new(name, vec![relu], PolyOutput::Value, declared)?;
        Ok(activation.standing_for_relu())
    }

    fn standing_for_relu(self) -> Self {
        Self {
            is_relu: true,
            ..self
        }
    }

    /// ReLU as `x (1 + sign(x)) / 2`, by polynomials that lead, applied in turn, from `[-1, 1]` to the sign: the components of
    /// a [`ckks_scheme::Composite`], say. The first is stretched to the largest declared range.
    ///
    /// # Errors
    /// As [`Self::relu`].
    pub fn relu_by_sign(
        name: impl Into<String>,
        sign: &[Chebyshev],
        declared: Vec<f64>,
    ) -> Result<Self, LayerError> {
        let name = name.into();
        let mut polynomials = sign.to_vec();
        let remake = |p: &mut Chebyshev, coeffs, interval| {
            *p = Chebyshev::new(coeffs, interval).map_err(LayerError::poly(&name))?;
            Ok::<_, LayerError>(())
        };
        if let Some(first) = polynomials.first_mut() {
            let ((from, to), range) = (first.interval(), largest(&declared));
            let coeffs = first.coeffs().to_vec();
            remake(first, coeffs, (from * range, to * range))?;
        }
        if let Some(last) = polynomials.last_mut() {
            let mut coeffs: Vec<f64> = last.coeffs().iter().map(|c| c / 2.0).collect();
            coeffs[0] += 0.5;
            let interval = last.interval();
            remake(last, coeffs, interval)?;
        }
        let activation = Self::new(name, polynomials, PolyOutput::Gate, declared)?;
        Ok(activation.standing_for_relu())
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.declared.len()
    }

    /// Levels that the polynomials take, without the rescale of sums.
    pub fn depth(&self) -> usize {
        let polynomials: usize = self.polynomials.iter().map(Chebyshev::depth).sum();
        polynomials + usize::from(self.output == PolyOutput::Gate)
    }

    /// The interval on which the activation is meant.
    ///
    /// # Panics
    /// Without any polynomial, which [`Self::validate`] refuses.
    pub fn interval(&self) -> (f64, f64) {
        self.polynomials[0].interval()
    }

    /// Checks that there are polynomials, that each takes what the one before gives, and that the first covers the declared
    /// ranges.
    ///
    /// # Errors
    /// [`LayerError::ParameterValue`], [`LayerError::NotFinite`], [`LayerError::Interval`].
    pub fn validate(&self) -> Result<(), LayerError> {
        check_array(
            &self.name,
            "declared",
            &self.declared,
            self.declared.len().max(1),
        )?;
        let Some(first) = self.polynomials.first() else {
            return Err(LayerError::ParameterValue {
                layer: self.name.clone(),
                what: "number of polynomials",
                found: 0,
                expected: "at least 1",
            });
        };
        let covers = |p: &Chebyshev, max: f64| {
            let (from, to) = p.interval();
            if -from >= max && to >= max {
                return Ok(());
            }
            let layer = self.name.clone();
            Err(LayerError::Interval {
                layer,
                max,
                from,
                to,
            })
        };
        covers(first, largest(&self.declared))?;
        self.polynomials
            .windows(2)
            .try_for_each(|pair| covers(&pair[1], bound_of(&pair[0])))
    }

    /// The activation in the clear: the same polynomials.
    pub fn evaluate(&self, x: f64) -> f64 {
        let p = self.polynomials.iter().fold(x, |x, p| p.evaluate(x));
        match self.output {
            PolyOutput::Value => p,
            PolyOutput::Gate => x * p,
        }
    }

    /// A bound on `|y|` over the interval, at most 2 % above the largest.
    pub fn bound(&self) -> f64 {
        self.largest_over(self.interval(), |_| 0.0)
    }

    /// A bound on `|y - max(x, 0)|` over the interval, at most 2 % above the largest.
    pub fn relu_error(&self) -> f64 {
        let (from, to) = self.interval();
        // Polynomials on either side, so that the bound holds on both.
        let negative = self.largest_over((from, to.min(0.0)), |_| 0.0);
        negative.max(self.largest_over((from.max(0.0), to), |x| x))
    }

    /// Largest slope, over neighbouring points of a grid of 16 times the degree: how errors of the input pass at most.
    pub fn largest_slope(&self) -> f64 {
        steepest(self.degree(), self.interval(), |x| self.evaluate(x))
    }

    /// Degree of the activation as one polynomial.
    fn degree(&self) -> usize {
        let composed: usize = self.polynomials.iter().map(|p| p.degree().max(1)).product();
        composed + usize::from(self.output == PolyOutput::Gate)
    }

    /// Bound on the distance from `f`, a polynomial of no higher degree, over an interval: as in [`Chebyshev::bound`].
    fn largest_over(&self, interval: (f64, f64), f: impl Fn(f64) -> f64) -> f64 {
        let largest = nodes(8 * (self.degree() + 1), interval)
            .map(|x| (self.evaluate(x) - f(x)).abs())
            .fold(0.0, f64::max);
        largest / (PI / 16.0).cos()
    }
}

impl Function for Polynomial {
    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, x: f64) -> f64 {
        Polynomial::evaluate(self, x)
    }

    fn declared(&self, channel: usize) -> f64 {
        self.declared[channel]
    }

    fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        self.validate()?;
        LayerError::check_channels(&self.name, found, self.channels())
    }

    /// Where values brought to [-1, 1] stand at the prime that their squares are divided by: products of such scales,
    /// divided by the next prime, stay where they are.
    fn argument_scale(&self, prime: f64) -> Option<Scale> {
        Some(wanted(&self.polynomials[0], prime))
    }

    fn bound(&self) -> f64 {
        Polynomial::bound(self)
    }

    fn largest_slope(&self, _range: f64) -> f64 {
        Polynomial::largest_slope(self)
    }

    fn run(&self, c: &Circuit<'_>, mut x: Wire, declared: f64) -> Result<Wire, LayerError> {
        let named = LayerError::eval(&self.name);
        x.declare(declared);
        let mut y: Option<Wire> = None;
        for (index, p) in self.polynomials.iter().enumerate() {
            let from = y.as_ref().unwrap_or(&x);
            let level = from.level().below(p.depth()).unwrap_or(Level::new(0));
            let (before, argument) = (from.tracked().copied(), from.scale());
            let prime = c.prime(from.level()).map_err(&named)?;
            let scale = match (self.polynomials.get(index + 1), self.output) {
                (Some(next), _) => wanted(next, c.prime(level).map_err(&named)?),
                (None, PolyOutput::Value) => c.nominal_scale(),
                (None, PolyOutput::Gate) => {
                    let prime = c.prime(level).map_err(&named)?;
                    Scale::new(c.nominal_scale().value() * prime / x.scale().value())
                }
            };
            let mut next = c
                .polynomial(from, p, scale)
                .map_err(LayerError::poly(&self.name))?;
            next.declare(bound_of(p));
            if let (Some(before), Some(slots)) = (before, c.slots()) {
                let slope = steepest(p.degree(), p.interval(), |x| p.evaluate(x));
                let own = own_error_of(p, slots, (argument, prime), next.scale());
                let passed = slope * before.error_std;
                next.declare_error(passed.hypot(own), slope * before.systematic);
            }
            y = Some(next);
        }
        let y = y.expect("checked to be there");
        match self.output {
            PolyOutput::Value => Ok(y),
            PolyOutput::Gate => c.mul(&x, &y).map_err(&named),
        }
    }

    /// An upper estimate: errors pass with the largest slope.
    fn error(&self, at: &Evaluation) -> f64 {
        let mut own: f64 = 0.0;
        let mut scale = at.argument;
        for (index, p) in self.polynomials.iter().enumerate() {
            let passed = own * steepest(p.degree(), p.interval(), |x| p.evaluate(x));
            let next = match self.polynomials.get(index + 1) {
                // Between polynomials the scale is the one that the next of them wants.
                Some(next) => wanted(next, at.prime),
                None => at.result,
            };
            own = passed.hypot(own_error_of(p, at.slots, (scale, at.prime), next));
            scale = next;
        }
        if self.output == PolyOutput::Gate {
            let (from, to) = self.interval();
            own = (own * from.abs().max(to)).hypot(rounding_std(at.slots, at.result));
        }
        own
    }
}

impl Pointwise for Polynomial {
    fn name(&self) -> &str {
        &self.name
    }

    fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        Function::check_channels(self, found)
    }

    fn evaluate(&self, x: f64, _channel: usize) -> f64 {
        Polynomial::evaluate(self, x)
    }

    fn stands_for(&self, x: f64, _channel: usize) -> Option<f64> {
        self.is_relu.then_some(x.max(0.0))
    }

    fn declared(&self, channel: usize) -> f64 {
        self.declared[channel]
    }

    fn moments(&self, channel: usize) -> (f64, f64) {
        Function::moments(self, channel)
    }

    fn depth(&self, from: Form, _setting: &Setting<'_>) -> Result<Depth, LayerError> {
        Ok(Depth::Levels(self.depth() + levels_to_approach(from)))
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn PreparedPointwise>, LayerError> {
        PreparedReal::boxed(self, input, setting)
    }
}

/// The argument's scale for a polynomial at the level of `prime`.
fn wanted(p: &Chebyshev, prime: f64) -> Scale {
    let (from, to) = p.interval();
    Scale::new(prime / (to / 2.0 - from / 2.0))
}

/// Largest slope of a polynomial of degree `degree`, between neighbouring points of 16 times as many.
fn steepest(degree: usize, interval: (f64, f64), f: impl Fn(f64) -> f64) -> f64 {
    let points: Vec<(f64, f64)> = nodes(16 * (degree + 1), interval)
        .map(|x| (x, f(x)))
        .collect();
    let slope = |pair: &[(f64, f64)]| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0);
    let slopes = points.windows(2).map(|pair| slope(pair).abs());
    slopes.fold(0.0, f64::max)
}

/// Error of one polynomial itself, of an argument at a scale for products that are divided by a prime, and a result at scale
/// `result`. `T_k` of an argument in error is off by `k^2` times that. Where the argument's scale is not the one wanted, that of
/// `T_k` is further off, by the k-th power.
fn own_error_of(p: &Chebyshev, slots: usize, argument: (Scale, f64), result: Scale) -> f64 {
    let (from, to) = p.interval();
    let half = to / 2.0 - from / 2.0;
    let (scale, prime) = argument;
    let drift = half * scale.value() / prime;
    // In units of half the interval, as the argument of T_k is.
    let rounding = rounding_std(slots, scale) / half;
    let error_of = |k: usize| {
        let power = 1 << k.ilog2();
        (rounding * (k * k) as f64).hypot(rounding * drift.powi(1 - power))
    };
    let terms = p.coeffs().iter().enumerate().skip(1);
    let sum: f64 = terms.map(|(k, c)| (c * error_of(k)).powi(2)).sum();
    let sums = rounding_std(slots, result) * sums(p.degree(), drift);
    sum.sqrt().hypot(sums)
}

/// Deviation of the sum `quotient * T_g + remainder`, whose quotient is such a sum itself, in roundings at its scale. `T_g^2` is 1
/// where values are small, as most are; a drift in the scale of `T_g` is made up for by that of the quotient.
fn sums(degree: usize, drift: f64) -> f64 {
    if degree < 2 {
        return 1.0;
    }
    let giant = 1usize << degree.ilog2();
    let quotient = sums(degree - giant, drift) * drift.powi(giant as i32 - 1);
    quotient.hypot(1.0)
}

/// A bound on `|p|` over its interval, at most 0.04 % above the largest: as [`Chebyshev::bound`], by more nodes, because
/// compositions leave each other little room.
pub(crate) fn bound_of(p: &Chebyshev) -> f64 {
    let values = nodes(64 * (p.degree() + 1), p.interval()).map(|x| p.evaluate(x).abs());
    values.fold(0.0, f64::max) / (PI / 128.0).cos()
}

/// The largest of some bounds.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| v.abs().max(m))
}

/// Chebyshev nodes of an interval.
fn nodes(count: usize, (from, to): (f64, f64)) -> impl Iterator<Item = f64> {
    let (middle, half) = (from / 2.0 + to / 2.0, to / 2.0 - from / 2.0);
    (0..count).map(move |j| middle + half * (PI * (2 * j + 1) as f64 / (2 * count) as f64).cos())
}
