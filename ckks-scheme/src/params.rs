//! Parameter sets: a literal for files, a builder for code, one checked and immutable type for use.

mod builder;
mod chain;
mod pool;
mod presets;
mod security;
mod tables;

pub use builder::ParametersBuilder;
pub(crate) use builder::rings;
pub use chain::{KeyShape, ModulusChain};
pub use pool::LimbPool;
pub use presets::{classic128, insecure_log_n};
pub use security::{max_log_qp_128, max_log_qp_ephemeral_128};
pub(crate) use tables::{ConverterId, digit_range};

use crate::ciphertext::Level;
use crate::counts::Counts;
use crate::error::ParamError;
use crate::keys::KeyKind;
use crate::noise::NoiseModel;
use ckks_math::{Embedding, KernelChoice, LimbRing, Pool};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What a file says of a parameter set; [`Parameters::from_literal`] checks it, always against the 128-bit bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamsLiteral {
    /// Base-2 logarithm of the ring degree N.
    pub log_n: u32,
    /// Bits of each ciphertext prime, the base prime first; a rescale at level l divides by the l-th.
    pub q_bits: Vec<u32>,
    /// Bits of each special prime of the key switching.
    pub p_bits: Vec<u32>,
    /// Digits of a key switch (dnum) at every key's own level.
    pub digits: usize,
}

/// A checked parameter set with its tables, its plaintext encoder's transform and its limb pool. Cheap to clone.
#[derive(Clone)]
pub struct Parameters(Arc<Inner>);

struct Inner {
    chain: ModulusChain,
    fingerprint: Fingerprint,
    q: Vec<LimbRing>,
    p: Vec<LimbRing>,
    pool: LimbPool,
    noise: NoiseModel,
    embedding: Embedding,
    kernel: KernelChoice,
    tables: tables::Tables,
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters")
            .field("literal", self.literal())
            .field("security_bits", &self.security_bits())
            .field("kernel", &self.kernel_name())
            .finish_non_exhaustive()
    }
}

/// Hash of a parameter set, see [`Parameters::fingerprint`].
pub type Fingerprint = [u8; 32];

impl Parameters {
    /// A builder; the defaults are a 2^16 ring, two digits and the fastest kernel.
    pub fn builder() -> ParametersBuilder {
        ParametersBuilder::default()
    }

    /// Checks a literal and builds its set, of 128-bit security.
    ///
    /// # Errors
    /// As [`ParametersBuilder::build`].
    pub fn from_literal(
        literal: &ParamsLiteral,
        kernel: KernelChoice,
        budget_bytes: Option<u64>,
    ) -> Result<Self, ParamError> {
        ParametersBuilder::from_literal(literal.clone())
            .kernel(kernel)
            .budget_bytes(budget_bytes)
            .build()
    }

    /// Ring degree, primes and digits, without tables.
    pub fn chain(&self) -> &ModulusChain {
        &self.0.chain
    }

