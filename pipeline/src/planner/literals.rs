//! Sizes of primes at 128-bit security: the largest that a ring, a number of levels and a number of digits leave.

use std::ops::RangeInclusive;

use ckks_scheme::params::max_log_qp_128;
use ckks_scheme::{BootstrapLiteral, ParamsLiteral};

use super::pins::Pins;

/// Bits of a special prime, and the most of a ciphertext prime.
pub(super) const WORD_BITS: u32 = 50;
/// Fewest bits of a ciphertext prime that leave a scale and weights worth having.
pub const LEAST_PRIME_BITS: u32 = 36;
/// Fewest bits of a level that a refresh gives back: below, the refresh itself is not precise.
const LEAST_REFRESH_BITS: u32 = 40;
/// Most bits of a level that a refresh gives back: above, its scale has no room beside the primes of EvalMod.
const MOST_REFRESH_BITS: u32 = 46;
/// Rings that are tried, by the base-2 logarithm of their degree.
pub(super) const RINGS: RangeInclusive<u32> = 13..=17;
/// Most digits of a key switch, without and with a bootstrapping.
pub(super) const MOST_DIGITS: usize = 6;
const MOST_BOOTSTRAP_DIGITS: usize = 8;

/// Those of `all` that the pins allow.
pub(super) fn rings(pins: &Pins, all: RangeInclusive<u32>) -> impl Iterator<Item = u32> {
    let pinned = pins.log_n;
    all.filter(move |n| pinned.is_none_or(|pin| pin == *n))
}

/// The largest primes for so many levels without a refresh, by the fewest digits; nothing if none are secure.
pub(super) fn plain_literal(log_n: u32, levels: usize, pins: &Pins) -> Option<ParamsLiteral> {
    let bits: Vec<u32> = match pins.prime_bits {
        Some(bits) => vec![bits],
        None => (LEAST_PRIME_BITS..=WORD_BITS).rev().collect(),
    };
    let digits: Vec<usize> = match pins.digits {
        Some(digits) => vec![digits],
        None => (2..=MOST_DIGITS).collect(),
    };
    bits.iter()
        .flat_map(|bits| digits.iter().map(move |digits| (*bits, *digits)))
        .map(|(bits, digits)| with_specials(log_n, vec![bits; levels], digits))
        .find(is_secure)
}

/// Special primes as long as the longest digit.
fn with_specials(log_n: u32, q_bits: Vec<u32>, digits: usize) -> ParamsLiteral {
    let in_digit = q_bits.len().div_ceil(digits);
    let digit_bits = q_bits.chunks(in_digit).map(|d| d.iter().sum::<u32>()).max();
    let specials = digit_bits.unwrap_or(0).div_ceil(WORD_BITS);
    ParamsLiteral {
        log_n,
        q_bits,
        p_bits: vec![WORD_BITS; specials as usize],
        digits,
    }
}

fn is_secure(literal: &ParamsLiteral) -> bool {
    let log_qp: u32 = literal.q_bits.iter().chain(&literal.p_bits).sum();
    log_qp <= max_log_qp_128(literal.log_n)
}

/// Limbs that a key switch half way up the chain transforms and multiplies: digits, inner product and the end.
pub(super) fn key_switch_units(literal: &ParamsLiteral) -> f64 {
    let (primes, specials) = (literal.q_bits.len(), literal.p_bits.len());
    let level = primes.div_ceil(2);
    let in_digit = primes.div_ceil(literal.digits);
    let extended = (level + specials) as f64;
    level.div_ceil(in_digit) as f64 * extended + 2.0 * extended
}

/// Chains whose refreshes give back `user` levels: base prime, SlotsToCoeffs and the user's levels, then EvalMod and
/// CoeffsToSlots. For every number of digits the largest primes.
pub(super) fn bootstrap_literals(
    log_n: u32,
    user: usize,
    pins: &Pins,
) -> Vec<(ParamsLiteral, BootstrapLiteral)> {
    literals_over(log_n, user, &BootstrapLiteral::full_complex(log_n), pins)
}

/// The same for any bootstrapping. One with a function has primes of one size: its values fill the base prime, and their
/// scale is near to it.
pub(super) fn literals_over(
    log_n: u32,
    user: usize,
    base: &BootstrapLiteral,
    pins: &Pins,
) -> Vec<(ParamsLiteral, BootstrapLiteral)> {
    let bits: Vec<u32> = match pins.prime_bits {
        Some(bits) => vec![bits],
        None => (LEAST_REFRESH_BITS..=MOST_REFRESH_BITS).rev().collect(),
    };
    let digits: Vec<usize> = match pins.digits {
        Some(digits) => vec![digits],
        None => (2..=MOST_BOOTSTRAP_DIGITS).collect(),
    };
    let literal = |bits: u32, digits| {
        let q_bits = std::iter::once(WORD_BITS)
            .chain(std::iter::repeat_n(bits, base.input_levels() + user))
            .chain(std::iter::repeat_n(
                if base.function().is_identity() {
                    WORD_BITS
                } else {
                    bits
                },
                base.depth(),
            ));
        with_specials(log_n, q_bits.collect(), digits)
    };
    let largest = |digits: &usize| {
        let literals = bits.iter().map(|bits| (*bits, literal(*bits, *digits)));
        let (bits, literal) = literals
            .into_iter()
            .find(|(_, literal)| is_secure(literal))?;
        let bootstrap = BootstrapLiteral {
            log_scale: f64::from(bits),
            ..base.clone()
        };
        Some((literal, bootstrap))
    };
    digits.iter().filter_map(largest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ckks_scheme::ModulusChain;
    use ckks_scheme::counts::PrimitiveCosts;

    #[test]
    fn key_switches_are_compared_as_by_the_cost_model() {
        let costs = PrimitiveCosts::built_in("avx512ifma", 16);
        let literals = [4, 10, 16]
            .into_iter()
            .flat_map(|user| bootstrap_literals(16, user, &Pins::default()));
        let ratios: Vec<f64> = literals
            .map(|(literal, _)| {
                let chain = ModulusChain::from_literal(&literal).expect("a chain");
                let level = ckks_scheme::Level::new(literal.q_bits.len().div_ceil(2));
                // Keys for the level itself have fewer special primes at work.
                let work = chain.counts().key_switch(level, chain.max_level());
                key_switch_units(&literal) / costs.seconds(&work)
            })
            .collect();
        let (least, most) = (
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
        );
        assert!(ratios.len() > 5 && most < 1.3 * least, "{ratios:.0?}");
    }
}
