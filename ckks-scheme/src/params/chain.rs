//! The primes of a parameter set and what follows from them alone.

use super::{Fingerprint, ParametersBuilder, ParamsLiteral};
use crate::ciphertext::Level;
use crate::counts::Counts;
use crate::error::ParamError;
use crate::keys::KeyKind;

/// What the special primes may fall short of a digit, in bits. Key switching is right for any special primes: what they
/// lack multiplies the noise of the switch, here by at most 2^0.5, which the tracker counts; security depends on log QP
/// alone. A whole prime more would cost time and modulus for that.
const COVER_SLACK_BITS: f64 = 0.5;

/// Shape of the switching keys of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyShape {
    /// Ciphertext primes of a digit.
    pub digit_limbs: usize,
    /// Special primes in use.
    pub specials: usize,
}

impl KeyShape {
    /// Digits of a polynomial at `level`.
    pub fn digits(self, level: Level) -> usize {
        level.limbs().div_ceil(self.digit_limbs)
    }

    /// With as many special primes, and one digit at `level`.
    pub(crate) fn of_one_digit(self, level: Level) -> Self {
        Self {
            digit_limbs: level.limbs(),
            ..self
        }
    }
}

/// A parameter set without its tables: ring degree, primes, digits. Made in a moment and small, so that a planner can
/// look at many; sizes, shapes of keys and counts of operations are the same as those of the set itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModulusChain {
    pub(super) literal: ParamsLiteral,
    pub(super) q: Vec<u64>,
    pub(super) p: Vec<u64>,
    pub(super) security_bits: u32,
}

impl ModulusChain {
    /// Checks a literal and finds its primes: for exactly the literals that build a [`super::Parameters`].
    ///
    /// # Errors
    /// As [`ParametersBuilder::build`], but for what concerns the kernel.
    pub fn from_literal(literal: &ParamsLiteral) -> Result<Self, ParamError> {
        ParametersBuilder::from_literal(literal.clone()).chain()
    }

    /// The literal that builds this chain again.
    pub fn literal(&self) -> &ParamsLiteral {
        &self.literal
    }

    /// 128, or 0 for a set that was built insecure for tests.
    pub fn security_bits(&self) -> u32 {
        self.security_bits
    }

