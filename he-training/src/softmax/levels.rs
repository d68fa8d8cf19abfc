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
    /// Of these, before the first refresh.
    pub unrefreshed: usize,
    /// Sums over classes.
    pub class_sums: usize,
}

/// Counts, and knows no values: a value is its level.
struct Counter {
    input: usize,
    output: usize,
    refreshes: Cell<usize>,
    products: Cell<usize>,
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
        if x >= self.input + levels {
            return Ok(x);
        }
        add(&self.refreshes);
        if self.unrefreshed.get().is_none() {
            self.unrefreshed.set(Some(self.products.get()));
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

impl StepLevels {
    /// For refreshes from level `input` to level `output`. The weights meet the features at the lowest level from which the
    /// softmax needs no more refreshes than from the highest, and the first of them no earlier: every square doubles the error of what was
    /// refreshed before it, so that the first refresh decides how precise the probabilities are.
    pub(crate) fn new(
        derived: &Derived,
        (input, output): (usize, usize),
    ) -> Result<Self, TrainingError> {
        // The features are no higher than refreshed ones, and their skewed forms one lower.
        let highest = Self::at(derived, (input, output), output.saturating_sub(1))?;
        let lower =
            (input + 2..output.saturating_sub(1)).map(|at| Self::at(derived, (input, output), at));
        let same = |levels: &Self| {
            (levels.refreshes, levels.unrefreshed) == (highest.refreshes, highest.unrefreshed)
        };
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
            unrefreshed: counter.unrefreshed.get().unwrap_or(counter.products.get()),
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
        let counts = |l: StepLevels| (l.refreshes, l.unrefreshed);
        assert_eq!(counts(levels), counts(highest));
        let lower = at(levels.weights - 1).map(counts);
        assert_ne!(lower.ok(), Some(counts(highest)));
        assert!(StepLevels::new(&derived, (4, 6)).is_err());
    }
}
