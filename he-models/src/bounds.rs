//! Where logits can be if no value leaves its declared range.

use he_layers::{Conv2d, Dense, Linear, Padding};
use serde::{Deserialize, Serialize};

use crate::{
    Graph, Model, ModelError,
    graph::{Activation, Function, Op, Quadratic},
};

/// Widening of the bounds, as a part of the widest of them: room for noise, and for polynomials in the place of ReLUs.
const MARGIN: f64 = 0.1;
/// Points in which a polynomial is looked at, as a multiple of its degree.
const OVERSAMPLING: usize = 8;

/// Bounds of the logits of every image that stays in the declared ranges.
///
/// Logits beyond them prove that a value has left its range on the way. The reverse does not hold: an image can leave a range
/// and still have logits within the bounds. They tell about the last layer's weights and ranges; a client may know them where
/// it may not know the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogitBounds {
    /// Lower bound of each logit; minus infinity where nothing is known.
    pub least: Vec<f64>,
    /// Upper bound of each logit; infinity where nothing is known.
    pub most: Vec<f64>,
}

impl LogitBounds {
    /// Bounds of which nothing is known: all numbers are within them.
    #[must_use]
    pub fn unknown(classes: usize) -> Self {
        Self {
            least: vec![f64::NEG_INFINITY; classes],
            most: vec![f64::INFINITY; classes],
        }
    }

    /// Whether the logits of an image are numbers within the bounds.
    #[must_use]
    pub fn hold(&self, logits: &[f64]) -> bool {
        let bounds = self.least.iter().zip(&self.most);
        logits.len() == self.least.len()
            && logits
                .iter()
                .zip(bounds)
                .all(|(logit, (least, most))| logit.is_finite() && least <= logit && logit <= most)
    }
}

impl Model {
    /// Bounds of the logits of images that stay in the declared ranges, from what the last activations before each logit may
    /// see, the absolute values of the weights after them, and a tenth more. Infinite for a model that declares no ranges.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn logit_bounds(&self) -> Result<LogitBounds, ModelError> {
        bounds(self.graph())
    }
}

/// Least and largest value of a channel.
type Interval = (f64, f64);

fn bounds(graph: &Graph) -> Result<LogitBounds, ModelError> {
    let shapes = graph.shapes()?;
    // Of each channel of each node; nothing where the input is read with no activation in between.
    let mut known: Vec<Option<Vec<Interval>>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inputs: Option<Vec<&Vec<Interval>>> =
            node.inputs.iter().map(|id| known[id.0].as_ref()).collect();
        let first = inputs.as_ref().and_then(|inputs| inputs.first().copied());
        let found = match &node.op {
            Op::Input => None,
            Op::Activation(activation) => of_activation(activation),
            Op::Linear(map) => first.map(|x| match map.as_ref() {
                Linear::Conv(conv) => of_conv(conv, x),
                Linear::Dense(dense) => of_dense(dense, x),
            }),
            Op::Affine(affine) => first.map(|x| {
                let terms = affine.gain.iter().zip(&affine.offset).zip(x);
                terms
                    .map(|((gain, offset), x)| plus(scaled(*gain, *x), (*offset, *offset)))
                    .collect()
            }),
            Op::Add => inputs.map(|inputs| {
                let channels = 0..inputs[0].len();
                let sum = |c: usize| inputs.iter().map(|x| x[c]).fold((0.0, 0.0), plus);
                channels.map(sum).collect()
            }),
            Op::Concat => inputs.map(|inputs| inputs.into_iter().flatten().copied().collect()),
        };
        known.push(found);
    }
    let classes = shapes[graph.output().0].volume();
    let found = known.pop().flatten();
    let found = found.unwrap_or_else(|| vec![(f64::NEG_INFINITY, f64::INFINITY); classes]);
    let size = |(least, most): &Interval| (most - least).max(least.abs()).max(most.abs());
    let margin = MARGIN * found.iter().map(size).fold(0.0, f64::max);
    Ok(LogitBounds {
        least: found.iter().map(|(least, _)| least - margin).collect(),
        most: found.iter().map(|(_, most)| most + margin).collect(),
    })
}

