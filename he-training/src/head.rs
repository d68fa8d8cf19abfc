//! Heads, and how they meet features.

use ckks_scheme::{Ciphertext, Complex64, Level, PeriodicMatrix, Scale};
use rayon::prelude::*;

use crate::error::TrainingError;
use crate::layout::WeightForm;
use crate::trainer::Trainer;

/// Encrypted weights: one ciphertext for each block of features, and what makes a bias.
#[derive(Debug)]
pub struct Head {
    form: WeightForm,
    blocks: Vec<Ciphertext>,
    bias: Bias,
}

/// How a head has a bias.
#[derive(Debug)]
pub(crate) enum Bias {
    /// Not at all.
    None,
    /// As a ciphertext that is added to scores, at their scale, one level below spread weights: slot `(f, i)` is that of class `f`
    /// modulo the period.
    Added(Ciphertext),
    /// By what features and scores are centred to.
    Centred(Centre),
}

/// Means of features and labels: the bias is `offset - W^T means`.
#[derive(Debug)]
pub(crate) struct Centre {
    /// For each block, slot `(f, i)`: the mean of lane `f`.
    pub means: Vec<Ciphertext>,
    /// Slot `(f, i)`: the share of class `f` modulo the period, at the scale of scores.
    pub offset: Ciphertext,
}

impl Head {
    pub(crate) fn new(form: WeightForm, blocks: Vec<Ciphertext>, bias: Bias) -> Self {
        Self { form, blocks, bias }
    }

    pub(crate) fn bias(&self) -> &Bias {
        &self.bias
    }

    /// How the weights lie in the slots.
    pub fn form(&self) -> WeightForm {
        self.form
    }

    /// The ciphertexts.
    pub fn blocks(&self) -> &[Ciphertext] {
        &self.blocks
    }

    /// Level of the ciphertexts.
    pub fn level(&self) -> Level {
        let levels = self.blocks.iter().map(Ciphertext::level);
        levels.min().unwrap_or(Level::new(1))
    }
}

/// A weight of a feature and the slots that it is multiplied with.
pub(crate) struct Meeting<'a> {
    /// Spread weights, one ciphertext for each block.
    pub weights: &'a [Ciphertext],
    /// Added to the scores, times the factor and times the number: in the slots of scores, at the weights' level or above.
    pub bias: Option<(&'a Ciphertext, f64)>,
    /// Factor of the scores.
    pub factor: f64,
    /// Scale of the scores.
    pub scale: f64,
}

impl Trainer {
    /// The same weights, spread, one level below. Weights that are spread already are copied.
    ///
    /// # Errors
    /// [`TrainingError::Eval`] without the keys, or at level 1; with a bias, at level 2.
    pub fn spread(&self, head: &Head) -> Result<Head, TrainingError> {
        let blocks = head.blocks.iter();
        let blocks: Result<Vec<_>, TrainingError> = match head.form {
            WeightForm::Spread => blocks.map(|ct| Ok(self.eval.copy(ct)?)).collect(),
            WeightForm::Plain => blocks.map(|ct| self.spread_block(ct)).collect(),
        };
        let mut spread = Head::new(WeightForm::Spread, blocks?, Bias::None);
        spread.bias = match &head.bias {
            Bias::None => Bias::None,
            Bias::Added(bias) => Bias::Added(self.eval.copy(bias)?),
            Bias::Centred(centre) => {
                let mut bias = self.scores(&spread, &centre.means)?;
                self.eval.negate_assign(&mut bias);
                let offset = self.eval.copy_at_level(&centre.offset, bias.level())?;
                self.eval.add_assign(&mut bias, &offset)?;
                Bias::Added(bias)
            }
        };
        Ok(spread)
    }

