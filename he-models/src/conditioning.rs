//! What a client does to a picture in the clear, before it is normalised and encrypted.
//!
//! A network with polynomial activations has ranges that its values must not leave, and pictures that are no photographs
//! (noise, a checkerboard, a poster of four times the contrast) drive them out. [`Conditioning`] turns details and colours that
//! are stronger than in any training image down to what training images have. It needs no weights, so that any client can do it.

use he_layers::Chw;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Most numbers in a row of [`Conditioning::bands`].
const MOST_BANDS: usize = 17;

/// Limits of the details and of the mean of a picture, component by component.
///
/// A picture is worked on by itself, its pixels divided by 255:
/// 1. With [`Self::opponent`] its three channels become three components: `(r + g + b) / sqrt(3)`, `(r - b) / sqrt(2)`,
///    `(r - 2 g + b) / sqrt(6)`. This is orthonormal. Otherwise its channels are the components.
/// 2. Each component `l_0` is split, à trous: `l_(s+1)` is `l_s` blurred by `[1, 2, 1] / 4` along rows and along columns, with
///    taps `2^s` pixels apart, indices beyond the map clamped to it. Band `s` is `l_s - l_(s+1)`; the base is the last level
///    less its mean.
/// 3. A band, or the base, whose root mean square over the map exceeds its limit is scaled down to the limit.
/// 4. A mean farther than `reach` from `center` is moved to that distance.
/// 5. Mean, base and bands are added up, and opponent components turned back. Nothing is clipped: pixels may leave `[0, 1]`.
///
/// A picture within all limits stays what it is, up to rounding. The result is not exactly a picture within all limits: its own
/// bands overlap, so that a second conditioning may change it a little more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditioning {
    /// Whether the components are opponent colours; for three channels only.
    pub opponent: bool,
    /// `[component][band]`: largest root mean square of each band, the finest first, the base last; 0 or more. All components
    /// have equally many.
    pub bands: Vec<Vec<f64>>,
    /// For each component the center of its mean and the reach on either side, 0 or more.
    pub means: Vec<(f64, f64)>,
}

/// One component of a picture, as [`Conditioning::measure`] finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Strength {
    /// Root mean square of each band, the finest first, the base last.
    pub bands: Vec<f64>,
    /// The mean.
    pub mean: f64,
}

/// What is wrong with limits: field, what was found, what was expected.
pub(crate) type Flaw = (String, String, String);

impl Conditioning {
    /// Conditions pictures in place, in parallel on the current rayon pool: `[picture][channel][row][column]`, pixels divided
    /// by 255. What is left of an incomplete last picture stays as it is.
    ///
    /// # Panics
    /// If the limits are not for so many channels, as a checked [`crate::ModelSpec`]'s are.
    pub fn apply(&self, shape: Chw, pictures: &mut [f64]) {
        self.expect_for(shape);
        pictures
            .par_chunks_exact_mut(shape.volume())
            .for_each(|picture| self.picture(shape, picture));
    }

    fn picture(&self, shape: Chw, picture: &mut [f64]) {
        if self.opponent {
            rotate(picture, &OPPONENT);
        }
        let maps = picture.chunks_exact_mut(shape.pixels());
        for (map, (limits, mean)) in maps.zip(self.bands.iter().zip(&self.means)) {
            let mut component = Component::split(map, shape.width, limits.len());
            component.limit(limits, *mean);
            component.join(map);
        }
        if self.opponent {
            rotate(picture, &transposed(&OPPONENT));
        }
    }

    /// What the limits are compared with: the components of one picture, pixels divided by 255.
    ///
    /// # Panics
    /// If `picture` is not one picture, or the limits are not for so many channels.
    #[must_use]
    pub fn measure(&self, shape: Chw, picture: &[f64]) -> Vec<Strength> {
        self.expect_for(shape);
        assert_eq!(picture.len(), shape.volume(), "one picture");
        let mut picture = picture.to_vec();
        if self.opponent {
            rotate(&mut picture, &OPPONENT);
        }
        let maps = picture.chunks_exact(shape.pixels()).zip(&self.bands);
        maps.map(|(map, limits)| {
            let component = Component::split(map, shape.width, limits.len());
            Strength {
                bands: component.parts.iter().map(|part| rms(part)).collect(),
                mean: component.mean,
            }
        })
        .collect()
    }

    fn expect_for(&self, shape: Chw) {
        assert_eq!(self.check(shape.channels), Ok(()), "limits for {shape}");
    }

    /// Whether these are limits for pictures of so many channels.
    #[must_use]
    pub fn is_for(&self, channels: usize) -> bool {
        self.check(channels).is_ok()
    }

    /// Checks the limits for pictures of so many channels.
    pub(crate) fn check(&self, channels: usize) -> Result<(), Flaw> {
        let flaw = |field: String, found: String, expected: String| Err((field, found, expected));
        if self.opponent && channels != 3 {
            let expected = format!("false for {channels} channels (three have such colours)");
            return flaw("opponent".into(), "true".into(), expected);
        }
        for (field, components) in [("bands", self.bands.len()), ("means", self.means.len())] {
            if components != channels {
                let found = format!("{components} entries");
                return flaw(field.into(), found, format!("{channels}, one a channel"));
            }
        }
        for (c, limits) in self.bands.iter().enumerate() {
            let at = format!("bands[{c}]");
            let found = format!("{} numbers", limits.len());
            if limits.is_empty() || limits.len() > MOST_BANDS {
                return flaw(at, found, format!("1 to {MOST_BANDS}, the base last"));
            }
            if limits.len() != self.bands[0].len() {
                let expected = format!("{}, as bands[0] has", self.bands[0].len());
                return flaw(at, found, expected);
            }
            if let Some(bad) = limits.iter().find(|limit| !is_size(**limit)) {
                return flaw(at, bad.to_string(), "finite numbers from 0 on".into());
            }
        }
        for (c, (center, reach)) in self.means.iter().enumerate() {
            if !(center.is_finite() && is_size(*reach)) {
                let expected = "a finite center, and a finite reach from 0 on";
                let found = format!("({center}, {reach})");
                return flaw(format!("means[{c}]"), found, expected.into());
            }
        }
        Ok(())
    }
}