    /// Hash of the ring degree, all primes and the number of digits: the same for equal sets and for no others.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new_derive_key("polyphase ckks-scheme 1 parameters");
        let mut number = |x: u64| {
            hasher.update(&x.to_le_bytes());
        };
        number(u64::from(self.literal.log_n));
        number(self.literal.digits as u64);
        for primes in [&self.q, &self.p] {
            number(primes.len() as u64);
            primes.iter().for_each(|prime| number(*prime));
        }
        *hasher.finalize().as_bytes()
    }

    /// What operations over this chain cost.
    pub fn counts(&self) -> Counts<'_> {
        Counts::new(self)
    }

    /// Whether `level` is 1 to [`Self::max_level`].
    pub fn has_level(&self, level: Level) -> bool {
        (1..=self.q.len()).contains(&level.limbs())
    }

    /// Base-2 logarithm of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.literal.log_n
    }

    /// Ring degree N.
    pub fn degree(&self) -> usize {
        1 << self.log_n()
    }

    /// Complex slots, N / 2.
    pub fn slots(&self) -> usize {
        self.degree() / 2
    }

    /// Level of a fresh ciphertext: the number of ciphertext primes.
    pub fn max_level(&self) -> Level {
        Level::new(self.q.len())
    }

    /// The prime by which a rescale at `level` divides (the last of the `level` primes).
    ///
    /// # Panics
    /// Unless [`Self::has_level`].
    pub fn prime(&self, level: Level) -> u64 {
        self.q[level.limbs() - 1]
    }

    /// Bits of the modulus of a ciphertext at `level`.
    ///
    /// # Panics
    /// If the set has fewer levels.
    pub fn log_q(&self, level: Level) -> f64 {
        log2_product(&self.q[..level.limbs()])
    }

    /// Bits of the first `specials` special primes.
    ///
    /// # Panics
    /// If the set has fewer.
    pub fn log_p(&self, specials: usize) -> f64 {
        log2_product(&self.p[..specials])
    }

    /// Bits of all ciphertext and special primes together.
    pub fn log_qp(&self) -> f64 {
        self.log_q(self.max_level()) + self.log_p(self.p.len())
    }

    /// Bytes of one limb: one residue a coefficient.
    pub fn limb_bytes(&self) -> u64 {
        self.degree() as u64 * 8
    }

    /// Limbs of a digit, and number of special primes, of switching keys made for `level`.
    ///
    /// # Panics
    /// Unless [`Self::has_level`].
    pub fn key_shape(&self, level: Level) -> KeyShape {
        KeyShape {
            digit_limbs: self.digit_limbs(level),
            specials: self
                .specials(level)
                .expect("checked when the chain was built"),
        }
    }

    /// As [`Self::key_shape`], for keys of one kind. What comes from an ephemeral secret has coefficients below the base prime,
    /// whatever its level: it is one digit.
    ///
    /// # Panics
    /// As there.
    pub fn key_shape_of(&self, kind: KeyKind, level: Level) -> KeyShape {
        let shape = self.key_shape(level);
        match kind {
            KeyKind::FromEphemeral { .. } => shape.of_one_digit(level),
            KeyKind::Relinearization | KeyKind::Galois(_) | KeyKind::ToEphemeral(_) => shape,
        }
    }

    /// Bytes of a switching key for `level`, as resident: both halves.
    ///
    /// # Panics
    /// Unless [`Self::has_level`].
    pub fn switching_key_bytes(&self, kind: KeyKind, level: Level) -> u64 {
        let shape = self.key_shape_of(kind, level);
        let digits = shape.digits(level);
        (2 * digits * (level.limbs() + shape.specials)) as u64 * self.limb_bytes()
    }

    /// Limbs of a key-switching digit of a key made for `level`.
    pub(crate) fn digit_limbs(&self, level: Level) -> usize {
        level.limbs().div_ceil(self.literal.digits)
    }

    /// Special primes that a key made for `level` uses: the least number that covers its largest digit.
    pub(crate) fn specials(&self, level: Level) -> Option<usize> {
        let need = self.digit_bits(level);
        (1..=self.p.len()).find(|&k| self.log_p(k) + COVER_SLACK_BITS >= need)
    }

    /// Bits of the largest digit of a key made for `level`.
    pub(crate) fn digit_bits(&self, level: Level) -> f64 {
        self.digits_bits(level, self.digit_limbs(level))
            .fold(0.0, f64::max)
    }

    /// Bits of every digit of `digit_limbs` primes at `level`.
    pub(crate) fn digits_bits(
        &self,
        level: Level,
        digit_limbs: usize,
    ) -> impl Iterator<Item = f64> {
        self.q[..level.limbs()]
            .chunks(digit_limbs)
            .map(log2_product)
    }
}

fn log2_product(primes: &[u64]) -> f64 {
    let bits = primes.iter().map(|prime| (*prime as f64).log2());
    // Not `sum`: that of none is -0.0, which would be printed so.
    bits.fold(0.0, |sum, b| sum + b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Parameters, insecure_log_n};
    use ckks_math::KernelChoice;

    #[test]
    fn specials_cover_every_digit_of_every_level() {
        let params = insecure_log_n(6, 9);
        let chain = params.chain();
        for l in 1..=9 {
            let level = Level::new(l);
            let k = chain.specials(level).expect("covered");
            assert!(chain.log_p(k) + 0.5 >= chain.digit_bits(level));
            assert!(k <= chain.digit_limbs(level));
        }
    }

    #[test]
    fn chain_of_a_literal_is_that_of_its_parameter_set() {
        let literal = ParamsLiteral {
            log_n: 13,
            q_bits: vec![45, 40, 40],
            p_bits: vec![46],
            digits: 3,
        };
        let set = Parameters::from_literal(&literal, KernelChoice::Auto, None).expect("a set");
        let chain = ModulusChain::from_literal(&literal).expect("a chain");
        assert_eq!(&chain, set.chain());
        assert_eq!(&chain.fingerprint(), set.fingerprint());
        let refused = ModulusChain::from_literal(&ParamsLiteral {
            q_bits: vec![50; 5],
            ..literal
        });
        assert!(matches!(refused, Err(ParamError::Insecure { .. })));
    }
}
