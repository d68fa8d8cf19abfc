//! Levels of one step, counted before anything is encrypted.

use super::Derived;
use super::circuit::{Arithmetic, excess};
use crate::error::{TrainingError, check};
use std::cell::Cell;

/// Levels of one step on one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLevels {
    /// Of the weights when they meet the features, and of the skewed features there. The features need one more.
    pub weights: usize,
    /// Highest level of a sum over classes.
    pub sums: usize,
    /// Of probabilities less labels. The features need one more.
    pub excess: usize,
    /// Of the weights at the end of a step, before they are refreshed.
    pub end: usize,
    /// Refreshes within the softmax, of one group of images or of two together.
    pub refreshes: usize,
    /// Products within the softmax.
    pub products: usize,
    /// Squares from the first refresh on: each doubles the error that it left.
    pub doublings: usize,
    /// Sums over classes.
    pub class_sums: usize,
}

/// Counts, and knows no values: a value is its level.
struct Counter {
    input: usize,
    output: usize,
    refreshes: Cell<usize>,
    products: Cell<usize>,
    checks: Cell<usize>,
    unrefreshed: Cell<Option<usize>>,
    class_sums: Cell<usize>,
    sums: Cell<usize>,
}

fn add(cell: &Cell<usize>) {
    cell.set(cell.get() + 1);
}

impl Counter {
    fn below(&self, level: usize) -> Result<usize, TrainingError> {
        add(&self.products);
        check(
            level > 1,
            "levels of a refreshed ciphertext",
            self.output,
            "more than a division of the softmax takes",
        )?;
        Ok(level - 1)
    }
}

impl Arithmetic for Counter {
    type Value = usize;
    type Error = TrainingError;

    fn start(&self, x: usize, _: f64) -> Result<usize, TrainingError> {
        self.below(x)
    }

    fn class_sum(&self, x: &usize) -> Result<usize, TrainingError> {
        add(&self.class_sums);
        self.sums.set(self.sums.get().max(*x));
        Ok(*x)
    }

    fn subtracted_from(&self, _: f64, x: &usize) -> Result<usize, TrainingError> {
        Ok(*x)
    }

    fn quadratic(&self, x: &usize, _: f64, _: f64) -> Result<usize, TrainingError> {
        self.below(*x)
    }

    fn product(&self, a: &usize, b: &usize, _: f64) -> Result<usize, TrainingError> {
        self.below(*a.min(b))
    }

    fn product_less_labels(&self, a: &usize, b: &usize, _: f64) -> Result<usize, TrainingError> {
        self.below(*a.min(b))
    }

    fn with_levels(&self, x: usize, levels: usize) -> Result<usize, TrainingError> {
        let before = self.checks.replace(self.checks.get() + 1);
        if x >= self.input + levels {
            return Ok(x);
        }
        add(&self.refreshes);
        if self.unrefreshed.get().is_none() {
            self.unrefreshed.set(Some(before));
        }
        check(
            self.output >= self.input + levels,
            "levels that a refresh gives",
            self.output - self.input,
            format_args!("{levels} or more"),
        )?;
        Ok(self.output)
    }
}

/// Levels that a step takes after the softmax: the gradient, and the mask that it is cut out with.
pub(crate) const LEVELS_AFTER: usize = 2;

/// Squares after the first refresh that leave the trained weights as precise as is wanted: with 14, and errors of 22 bits, they are
/// 0.2 % off (`docs/notes/training.md`).
const MOST_DOUBLINGS: usize = 14;

impl StepLevels {
    /// For refreshes from level `input` to level `output`. The weights meet the features at the lowest level from which the
    /// softmax needs no more refreshes than from the highest, and after the first of them [`MOST_DOUBLINGS`] squares at most, or as few
    /// as from the highest.
    pub(crate) fn new(
        derived: &Derived,
        (input, output): (usize, usize),
    ) -> Result<Self, TrainingError> {
        // The features are no higher than refreshed ones, and their skewed forms one lower.
        let highest = Self::at(derived, (input, output), output.saturating_sub(1))?;
        let lower =
            (input + 2..output.saturating_sub(1)).map(|at| Self::at(derived, (input, output), at));
        let doublings = MOST_DOUBLINGS.max(highest.doublings);
        let same =
            |levels: &Self| levels.refreshes == highest.refreshes && levels.doublings <= doublings;
        Ok(lower.flatten().find(same).unwrap_or(highest))
    }

    fn at(
        derived: &Derived,
        (input, output): (usize, usize),
        weights: usize,
    ) -> Result<Self, TrainingError> {
        let counter = Counter {
            input,
            output,
            refreshes: Cell::new(0),
            products: Cell::new(0),
            checks: Cell::new(0),
            unrefreshed: Cell::new(None),
            class_sums: Cell::new(0),
            sums: Cell::new(0),
        };
        let scores = counter.below(weights)?;
        let excess = excess(&counter, &derived.schedule, scores, LEVELS_AFTER)?;
        Ok(Self {
            weights,
            sums: counter.sums.get(),
            excess,
            end: excess - LEVELS_AFTER,
            refreshes: counter.refreshes.get(),
            products: counter.products.get(),
            // Levels are checked before the first division, and then before every square.
            doublings: counter.unrefreshed.get().map_or(0, |before| {
                let squares = derived.schedule.squared.len();
                squares.saturating_sub(before.saturating_sub(1))
            }),
            class_sums: counter.class_sums.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softmax::Softmax;

    #[test]
    fn weights_start_as_low_as_the_refreshes_allow_and_end_where_they_can_be_refreshed() {
        let derived = Softmax::default().derived(10, 110).expect("settings");
        let levels = StepLevels::new(&derived, (4, 14)).expect("levels");
        assert!(levels.end >= 4);
        assert!(levels.weights <= 13);
        let at = |weights| StepLevels::at(&derived, (4, 14), weights);
        let highest = at(13).expect("levels");
        assert_eq!(levels.refreshes, highest.refreshes);
        let higher = at(levels.weights + 1);
        assert_eq!(higher.map(|l| l.refreshes).ok(), Some(levels.refreshes));
        let lower = at(levels.weights - 1);
        assert!(lower.map_or(true, |l| l.refreshes > levels.refreshes));
        assert!(StepLevels::new(&derived, (4, 6)).is_err());
    }

    #[test]
    fn first_refresh_is_late_where_many_squares_come_after_it() {
        let doublings = |norm_bound, weights: Option<usize>| {
            let softmax = Softmax {
                norm_bound,
                ..Softmax::default()
            };
            let derived = softmax.derived(10, 110).expect("settings");
            let levels = match weights {
                None => StepLevels::new(&derived, (4, 12)),
                Some(weights) => StepLevels::at(&derived, (4, 12), weights),
            };
            let levels = levels.expect("levels");
            (
                derived.schedule.squared.len(),
                levels.weights,
                levels.doublings,
            )
        };
        // Two divisions before the first refresh, one, and none.
        assert_eq!(doublings(9.0, None), (15, 11, 14));
        assert_eq!(doublings(9.0, Some(8)), (15, 8, 15));
        assert_eq!(doublings(9.0, Some(6)), (15, 6, 15));
    }
}