fn is_size(x: f64) -> bool {
    x.is_finite() && x >= 0.0
}

/// A map as its bands, its base and its mean, which add up to it.
struct Component {
    /// The bands, the finest first, and the base.
    parts: Vec<Vec<f64>>,
    mean: f64,
}

impl Component {
    /// A map in rows of `width` pixels, into `parts` parts.
    fn split(map: &[f64], width: usize, parts: usize) -> Self {
        let mut level = map.to_vec();
        let mut found = Vec::with_capacity(parts);
        for scale in 0..parts - 1 {
            let smooth = blurred(&level, width, 1 << scale);
            level.iter_mut().zip(&smooth).for_each(|(l, s)| *l -= s);
            found.push(std::mem::replace(&mut level, smooth));
        }
        let mean = level.iter().sum::<f64>() / level.len() as f64;
        level.iter_mut().for_each(|l| *l -= mean);
        found.push(level);
        Self { parts: found, mean }
    }

    fn limit(&mut self, limits: &[f64], (center, reach): (f64, f64)) {
        for (part, limit) in self.parts.iter_mut().zip(limits) {
            let rms = rms(part);
            if rms > *limit {
                part.iter_mut().for_each(|x| *x *= limit / rms);
            }
        }
        self.mean = center + (self.mean - center).max(-reach).min(reach);
    }

    /// Writes the sum of all parts.
    fn join(&self, map: &mut [f64]) {
        map.fill(self.mean);
        for part in &self.parts {
            map.iter_mut().zip(part).for_each(|(x, p)| *x += p);
        }
    }
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt()
}

/// `[1, 2, 1] / 4` with taps `distance` apart, along rows and then along columns.
fn blurred(map: &[f64], width: usize, distance: usize) -> Vec<f64> {
    let height = map.len() / width;
    let taps = |i: usize, size: usize| (i.saturating_sub(distance), (i + distance).min(size - 1));
    let mix = |before: f64, x: f64, after: f64| 0.25 * before + 0.5 * x + 0.25 * after;
    let mut rows = Vec::with_capacity(map.len());
    for y in 0..height {
        let (up, down) = taps(y, height);
        let row = |y: usize| &map[y * width..(y + 1) * width];
        let three = row(up).iter().zip(row(y)).zip(row(down));
        rows.extend(three.map(|((before, x), after)| mix(*before, *x, *after)));
    }
    let mut all = Vec::with_capacity(map.len());
    for row in rows.chunks_exact(width) {
        all.extend((0..width).map(|x| {
            let (left, right) = taps(x, width);
            mix(row[left], row[x], row[right])
        }));
    }
    all
}

type Rotation = [[f64; 3]; 3];

const ROOT_2: f64 = std::f64::consts::SQRT_2;
const ROOT_3: f64 = 1.732_050_807_568_877_2;
const ROOT_6: f64 = 2.449_489_742_783_178;

/// Grey, red against blue, both against green: the rows are orthonormal.
const OPPONENT: Rotation = [
    [1.0 / ROOT_3, 1.0 / ROOT_3, 1.0 / ROOT_3],
    [1.0 / ROOT_2, 0.0, -1.0 / ROOT_2],
    [1.0 / ROOT_6, -2.0 / ROOT_6, 1.0 / ROOT_6],
];

fn transposed(rotation: &Rotation) -> Rotation {
    std::array::from_fn(|i| std::array::from_fn(|j| rotation[j][i]))
}

/// Rotates the colours of a picture of three channels.
fn rotate(picture: &mut [f64], rotation: &Rotation) {
    let (r, rest) = picture.split_at_mut(picture.len() / 3);
    let (g, b) = rest.split_at_mut(r.len());
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let colour = [*r, *g, *b];
        let turned = |row: [f64; 3]| (0..3).map(|i| row[i] * colour[i]).sum::<f64>();
        [*r, *g, *b] = rotation.map(turned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn opponent_colours_are_orthonormal() {
        let back = transposed(&OPPONENT);
        let mut unit = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        rotate(&mut unit, &OPPONENT);
        rotate(&mut unit, &back);
        for (i, x) in unit.iter().enumerate() {
            let expected = f64::from(u8::from(i % 4 == 0));
            assert!((x - expected).abs() < 1e-15, "{unit:?}");
        }
    }

    proptest! {
        #[test]
        fn prop_parts_add_up_and_are_within_their_limits(
            (height, width) in (1..9usize, 1..9usize),
            parts in 1..6usize,
            pixels in prop::collection::vec(-1e3..1e3f64, 64),
            limits in prop::collection::vec(0.0..100f64, 6),
            center in -10.0..10f64,
            reach in 0.0..10f64,
        ) {
            let map = &pixels[..height * width];
            let mut component = Component::split(map, width, parts);
            let mut sum = vec![0.0; map.len()];
            component.join(&mut sum);
            for (a, b) in sum.iter().zip(map) {
                prop_assert!((a - b).abs() < 1e-10);
            }
            component.limit(&limits, (center, reach));
            prop_assert_eq!(component.parts.len(), parts);
            for (part, limit) in component.parts.iter().zip(&limits) {
                prop_assert!(rms(part) <= limit * (1.0 + 1e-12));
            }
            prop_assert!((component.mean - center).abs() <= reach + 1e-12);
        }
    }
}
