//! The plaintext network: f64, nothing rounded. What encrypted runs are compared with, and where ranges are measured.

mod run;

use he_layers::PlainTensor;
use rayon::prelude::*;

use self::run::Runner;
use crate::{
    ActivationStatistics, Graph, ModelError,
    graph::{Activation, Function, Node, NodeId},
};

/// Images that one task evaluates at most; also the unit in which sums are added up, so that they do not depend on threads.
const CHUNK: usize = 16;
/// Declared range over the largest value seen, for quadratics: an image beyond it spoils its neighbours.
const QUADRATIC_MARGIN: f64 = 2.0;
/// The same for polynomials that stand for a function on an interval: the wider, the worse they are.
const POLYNOMIAL_MARGIN: f64 = 1.5;
/// The same for ReLUs that a refresh applies: an image beyond the range stays bounded, so the range may be narrow.
const REFRESH_MARGIN: f64 = 1.2;

/// What came out of a plaintext evaluation, and what its activations saw on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Number of classes.
    pub classes: usize,
    /// `[image][class]`.
    pub logits: Vec<f64>,
    /// One entry for each activation, in the order of the nodes.
    pub activations: Vec<ActivationRecord>,
    /// Images of which some value leaves its declared range (or is not a number), ascending. Empty for a model that
    /// declares no ranges.
    pub out_of_range: Vec<Excess>,
}

/// An image that leaves a declared range, and where it does so first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// Number of the image, from 0.
    pub image: usize,
    /// The first activation whose range it leaves: position in [`Evaluation::activations`].
    pub activation: usize,
    /// The channel that leaves it farthest there.
    pub channel: usize,
    /// Largest absolute value there over the declared one; infinite where it is not a number.
    pub share: f64,
}

/// What one activation saw, for each channel: `x + t` for a quadratic `g (x + t)^2 + d`, `x` for all others.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationRecord {
    /// The activation.
    pub name: String,
    /// Values that each channel saw: images x pixels.
    pub values: u64,
    /// Largest absolute value.
    pub max_abs: Vec<f64>,
    /// Sum of the squares.
    pub sum_squares: Vec<f64>,
    /// Declared range of the absolute value; empty for a model that declares none.
    pub declared: Vec<f64>,
    /// What [`Evaluation::statistics`] multiplies the largest value by.
    pub margin: f64,
}

impl Graph {
    /// Evaluates the network on images, in parallel on the current rayon pool. ReLUs are exact.
    ///
    /// # Shapes and ranges
    /// `images`: `[image][channel][row][column]`, what the network reads: pixels divided by 255, then conditioned where the
    /// model's input says so ([`crate::spec::InputSpec::condition`]).
    /// # Errors
    /// [`ModelError::ImageShape`] where that is not a whole number of images, and those of [`Graph::shapes`].
    pub fn evaluate(&self, images: &[f64]) -> Result<Evaluation, ModelError> {
        let runner = Runner::new(self)?;
        let image_len = self.input.volume();
        if !images.len().is_multiple_of(image_len) {
            return Err(ModelError::ImageShape {
                model: self.name.clone(),
                found: images.len(),
                expected: image_len,
            });
        }
        let parts = images
            .par_chunks(runner.images_at_a_time(CHUNK) * image_len)
            .map(|chunk| {
                let mut part = self.empty_evaluation(&runner);
                let count = chunk.len() / image_len;
                runner.run(
                    PlainTensor::new(count, self.input, chunk.to_vec())?,
                    &mut part,
                )?;
                Ok(part)
            })
            .collect::<Result<Vec<Evaluation>, ModelError>>()?;
        let mut whole = self.empty_evaluation(&runner);
        for part in parts {
            whole.append(part);
        }
        Ok(whole)
    }

    fn empty_evaluation(&self, runner: &Runner) -> Evaluation {
        let record = |(id, node, activation): (NodeId, &Node, &Activation)| {
            let channels = runner.shape(id).channels;
            ActivationRecord {
                name: node.name.clone(),
                values: 0,
                max_abs: vec![0.0; channels],
                sum_squares: vec![0.0; channels],
                declared: activation.declared.clone(),
                margin: match &activation.function {
                    Function::Quadratic(_) => QUADRATIC_MARGIN,
                    relu if relu.is_bounded() => REFRESH_MARGIN,
                    Function::Polynomial { .. } | Function::Relu(_) => POLYNOMIAL_MARGIN,
                },
            }
        };
        Evaluation {
            classes: runner.shape(self.output()).volume(),
            logits: Vec::new(),
            activations: self.activations().map(record).collect(),
            out_of_range: Vec::new(),
        }
    }
}

impl Evaluation {
    /// Number of images.
    #[must_use]
    pub fn images(&self) -> usize {
        self.logits.len() / self.classes
    }