    /// Slot `(f, r)` gets the weight of lane `f + r` for class `c = f mod period`: from slot `(f + r, c)`, which a rotation by `r`
    /// lanes brings to `(f, c)`, and one by `r - c` images to `(f, r)`.
    fn spread_block(&self, ct: &Ciphertext) -> Result<Ciphertext, TrainingError> {
        let (period, images) = (self.layout.period(), self.layout.images());
        let steps: Vec<i64> = (0..period).map(|r| self.layout.lane_step(r)).collect();
        let lanes = self.rotations(ct, &steps)?;
        let scale = self.target() * self.prime(ct.level()) / ct.scale().value();
        let masks = (0..period)
            .map(|c| {
                self.plain(ct.level(), scale, |f, i| {
                    f64::from(u8::from(i == c && f % period == c)).into()
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        // For each distance between class and place the sum over all r.
        let shifts: Vec<i64> = (1 - period as i64..period as i64).collect();
        let shifted = shifts
            .par_iter()
            .map(|shift| {
                let mut sum: Option<Ciphertext> = None;
                for (r, rotated) in lanes.iter().enumerate() {
                    let Some(mask) = usize::try_from(r as i64 + shift)
                        .ok()
                        .and_then(|c| masks.get(c))
                    else {
                        continue;
                    };
                    let term = self.eval.mul_plain(rotated, mask)?;
                    match &mut sum {
                        None => sum = Some(term),
                        Some(sum) => self.eval.add_assign(sum, &term)?,
                    }
                }
                Ok(sum)
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let terms: Vec<(&Ciphertext, i64)> = shifted
            .iter()
            .zip(&shifts)
            .filter_map(|(sum, shift)| Some((sum.as_ref()?, *shift)))
            .collect();
        let mut sum = self.eval.rotate_sum(&terms)?;
        let max = ct.tracked().max;
        sum.declare_values(max, max);
        // The places below the period, repeated.
        let sum = self.eval.rescale(&sum)?;
        let mut out = self.window_sum(sum, -(period as i64), images / period)?;
        out.declare_values(max, max);
        Ok(out)
    }

    /// Scores of the images of one group: slot `(f, i)` is the score of class `f mod period` for image `i`.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for weights that are not spread, [`TrainingError::Count`] for features of another number of
    /// blocks, [`TrainingError::Eval`] for too few levels: the features need two more than the scores, the weights one.
    pub fn scores(
        &self,
        head: &Head,
        features: &[Ciphertext],
    ) -> Result<Ciphertext, TrainingError> {
        if head.form != WeightForm::Spread {
            let (what, expected) = ("form of the weights", "spread, as by Trainer::spread");
            return Err(TrainingError::setting(what, "plain", expected));
        }
        self.check_blocks("blocks of weights", head.blocks.len())?;
        self.check_blocks("blocks of features", features.len())?;
        let below = |ct: &Ciphertext| ct.level().limbs().saturating_sub(1);
        let features_level = features.iter().map(below).min().unwrap_or(0);
        let level = head.level().min(Level::new(features_level.max(1)));
        let meeting = Meeting {
            weights: &head.blocks,
            bias: None,
            factor: 1.0,
            scale: self.target(),
        };
        let mut scores = self.meet(&meeting, features, level)?;
        if let Bias::Added(bias) = &head.bias {
            let bias = self.eval.copy_at_level(bias, scores.level())?;
            self.eval.add_assign(&mut scores, &bias)?;
        }
        Ok(scores)
    }

    /// The scores where weights at `level` meet features at one level above, or higher. One level below.
    pub(crate) fn meet(
        &self,
        meeting: &Meeting<'_>,
        features: &[Ciphertext],
        level: Level,
    ) -> Result<Ciphertext, TrainingError> {
        let period = self.layout.period();
        let steps: Vec<i64> = (0..period as i64).collect();
        let mut sum: Option<Ciphertext> = None;
        for (weights, x) in meeting.weights.iter().zip(features) {
            let weights = self.eval.copy_at_level(weights, level)?;
            let scale = meeting.scale * self.prime(level) / weights.scale().value();
            let skewed = self.skewed(x, level, scale, meeting.factor)?;
            let weights = self.rotations(&weights, &steps)?;
            let pairs: Vec<_> = skewed.iter().zip(&weights).collect();
            let block = self.eval.sum_of_products(&pairs, level)?;
            match &mut sum {
                None => sum = Some(block),
                Some(sum) => self.eval.add_assign(sum, &block)?,
            }
        }
        let mut sum = sum.ok_or(TrainingError::Count {
            what: "blocks of features",
            found: 0,
            expected: 1,
        })?;
        let lanes = self.layout.lanes();
        if let Some((bias, constant)) = meeting.bias {
            // It is in all the lanes that are added up.
            let part = constant * meeting.factor * period as f64 / lanes as f64;
            self.eval.add_scaled_assign(&mut sum, bias, part)?;
        }
        let sum = self.eval.relinearize_rescale(sum)?;
        self.window_sum(sum, self.layout.lane_step(period), lanes / period)
    }

    /// For each `k` below the period the features with, in slot `(f, i)`, lane `f + (i + k) mod period` of image `i`, times
    /// `factor`; at `level`, from features one level above or higher.
    pub(crate) fn skewed(
        &self,
        x: &Ciphertext,
        level: Level,
        scale: f64,
        factor: f64,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let period = self.layout.period();
        let above = Level::new(level.limbs() + 1);
        let x = self.eval.copy_at_level(x, above)?;
        let weight_scale = scale * self.prime(above) / x.scale().value();
        let mut masks = PeriodicMatrix::new(period, period, period, Scale::new(weight_scale))?;
        for k in 0..period {
            for r in 0..period {
                let cells: Vec<f64> = (0..period)
                    .map(|i| if (i + k) % period == r { factor } else { 0.0 })
                    .collect();
                masks.set_masked(k, r, &cells)?;
            }
        }
        let steps: Vec<i64> = (0..period).map(|r| self.layout.lane_step(r)).collect();
        let rotated = self.rotations(&x, &steps)?;
        let unrescaled = Scale::new(x.scale().value() * weight_scale);
        let mut out = (0..period)
            .map(|_| self.eval.zero(above, unrescaled))
            .collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<&Ciphertext> = rotated.iter().collect();
        let mut outputs: Vec<&mut Ciphertext> = out.iter_mut().collect();
        self.eval.matmul_accumulate(&mut outputs, &inputs, &masks)?;
        let bound = factor.abs() * x.tracked().max;
        out.par_iter_mut()
            .map(|ct| {
                ct.declare_values(bound, bound);
                Ok(self.eval.rescale(ct)?)
            })
            .collect()
    }

    /// The spread gradient's products: the sum over all images of `excess` times the features, in the slots `(f, r)` with `r` below
    /// the period; other slots hold numbers of no meaning. One level below the excess; features one above or higher.
    /// `groups`: excess as [`Self::turned_back`] gives it, and features of one block.
    pub(crate) fn correlate(
        &self,
        groups: &[(&[Ciphertext], &Ciphertext)],
        scale: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let period = self.layout.period();
        let level = groups.iter().flat_map(|(excess, _)| *excess);
        let level = level.map(Ciphertext::level).min().unwrap_or(Level::new(1));
        let moved = groups
            .iter()
            .map(|(_, x)| {
                let skewed = self.skewed(x, level, scale, 1.0)?;
                skewed
                    .into_par_iter()
                    .enumerate()
                    .map(|(k, ct)| match k {
                        0 => Ok(ct),
                        _ => Ok(self.eval.rotate(&ct, -(k as i64))?),
                    })
                    .collect::<Result<Vec<_>, TrainingError>>()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let pairs: Vec<(&Ciphertext, &Ciphertext)> = moved
            .iter()
            .zip(groups)
            .flat_map(|(moved, (excess, _))| moved.iter().zip(*excess))
            .collect();
        let sum = self.eval.sum_of_products(&pairs, level)?;
        let sum = self.eval.relinearize_rescale(sum)?;
        self.window_sum(sum, period as i64, self.layout.places())
    }

    /// The sums over the images of each group, in the slots `(f, r)` with `r` below the period; one level below, at the target
    /// scale. `groups`: a ciphertext and its number of images.
    pub(crate) fn image_sums<'a>(
        &self,
        groups: impl Iterator<Item = (&'a Ciphertext, usize)>,
    ) -> Result<Ciphertext, TrainingError> {
        let period = self.layout.period();
        let mut sum: Option<Ciphertext> = None;
        for (ct, images) in groups {
            let term = self.masked(ct, self.target(), |_, i| {
                f64::from(u8::from(i < images)).into()
            })?;
            match &mut sum {
                None => sum = Some(term),
                Some(sum) => self.eval.add_assign(sum, &term)?,
            }
        }
        let sum = sum.ok_or(TrainingError::Count {
            what: "groups of images",
            found: 0,
            expected: 1,
        })?;
        let sum = self.eval.rescale(&sum)?;
        // Slot `(f, r)` gets the images from `r - period + 1` on, and then those a multiple of the period further. What is before
        // the first image is behind the last one of the lane before: empty.
        let near = self.window_sum(sum, -1, period)?;
        self.window_sum(near, period as i64, self.layout.places())
    }

    /// `excess` rotated back by each number below the period, as [`Self::correlate`] takes it.
    pub(crate) fn turned_back(
        &self,
        excess: &Ciphertext,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let steps: Vec<i64> = (0..self.layout.period()).map(|k| -(k as i64)).collect();
        self.rotations(excess, &steps)
    }

    /// The slots `(f, r)` with `r` below the period, times `factor`; zero elsewhere. Not rescaled: it is for the target scale.
    pub(crate) fn cut(
        &self,
        ct: &Ciphertext,
        factor: Complex64,
    ) -> Result<Ciphertext, TrainingError> {
        let period = self.layout.period();
        self.masked(ct, self.target(), |_, i| {
            if i < period { factor } else { Complex64::ZERO }
        })
    }

    /// Blocks that [`Self::cut`] made, side by side.
    pub(crate) fn packed(&self, cuts: &[Ciphertext]) -> Result<Vec<Ciphertext>, TrainingError> {
        let period = self.layout.period();
        let pack = |cuts: &[Ciphertext]| {
            let places = cuts.iter().enumerate();
            let terms: Vec<_> = places
                .map(|(place, ct)| (ct, -((place * period) as i64)))
                .collect();
            Ok(self.eval.rotate_sum(&terms)?)
        };
        cuts.chunks(self.layout.places()).map(pack).collect()
    }

    /// Spread weights, `blocks` ciphertexts, from packed ones of values of at most 1. One level below.
    pub(crate) fn unpacked(
        &self,
        packs: &[Ciphertext],
        blocks: usize,
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let layout = &self.layout;
        let (places, period) = (layout.places(), layout.period());
        let mut out = Vec::with_capacity(blocks);
        for (pack, first) in packs.iter().zip((0..blocks).step_by(places)) {
            let count = places.min(blocks - first);
            let steps: Vec<i64> = (0..count).map(|place| (place * period) as i64).collect();
            let rotated = self.rotations(pack, &steps)?;
            let unpacked = rotated
                .into_par_iter()
                .map(|ct| {
                    let cut = self.eval.rescale(&self.cut(&ct, Complex64::ONE)?)?;
                    drop(ct);
                    let mut block = self.window_sum(cut, -(period as i64), places)?;
                    block.declare_values(1.0, 1.0);
                    Ok(block)
                })
                .collect::<Result<Vec<_>, TrainingError>>()?;
            out.extend(unpacked);
        }
        Ok(out)
    }
}
