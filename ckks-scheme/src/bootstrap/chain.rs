//! The chain of primes that a refresh needs.

use super::{BootstrapError, BootstrapLiteral};
use crate::params::{ParamsLiteral, max_log_qp_128};

/// Bits of the base prime and largest size of any other.
const LARGEST: u32 = 50;

impl BootstrapLiteral {
    /// The chain for a refresh at ring degree `2^log_n` that leaves `user_levels` levels, with 128-bit security: a base
    /// prime of 50 bits, primes of the scale's size for SlotsToCoeffs and the user, primes of `top_bits` bits for what a
    /// refresh takes from the top, and as many special primes, for as few digits of a key switch, as security allows.
    /// Fewer digits are faster and have smaller keys.
    ///
    /// # Errors
    /// [`BootstrapError::Invalid`] if no number of digits is secure.
    pub fn chain(
        &self,
        log_n: u32,
        user_levels: usize,
        top_bits: u32,
    ) -> Result<ParamsLiteral, BootstrapError> {
        let scale_bits = self.log_scale.round() as u32;
        let q_bits: Vec<u32> = std::iter::once(LARGEST)
            .chain(std::iter::repeat_n(
                scale_bits,
                self.input_levels() + user_levels,
            ))
            .chain(std::iter::repeat_n(top_bits, self.depth()))
            .collect();
        let log_q: u32 = q_bits.iter().sum();
        let bound = max_log_qp_128(log_n);
        let fitting = (1..=q_bits.len()).find_map(|digits| {
            let p_bits = covering(&q_bits, digits);
            let log_qp = log_q + p_bits.iter().sum::<u32>();
            (log_qp <= bound).then_some((digits, p_bits))
        });
        let (digits, p_bits) = fitting.ok_or_else(|| BootstrapError::Invalid {
            what: "number of levels for the user",
            found: format!("{user_levels}, with a refresh of {log_q} bits in all"),
            expected: format!("so few that all fit into {bound} bits"),
        })?;
        Ok(ParamsLiteral {
            log_n,
            q_bits,
            p_bits,
            digits,
        })
    }
}

/// Sizes of special primes that cover the largest digit of every level. The first one covers the base prime alone: what the
/// ephemeral secret stands under.
fn covering(q_bits: &[u32], digits: usize) -> Vec<u32> {
    let digit_bits = (1..=q_bits.len()).flat_map(|level| {
        q_bits[..level]
            .chunks(level.div_ceil(digits))
            .map(|digit| digit.iter().sum::<u32>())
    });
    let digit_bits = digit_bits.max().unwrap_or(0);
    let others = digit_bits.saturating_sub(LARGEST).div_ceil(LARGEST);
    let mut bits = vec![LARGEST];
    if others > 0 {
        // One bit more, as primes are a little smaller than their size says.
        let each = (digit_bits + 1 - LARGEST).div_ceil(others).min(LARGEST);
        bits.extend(std::iter::repeat_n(each, others as usize));
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_as_long_as_wanted_and_have_few_digits() {
        let literal = BootstrapLiteral::full_complex(16);
        let chain = literal.chain(16, 14, 50).unwrap();
        assert_eq!((chain.q_bits.len(), chain.digits), (29, 4));
        assert_eq!(chain.p_bits, [50, 49, 49, 49, 49, 49, 49, 49]);
        let short = literal.chain(16, 2, 50).unwrap();
        assert_eq!((short.q_bits.len(), short.digits), (17, 1));
        for (log_n, levels) in [(16, 30), (14, 2)] {
            let refused = literal.chain(log_n, levels, 50);
            let Err(BootstrapError::Invalid { what, found, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(what, "number of levels for the user");
            assert!(found.starts_with(&format!("{levels}, ")), "{found}");
        }
    }
}
