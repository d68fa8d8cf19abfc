//! From the exported network to the layers of the encrypted run.
//!
//! The encrypted run squares and nothing else: an activation `g (x + t)^2 + d` leaves its gain to the weights of the
//! layer that reads it and its offset to that layer's [`tap_bias`](Conv2d::tap_bias), under zero padding a bias for every
//! tap inside the map. The normalisation of the input is folded in the same way (gain `1 / std`, offset `-mean / std`),
//! so that raw pixels divided by 255 are what gets encrypted.
//!
//! Units are free, and chosen so that absolute errors mean the same everywhere: what is squared has second moment 1.
//! Between the convolutions of a block every channel `c` has a factor of its own, `1 / sqrt(second_moment[c])`. The
//! residual stream is added to itself from block to block and read by several activations: from one projection to the
//! next it has one factor for all channels, the geometric mean of what its readers would like.

use he_layers::{Chw, Conv2d, Dense, Layer, PlainTensor, PreActBlock, Program, Square, Term};

use crate::{
    ActivationStatistics, Model, ModelError,
    model::{Classifier, Convolution, Layers, Quadratic, ResidualBlock},
};

/// A network in the units of the encrypted run, without gains, offsets and normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedModel {
    /// The model's name.
    pub name: String,
    /// [`Model::checksum`] of the model that it was folded from.
    pub checksum: [u8; 32],
    /// Shape of an image: raw pixels divided by 255.
    pub input: Chw,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// The first convolution.
    pub stem: Conv2d,
    /// Mean of each input channel.
    pub input_mean: Vec<f64>,
    /// The residual blocks.
    pub blocks: Vec<PreActBlock>,
    /// Activation, average, dense layer: the logits are those of the exported network.
    pub head: (Square, Dense),
    /// The factor of the residual stream that each block and at last the head reads: stream here = factor x stream there.
    pub stream_factors: Vec<f64>,
}

impl FoldedModel {
    /// The logits in the clear, without any rounding: `[image][class]` as a tensor of shape classes x 1 x 1.
    ///
    /// # Shapes and ranges
    /// `images` of shape [`Self::input`], raw pixels divided by 255.
    /// # Errors
    /// [`ModelError::Layer`] for another shape.
    pub fn forward_plain(&self, images: &PlainTensor) -> Result<PlainTensor, ModelError> {
        Ok(self.program()?.forward_plain(images)?)
    }

    /// The normal form.
    pub fn program(&self) -> Result<Program, ModelError> {
        let mut net = Program::new(&*self.name, self.input, self.input_mean.clone());
        let stem = vec![Term::linear(net.input(), self.stem.clone())];
        let mut x = net.node(&self.stem.name, &self.stem.name, stem)?;
        for block in &self.blocks {
            x = block.add_to(&mut net, x)?;
        }
        let (act, dense) = &self.head;
        let x = net.apply(x, act.clone())?;
        let y = net.node(&act.name, &dense.name, vec![Term::linear(x, dense.clone())])?;
        net.finish(y)?;
        Ok(net)
    }
}

impl Model {
    /// Folds gains, offsets and normalisation into the convolutions, in the units of the encrypted run.
    ///
    /// # Errors
    /// [`ModelError::NoStatistics`] for a model without activation statistics; [`ModelError::Layer`] where a folded
    /// weight overflows.
    pub fn fold(&self) -> Result<FoldedModel, ModelError> {
        let Layers { stem, blocks, head } = self.layers();
        let spec = self.spec();
        if spec.activations.is_empty() {
            let expected = spec.activation_channels().len();
            return Err(ModelError::NoStatistics {
                model: spec.name.clone(),
                expected,
            });
        }
        // Validated: act1 and act2 of every block in order, then the head's.
        let (inner_statistics, final_statistics) = spec.activations.split_at(2 * blocks.len());
        let pairs: Vec<&[ActivationStatistics]> = inner_statistics.chunks_exact(2).collect();
        let final_statistics = &final_statistics[0];

        let readers = pairs.iter().map(|pair| &pair[0]).chain([final_statistics]);
        let starts = blocks.iter().map(|block| block.projection.is_some());
        let stream_factors = stream_factors(readers, starts);

        let input = Units::normalised(&spec.input.mean, &spec.input.std);
        let mut map = self.input_shape();
        let stem = fold_convolution(stem, &input, &vec![stream_factors[0]; stem.out_channels])?;
        map = stem.output_shape(map)?;
        let mut folded = Vec::with_capacity(blocks.len());
        for (i, (block, pair)) in blocks.iter().zip(pairs).enumerate() {
            let block = fold_block(block, pair, stream_factors[i], stream_factors[i + 1])?;
            map = block.conv2.output_shape(block.conv1.output_shape(map)?)?;
            folded.push(block);
        }
        let head = fold_head(head, final_statistics, stream_factors[blocks.len()], map)?;
        Ok(FoldedModel {
            name: spec.name.clone(),
            checksum: self.checksum(),
            input: self.input_shape(),
            classes: spec.classes.clone(),
            stem,
            input_mean: spec.input.mean.clone(),
            blocks: folded,
            head,
            stream_factors,
        })
    }
}

/// What a layer reads, against what the exported network's layer reads: there = gain x here + offset, by channel.
struct Units {
    gain: Vec<f64>,
    offset: Vec<f64>,
}

impl Units {
    fn normalised(mean: &[f64], std: &[f64]) -> Self {
        Self {
            gain: std.iter().map(|s| 1.0 / s).collect(),
            offset: mean.iter().zip(std).map(|(m, s)| -m / s).collect(),
        }
    }

