//! How diagonals are split into baby steps and giant steps.

use super::DiagonalPattern;
use crate::error::EvalError;
use std::collections::BTreeSet;

/// Most diagonals between two giant steps: as many products as a sum may gather are four times that.
const MAX_WIDTH: usize = 1024;

/// `diagonal = anchor + sign (b + g)` with `0 <= b < width`, g a multiple of the width: rotations by `anchor + sign b`
/// are shared by all giant steps, and the giant steps are taken one after the other, from the last to the first, so
/// that equal distances between them need one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Rotations of the input, ascending.
    pub(super) babies: Vec<i64>,
    /// Giant steps in order of evaluation: by falling distance from 0, which is the last one.
    pub(super) giants: Vec<i64>,
    /// Diagonals up to this one count forwards, those above backwards from the dimension.
    largest: i64,
    dim: i64,
    anchor: i64,
    sign: i64,
    width: i64,
}

impl Split {
    /// As [`Self::best`], for a transform in a ring of degree `degree`.
    pub(super) fn checked(
        pattern: &DiagonalPattern,
        degree: usize,
        giant_cost: f64,
    ) -> Result<Self, EvalError> {
        let error = |what, found, expected| EvalError::Shape {
            op: "linear transform",
            what,
            found,
            expected,
        };
        let slots = degree / 2;
        if !slots.is_multiple_of(pattern.dim) {
            return Err(error("dimension", pattern.dim, slots));
        }
        Self::best(pattern, giant_cost).ok_or_else(|| error("number of diagonals", 0, 1))
    }

    /// The cheapest one, where a giant step costs as much as `giant_cost` baby steps; of equally good ones, the one with
    /// the fewest keys. `None` for a matrix without diagonals.
    pub(super) fn best(pattern: &DiagonalPattern, giant_cost: f64) -> Option<Self> {
        let dim = pattern.dim as i64;
        let mut best: Option<((f64, usize), Self)> = None;
        for largest in [dim, dim / 2] {
            let diagonals = pattern.diagonals.iter();
            let signed = diagonals.map(|d| signed(*d, largest, dim));
            let steps: BTreeSet<i64> = signed.collect();
            let (least, most) = (*steps.first()?, *steps.last()?);
            // All distances are multiples of this.
            let unit = steps.iter().fold(0, |acc, s| gcd(acc, s - least)).max(1);
            for (anchor, sign) in [(least, 1), (most, -1)] {
                let widths = (unit..=most - least + unit).step_by(unit as usize);
                for width in widths.take(MAX_WIDTH) {
                    let mut split = Self {
                        babies: Vec::new(),
                        giants: Vec::new(),
                        largest,
                        dim,
                        anchor,
                        sign,
                        width,
                    };
                    let (babies, giants): (BTreeSet<i64>, BTreeSet<i64>) =
                        steps.iter().map(|s| split.of_signed(*s)).unzip();
                    split.babies = babies.into_iter().collect();
                    split.giants = giants.into_iter().collect();
                    split.giants.sort_by_key(|g| -g.abs());
                    let cost = (split.cost(giant_cost), split.keys());
                    if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                        best = Some((cost, split));
                    }
                }
            }
        }
        best.map(|(_, split)| split)
    }

    /// Baby step and giant step of a diagonal.
    pub(super) fn of(&self, diagonal: usize) -> (i64, i64) {
        self.of_signed(signed(diagonal, self.largest, self.dim))
    }

    fn of_signed(&self, step: i64) -> (i64, i64) {
        let offset = self.sign * (step - self.anchor);
        let baby = offset % self.width;
        (self.anchor + self.sign * baby, self.sign * (offset - baby))
    }

    /// Rotations between a giant step and the next, in order of evaluation.
    pub(super) fn giant_rotations(&self) -> impl Iterator<Item = i64> {
        self.giants.windows(2).map(|pair| pair[0] - pair[1])
    }

    fn keyed_babies(&self) -> usize {
        self.babies.iter().filter(|s| **s != 0).count()
    }

    fn cost(&self, giant_cost: f64) -> f64 {
        self.keyed_babies() as f64 + giant_cost * (self.giants.len() - 1) as f64
    }

    fn keys(&self) -> usize {
        let mut keys: BTreeSet<i64> = self.babies.iter().copied().filter(|s| *s != 0).collect();
        keys.extend(self.giant_rotations());
        keys.len()
    }
}

fn signed(diagonal: usize, largest: i64, dim: i64) -> i64 {
    let step = diagonal as i64;
    if step > largest { step - dim } else { step }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(dim: usize, diagonals: impl IntoIterator<Item = i64>) -> DiagonalPattern {
        let index = |d: i64| d.rem_euclid(dim as i64) as usize;
        DiagonalPattern {
            dim,
            diagonals: diagonals.into_iter().map(index).collect(),
            period: dim,
        }
    }

    /// Keys and giant steps after the first.
    fn shape(matrix: &DiagonalPattern, giant_cost: f64) -> (usize, usize) {
        let split = Split::best(matrix, giant_cost).expect("diagonals");
        for d in &matrix.diagonals {
            let (baby, giant) = split.of(*d);
            let dim = matrix.dim as i64;
            assert_eq!((baby + giant).rem_euclid(dim), *d as i64);
            assert!(split.babies.contains(&baby) && split.giants.contains(&giant));
        }
        assert_eq!(split.giants.last(), Some(&0));
        (split.keys(), split.giants.len() - 1)
    }

    #[test]
    fn a_range_from_zero_takes_one_giant_key_and_no_key_for_the_first_baby() {
        for sign in [1, -1] {
            let range = matrix(1024, (0..63).map(|d| sign * d));
            assert_eq!(shape(&range, 1.0), (7, 8));
            assert_eq!(shape(&range, 0.3), (4, 15));
            assert_eq!(shape(&range, 3.0), (13, 4));
            let stretched = matrix(1024, (0..16).map(|d| sign * 32 * d));
            assert_eq!(shape(&stretched, 1.0), (4, 3));
        }
        // Around zero, one giant step goes the long way round.
        assert_eq!(shape(&matrix(1024, -31..32), 1.0), (9, 7));
    }

    #[test]
    fn scattered_diagonals_are_rotated_to_one_by_one() {
        assert_eq!(shape(&matrix(128, [9]), 1.0), (1, 0));
        assert_eq!(shape(&matrix(128, [0]), 1.0), (0, 0));
        assert_eq!(shape(&matrix(128, [0, 3, 77, -2]), 4.0), (3, 0));
        assert_eq!(Split::best(&matrix(4, []), 1.0), None);
    }
}