    /// The class with the largest logit, for each image.
    pub fn predictions(&self) -> impl Iterator<Item = usize> + '_ {
        self.logits.chunks_exact(self.classes).map(|row| {
            let best = row
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            best.map_or(0, |(class, _)| class)
        })
    }

    /// Share of images whose prediction is their label, over as many images as there are labels; NaN without images.
    #[must_use]
    pub fn accuracy(&self, labels: &[usize]) -> f64 {
        let right = self
            .predictions()
            .zip(labels)
            .filter(|(found, label)| found == *label)
            .count();
        right as f64 / labels.len().min(self.images()) as f64
    }

    /// Share of images with the same prediction as in another evaluation of them; NaN without images.
    #[must_use]
    pub fn agreement(&self, other: &Self) -> f64 {
        let same = self
            .predictions()
            .zip(other.predictions())
            .filter(|(mine, theirs)| mine == theirs)
            .count();
        same as f64 / self.images() as f64
    }

    /// Largest absolute difference of a logit from another evaluation of the same images; 0 without images.
    #[must_use]
    pub fn max_logit_error(&self, other: &Self) -> f64 {
        let differences = self
            .logits
            .iter()
            .zip(&other.logits)
            .map(|(x, y)| (x - y).abs());
        differences.fold(0.0, f64::max)
    }

    /// Standard deviation of the logits over images and classes; NaN without images.
    #[must_use]
    pub fn logit_std(&self) -> f64 {
        let count = self.logits.len() as f64;
        let mean = self.logits.iter().sum::<f64>() / count;
        (self.logits.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / count).sqrt()
    }

    /// Appends an evaluation of further images by the same model.
    pub fn append(&mut self, other: Self) {
        let images = self.images();
        let moved = |excess: Excess| Excess {
            image: excess.image + images,
            ..excess
        };
        self.out_of_range
            .extend(other.out_of_range.into_iter().map(moved));
        self.logits.extend(other.logits);
        for (mine, theirs) in self.activations.iter_mut().zip(other.activations) {
            mine.values += theirs.values;
            for (a, b) in mine.max_abs.iter_mut().zip(theirs.max_abs) {
                *a = max_or_nan(*a, b);
            }
            for (a, b) in mine.sum_squares.iter_mut().zip(theirs.sum_squares) {
                *a += b;
            }
        }
    }

    /// What a model file should say about the activations, if these are the training images: the declared range is the
    /// largest value times a margin (2 for quadratics, 1.2 for ReLUs that a refresh applies, 1.5 for others), rounded up;
    /// both figures have four digits.
    #[must_use]
    pub fn statistics(&self) -> Vec<ActivationStatistics> {
        let describe = |record: &ActivationRecord| ActivationStatistics {
            name: record.name.clone(),
            declared: record
                .max_abs
                .iter()
                .map(|m| four_digits(record.margin * m, f64::ceil))
                .collect(),
            second_moment: record
                .second_moment()
                .into_iter()
                .map(|m| four_digits(m, f64::round))
                .collect(),
        };
        self.activations.iter().map(describe).collect()
    }
}

impl ActivationRecord {
    /// Mean of the square of what it saw, for each channel; NaN without images.
    #[must_use]
    pub fn second_moment(&self) -> Vec<f64> {
        self.sum_squares
            .iter()
            .map(|s| s / self.values as f64)
            .collect()
    }

    /// The channel that comes nearest to its declared range, or goes farthest beyond it; the one with the largest
    /// value where no ranges are declared.
    #[must_use]
    pub fn tightest_channel(&self) -> usize {
        let room = |c: usize| self.max_abs[c] / self.declared.get(c).copied().unwrap_or(1.0);
        (0..self.max_abs.len())
            .max_by(|&a, &b| room(a).total_cmp(&room(b)))
            .unwrap_or(0)
    }

    /// Largest absolute value over the declared one, over all channels: above 1 where the range is left, infinite where a
    /// value is not a number. None for a model that declares no ranges, and without images.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let pairs = self.max_abs.iter().zip(&self.declared);
        let shares = pairs.map(|(largest, declared)| share(*largest, *declared));
        shares.reduce(f64::max).filter(|_| self.values > 0)
    }
}

/// `x > 0` rounded to four significant digits by `round`; other values as they are.
fn four_digits(x: f64, round: fn(f64) -> f64) -> f64 {
    if !(x.is_finite() && x > 0.0) {
        return x;
    }
    let exponent = x.log10().floor() as i32 - 3;
    // Through the decimal text, so that the result is the shortest such number.
    let digits = round((x * 10f64.powi(-exponent)).max(f64::MIN_POSITIVE));
    format!("{digits}e{exponent}").parse().unwrap_or(x)
}

/// A largest value over its declared range; infinite for what is not a number, 0 for 0 whatever is declared.
fn share(largest: f64, declared: f64) -> f64 {
    if largest.is_nan() {
        f64::INFINITY
    } else if largest == 0.0 {
        0.0
    } else {
        largest / declared
    }
}

fn max_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
