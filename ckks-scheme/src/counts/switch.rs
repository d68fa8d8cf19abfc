//! Key switching and what ends in it.

use super::{Counts, Work};
use crate::ciphertext::Level;
use crate::params::{KeyShape, digit_range};

/// All of these take the level of the ciphertext and the level that the key was made for, at or above it: the number of
/// digits and special primes follows from the latter.
///
/// # Panics
/// Unless the chain has both levels.
impl Counts<'_> {
    /// ModUp of one polynomial: what all rotations of one ciphertext share.
    pub fn mod_up(&self, level: Level, key: Level) -> Work {
        self.mod_up_for(level, self.chain().key_shape(key))
    }

    /// Products of the digits of one polynomial with both halves of a key.
    pub fn inner_product(&self, level: Level, key: Level) -> Work {
        self.inner_product_for(level, self.chain().key_shape(key))
    }

    /// Division of one polynomial by the special primes and the last `dropped` ciphertext primes.
    pub fn mod_down(&self, level: Level, key: Level, dropped: usize) -> Work {
        self.mod_down_for(level, self.chain().key_shape(key), dropped)
    }

    /// A whole key switch of one polynomial, without what joins it to the others.
    pub fn key_switch(&self, level: Level, key: Level) -> Work {
        self.mod_up(level, key) + self.inner_product(level, key) + self.mod_down(level, key, 0) * 2
    }

    /// [`Evaluator::relinearize`](crate::Evaluator::relinearize).
    pub fn relinearize(&self, level: Level, key: Level) -> Work {
        self.key_switch(level, key) + self.added(2 * level.limbs())
    }

    /// [`Evaluator::relinearize_rescale`](crate::Evaluator::relinearize_rescale).
    pub fn relinearize_rescale(&self, level: Level, key: Level) -> Work {
        self.mod_up(level, key)
            + self.inner_product(level, key)
            + self.times_specials(2 * level.limbs())
            + self.mod_down(level, key, 1) * 2
    }

    /// [`Evaluator::rotate`](crate::Evaluator::rotate) by other steps than 0, or a conjugation.
    pub fn rotate(&self, level: Level, key: Level) -> Work {
        self.rotate_many(level, key, 1)
    }

    /// [`Evaluator::rotate_many`](crate::Evaluator::rotate_many) by `count` steps other than 0.
    pub fn rotate_many(&self, level: Level, key: Level, count: u64) -> Work {
        self.mod_up(level, key) + self.hoisted_rotation(level, key) * count
    }

    /// What each rotation of one ciphertext takes beside the shared ModUp.
    pub fn hoisted_rotation(&self, level: Level, key: Level) -> Work {
        let limbs = level.limbs();
        self.inner_product(level, key)
            + self.mod_down(level, key, 0) * 2
            + self.added(limbs)
            + self.permuted(2 * limbs)
    }

    /// [`Evaluator::conjugate_rescale`](crate::Evaluator::conjugate_rescale).
    pub fn conjugate_rescale(&self, level: Level, key: Level) -> Work {
        let limbs = level.limbs();
        self.mod_up(level, key)
            + self.inner_product(level, key)
            + self.times_specials(limbs)
            + self.mod_down(level, key, 1) * 2
            + self.permuted(2 * (limbs - 1))
    }

    /// [`Evaluator::rotate_sum`](crate::Evaluator::rotate_sum) of `rotated` ciphertexts, and `others` rotated by 0.
    pub fn rotate_sum(&self, level: Level, key: Level, rotated: u64, others: u64) -> Work {
        let limbs = level.limbs();
        let mut work = self.zero(level) + self.added(2 * limbs) * others;
        if rotated > 0 {
            work += self.giant_rotation(level, key) * rotated;
            work += self.added(2 * self.extended(level, key)) * (rotated - 1);
            work += self.giant_sum(level, key);
        }
        work
    }

    /// What each rotated ciphertext of a sum takes by itself; from the second on there is an addition over the special
    /// primes too.
    fn giant_rotation(&self, level: Level, key: Level) -> Work {
        self.mod_up(level, key)
            + self.inner_product(level, key)
            + self.times_specials(level.limbs())
            + self.permuted(2 * self.extended(level, key))
    }

    /// The end of a sum of rotations.
    fn giant_sum(&self, level: Level, key: Level) -> Work {
        self.mod_down(level, key, 0) * 2 + self.added(2 * level.limbs())
    }

    /// [`Evaluator::mod_raise`](crate::Evaluator::mod_raise) to `target`, with keys for level 1 and for `target`.
    pub fn mod_raise(&self, target: Level) -> Work {
        let shape = self.chain().key_shape(target).of_one_digit(target);
        self.raise(target)
            + self.inner_product_for(target, shape)
            + self.times_specials(target.limbs())
            + self.mod_down_for(target, shape, 0) * 2
    }

    /// The part of [`Self::mod_raise`] that ends under the ephemeral secret.
    pub(crate) fn raise(&self, target: Level) -> Work {
        let bottom = Level::new(1);
        let specials = self.chain().key_shape(target).specials;
        let raised = (2 * (target.limbs() - 1) + specials) as u64;
        self.key_switch(bottom, bottom)
            + self.times_specials(1)
            + (self.inverse(1) + self.copied(1)) * 2
            + (self.pass(1, 0, 2) + self.forward(1)) * raised
    }

    pub(super) fn mod_up_for(&self, level: Level, shape: KeyShape) -> Work {
        let limbs = level.limbs();
        let digit = |digit| {
            let (from, to) = digit_range(limbs, shape.digit_limbs, digit);
            let sources = to - from;
            let targets = limbs - sources + shape.specials;
            self.inverse(sources)
                + Work::conversion(self.words(), sources, targets)
                + self.forward(targets)
        };
        (0..shape.digits(level)).map(digit).sum()
    }

    pub(super) fn inner_product_for(&self, level: Level, shape: KeyShape) -> Work {
        let limbs = level.limbs() + shape.specials;
        Work::dot_with_key(self.words(), shape.digits(level)) * (2 * limbs) as u64
    }

    pub(super) fn mod_down_for(&self, level: Level, shape: KeyShape, dropped: usize) -> Work {
        let (sources, kept) = (shape.specials + dropped, level.limbs() - dropped);
        self.inverse(sources)
            + Work::conversion(self.words(), sources, kept)
            + self.forward(kept)
            + self.pass(kept, 1, 1)
    }

    /// `ext += P c` on so many limbs.
    pub(super) fn times_specials(&self, limbs: usize) -> Work {
        self.pass(limbs, 1, 3)
    }

    fn extended(&self, level: Level, key: Level) -> usize {
        level.limbs() + self.chain().key_shape(key).specials
    }
}
