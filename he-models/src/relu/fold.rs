//! The encrypted run's units: every channel is divided by its range, so that all ReLUs see values in [-1, 1].
//!
//! A ReLU passes positive factors as they are, so that nothing else changes. Channels between the convolutions of a block
//! have a factor each of their own. The residual stream is added to itself: from one shortcut to the next, every channel has
//! one factor, from the largest of its ranges. The input's normalisation goes into the stem, so that raw pixels divided by
//! 255 are what gets encrypted.

use he_layers::{
    Conv2d, Layer, LayerError, PlainTensor, PolyActivation, PooledDense, PostActBlock, Refresh,
};

use super::{ReluNetwork, ReluRange};
use crate::ModelError;

/// Ranges of channels below this part of the layer's largest would make factors out of proportion.
const LEAST_RANGE: f64 = 1e-3;

/// A ReLU network with polynomials in the place of its ReLUs: layers for the encrypted run.
#[derive(Clone, Debug)]
pub struct PolynomialNetwork {
    /// The first convolution, of raw pixels divided by 255.
    pub stem: Conv2d,
    /// The activation after it.
    pub act: PolyActivation,
    /// The residual blocks, without refreshes.
    pub blocks: Vec<PostActBlock>,
    /// Average and dense layer: the logits are those of the exported network, but for the polynomials.
    pub dense: PooledDense,
}

impl ReluNetwork {
    /// Puts `relu(name, declared)` in the place of every ReLU, where `declared` are the largest absolute inputs: 1 for every
    /// channel, which stands for `margin` times what `ranges` says (see [`Self::measure_ranges`]).
    ///
    /// # Errors
    /// [`ModelError::Value`] for ranges that are not this network's, or a margin that is not positive;
    /// [`ModelError::Layer`] from `relu`.
    pub fn with_polynomials(
        &self,
        ranges: &[ReluRange],
        margin: f64,
        relu: impl Fn(&str, Vec<f64>) -> Result<PolyActivation, LayerError>,
    ) -> Result<PolynomialNetwork, ModelError> {
        let units = self.units(ranges, margin)?;
        let act = |range: &ReluRange| relu(&range.name, vec![1.0; range.max_abs.len()]);
        let stem = normalise_input(&self.stem, &self.input.mean, &self.input.std);
        let mut stream = &units.streams[0];
        let ones = vec![1.0; stem.in_channels];
        let stem = rescaled(&stem, &ones, stream);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for (index, block) in self.blocks.iter().enumerate() {
            let (inner, after) = (&units.inner[index], &units.streams[index + 1]);
            blocks.push(PostActBlock {
                name: block.name.clone(),
                conv1: rescaled(&block.conv1, stream, inner),
                act1: act(&ranges[2 * index + 1])?,
                refresh: None,
                conv2: rescaled(&block.conv2, inner, after),
                shortcut: block.shortcut.as_ref().map(|s| rescaled(s, stream, after)),
                act2: act(&ranges[2 * index + 2])?,
            });
            stream = after;
        }
        let mut dense = self.dense.clone();
        for row in dense.weight.chunks_mut(dense.channels) {
            row.iter_mut().zip(stream).for_each(|(w, unit)| *w *= unit);
        }
        dense.validate()?;
        Ok(PolynomialNetwork {
            stem,
            act: act(&ranges[0])?,
            blocks,
            dense,
        })
    }

    /// Checks the ranges and makes units of them.
    fn units(&self, ranges: &[ReluRange], margin: f64) -> Result<Units, ModelError> {
        let refused = |field: &str, found: String, expected: String| ModelError::Value {
            model: self.name.clone(),
            field: field.to_owned(),
            found,
            expected,
        };
        if !(margin.is_finite() && margin > 0.0) {
            return Err(refused(
                "margin",
                margin.to_string(),
                "a number above 0".into(),
            ));
        }
        let mut expected = vec![("conv1".to_owned(), self.stem.out_channels)];
        for block in &self.blocks {
            expected.push((format!("{}.conv1", block.name), block.conv1.out_channels));
            expected.push((format!("{}.sum", block.name), block.conv2.out_channels));
        }
        if ranges.len() != expected.len() {
            return Err(refused(
                "ranges",
                ranges.len().to_string(),
                expected.len().to_string(),
            ));
        }
        for (range, (name, channels)) in ranges.iter().zip(&expected) {
            let fits = range.max_abs.iter().all(|r| r.is_finite() && *r >= 0.0);
            if range.name != *name || range.max_abs.len() != *channels || !fits {
                return Err(refused(
                    "ranges",
                    format!("{range:?}"),
                    format!("{channels} numbers from 0 on for {name}"),
                ));
            }
        }
        let unit = |ranges: Vec<f64>| -> Vec<f64> {
            let largest = ranges.iter().copied().fold(0.0, f64::max);
            let least = if largest > 0.0 {
                LEAST_RANGE * largest
            } else {
                1.0
            };
            ranges.iter().map(|r| margin * r.max(least)).collect()
        };
        // Between shortcuts, the stream's units are those of its largest values.
        let sums: Vec<&ReluRange> = ranges.iter().step_by(2).collect();
        let mut streams = Vec::with_capacity(sums.len());
        let mut start = 0;
        while start < sums.len() {
            let next = |at: &usize| *at > start && self.blocks[at - 1].shortcut.is_some();
            let end = (start..sums.len()).find(next).unwrap_or(sums.len());
            let mut largest = sums[start].max_abs.clone();
            for range in &sums[start..end] {
                let values = largest.iter_mut().zip(&range.max_abs);
                values.for_each(|(l, r)| *l = l.max(*r));
            }
            let largest = unit(largest);
            streams.extend(std::iter::repeat_n(largest, end - start));
            start = end;
        }
        let inner = ranges.iter().skip(1).step_by(2);
        Ok(Units {
            streams,
            inner: inner.map(|range| unit(range.max_abs.clone())).collect(),
        })
    }
}

