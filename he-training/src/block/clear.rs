//! The twin: one step in double precision, with the arithmetic of the encrypted one.

use he_layers::PlainTensor;

use super::{ACTIVATIONS, Block, BlockWeights};
use crate::error::TrainingError;

/// All that a step computes.
///
/// Deltas are derivatives of the loss times the number of images; those of maps, times the number of pixels too. So they have
/// the size of a single image's, whatever the mini-batch is.
#[derive(Clone, Debug)]
pub struct BlockTrace {
    /// Half the mean over the images of `|scores - labels|^2`.
    pub loss: f64,
    /// What each activation squares: `z + t`.
    pub squared: [PlainTensor; ACTIVATIONS],
    /// For the last activation the sum of the squares over the pixels, `[image][channel]`.
    pub squares: Vec<f64>,
    /// What the head reads, `[image][channel]`.
    pub pooled: Vec<f64>,
    /// Scores less labels, `[image][class]`.
    pub excess: Vec<f64>,
    /// Delta of what the head reads, `[image][channel]`.
    pub delta_pooled: Vec<f64>,
    /// Delta of what each activation reads, without what comes through the shortcut.
    pub deltas: [PlainTensor; ACTIVATIONS],
    /// Delta of what the first two activations give: transposed convolutions of the two deltas above.
    pub returned: [PlainTensor; 2],
    /// Gradient of the loss by the block's input, for whatever is trained below.
    pub input_gradient: PlainTensor,
    /// Gradient of the loss.
    pub gradient: BlockWeights,
}

/// Applies `f` to every number, with its channel.
fn mapped(x: &PlainTensor, f: impl Fn(usize, f64) -> f64) -> PlainTensor {
    let (pixels, channels) = (x.shape.pixels(), x.shape.channels);
    let data = x.data.iter().enumerate();
    PlainTensor {
        n: x.n,
        shape: x.shape,
        data: data.map(|(at, v)| f(at / pixels % channels, *v)).collect(),
    }
}

/// Applies `f` to every two numbers, with their channel.
fn mapped_pairs(
    x: &PlainTensor,
    y: &PlainTensor,
    f: impl Fn(usize, f64, f64) -> f64,
) -> PlainTensor {
    let mut out = x.clone();
    let (pixels, channels) = (x.shape.pixels(), x.shape.channels);
    let pairs = out.data.iter_mut().zip(&y.data).enumerate();
    pairs.for_each(|(at, (x, y))| *x = f(at / pixels % channels, *x, *y));
    out
}

/// Sums over the pixels, `[image][channel]`.
fn over_pixels(x: &PlainTensor) -> Vec<f64> {
    let maps = x.data.chunks_exact(x.shape.pixels());
    maps.map(|map| map.iter().sum()).collect()
}

/// Sums over the images of `[image][k]`.
fn over_images(x: &[f64], k: usize) -> Vec<f64> {
    let mut sums = vec![0.0; k];
    for row in x.chunks_exact(k) {
        sums.iter_mut().zip(row).for_each(|(s, x)| *s += x);
    }
    sums
}

