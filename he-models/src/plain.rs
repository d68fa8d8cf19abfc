//! The plaintext network: exported weights, f64, nothing rounded. What encrypted runs are compared with.

mod convolution;

use he_layers::Chw;
use rayon::prelude::*;

use self::convolution::Columns;
use crate::{
    ActivationStatistics, Model, ModelError,
    graph::strided,
    model::{Convolution, Layers, Quadratic},
};

/// Images that one task evaluates; also the unit in which sums are added up, so that they do not depend on threads.
const CHUNK: usize = 16;

/// What came out of a plaintext evaluation, and what its activations saw on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Number of classes.
    pub classes: usize,
    /// `[image][class]`.
    pub logits: Vec<f64>,
    /// One entry an activation, in order of evaluation.
    pub activations: Vec<ActivationRecord>,
    /// Images of which some `|x + t|` leaves its declared range (or is not a number), ascending. Empty for a model
    /// that declares no ranges.
    pub out_of_range: Vec<usize>,
}

/// What one activation `g (x + t)^2 + d` saw, for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationRecord {
    /// The activation.
    pub name: String,
    /// Values of `x + t` that each channel saw: images x pixels.
    pub values: u64,
    /// Largest `|x + t|`.
    pub max_abs: Vec<f64>,
    /// Sum of `(x + t)^2`.
    pub sum_squares: Vec<f64>,
    /// Declared range of `|x + t|`; empty for a model that declares none.
    pub declared: Vec<f64>,
}

impl Model {
    /// Evaluates the network on images, in parallel on the current rayon pool.
    ///
    /// # Shapes and ranges
    /// `images`: `[image][channel][row][column]`, pixels divided by 255, hence in `[0, 1]`; normalisation is done here.
    /// # Errors
    /// [`ModelError::ImageShape`] where that is not a whole number of images.
    pub fn evaluate(&self, images: &[f64]) -> Result<Evaluation, ModelError> {
        let image_len = self.image_len();
        if !images.len().is_multiple_of(image_len) {
            return Err(ModelError::ImageShape {
                model: self.name().to_owned(),
                found: images.len(),
                expected: image_len,
            });
        }
        let parts: Vec<Evaluation> = images
            .par_chunks(CHUNK * image_len)
            .map_init(
                || Workspace::new(self),
                |workspace, chunk| self.evaluate_chunk(chunk, workspace),
            )
            .collect();
        let mut whole = self.empty_evaluation();
        for part in parts {
            whole.append(part);
        }
        Ok(whole)
    }

    /// The logits alone: `[image][class]`, as [`Self::evaluate`].
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn logits(&self, images: &[f64]) -> Result<Vec<f64>, ModelError> {
        Ok(self.evaluate(images)?.logits)
    }

    fn empty_evaluation(&self) -> Evaluation {
        let channels = self.spec().activation_channels();
        let declared = self
            .spec()
            .activations
            .iter()
            .map(|a| a.declared.clone())
            .chain(std::iter::repeat(Vec::new()));
        let activations = channels
            .into_iter()
            .zip(declared)
            .map(|((name, channels), declared)| ActivationRecord {
                name,
                values: 0,
                max_abs: vec![0.0; channels],
                sum_squares: vec![0.0; channels],
                declared,
            })
            .collect();
        Evaluation {
            classes: self.classes().len(),
            logits: Vec::new(),
            activations,
            out_of_range: Vec::new(),
        }
    }

    fn evaluate_chunk(&self, images: &[f64], workspace: &mut Workspace) -> Evaluation {
        let mut out = self.empty_evaluation();
        for (i, image) in images.chunks_exact(self.image_len()).enumerate() {
            if !self.evaluate_image(image, workspace, &mut out) {
                out.out_of_range.push(i);
            }
        }
        out
    }

