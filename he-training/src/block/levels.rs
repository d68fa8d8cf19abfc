//! Levels of a step, from the block's input down to the last update.

use super::ACTIVATIONS;
use crate::error::TrainingError;

/// Levels of what a step computes. Numbers of ciphertext primes.
///
/// An activation takes two levels and a convolution one; an activation's derivative takes one, because the product of scale and
/// argument is there from the way forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLevels {
    /// Of the block's input, and of what the first activation squares.
    pub input: usize,
    /// Of what the convolutions read.
    pub activated: [usize; 2],
    /// Of what each activation squares.
    pub squared: [usize; ACTIVATIONS],
    /// Of the sum over the pixels of the squares.
    pub squares: usize,
    /// Where the mean is multiplied by a scale, before a refresh of it if there is one.
    pub unrefreshed: usize,
    /// Of what the head reads.
    pub pooled: usize,
    /// Of scores less labels.
    pub excess: usize,
    /// Delta of what the head reads.
    pub delta_pooled: usize,
    /// Deltas of what each activation reads.
    pub deltas: [usize; ACTIVATIONS],
    /// Deltas of what the first two activations give.
    pub returned: [usize; 2],
    /// The lowest: of the first activation's new scales.
    pub end: usize,
}

/// Levels that a step goes down, from its input to its end, without a refresh in between.
const DEPTH: usize = 19;
/// The same from the input to the end, where what the head reads is refreshed.
const REFRESHED_DEPTH: usize = 13;
/// Levels from the input to what is refreshed, one to bring it to its scale included.
const BEFORE_REFRESH: usize = 9;

impl BlockLevels {
    /// Levels of a step whose input is at `input`. `refresh`: level that a refresh needs, and that it gives; with it, what the
    /// head reads is refreshed, one ciphertext, and so are the parameters after the step.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] if there are too few levels.
    pub fn new(input: usize, refresh: Option<(usize, usize)>) -> Result<Self, TrainingError> {
        let least = match refresh {
            None => DEPTH + 1,
            Some((needed, _)) => needed + REFRESHED_DEPTH.max(BEFORE_REFRESH),
        };
        if input < least {
            let missing = least - input;
            return Err(TrainingError::setting(
                "level of a block's input",
                input,
                format_args!("{least} at least: {missing} levels are missing"),
            ));
        }
        let squared = [input, input - 3, input - 6];
        let squares = input - 7;
        let pooled = match refresh {
            None => squares - 1,
            Some((_, given)) => given,
        };
        let excess = pooled - 2;
        let delta_pooled = excess - 1;
        let delta3 = squared[2].min(delta_pooled - 1) - 1;
        let returned2 = delta3 - 1;
        let delta2 = returned2.min(squared[1] - 1) - 1;
        let returned1 = delta2 - 1;
        Ok(Self {
            input,
            activated: [input - 2, input - 5],
            squared,
            squares,
            unrefreshed: squares - 1,
            pooled,
            excess,
            delta_pooled,
            deltas: [returned1 - 1, delta2, delta3],
            returned: [returned1, returned2],
            end: returned1 - 3,
        })
    }

    /// Level that the offsets of activation `k` need.
    pub fn offsets(&self, k: usize) -> usize {
        match k {
            0 => self.input,
            _ => self.activated[k - 1],
        }
    }

    /// Level that the scales of activation `k` need.
    pub fn scales(&self, k: usize) -> usize {
        match k {
            2 => self.squares.max(self.delta_pooled),
            _ => self.squared[k],
        }
    }

    /// Level that weights and biases of the head, and labels, need.
    pub fn head(&self) -> usize {
        self.pooled
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_least_input_level_ends_at_the_last_prime_or_where_a_refresh_begins() {
        let plain = BlockLevels::new(DEPTH + 1, None).unwrap();
        assert_eq!(plain.end, 1);
        let error = BlockLevels::new(DEPTH - 2, None).unwrap_err().to_string();
        assert!(
            error.ends_with("20 at least: 3 levels are missing"),
            "{error}"
        );
        // The refreshes of the preset `n16`: 14 levels above the three that it needs and the last prime.
        let refreshed = BlockLevels::new(18, Some((4, 18))).unwrap();
        assert_eq!(
            (refreshed.unrefreshed, refreshed.pooled, refreshed.end),
            (10, 18, 5)
        );
        assert_eq!(BlockLevels::new(17, Some((4, 18))).unwrap().end, 4);
        assert!(BlockLevels::new(16, Some((4, 18))).is_err());
    }
}
