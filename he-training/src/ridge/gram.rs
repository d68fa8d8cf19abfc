//! The sums over images: `G` and `M`, accumulated under encryption.
//!
//! `G` is kept by its lane diagonals `D_k[f] = G[f, f + k]`, in the form in which baby steps and giant steps use it: for
//! `k = g width + r`, rotated back by `g width` lanes. That is the sum over images of `x[f - g width] x[f + r]`, so that
//! `lanes / width + width` rotations of the features make all diagonals. `G` is symmetric: half of the diagonals of a block with
//! itself are sums, the others are rotations of them.

use ckks_scheme::{Ciphertext, Complex64};
use rayon::prelude::*;

use super::Ridge;
use super::centre::{Totals, steps};
use crate::error::TrainingError;
use crate::group::Group;
use crate::head::Centre;
use crate::layout::FeatureLayout;
use crate::trainer::Trainer;

/// Baby steps of the diagonals: at least one for each class, which the labels need too.
pub(super) fn width(layout: &FeatureLayout) -> usize {
    let root = 1usize << layout.lanes().ilog2().div_ceil(2);
    root.max(layout.period())
}

/// Which diagonals are summed up: pairs of blocks, and the diagonal.
fn summed(layout: &FeatureLayout) -> Vec<(usize, usize, usize)> {
    let (blocks, lanes) = (layout.blocks(), layout.lanes());
    let pairs = (0..blocks).flat_map(|a| (a..blocks).map(move |b| (a, b)));
    let diagonals = pairs.flat_map(|(a, b)| {
        let most = if a == b { lanes / 2 } else { lanes - 1 };
        (0..=most).map(move |k| (a, b, k))
    });
    diagonals.collect()
}

/// Sums over the images seen so far, three polynomials each.
#[derive(Debug)]
pub struct Moments<'a> {
    trainer: &'a Trainer,
    gram: Vec<Option<Ciphertext>>,
    /// For each block and each distance `k` between lane and class the sum of `x[f] y[f + k]`.
    cross: Vec<Option<Ciphertext>>,
    totals: Totals,
    images: usize,
}

/// `G` and `M`, ready for iterations.
#[derive(Debug)]
pub(super) struct Finished {
    /// `[block][block][diagonal]`, in slots `(f, c)` with `c` below the period; other slots are zero.
    pub gram: Vec<Vec<Vec<Ciphertext>>>,
    /// Plain, in units of the weights' bound.
    pub cross: Vec<Ciphertext>,
    /// With a bias, for the head.
    pub centre: Option<Centre>,
}

impl<'a> Moments<'a> {
    /// Sums over no images.
    pub fn new(trainer: &'a Trainer) -> Self {
        let none = |count: usize| std::iter::repeat_with(|| None).take(count).collect();
        let layout = &trainer.layout;
        Self {
            gram: none(summed(layout).len()),
            cross: none(layout.blocks() * layout.period()),
            totals: Totals::default(),
            images: 0,
            trainer,
        }
    }

    /// Images seen so far.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Adds a group of images. All groups at one level and scale. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`TrainingError::Count`] for a group of another number of blocks, [`TrainingError::Eval`].
    pub fn add(&mut self, group: &Group) -> Result<(), TrainingError> {
        let t = self.trainer;
        let layout = &t.layout;
        t.check_blocks("blocks of features", group.features.len())?;
        let width = width(layout);
        let (babies, giants) = steps(layout);
        let of_all = |steps: &[i64]| {
            let features = group.features.iter();
            features
                .map(|x| t.rotations(x, steps))
                .collect::<Result<Vec<_>, _>>()
        };
        let (forward, back) = (of_all(&babies)?, of_all(&giants)?);
        let add = |sum: &mut Option<Ciphertext>, a: &Ciphertext, b: &Ciphertext| {
            let term = t
                .eval
                .sum_of_products(&[(a, b)], a.level().min(b.level()))?;
            match sum {
                None => *sum = Some(term),
                Some(sum) => t.eval.add_assign(sum, &term)?,
            }
            Ok::<_, TrainingError>(())
        };
        self.gram
            .par_iter_mut()
            .zip(summed(layout))
            .try_for_each(|(sum, (a, b, k))| {
                add(sum, &back[a][k / width], &forward[b][k % width])
            })?;
        let labels = t.rotations(&group.labels, &babies[..layout.period()])?;
        self.cross
            .par_iter_mut()
            .enumerate()
            .try_for_each(|(at, sum)| {
                let (block, k) = (at / layout.period(), at % layout.period());
                add(sum, &group.features[block], &labels[k])
            })?;
        self.totals.add(t, &group.features, &group.labels)?;
        self.images += group.images;
        Ok(())
    }

