//! A softmax of polynomials: which, on which ranges, in how many levels.
//!
//! A score `s` of at most `2^k` is divided by `2^k`, and `u = ((1 + x)^2 + 1) / 2` stands for `exp(x)`: `2^k ln u(s / 2^k)`
//! differs from `s` by at most `s^3 / (6 4^k)` to first order. Then `k` times: the numbers of an image are divided by
//! about their sum, and squared. Whatever a number is divided by is the same for all classes of an image, so that only the last
//! divisions have to be precise. In the end there is `u^(2^k)` over its sum.
//!
//! Ranges are proved stage by stage. With `n` classes and a sum within `[a, 1]`, the sum of the squares is within
//! `[a^2 / n, 1]`, because the numbers are not negative. That interval is what the next polynomial is made for. For more than 20
//! classes it becomes so long, square after square, that degree 7 does not do.

use super::inverse::Inverse;
use crate::error::{TrainingError, check};

/// Degrees of polynomials that are tried.
const DEGREES: [usize; 2] = [3, 7];
/// Most divisions after the last square.
const LAST_DIVISIONS: usize = 3;
/// Share of a range that is left for noise at each end.
const MARGIN: f64 = 0.01;
/// Most halvings of the scores.
pub(crate) const MOST_SQUARINGS: usize = 16;

/// The divisions and squares of one softmax.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// Factor of `(1 + x)^2 + 1`: the sum over the classes is at most 1.
    pub first_gain: f64,
    /// Divisions that a square follows.
    pub squared: Vec<Inverse>,
    /// Divisions at the end.
    pub last: Vec<Inverse>,
    /// Relative error of the sum of the probabilities.
    pub error: f64,
}

impl Schedule {
    /// The schedule of the fewest levels for `classes` classes, `squarings` squares, and a sum of probabilities within
    /// `tolerance` of 1.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] where there is none.
    pub fn new(classes: usize, squarings: usize, tolerance: f64) -> Result<Self, TrainingError> {
        check(
            (1..=MOST_SQUARINGS).contains(&squarings),
            "squarings of the softmax",
            squarings,
            format_args!("1 to {MOST_SQUARINGS}"),
        )?;
        let n = classes as f64;
        let mut search = Search {
            classes: n,
            tolerance,
            best: None,
        };
        // (1 + x)^2 + 1 is 1 to 5 for x from -1 to 1.
        search.squares(squarings, (1.0 - MARGIN) / 5.0, &mut Vec::new(), 0);
        let (_, squared, last) = search.best.ok_or_else(|| {
            let found = format!("{classes} classes, scores within 2^{squarings}, tolerance {tolerance}");
            let expected = "fewer classes (20 always do at a tolerance of 0.01), scores within less, or a larger tolerance";
            TrainingError::setting("range of the softmax", found, expected)
        })?;
        Ok(Self {
            first_gain: 1.0 / (5.0 * n * (1.0 + MARGIN)),
            error: last.last().map_or(1.0, |z| z.error),
            squared,
            last,
        })
    }

    /// Levels of the division `z` and the square after it.
    pub fn stage_levels(z: &Inverse) -> usize {
        z.levels() + 1
    }
}

/// The last share of the gain, so that the sum of what was divided by `z` is at most 1.
pub(crate) fn gain_below_one(z: &Inverse) -> f64 {
    z.shares.rest / ((1.0 + z.error) * (1.0 + MARGIN))
}

/// A search for the least levels.
struct Search {
    classes: f64,
    tolerance: f64,
    best: Option<(usize, Vec<Inverse>, Vec<Inverse>)>,
}

impl Search {
    fn worse(&self, levels: usize) -> bool {
        self.best
            .as_ref()
            .is_some_and(|(least, ..)| levels >= *least)
    }

    /// `least`: least sum of the numbers that come in, where the largest is 1.
    fn squares(&mut self, left: usize, least: f64, squared: &mut Vec<Inverse>, levels: usize) {
        // No stage takes fewer levels.
        if self.worse(levels + 3 * left) || least < 1e-6 {
            return;
        }
        if left == 0 {
            return self.ends(least, squared, &mut Vec::new(), levels);
        }
        for degree in DEGREES {
            let z = Inverse::new(least, degree);
            let sum = (1.0 - z.error) / (1.0 + z.error) / (1.0 + MARGIN).powi(2);
            let next = sum * sum / self.classes * (1.0 - MARGIN);
            let more = levels + Schedule::stage_levels(&z);
            squared.push(z);
            self.squares(left - 1, next, squared, more);
            squared.pop();
        }
    }

    fn ends(&mut self, least: f64, squared: &[Inverse], last: &mut Vec<Inverse>, levels: usize) {
        for degree in DEGREES {
            let z = Inverse::new(least, degree);
            let more = levels + z.levels();
            if self.worse(more) {
                continue;
            }
            let (error, next) = (z.error, (1.0 - z.error) / (1.0 + z.error) * (1.0 - MARGIN));
            last.push(z);
            if error <= self.tolerance {
                self.best = Some((more, squared.to_vec(), last.clone()));
            } else if last.len() < LAST_DIVISIONS {
                self.ends(next, squared, last, more);
            }
            last.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_precise_enough_and_short() {
        for (classes, squarings) in [(2, 1), (3, 4), (10, 6), (10, 8), (20, 16), (100, 1)] {
            let schedule = Schedule::new(classes, squarings, 0.01).expect("a schedule");
            assert_eq!(schedule.squared.len(), squarings);
            assert!(schedule.error <= 0.01);
            let levels: usize = schedule.squared.iter().map(Schedule::stage_levels).sum();
            assert!(levels <= 4 * squarings, "{classes} {squarings}: {levels}");
        }
        for squarings in [0, 17] {
            assert!(Schedule::new(10, squarings, 0.01).is_err());
        }
        // Sums of so many squares become too small for a division of degree 7.
        let refused = Schedule::new(100, 5, 0.01).expect_err("too many classes");
        let text = refused.to_string();
        assert!(text.contains("100 classes, scores within 2^5"), "{text}");
    }
}