    /// Appends the logits of one image, and says whether it stayed in the declared ranges.
    fn evaluate_image(
        &self,
        image: &[f64],
        workspace: &mut Workspace,
        out: &mut Evaluation,
    ) -> bool {
        let Workspace {
            stream,
            hidden,
            inner,
            columns,
        } = workspace;
        let Layers { stem, blocks, head } = self.layers();
        let mut records = out.activations.iter_mut();
        let mut next = move || {
            records
                .next()
                .expect("a record for every activation of the model")
        };
        let mut in_range = true;

        hidden.load(self.input_shape(), image);
        hidden.normalise(&self.spec().input.mean, &self.spec().input.std);
        stream.convolve(stem, hidden, columns, 0.0);
        for block in blocks {
            hidden.copy_from(stream);
            in_range &= hidden.activate(&block.act1, next());
            inner.convolve(&block.conv1, hidden, columns, 0.0);
            in_range &= inner.activate(&block.act2, next());
            if let Some(projection) = &block.projection {
                stream.convolve(projection, hidden, columns, 0.0);
            }
            stream.convolve(&block.conv2, inner, columns, 1.0);
        }
        in_range &= stream.activate(&head.activation, next());
        let pixels = stream.shape.pixels();
        let means: Vec<f64> = stream
            .values
            .chunks_exact(pixels)
            .map(|c| c.iter().sum::<f64>() / pixels as f64)
            .collect();
        let rows = head.weight.chunks_exact(means.len());
        out.logits.extend(
            rows.zip(&head.bias)
                .map(|(row, bias)| bias + dot(row, &means)),
        );
        in_range
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
        self.out_of_range
            .extend(other.out_of_range.iter().map(|i| i + images));
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

    /// What a model file should say about the activations, if these are the training images: the declared range is
    /// twice the largest value, rounded up, both figures to four digits.
    #[must_use]
    pub fn statistics(&self) -> Vec<ActivationStatistics> {
        let describe = |record: &ActivationRecord| ActivationStatistics {
            name: record.name.clone(),
            declared: record
                .max_abs
                .iter()
                .map(|m| four_digits(2.0 * m, f64::ceil))
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
    /// Mean of `(x + t)^2`, for each channel; NaN without images.
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

fn max_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The feature maps that are alive at a time, and the unrolled columns of a convolution.
struct Workspace {
    stream: Map,
    hidden: Map,
    inner: Map,
    columns: Columns,
}

impl Workspace {
    fn new(model: &Model) -> Self {
        let empty = || Map {
            shape: model.input_shape(),
            values: Vec::new(),
        };
        Self {
            stream: empty(),
            hidden: empty(),
            inner: empty(),
            columns: Columns::default(),
        }
    }
}

/// A feature map: `[channel][row][column]`.
struct Map {
    shape: Chw,
    values: Vec<f64>,
}

impl Map {
    fn load(&mut self, shape: Chw, values: &[f64]) {
        self.shape = shape;
        self.values.clear();
        self.values.extend_from_slice(values);
    }

    fn copy_from(&mut self, other: &Self) {
        self.load(other.shape, &other.values);
    }

    fn normalise(&mut self, mean: &[f64], std: &[f64]) {
        let pixels = self.shape.pixels();
        for ((channel, mean), std) in self.values.chunks_exact_mut(pixels).zip(mean).zip(std) {
            for x in channel {
                *x = (*x - mean) / std;
            }
        }
    }

    /// `self <- keep * self + conv(input)`, `keep` being 0 or 1.
    fn convolve(&mut self, conv: &Convolution, input: &Self, columns: &mut Columns, keep: f64) {
        self.shape = strided(input.shape, conv.out_channels, conv.stride);
        self.values
            .resize(conv.out_channels * self.shape.pixels(), 0.0);
        columns.convolve(
            conv,
            input.shape,
            &input.values,
            self.shape,
            &mut self.values,
            keep,
        );
    }

    /// `x <- g (x + t)^2 + d`; says whether every `|x + t|` is within the declared range.
    fn activate(&mut self, act: &Quadratic, record: &mut ActivationRecord) -> bool {
        let pixels = self.shape.pixels();
        record.values += pixels as u64;
        let mut in_range = true;
        for (c, channel) in self.values.chunks_exact_mut(pixels).enumerate() {
            let (g, t, d) = (act.g[c], act.t[c], act.d[c]);
            let (mut largest, mut sum) = (0.0_f64, 0.0);
            for x in channel {
                let square = (*x + t) * (*x + t);
                largest = largest.max(square);
                sum += square;
                *x = g * square + d;
            }
            // `max` drops a NaN, the sum keeps it.
            let largest = if sum.is_nan() {
                f64::NAN
            } else {
                largest.sqrt()
            };
            in_range &= record.declared.get(c).is_none_or(|&range| largest <= range);
            record.max_abs[c] = max_or_nan(record.max_abs[c], largest);
            record.sum_squares[c] += sum;
        }
        in_range
    }
}