impl Block {
    /// One step in the clear: forward, backward, gradient.
    ///
    /// # Errors
    /// [`TrainingError::Count`] and [`TrainingError::Setting`] for parameters, labels or a number of images that do not fit,
    /// [`TrainingError::Layer`] for inputs of another shape.
    pub fn clear_step(
        &self,
        weights: &BlockWeights,
        inputs: &PlainTensor,
        labels: &[usize],
    ) -> Result<BlockTrace, TrainingError> {
        let (channels, classes) = (self.shape.channels, weights.classes());
        weights.check(channels, classes)?;
        check_labels(labels, inputs.n, classes)?;
        let (images, pixels) = (inputs.n as f64, self.shape.pixels() as f64);
        let [t1, t2, t3] = &weights.offsets;
        let [g1, g2, g3] = &weights.scales;

        let u1 = mapped(inputs, |c, z| z + t1[c]);
        let a1 = mapped(&u1, |c, u| g1[c] * u * u);
        let u2 = mapped(&self.convolutions[0].forward_plain(&a1)?, |c, z| z + t2[c]);
        let a2 = mapped(&u2, |c, u| g2[c] * u * u);
        let mut z3 = self.convolutions[1].forward_plain(&a2)?;
        z3.add_assign("shortcut", inputs)?;
        let u3 = mapped(&z3, |c, z| z + t3[c]);
        let squares = over_pixels(&mapped(&u3, |_, u| u * u));
        let channel = |at: usize| at % channels;
        let pooled: Vec<f64> = (squares.iter().enumerate())
            .map(|(at, s)| g3[channel(at)] * s / pixels)
            .collect();
        let mut excess = Vec::with_capacity(inputs.n * classes);
        for (row, label) in pooled.chunks_exact(channels).zip(labels) {
            for class in 0..classes {
                let head = &weights.head[class * channels..][..channels];
                let score: f64 = head.iter().zip(row).map(|(w, x)| w * x).sum();
                excess.push(score + weights.bias[class] - f64::from(u8::from(class == *label)));
            }
        }
        let loss = excess.iter().map(|e| e * e).sum::<f64>() / (2.0 * images);

        let mut delta_pooled = vec![0.0; pooled.len()];
        let rows = delta_pooled.chunks_exact_mut(channels);
        for (row, excess) in rows.zip(excess.chunks_exact(classes)) {
            for (head, e) in weights.head.chunks_exact(channels).zip(excess) {
                row.iter_mut().zip(head).for_each(|(d, w)| *d += w * e);
            }
        }
        let last = self.shape.pixels();
        let delta3 = PlainTensor {
            data: (u3.data.iter().enumerate())
                .map(|(at, u)| 2.0 * g3[at / last % channels] * u * delta_pooled[at / last])
                .collect(),
            ..u3.clone()
        };
        let returned2 = self.turned[1].forward_plain(&delta3)?;
        let delta2 = mapped_pairs(&returned2, &u2, |c, r, u| 2.0 * g2[c] * u * r);
        let returned1 = self.turned[0].forward_plain(&delta2)?;
        let delta1 = mapped_pairs(&returned1, &u1, |c, r, u| 2.0 * g1[c] * u * r);
        // The shortcut passes the delta on as it is.
        let per_number = 1.0 / (images * pixels);
        let input_gradient = mapped_pairs(&delta1, &delta3, |_, a, b| (a + b) * per_number);

        let summed = |x: &PlainTensor| -> Vec<f64> {
            let sums = over_images(&over_pixels(x), channels);
            sums.iter().map(|s| s * per_number).collect()
        };
        let by_scale =
            |r: &PlainTensor, u: &PlainTensor| summed(&mapped_pairs(r, u, |_, r, u| r * u * u));
        let products: Vec<f64> = (delta_pooled.iter().zip(&squares))
            .map(|(d, s)| d * s * per_number)
            .collect();
        let mut head = vec![0.0; classes * channels];
        for (row, excess) in pooled
            .chunks_exact(channels)
            .zip(excess.chunks_exact(classes))
        {
            for (head, e) in head.chunks_exact_mut(channels).zip(excess) {
                head.iter_mut()
                    .zip(row)
                    .for_each(|(h, x)| *h += e * x / images);
            }
        }
        let bias = over_images(&excess, classes);
        let gradient = BlockWeights {
            offsets: [summed(&delta1), summed(&delta2), summed(&delta3)],
            scales: [
                by_scale(&returned1, &u1),
                by_scale(&returned2, &u2),
                over_images(&products, channels),
            ],
            head,
            bias: bias.iter().map(|b| b / images).collect(),
        };
        Ok(BlockTrace {
            loss,
            squared: [u1, u2, u3],
            squares,
            pooled,
            excess,
            delta_pooled,
            deltas: [delta1, delta2, delta3],
            returned: [returned1, returned2],
            input_gradient,
            gradient,
        })
    }
}

/// Checks that there is one label for each of at least one image, and that each is a class.
pub(super) fn check_labels(
    labels: &[usize],
    images: usize,
    classes: usize,
) -> Result<(), TrainingError> {
    if labels.len() != images || images == 0 {
        return Err(TrainingError::Count {
            what: "labels",
            found: labels.len(),
            expected: images.max(1),
        });
    }
    match labels.iter().find(|label| **label >= classes) {
        Some(label) => Err(TrainingError::setting(
            "label",
            label,
            format_args!("below {classes}"),
        )),
        None => Ok(()),
    }
}
