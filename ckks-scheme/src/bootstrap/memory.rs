//! Bounds on the limbs that a refresh holds at once.

use super::BootstrapOutline;
use crate::ciphertext::Level;
use crate::linear::TransformPlan;
use crate::params::{KeyShape, Parameters, digit_range};

/// Buffers that operations hold beside what is counted below.
const SPARE: usize = 8;

/// Limbs of the digits of one polynomial, and of the coefficients that they are made from.
fn digits(level: usize, shape: KeyShape) -> usize {
    let limbs = |digit| {
        let (from, to) = digit_range(level, shape.digit_limbs, digit);
        level - (to - from) + shape.specials
    };
    let count = shape.digits(Level::new(level));
    (0..count).map(limbs).sum::<usize>() + shape.digit_limbs
}

/// A key switch of a ciphertext of `parts` polynomials, with the result.
fn key_switch(params: &Parameters, level: usize, parts: usize) -> usize {
    let shape = params.key_shape(Level::new(level));
    let extended = 2 * (level + shape.specials);
    parts * level + digits(level, shape) + extended + 3 * level + SPARE
}

/// A linear transform: its input, the digits, the sums of all giant steps, and either the rotated limbs of the input or
/// what a giant step switches.
fn transform(params: &Parameters, t: &TransformPlan) -> usize {
    let shape = params.key_shape(t.level());
    let level = t.level().limbs();
    let extended = level + shape.specials;
    let digits = match t.ephemeral() {
        Some(_) => shape.specials,
        None => digits(level, shape),
    };
    let sums = 2 * extended * (t.giants().len() + 1);
    let rest = (2 * t.babies().len()).max(2 * extended);
    2 * level + digits + sums + rest + SPARE
}

/// The reduction of all parts, from `level` on.
fn eval_mod(boot: &BootstrapOutline, level: usize) -> usize {
    let polynomial = |(powers, splits): (usize, usize)| {
        // What is reduced, and the first to the last power; on the way down a product and part of the next at every split.
        let nested: usize = (1..=splits)
            .map(|depth| 4 * level.saturating_sub(depth))
            .sum();
        2 * level * (2 + powers) + nested
    };
    let polynomials = boot.eval_mod().polynomials().into_iter();
    let other_part = if boot.parts() == 2 { 2 * level } else { 0 };
    let largest = polynomials.map(polynomial).max().unwrap_or(0);
    largest + other_part + key_switch(boot.params().scheme(), level - 1, 1)
}

/// A whole refresh.
pub(super) fn refresh_limbs(boot: &BootstrapOutline) -> usize {
    let params = boot.params();
    let top = params.scheme().max_level().limbs();
    let transforms = boot.plans().map(|t| transform(params.scheme(), t));
    let transforms = transforms.max().unwrap_or(0);
    transforms
        .max(key_switch(params.scheme(), top, 4))
        .max(eval_mod(boot, params.eval_mod_level().limbs()))
}
