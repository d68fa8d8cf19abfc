//! The softmax as a sequence of operations, written down once: for ciphertexts, for numbers, and for counting levels.

use super::inverse::Inverse;
use super::schedule::{Schedule, gain_below_one};

/// What the softmax is made of. A value holds one number for each image and class.
pub(crate) trait Arithmetic {
    /// Numbers of all images and classes.
    type Value;
    /// What can go wrong.
    type Error;

    /// `gain ((x + 1)^2 + 1)` for classes, 0 for what pads them. One level.
    fn start(&self, x: Self::Value, gain: f64) -> Result<Self::Value, Self::Error>;

    /// For every class the sum over all classes.
    fn class_sum(&self, x: &Self::Value) -> Result<Self::Value, Self::Error>;

    /// `a - x`.
    fn subtracted_from(&self, a: f64, x: &Self::Value) -> Result<Self::Value, Self::Error>;

    /// `(x - centre)^2 + offset`. One level.
    fn quadratic(
        &self,
        x: &Self::Value,
        centre: f64,
        offset: f64,
    ) -> Result<Self::Value, Self::Error>;

    /// `gain a b`. One level.
    fn product(
        &self,
        a: &Self::Value,
        b: &Self::Value,
        gain: f64,
    ) -> Result<Self::Value, Self::Error>;

    /// `gain a b - labels`. One level.
    fn product_less_labels(
        &self,
        a: &Self::Value,
        b: &Self::Value,
        gain: f64,
    ) -> Result<Self::Value, Self::Error>;

    /// The same values, none above 1, refreshed unless they have `levels` levels left.
    fn with_levels(&self, x: Self::Value, levels: usize) -> Result<Self::Value, Self::Error>;
}

/// `softmax(2^k x) - labels`, for `|x| <= 1`. `levels_after`: levels that whoever reads the result needs.
pub(crate) fn excess<A: Arithmetic>(
    a: &A,
    schedule: &Schedule,
    scores: A::Value,
    levels_after: usize,
) -> Result<A::Value, A::Error> {
    let divisions = schedule.squared.iter().chain(&schedule.last);
    let mut levels: Vec<usize> = divisions.map(Inverse::levels).collect();
    *levels.last_mut().expect("a last division") += levels_after;
    let start = a.start(scores, schedule.first_gain)?;
    let mut p = a.with_levels(start, levels[0])?;
    for (z, next) in schedule.squared.iter().zip(&levels[1..]) {
        let y = divided(a, &p, z)?;
        // Not after the square: a refresh adds the same error to numbers whose sum is near 1 and to their squares, which are smaller, and
        // every square to come doubles what it is relative to them.
        let y = a.with_levels(y, 1 + next)?;
        p = a.product(&y, &y, 1.0)?;
    }
    let (precise, others) = schedule.last.split_last().expect("a last division");
    for (z, next) in others.iter().zip(&levels[schedule.squared.len() + 1..]) {
        p = a.with_levels(divided(a, &p, z)?, *next)?;
    }
    let (y, factor) = halves(a, &p, precise)?;
    a.product_less_labels(&y, &factor, precise.shares.rest)
}

/// The numbers divided by about their sum, which is at most 1 afterwards.
fn divided<A: Arithmetic>(a: &A, p: &A::Value, z: &Inverse) -> Result<A::Value, A::Error> {
    let (y, factor) = halves(a, p, z)?;
    a.product(&y, &factor, gain_below_one(z))
}

/// Two values whose product is `p z(S)`, but for the last share of its gain, with the sum `S` of `p`.
fn halves<A: Arithmetic>(
    a: &A,
    p: &A::Value,
    z: &Inverse,
) -> Result<(A::Value, A::Value), A::Error> {
    let sum = a.class_sum(p)?;
    let quadratic = |(centre, offset): (f64, f64)| a.quadratic(&sum, centre, offset);
    let first = a.product(p, &a.subtracted_from(z.shift, &sum)?, z.shares.first)?;
    match z.quadratics[..] {
        [only] => Ok((first, quadratic(only)?)),
        [low, middle, high] => {
            let left = a.product(&first, &quadratic(middle)?, z.shares.left)?;
            let right = a.product(&quadratic(low)?, &quadratic(high)?, z.shares.right)?;
            Ok((left, right))
        }
        _ => unreachable!("polynomials of a schedule have degree 3 or 7"),
    }
}
