//! What is trained, in the clear.

use super::ACTIVATIONS;
use crate::error::TrainingError;

/// Offsets and scales of a block's activations and the head after it; or a gradient, which has the same parts.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockWeights {
    /// Offsets `t` of each activation, one for each channel.
    pub offsets: [Vec<f64>; ACTIVATIONS],
    /// Scales `g` of each activation, one for each channel.
    pub scales: [Vec<f64>; ACTIVATIONS],
    /// Weights of the head, `[class][channel]`.
    pub head: Vec<f64>,
    /// Bias of the head, one for each class.
    pub bias: Vec<f64>,
}

/// Learning rates, one for each kind of parameter. A rate of 0 leaves them as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of the offsets.
    pub offsets: f64,
    /// Of the scales.
    pub scales: f64,
    /// Of the head's weights.
    pub head: f64,
    /// Of the head's bias.
    pub bias: f64,
}

impl BlockWeights {
    /// Parameters of which each is zero.
    pub fn zeros(channels: usize, classes: usize) -> Self {
        let zeros = || std::array::from_fn(|_| vec![0.0; channels]);
        Self {
            offsets: zeros(),
            scales: zeros(),
            head: vec![0.0; classes * channels],
            bias: vec![0.0; classes],
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Checks the number of parameters for so many channels and classes.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for another number, [`TrainingError::Setting`] for a number that is not finite.
    pub fn check(&self, channels: usize, classes: usize) -> Result<(), TrainingError> {
        let expected = Self::zeros(channels, classes);
        for (kind, expected) in self.kinds().iter().zip(expected.kinds()) {
            for (found, expected) in kind.parts.iter().zip(expected.parts) {
                if found.len() != expected.len() {
                    return Err(TrainingError::Count {
                        what: kind.name,
                        found: found.len(),
                        expected: expected.len(),
                    });
                }
                if let Some(x) = found.iter().find(|x| !x.is_finite()) {
                    return Err(TrainingError::setting(kind.name, x, "a finite number"));
                }
            }
        }
        Ok(())
    }

    /// One step of gradient descent.
    pub fn stepped(&self, gradient: &Self, rates: Rates) -> Self {
        let mut next = self.clone();
        let rates = [rates.offsets, rates.scales, rates.head, rates.bias];
        let parts = next.parts_mut().into_iter().zip(gradient.kinds());
        for ((to, from), rate) in parts.zip(rates) {
            for (to, from) in to.into_iter().zip(from.parts) {
                to.iter_mut().zip(from).for_each(|(w, d)| *w -= rate * d);
            }
        }
        next
    }

    /// The four kinds of parameters.
    pub fn kinds(&self) -> [Kind<'_>; 4] {
        let offsets = self.offsets.iter().map(|v| &v[..]).collect();
        let scales = self.scales.iter().map(|v| &v[..]).collect();
        [
            Kind::new("offsets", offsets),
            Kind::new("scales", scales),
            Kind::new("weights of the head", vec![&self.head]),
            Kind::new("biases of the head", vec![&self.bias]),
        ]
    }

    fn parts_mut(&mut self) -> [Vec<&mut [f64]>; 4] {
        [
            self.offsets.iter_mut().map(|v| &mut v[..]).collect(),
            self.scales.iter_mut().map(|v| &mut v[..]).collect(),
            vec![&mut self.head],
            vec![&mut self.bias],
        ]
    }

    /// For each kind of parameter its name, the largest absolute difference from `other`, and the largest absolute value here.
    pub fn differences(&self, other: &Self) -> [(&'static str, f64, f64); 4] {
        let (mine, others) = (self.kinds(), other.kinds());
        std::array::from_fn(|kind| {
            let (a, b) = (mine[kind].parts.concat(), others[kind].parts.concat());
            let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
            let largest = a.iter().fold(0.0, |m: f64, a| m.max(a.abs()));
            (mine[kind].name, difference.fold(0.0, f64::max), largest)
        })
    }
}

/// Parameters of one kind: one part for each activation, or the head's.
#[derive(Clone, Debug)]
pub struct Kind<'a> {
    /// Name for reports and errors.
    pub name: &'static str,
    /// The parts.
    pub parts: Vec<&'a [f64]>,
}

impl<'a> Kind<'a> {
    fn new(name: &'static str, parts: Vec<&'a [f64]>) -> Self {
        Self { name, parts }
    }
}