    /// Of the squares of an activation that reads `factor[c] * x` in channel c.
    fn squared(act: &Quadratic, factor: &[f64]) -> Self {
        Self {
            gain: act.g.iter().zip(factor).map(|(g, f)| g / (f * f)).collect(),
            offset: act.d.clone(),
        }
    }
}

/// Factor of the stream at each of its readers; `starts[i]` says whether reader i + 1 reads a stream that begins anew.
fn stream_factors<'a>(
    readers: impl Iterator<Item = &'a ActivationStatistics>,
    starts: impl Iterator<Item = bool>,
) -> Vec<f64> {
    let mut segments: Vec<Vec<&ActivationStatistics>> = Vec::new();
    for (reader, start) in readers.zip(std::iter::once(true).chain(starts)) {
        if start {
            segments.push(Vec::new());
        }
        segments
            .last_mut()
            .expect("the first reader starts a segment")
            .push(reader);
    }
    let factor = |segment: &Vec<&ActivationStatistics>| {
        let moments = || segment.iter().flat_map(|reader| &reader.second_moment);
        (-0.5 * moments().map(|m| m.ln()).sum::<f64>() / moments().count() as f64).exp()
    };
    segments
        .iter()
        .flat_map(|segment| std::iter::repeat_n(factor(segment), segment.len()))
        .collect()
}

fn fold_block(
    block: &ResidualBlock,
    statistics: &[ActivationStatistics],
    stream: f64,
    next_stream: f64,
) -> Result<PreActBlock, ModelError> {
    let stream = vec![stream; block.conv1.in_channels];
    let next_stream = vec![next_stream; block.conv2.out_channels];
    let inner: Vec<f64> = statistics[1]
        .second_moment
        .iter()
        .map(|m| m.sqrt().recip())
        .collect();
    let hidden = Units::squared(&block.act1, &stream);
    Ok(PreActBlock {
        name: block.name.clone(),
        act1: fold_activation(&block.act1, &statistics[0], &stream)?,
        conv1: fold_convolution(&block.conv1, &hidden, &inner)?,
        act2: fold_activation(&block.act2, &statistics[1], &inner)?,
        conv2: fold_convolution(
            &block.conv2,
            &Units::squared(&block.act2, &inner),
            &next_stream,
        )?,
        shortcut: match &block.projection {
            Some(projection) => Some(fold_convolution(projection, &hidden, &next_stream)?),
            None => None,
        },
    })
}

/// The convolution that reads in the units `input` and writes `factor[o]` times the exported network's channel o.
fn fold_convolution(
    conv: &Convolution,
    input: &Units,
    factor: &[f64],
) -> Result<Conv2d, ModelError> {
    let taps = conv.kernel * conv.kernel;
    let mut weight = conv.weight.clone();
    let mut tap_bias = vec![0.0; conv.out_channels * taps];
    let outputs = weight
        .chunks_exact_mut(conv.in_channels * taps)
        .zip(tap_bias.chunks_exact_mut(taps));
    for ((weight, bias), factor) in outputs.zip(factor) {
        for ((weight, gain), offset) in weight
            .chunks_exact_mut(taps)
            .zip(&input.gain)
            .zip(&input.offset)
        {
            for (w, b) in weight.iter_mut().zip(bias.iter_mut()) {
                *b += factor * *w * offset;
                *w *= factor * gain;
            }
        }
    }
    let square = |side: usize| (side, side);
    let folded = Conv2d::new(
        conv.name.clone(),
        (conv.in_channels, conv.out_channels),
        square(conv.kernel),
        square(conv.stride),
        square(conv.kernel / 2),
        weight,
    )?;
    let folded = Conv2d { tap_bias, ..folded };
    folded.validate()?;
    Ok(folded)
}

fn fold_activation(
    act: &Quadratic,
    statistics: &ActivationStatistics,
    factor: &[f64],
) -> Result<Square, ModelError> {
    let scaled = |values: &[f64]| {
        values
            .iter()
            .zip(factor)
            .map(|(v, f)| v * f)
            .collect::<Vec<f64>>()
    };
    let second_moment = scaled(&scaled(&statistics.second_moment));
    Ok(Square::new(
        act.name.clone(),
        scaled(&act.t),
        scaled(&statistics.declared),
        second_moment,
    )?)
}

fn fold_head(
    head: &Classifier,
    statistics: &ActivationStatistics,
    stream: f64,
    map: Chw,
) -> Result<(Square, Dense), ModelError> {
    let factor = vec![stream; map.channels];
    let squares = Units::squared(&head.activation, &factor);
    let rows = || head.weight.chunks_exact(map.channels);
    let average = |row: &[f64]| {
        row.iter()
            .zip(&squares.gain)
            .map(|(w, g)| w * g / map.pixels() as f64)
            .collect::<Vec<f64>>()
    };
    let offset = |row: &[f64]| {
        row.iter()
            .zip(&squares.offset)
            .map(|(w, d)| w * d)
            .sum::<f64>()
    };
    let act = fold_activation(&head.activation, statistics, &factor)?;
    let weight: Vec<f64> = rows().flat_map(average).collect();
    let bias = rows()
        .zip(&head.bias)
        .map(|(row, b)| b + offset(row))
        .collect();
    let dense = Dense::pooled(&*head.name, map, head.bias.len(), &weight, bias)?;
    Ok((act, dense))
}