/// Makes a refresh from its name and the declared ranges of its channels.
pub type MakeRefresh<'a> = &'a dyn Fn(&str, Vec<f64>) -> Refresh;

/// What 1 stands for, by channel: in the stream after the stem and after every block, and within every block.
struct Units {
    streams: Vec<Vec<f64>>,
    inner: Vec<Vec<f64>>,
}

impl PolynomialNetwork {
    /// The layers in order, refreshed after every activation but the last by what `refresh(name, declared)` gives; without
    /// it, not at all.
    pub fn layers(&self, refresh: Option<MakeRefresh>) -> Vec<Box<dyn Layer>> {
        let refreshed = |act: &PolyActivation| {
            let declared = vec![act.bound(); act.channels()];
            refresh.map(|refresh| refresh(&format!("{}.refresh", act.name), declared))
        };
        let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(self.stem.clone())];
        layers.push(Box::new(self.act.clone()));
        let mut last = &self.act;
        for block in &self.blocks {
            layers.extend(refreshed(last).map(|r| Box::new(r) as Box<dyn Layer>));
            let mut block_of_layers = block.clone();
            block_of_layers.refresh = refreshed(&block.act1);
            layers.push(Box::new(block_of_layers));
            last = &block.act2;
        }
        layers.push(Box::new(self.dense.clone()));
        layers
    }

    /// The logits in the clear, and for each image whether some input of an activation left its range.
    ///
    /// # Shapes and ranges
    /// `images` of the input's shape, raw pixels divided by 255.
    /// # Errors
    /// [`ModelError::Layer`] for another shape.
    pub fn forward_plain(
        &self,
        images: &PlainTensor,
    ) -> Result<(PlainTensor, Vec<bool>), ModelError> {
        let mut outside = vec![false; images.n];
        let mut apply = |act: &PolyActivation, x: &PlainTensor| {
            for (any, out) in outside.iter_mut().zip(act.images_out_of_range(x)?) {
                *any |= out;
            }
            act.forward_plain(x)
        };
        let mut x = apply(&self.act, &self.stem.forward_plain(images)?)?;
        for block in &self.blocks {
            let inner = apply(&block.act1, &block.conv1.forward_plain(&x)?)?;
            let mut sum = block.conv2.forward_plain(&inner)?;
            match &block.shortcut {
                Some(shortcut) => sum.add_assign(&block.name, &shortcut.forward_plain(&x)?)?,
                None => sum.add_assign(&block.name, &x)?,
            }
            x = apply(&block.act2, &sum)?;
        }
        Ok((self.dense.forward_plain(&x)?, outside))
    }
}

/// The same convolution where 1 stands for `from[i]` in input channel `i`, and for `to[o]` in output channel `o`.
fn rescaled(conv: &Conv2d, from: &[f64], to: &[f64]) -> Conv2d {
    let mut conv = conv.clone();
    let taps = conv.kernel.0 * conv.kernel.1;
    for (o, unit) in to.iter().enumerate() {
        let row = &mut conv.weight[o * from.len() * taps..(o + 1) * from.len() * taps];
        for (weights, factor) in row.chunks_mut(taps).zip(from) {
            weights.iter_mut().for_each(|w| *w *= factor / unit);
        }
        conv.bias[o] /= unit;
        let tap_bias = &mut conv.tap_bias[o * taps..(o + 1) * taps];
        tap_bias.iter_mut().for_each(|b| *b /= unit);
    }
    conv
}

/// Reads `(x - mean) / std` where it read `x`; padding is zero after that.
fn normalise_input(conv: &Conv2d, mean: &[f64], std: &[f64]) -> Conv2d {
    let mut conv = conv.clone();
    let taps = conv.kernel.0 * conv.kernel.1;
    for (o, row) in conv.weight.chunks_mut(mean.len() * taps).enumerate() {
        for (i, weights) in row.chunks_mut(taps).enumerate() {
            for (tap, w) in weights.iter_mut().enumerate() {
                *w /= std[i];
                conv.tap_bias[o * taps + tap] -= *w * mean[i];
            }
        }
    }
    conv
}
