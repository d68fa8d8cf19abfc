//! Activations by polynomials of any degree: one interpolation, or a list applied in turn.

use std::f64::consts::PI;

use ckks_scheme::Chebyshev;
use rayon::prelude::*;

use crate::activation::check_array;
use crate::error::LayerError;
use crate::layer::{Layer, PreparedLayer, forward_of_disturbed};
use crate::prepared::pointwise::PreparedPointwise;
use crate::prepared::poly::PolyStage;
use crate::spec::{ScaleChain, TensorSpec};
use crate::tensor::{Chw, PlainTensor};

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
pub struct PolyActivation {
    /// Name for reports and errors.
    pub name: String,
    /// The polynomials, in the order of application; the values of each lie in the interval of the next.
    pub polynomials: Vec<Chebyshev>,
    /// What the last of them gives.
    pub output: PolyOutput,
    /// Largest `|x|` that the encrypted run is built for, for each channel: within the first polynomial's interval.
    pub declared: Vec<f64>,
}

impl PolyActivation {
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
        Self::new(name, vec![relu], PolyOutput::Value, declared)
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
        Self::new(name, polynomials, PolyOutput::Gate, declared)
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
        let interval = self.interval();
        let points: Vec<(f64, f64)> = nodes(16 * (self.degree() + 1), interval)
            .map(|x| (x, self.evaluate(x)))
            .collect();
        let slope = |pair: &[(f64, f64)]| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0);
        points
            .windows(2)
            .map(|pair| slope(pair).abs())
            .fold(0.0, f64::max)
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

    /// The activation in the clear: what the encrypted one computes but for noise.
    ///
    /// # Errors
    /// [`LayerError::Channels`] if `x` has another number of channels, and those of [`Self::validate`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.check_channels(x.shape.channels)?;
        let mut y = x.clone();
        y.data
            .par_iter_mut()
            .with_min_len(256)
            .for_each(|v| *v = self.evaluate(*v));
        Ok(y)
    }

    /// Largest `|x|` of each channel over the batch.
    ///
    /// # Errors
    /// As [`Self::forward_plain`].
    pub fn largest_inputs(&self, x: &PlainTensor) -> Result<Vec<f64>, LayerError> {
        self.check_channels(x.shape.channels)?;
        let mut largest = vec![0.0f64; self.channels()];
        for (map, values) in x.data.chunks(x.shape.pixels().max(1)).enumerate() {
            let channel = map % largest.len();
            largest[channel] = values.iter().fold(largest[channel], |m, v| m.max(v.abs()));
        }
        Ok(largest)
    }

    /// For each image, whether some `|x|` of it exceeds what is declared for its channel.
    ///
    /// # Errors
    /// As [`Self::forward_plain`].
    pub fn images_out_of_range(&self, x: &PlainTensor) -> Result<Vec<bool>, LayerError> {
        self.check_channels(x.shape.channels)?;
        let pixels = x.shape.pixels().max(1);
        let outside = |image: &[f64]| {
            image
                .chunks(pixels)
                .zip(&self.declared)
                .any(|(values, declared)| {
                    // Written so that a value that is not a number counts as outside.
                    !values.iter().all(|v| v.abs() <= *declared)
                })
        };
        Ok((0..x.n).map(|n| outside(x.image(n))).collect())
    }

    pub(crate) fn check_channels(&self, found: usize) -> Result<(), LayerError> {
        self.validate()?;
        if found != self.channels() {
            return Err(LayerError::Channels {
                layer: self.name.clone(),
                found,
                expected: self.channels(),
            });
        }
        Ok(())
    }
}

impl Layer for PolyActivation {
    fn name(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: Chw) -> Result<Chw, LayerError> {
        self.check_channels(input.channels)?;
        Ok(input)
    }

    fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        PolyActivation::forward_plain(self, x)
    }

    fn forward_disturbed(
        &self,
        x: &PlainTensor,
        disturb: &mut dyn FnMut(&mut PlainTensor),
    ) -> Result<PlainTensor, LayerError> {
        forward_of_disturbed(self, x, disturb)
    }

    fn prepare(
        &self,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Box<dyn PreparedLayer>, LayerError> {
        Ok(Box::new(PreparedPointwise(PolyStage::new(
            self, input, chain,
        )?)))
    }
}

/// A bound on `|p|` over its interval, at most 0.04 % above the largest: as [`Chebyshev::bound`], by more nodes, because
/// compositions leave each other little room.
pub(crate) fn bound_of(p: &Chebyshev) -> f64 {
    let values = nodes(64 * (p.degree() + 1), p.interval()).map(|x| p.evaluate(x).abs());
    values.fold(0.0, f64::max) / (PI / 128.0).cos()
}

/// The largest of some bounds.
pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| v.abs().max(m))
}

/// Chebyshev nodes of an interval.
fn nodes(count: usize, (from, to): (f64, f64)) -> impl Iterator<Item = f64> {
    let (middle, half) = (from / 2.0 + to / 2.0, to / 2.0 - from / 2.0);
    (0..count).map(move |j| middle + half * (PI * (2 * j + 1) as f64 / (2 * count) as f64).cos())
}