fn plus(a: Interval, b: Interval) -> Interval {
    (a.0 + b.0, a.1 + b.1)
}

fn scaled(factor: f64, x: Interval) -> Interval {
    let ends = (factor * x.0, factor * x.1);
    (ends.0.min(ends.1), ends.0.max(ends.1))
}

/// What an activation gives within its declared ranges; nothing if it declares none.
fn of_activation(activation: &Activation) -> Option<Vec<Interval>> {
    let ranges = activation.declared.iter().enumerate();
    let found: Vec<Interval> = ranges
        .map(|(c, &range)| match &activation.function {
            Function::Quadratic(q) => of_quadratic(q, c, range),
            Function::Relu(_) => (0.0, range),
            Function::Polynomial { polynomials, .. } => {
                let degrees = polynomials.iter().map(|p| p.degree().max(1));
                // One more for a gate's factor.
                let degree = degrees
                    .fold(1_usize, usize::saturating_mul)
                    .saturating_add(1);
                sampled(&|x| activation.function.evaluate(c, x), degree, range)
            }
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

fn of_quadratic(q: &Quadratic, c: usize, range: f64) -> Interval {
    plus(scaled(q.g[c], (0.0, range * range)), (q.d[c], q.d[c]))
}

/// Bounds of a polynomial of a degree on `[-range, range]`. Its largest absolute value is at most `1 / cos(pi / 2m)` times that
/// in the extrema of the Chebyshev polynomial of `m` times its degree (Ehlich, Zeller: Schwankung von Polynomen zwischen
/// Gitterpunkten, 1964).
fn sampled(f: &dyn Fn(f64) -> f64, degree: usize, range: f64) -> Interval {
    let points = degree.min(1 << 12) * OVERSAMPLING;
    let at = |k: usize| range * (std::f64::consts::PI * k as f64 / points as f64).cos();
    let values = (0..=points).map(|k| f(at(k)));
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| {
        (low.min(y), high.max(y))
    });
    // Of the distance from the middle, which is a polynomial of the same degree.
    let half = (most - least) / 2.0;
    let beyond = half / (std::f64::consts::FRAC_PI_2 / OVERSAMPLING as f64).cos() - half;
    (least - beyond, most + beyond)
}

fn of_conv(conv: &Conv2d, x: &[Interval]) -> Vec<Interval> {
    let (inputs, outputs) = (
        conv.in_channels / conv.groups,
        conv.out_channels / conv.groups,
    );
    let taps = conv.kernel.0 * conv.kernel.1;
    let padded = conv.padding != Padding::default();
    (0..conv.out_channels)
        .map(|o| {
            let first = o / outputs * inputs;
            let tap = |tap: usize| {
                let of_input = |i: usize| {
                    let weight = conv.weight[(o * inputs + i) * taps + tap];
                    scaled(weight, x[first + i])
                };
                let bias = conv.tap_bias[o * taps + tap];
                let sum = (0..inputs).map(of_input).fold((bias, bias), plus);
                // Beyond the map it gives nothing.
                if padded {
                    (sum.0.min(0.0), sum.1.max(0.0))
                } else {
                    sum
                }
            };
            let bias = conv.bias[o];
            (0..taps).map(tap).fold((bias, bias), plus)
        })
        .collect()
}

fn of_dense(dense: &Dense, x: &[Interval]) -> Vec<Interval> {
    let pixels = dense.input.pixels();
    let rows = dense.weight.chunks_exact(dense.input.volume());
    rows.zip(&dense.bias)
        .map(|(row, bias)| {
            let terms = row.iter().enumerate();
            let terms = terms.map(|(at, weight)| scaled(*weight, x[at / pixels]));
            terms.fold((*bias, *bias), plus)
        })
        .collect()
}