    /// The means over all images: two levels below the features. `scale`: of the diagonals.
    pub(super) fn finish(self, ridge: &Ridge, scale: f64) -> Result<Finished, TrainingError> {
        let t = self.trainer;
        let layout = &t.layout;
        let (period, images) = (layout.period(), layout.images());
        let entry = ridge.trace_bound();
        let share = 1.0 / self.images.max(1) as f64;
        let total = |sum: Option<Ciphertext>| {
            let sum = sum.ok_or(TrainingError::Count {
                what: "images",
                found: 0,
                expected: 1,
            })?;
            let sum = t.eval.relinearize_rescale(sum)?;
            t.window_sum(sum, 1, images)
        };
        let first = |_: usize, i: usize| Complex64::from(if i == 0 { share } else { 0.0 });
        let unit = ridge.weight_bound();
        let means = match ridge.bias {
            true => {
                let bounds = (ridge.norm_bound, unit);
                Some(self.totals.finish(t, share, bounds, scale)?)
            }
            false => None,
        };
        let direct = self
            .gram
            .into_par_iter()
            .zip(summed(layout))
            .map(|(sum, place)| {
                let mut cut = t.masked(&total(sum)?, scale, first)?;
                if let Some(means) = &means {
                    means.centre_diagonal(t, &mut cut, place)?;
                }
                let cut = t.eval.rescale(&cut)?;
                let mut out = t.window_sum(cut, -1, period)?;
                out.declare_values(entry, entry);
                Ok(out)
            })
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let sums = self
            .cross
            .into_par_iter()
            .map(total)
            .collect::<Result<Vec<_>, TrainingError>>()?;
        let cross = sums
            .chunks(period)
            .enumerate()
            .map(|(block, sums)| {
                let mut cross = placed(t, sums, share / unit, t.target())?;
                if let Some(means) = &means {
                    means.centre_cross(t, &mut cross, block)?;
                }
                cross.declare_values(1.0, 1.0);
                Ok(t.eval.rescale(&cross)?)
            })
            .collect::<Result<_, TrainingError>>()?;
        Ok(Finished {
            gram: all_diagonals(t, direct)?,
            cross,
            centre: means.map(|means| means.centre),
        })
    }
}

/// Plain slots `(f, c)` from, for every `k` below the period, the sums for lane `f` and class `f + k` in slots `(f, 0)`: those
/// with `f + k = c` modulo the period are cut out for every class, and moved to its place. Times `factor`, not rescaled: it is for
/// `scale`.
pub(super) fn placed(
    t: &Trainer,
    sums: &[Ciphertext],
    factor: f64,
    scale: f64,
) -> Result<Ciphertext, TrainingError> {
    let period = sums.len();
    let of_class = (0..period)
        .into_par_iter()
        .map(|class| {
            let mut total: Option<Ciphertext> = None;
            for (k, sum) in sums.iter().enumerate() {
                let term = t.masked(sum, scale, |f, i| {
                    let hit = i == 0 && (f + k) % period == class;
                    if hit { factor.into() } else { Complex64::ZERO }
                })?;
                match &mut total {
                    None => total = Some(term),
                    Some(total) => t.eval.add_assign(total, &term)?,
                }
            }
            Ok(total)
        })
        .collect::<Result<Vec<_>, TrainingError>>()?;
    let terms: Vec<(&Ciphertext, i64)> = of_class
        .iter()
        .enumerate()
        .filter_map(|(class, sum)| Some((sum.as_ref()?, -(class as i64))))
        .collect();
    Ok(t.eval.rotate_sum(&terms)?)
}

/// All diagonals of all pairs of blocks from those that were summed up.
fn all_diagonals(
    t: &Trainer,
    direct: Vec<Ciphertext>,
) -> Result<Vec<Vec<Vec<Ciphertext>>>, TrainingError> {
    let layout = &t.layout;
    let (blocks, lanes, width) = (layout.blocks(), layout.lanes(), width(layout));
    // D_k is the transposed block's D_(lanes - k), rotated by k lanes. What is kept of the one is rotated back by its own
    // giant step, and of the other by that of k, which leaves the baby step of k.
    let mirrored = |a: usize, b: usize, k: usize| a > b || a == b && k > lanes / 2;
    let at = |a: usize, b: usize, k: usize| {
        let found = summed(layout).iter().position(|entry| *entry == (a, b, k));
        found.expect("a diagonal that was summed up")
    };
    let mut wanted = Vec::new();
    for (a, b) in (0..blocks).flat_map(|a| (0..blocks).map(move |b| (a, b))) {
        wanted.extend((0..lanes).map(|k| (a, b, k)));
    }
    let rotated = wanted
        .par_iter()
        .filter(|(a, b, k)| mirrored(*a, *b, *k))
        .map(|&(a, b, k)| {
            let other = (lanes - k) % lanes;
            let source = &direct[at(b, a, other)];
            let giant = other / width * width;
            let turned = t.eval.rotate(source, layout.lane_step(giant))?;
            Ok(t.eval.rotate(&turned, layout.lane_step(k % width))?)
        })
        .collect::<Result<Vec<_>, TrainingError>>()?;
    let (mut direct, mut rotated) = (direct.into_iter(), rotated.into_iter());
    let mut out: Vec<Vec<Vec<Ciphertext>>> = (0..blocks)
        .map(|_| (0..blocks).map(|_| Vec::with_capacity(lanes)).collect())
        .collect();
    // Both lists are in the order of `wanted`.
    for (a, b, k) in wanted {
        let next = if mirrored(a, b, k) {
            &mut rotated
        } else {
            &mut direct
        };
        out[a][b].extend(next.next());
    }
    Ok(out)
}