    /// What operations cost.
    pub fn counts(&self) -> Counts<'_> {
        self.0.chain.counts()
    }

    /// The literal that builds this set again.
    pub fn literal(&self) -> &ParamsLiteral {
        self.0.chain.literal()
    }

    /// See [`ModulusChain::fingerprint`].
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    /// Whether `level` is 1 to [`Self::max_level`].
    pub fn has_level(&self, level: Level) -> bool {
        self.0.chain.has_level(level)
    }

    /// Base-2 logarithm of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.0.chain.log_n()
    }

    /// Ring degree N.
    pub fn degree(&self) -> usize {
        self.0.chain.degree()
    }

    /// Complex slots, N / 2.
    pub fn slots(&self) -> usize {
        self.0.chain.slots()
    }

    /// Level of a fresh ciphertext: the number of ciphertext primes.
    pub fn max_level(&self) -> Level {
        self.0.chain.max_level()
    }

    /// See [`ModulusChain::prime`].
    ///
    /// # Panics
    /// Unless [`Self::has_level`].
    pub fn prime(&self, level: Level) -> u64 {
        self.0.chain.prime(level)
    }

    /// Bits of the modulus of a ciphertext at `level`.
    ///
    /// # Panics
    /// If the set has fewer levels.
    pub fn log_q(&self, level: Level) -> f64 {
        self.0.chain.log_q(level)
    }

    /// Bits of all ciphertext and special primes together.
    pub fn log_qp(&self) -> f64 {
        self.0.chain.log_qp()
    }

    /// 128, or 0 for a set that was built insecure for tests.
    pub fn security_bits(&self) -> u32 {
        self.0.chain.security_bits()
    }

    /// The pool that all polynomials of this set live in.
    pub fn pool(&self) -> &LimbPool {
        &self.0.pool
    }

    /// Where limbs come from.
    pub(crate) fn limbs(&self) -> &Pool {
        &self.0.pool.0
    }

    /// Name of the kernel in use.
    pub fn kernel_name(&self) -> &'static str {
        self.0.q[0].kernel_name()
    }

    /// Bytes of one limb.
    pub fn limb_bytes(&self) -> u64 {
        self.0.chain.limb_bytes()
    }

    /// Limbs of a digit, and number of special primes, of switching keys made for `level`.
    ///
    /// # Panics
    /// Unless [`Self::has_level`].
    pub fn key_shape(&self, level: Level) -> KeyShape {
        self.0.chain.key_shape(level)
    }

    /// Bytes of a switching key for `level`, as resident: both halves.
    ///
    /// # Panics
    /// Unless [`Self::has_level`].
    pub fn switching_key_bytes(&self, kind: KeyKind, level: Level) -> u64 {
        self.0.chain.switching_key_bytes(kind, level)
    }

    /// The errors that operations add.
    pub fn noise(&self) -> &NoiseModel {
        &self.0.noise
    }

    pub(crate) fn log_p(&self, specials: usize) -> f64 {
        self.0.chain.log_p(specials)
    }

    pub(crate) fn q(&self) -> &[LimbRing] {
        &self.0.q
    }

    pub(crate) fn p(&self) -> &[LimbRing] {
        &self.0.p
    }

    pub(crate) fn embedding(&self) -> &Embedding {
        &self.0.embedding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resnet20_set_is_secure_and_one_prime_more_than_fits_is_not() {
        let set = |levels| {
            Parameters::builder()
                .log_n(13)
                .q_bits(std::iter::repeat_n(50, levels))
                .digits(levels)
                .build()
        };
        let ok = set(3).expect("200 bits at 2^13");
        assert!(ok.log_qp() <= 214.0 && ok.security_bits() == 128);
        assert!(matches!(
            set(4),
            Err(ParamError::Insecure {
                log_n: 13,
                bound: 214,
                ..
            })
        ));
    }

    #[test]
    fn special_primes_count_for_the_security() {
        // 300 bits of ciphertext primes are far below the bound of 430, and 131 more above it.
        let set = |last| {
            Parameters::builder()
                .log_n(14)
                .q_bits([50; 6])
                .p_bits([50, 50, last])
                .digits(3)
        };
        for refused in [set(31).build().map(drop), set(31).chain().map(drop)] {
            let Err(ParamError::Insecure {
                log_n,
                log_qp,
                bound,
            }) = refused
            else {
                panic!("{refused:?}")
            };
            assert_eq!((log_n, bound), (14, 430));
            assert!((log_qp - 431.0).abs() < 0.1, "{log_qp}");
        }
        let chain = set(30).chain().expect("430 bits");
        assert_eq!(chain.security_bits(), 128);
        assert!((chain.log_qp() - 430.0).abs() < 0.1 && chain.log_qp() <= 430.0);
        let insecure = set(31).build_insecure_for_tests().expect("a set for tests");
        assert_eq!(insecure.security_bits(), 0);
    }

    #[test]
    fn small_ring_is_refused_without_the_insecure_constructor() {
        let b = || Parameters::builder().log_n(10).q_bits([30, 30]);
        assert!(matches!(
            b().build(),
            Err(ParamError::Insecure { bound: 0, .. })
        ));
        assert_eq!(
            b().build_insecure_for_tests()
                .expect("insecure")
                .security_bits(),
            0
        );
    }

    #[test]
    fn literal_builds_the_same_primes_again() {
        let a = Parameters::builder()
            .log_n(13)
            .q_bits([45, 40, 40])
            .digits(3)
            .build()
            .expect("set");
        let b = Parameters::from_literal(a.literal(), KernelChoice::Auto, None).expect("again");
        assert_eq!(a.chain(), b.chain());
    }

    #[test]
    fn impossible_sets_name_the_thing() {
        let e = Parameters::builder().log_n(20).build().unwrap_err();
        assert_eq!(
            e.to_string(),
            "N = 2^20 is not supported, expected 2^4 to 2^17"
        );
        let e = Parameters::builder()
            .log_n(13)
            .q_bits([60])
            .build()
            .unwrap_err();
        assert_eq!(
            e.to_string(),
            "a prime of 60 bits is not supported, expected 24 to 50 bits"
        );
        let e = Parameters::builder()
            .log_n(13)
            .q_bits([50; 4])
            .p_bits([30])
            .build_insecure_for_tests()
            .unwrap_err();
        assert!(matches!(e, ParamError::SpecialsTooSmall { .. }), "{e}");
    }

    #[test]
    fn what_is_told_is_of_the_primes_and_the_kernel() {
        let set = Parameters::builder()
            .log_n(10)
            .q_bits([40, 30])
            .p_bits([45])
            .digits(2)
            .kernel(KernelChoice::Named("scalar"))
            .build_insecure_for_tests()
            .expect("set");
        let primes = set.q().iter().chain(set.p()).map(|r| r.modulus().value());
        let bits: f64 = primes.map(|p| (p as f64).log2()).sum();
        assert!((set.log_qp() - bits).abs() < 1e-9 && (bits - 115.0).abs() < 1.0);
        assert_eq!(set.kernel_name(), "scalar");
        let text = format!("{set:?}");
        assert!(
            text.contains("log_n: 10") && text.contains("security_bits: 0"),
            "{text}"
        );
    }

    #[test]
    fn sums_of_as_many_terms_as_fit_are_taken_and_no_more() {
        // One digit of all primes, as many special primes as cover it, and one more for a rescale.
        let set = |primes, specials| {
            let set = Parameters::builder().log_n(6).q_bits(vec![50; primes]);
            set.p_bits(vec![50; specials])
                .digits(1)
                .build_insecure_for_tests()
        };
        let what = |set: Result<Parameters, ParamError>| match set {
            Ok(_) => "",
            Err(ParamError::Invalid { what, .. }) => what,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(what(set(63, 63)), "");
        assert_eq!(
            what(set(64, 64)),
            "number of special primes of a key switch"
        );
        assert_eq!(
            what(set(65, 65)),
            "number of digits or of primes in a digit"
        );
        assert!(matches!(
            set(64, 1),
            Err(ParamError::SpecialsTooSmall { .. })
        ));
    }

    #[test]
    fn primes_that_run_out_are_counted() {
        let there = ckks_math::primes::ntt_primes_below(1 << 24, 17)
            .take_while(|p| *p >= 1 << 23)
            .count();
        let set = Parameters::builder()
            .log_n(17)
            .q_bits([vec![50], vec![24; 40]].concat());
        let refused = set.p_bits([50]).digits(41).build_insecure_for_tests();
        let Err(ParamError::NotEnoughPrimes {
            bits,
            log_n,
            found,
            wanted,
        }) = refused
        else {
            panic!("{refused:?}")
        };
        assert!(there > 0 && there < 40);
        assert_eq!((bits, log_n, found, wanted), (24, 17, there, 40));
    }
}
