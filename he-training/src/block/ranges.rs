//! Declared sizes of what a step computes.

use super::{ACTIVATIONS, BlockTrace, BlockWeights};
use crate::error::{TrainingError, check};

/// Declared size of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Largest absolute value.
    pub max: f64,
    /// Root mean square, of the channel or class where it is largest.
    pub rms: f64,
}

/// Declared sizes of what a step computes. They are no secret. Predicted errors rest on them, and where something is refreshed its
/// scale does: a number beyond its range spoils the mini-batch, so whoever declares them leaves room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranges {
    /// Largest absolute value of an offset, before and after the step.
    pub offsets: f64,
    /// The same of a scale.
    pub scales: f64,
    /// The same of a weight of the head.
    pub head: f64,
    /// The same of a bias of the head.
    pub bias: f64,
    /// What each activation squares.
    pub squared: [Range; ACTIVATIONS],
    /// [`BlockTrace::squares`].
    pub squares: Range,
    /// [`BlockTrace::pooled`].
    pub pooled: Range,
    /// [`BlockTrace::excess`].
    pub excess: Range,
    /// [`BlockTrace::delta_pooled`].
    pub delta_pooled: Range,
    /// [`BlockTrace::deltas`] of the last two activations.
    pub deltas: [Range; 2],
    /// [`BlockTrace::returned`].
    pub returned: [Range; 2],
}

/// Size of numbers `[image][k][pixel]`, times `room`.
fn range(values: &[f64], k: usize, pixels: usize, room: f64) -> Range {
    let mut squares = vec![0.0; k];
    let mut max: f64 = 0.0;
    for (at, values) in values.chunks_exact(pixels).enumerate() {
        squares[at % k] += values.iter().map(|v| v * v).sum::<f64>();
        max = values.iter().fold(max, |m, v| m.max(v.abs()));
    }
    let each = (values.len() / k).max(1) as f64;
    let rms = squares.iter().fold(0.0, |m: f64, s| m.max(s / each)).sqrt();
    Range {
        max: room * max,
        rms: room * rms,
    }
}

impl Ranges {
    /// What a step in the clear had from `weights`, times `room`. The images may be others than those that are trained on.
    pub fn of(weights: &BlockWeights, trace: &BlockTrace, room: f64) -> Self {
        let [first, ..] = &trace.squared;
        let (channels, pixels) = (first.shape.channels, first.shape.pixels());
        let tensor = |values: &[f64]| range(values, channels, pixels, room);
        let vector = |values: &[f64]| range(values, channels, 1, room);
        let [offsets, scales, head, bias] = weights.kinds().map(|kind| {
            let values = kind.parts.concat();
            // Something that is zero can be refreshed, too.
            (room * values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))).max(f64::EPSILON)
        });
        Self {
            offsets,
            scales,
            head,
            bias,
            squared: std::array::from_fn(|k| tensor(&trace.squared[k].data)),
            squares: vector(&trace.squares),
            pooled: vector(&trace.pooled),
            excess: range(&trace.excess, weights.classes(), 1, room),
            delta_pooled: vector(&trace.delta_pooled),
            deltas: std::array::from_fn(|k| tensor(&trace.deltas[k + 1].data)),
            returned: std::array::from_fn(|k| tensor(&trace.returned[k].data)),
        }
    }

    /// The larger of each.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let larger = |a: Range, b: Range| Range {
            max: a.max.max(b.max),
            rms: a.rms.max(b.rms),
        };
        Self {
            offsets: self.offsets.max(other.offsets),
            scales: self.scales.max(other.scales),
            head: self.head.max(other.head),
            bias: self.bias.max(other.bias),
            squared: std::array::from_fn(|k| larger(self.squared[k], other.squared[k])),
            squares: larger(self.squares, other.squares),
            pooled: larger(self.pooled, other.pooled),
            excess: larger(self.excess, other.excess),
            delta_pooled: larger(self.delta_pooled, other.delta_pooled),
            deltas: std::array::from_fn(|k| larger(self.deltas[k], other.deltas[k])),
            returned: std::array::from_fn(|k| larger(self.returned[k], other.returned[k])),
        }
    }

    /// Whether sizes that were found are within these. Root mean squares are not compared: nothing breaks where they are larger.
    pub fn cover(&self, found: &Self) -> bool {
        let bounds = |r: &Self| {
            let sizes = (r.squared.iter().chain(&r.deltas).chain(&r.returned)).chain([
                &r.squares,
                &r.pooled,
                &r.excess,
                &r.delta_pooled,
            ]);
            let parameters = [r.offsets, r.scales, r.head, r.bias];
            let bounds = parameters.into_iter().chain(sizes.map(|size| size.max));
            bounds.collect::<Vec<f64>>()
        };
        let pairs = bounds(self).into_iter().zip(bounds(found));
        pairs.into_iter().all(|(declared, found)| found <= declared)
    }

    pub(super) fn check(&self) -> Result<(), TrainingError> {
        let bounds = [
            self.offsets,
            self.scales,
            self.head,
            self.bias,
            self.pooled.max,
        ];
        let positive = |x: &f64| x.is_finite() && *x > 0.0;
        let found = bounds.iter().find(|x| !positive(x));
        check(
            found.is_none(),
            "declared range of a parameter or of what the head reads",
            found.copied().unwrap_or_default(),
            "a finite number above 0",
        )?;
        let sizes = (self
            .squared
            .iter()
            .chain(&self.deltas)
            .chain(&self.returned))
        .chain([&self.squares, &self.excess, &self.delta_pooled]);
        let fits = |x: f64| x.is_finite() && x >= 0.0;
        let found = sizes
            .copied()
            .find(|size| !fits(size.max) || !fits(size.rms));
        check(
            found.is_none(),
            "declared range",
            format_args!("{found:?}"),
            "finite numbers of 0 and above",
        )
    }
}
