//! Parameter sets: a literal for files, a builder for code, one checked and immutable type for use.

mod presets;
mod security;

pub use presets::insecure_log_n;
pub use security::max_log_qp_128;

use crate::ciphertext::{Level, Scale};
use crate::error::ParamError;
use crate::keys::Galois;
use crate::noise::NoiseModel;
use ckks_math::{
    Automorphism, BaseConverter, Embedding, KernelChoice, LimbRing, MathError, Pool, ResidueMatrix,
    primes,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

/// Least and greatest prime size, in bits: the kernels work below 2^50.
const PRIME_BITS: (u32, u32) = (24, 50);
/// Least and greatest log2 of the ring degree.
const LOG_N: (u32, u32) = (4, 17);

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
#[derive(Clone, Debug)]
pub struct Parameters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    literal: ParamsLiteral,
    q: Vec<LimbRing>,
    p: Vec<LimbRing>,
    security_bits: u32,
    pool: Pool,
    noise: NoiseModel,
    embedding: Embedding,
    automorphisms: RwLock<HashMap<Galois, Arc<Automorphism>>>,
    converters: RwLock<HashMap<ConverterId, Arc<BaseConverter>>>,
    subrings: RwLock<HashMap<u32, Arc<Vec<LimbRing>>>>,
    residues: Mutex<Vec<ResidueMatrix>>,
}

/// Which base conversion: a run of source primes to a run of ciphertext primes and special primes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ConverterId {
    /// Digit `digit` of `digit_limbs` limbs at `level`, to the other limbs of `level` and `specials` special primes.
    ModUp {
        level: usize,
        digit_limbs: usize,
        digit: usize,
        specials: usize,
    },
    /// From `specials` special primes and the `dropped` last ciphertext primes of `level` to those below.
    ModDown {
        level: usize,
        dropped: usize,
        specials: usize,
    },
}

/// Shape of the switching keys of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyShape {
    /// Ciphertext primes of a digit.
    pub digit_limbs: usize,
    /// Special primes in use.
    pub specials: usize,
}

/// Builder of [`Parameters`].
#[derive(Clone, Debug)]
pub struct ParametersBuilder {
    literal: ParamsLiteral,
    p_bits_given: bool,
    kernel: KernelChoice,
    budget_bytes: Option<u64>,
}

impl Default for ParametersBuilder {
    fn default() -> Self {
        Self {
            literal: ParamsLiteral {
                log_n: 16,
                q_bits: vec![50; 2],
                p_bits: Vec::new(),
                digits: 2,
            },
            p_bits_given: false,
            kernel: KernelChoice::Auto,
            budget_bytes: None,
        }
    }
}

impl ParametersBuilder {
    /// Base-2 logarithm of the ring degree.
    pub fn log_n(mut self, log_n: u32) -> Self {
        self.literal.log_n = log_n;
        self
    }

    /// Bits of each ciphertext prime, the base prime first.
    pub fn q_bits(mut self, bits: impl IntoIterator<Item = u32>) -> Self {
        self.literal.q_bits = bits.into_iter().collect();
        self
    }

    /// Bits of each special prime; by default as many 50-bit primes as cover the largest digit.
    pub fn p_bits(mut self, bits: impl IntoIterator<Item = u32>) -> Self {
        self.literal.p_bits = bits.into_iter().collect();
        self.p_bits_given = true;
        self
    }

    /// Digits of a key switch (dnum), 2 by default.
    pub fn digits(mut self, digits: usize) -> Self {
        self.literal.digits = digits;
        self
    }

    /// The kernel of the arithmetic.
    pub fn kernel(mut self, kernel: KernelChoice) -> Self {
        self.kernel = kernel;
        self
    }

    /// Bound on the limb pool.
    pub fn budget_bytes(mut self, bytes: Option<u64>) -> Self {
        self.budget_bytes = bytes;
        self
    }

    /// Builds a set of 128-bit security.
    ///
    /// # Errors
    /// [`ParamError::Insecure`] above the bound, and the other variants for what cannot be built at all.
    pub fn build(self) -> Result<Parameters, ParamError> {
        self.build_checked(true)
    }

    /// Builds a set without the security check: **insecure**, for tests at small rings.
    ///
    /// # Errors
    /// As [`Self::build`], but for the security.
    pub fn build_insecure_for_tests(self) -> Result<Parameters, ParamError> {
        self.build_checked(false)
    }

    fn build_checked(mut self, secure: bool) -> Result<Parameters, ParamError> {
        let lit = &mut self.literal;
        let log_n = lit.log_n;
        if !(LOG_N.0..=LOG_N.1).contains(&log_n) {
            return Err(ParamError::Degree {
                log_n,
                min: LOG_N.0,
                max: LOG_N.1,
            });
        }
        if lit.q_bits.is_empty() || lit.digits == 0 {
            return Err(ParamError::Invalid {
                what: "number of ciphertext primes or of digits",
                found: "0".into(),
                expected: "1 or more",
            });
        }
        if !self.p_bits_given {
            let alpha = lit.q_bits.len().div_ceil(lit.digits);
            let digit = lit
                .q_bits
                .chunks(alpha)
                .map(|c| c.iter().sum::<u32>())
                .max()
                .unwrap_or(0);
            lit.p_bits = vec![PRIME_BITS.1; digit.div_ceil(PRIME_BITS.1).max(1) as usize];
        }
        // Special primes are taken first: among equal sizes they are the larger ones, so that they cover a digit of
        // as many ciphertext primes.
        let mut taken = HashMap::new();
        let p = take_primes(&lit.p_bits, log_n, &mut taken)?;
        let q = take_primes(&lit.q_bits, log_n, &mut taken)?;
        let log_qp: f64 = p.iter().chain(&q).map(|&x| (x as f64).log2()).sum();
        let bound = max_log_qp_128(log_n);
        let is_secure = log_qp <= f64::from(bound);
        if secure && !is_secure {
            return Err(ParamError::Insecure {
                log_n,
                log_qp,
                bound,
            });
        }
        let rings = |primes: &[u64]| {
            primes
                .iter()
                .map(|&x| LimbRing::new(x, log_n, &self.kernel))
                .collect::<Result<Vec<_>, MathError>>()
        };
        let params = Parameters(Arc::new(Inner {
            q: rings(&q)?,
            p: rings(&p)?,
            security_bits: if is_secure { 128 } else { 0 },
            pool: Pool::new(log_n, self.budget_bytes),
            noise: NoiseModel::new(log_n),
            embedding: Embedding::new(log_n),
            automorphisms: RwLock::default(),
            converters: RwLock::default(),
            subrings: RwLock::default(),
            residues: Mutex::default(),
            literal: self.literal,
        }));
        for level in 1..=params.max_level().limbs() {
            let level = Level::new(level);
            params
                .specials(level)
                .ok_or_else(|| ParamError::SpecialsTooSmall {
                    p_bits: params.log_p(params.0.p.len()),
                    digit_bits: params.digit_bits(level),
                    level,
                })?;
        }
        Ok(params)
    }
}

/// The next unused primes of each size, largest first.
fn take_primes(
    bits: &[u32],
    log_n: u32,
    taken: &mut HashMap<u32, usize>,
) -> Result<Vec<u64>, ParamError> {
    let mut out = Vec::with_capacity(bits.len());
    for &b in bits {
        if !(PRIME_BITS.0.max(log_n + 2)..=PRIME_BITS.1).contains(&b) {
            return Err(ParamError::PrimeBits {
                bits: b,
                min: PRIME_BITS.0.max(log_n + 2),
                max: PRIME_BITS.1,
            });
        }
        let used = taken.entry(b).or_insert(0);
        let next = primes::ntt_primes_below(1 << b, log_n)
            .nth(*used)
            .filter(|&p| p >= 1 << (b - 1));
        *used += 1;
        out.push(next.ok_or(ParamError::NotEnoughPrimes {
            bits: b,
            log_n,
            found: *used - 1,
            wanted: bits.iter().filter(|&&x| x == b).count(),
        })?);
    }
    Ok(out)
}

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
        ParametersBuilder {
            literal: literal.clone(),
            p_bits_given: true,
            kernel,
            budget_bytes,
        }
        .build()
    }

    /// The literal that builds this set again.
    pub fn literal(&self) -> &ParamsLiteral {
        &self.0.literal
    }

    /// Base-2 logarithm of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.0.literal.log_n
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
        Level::new(self.0.q.len())
    }

    /// The prime by which a rescale at `level` divides (the last of the `level` primes).
    pub fn prime(&self, level: Level) -> u64 {
        self.0.q[level.limbs() - 1].modulus().value()
    }

    /// Bits of the modulus of a ciphertext at `level`.
    pub fn log_q(&self, level: Level) -> f64 {
        log2_product(&self.0.q[..level.limbs()])
    }

    /// Bits of all ciphertext and special primes together.
    pub fn log_qp(&self) -> f64 {
        self.log_q(self.max_level()) + self.log_p(self.0.p.len())
    }

    /// 128, or 0 for a set that was built insecure for tests.
    pub fn security_bits(&self) -> u32 {
        self.0.security_bits
    }

    /// The pool that all polynomials of this set live in.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Name of the kernel in use.
    pub fn kernel_name(&self) -> &'static str {
        self.0.q[0].kernel_name()
    }

    /// Bytes of one limb.
    pub fn limb_bytes(&self) -> u64 {
        self.degree() as u64 * 8
    }

    /// Limbs of a digit, and number of special primes, of switching keys made for `level`.
    pub fn key_shape(&self, level: Level) -> KeyShape {
        KeyShape {
            digit_limbs: self.digit_limbs(level),
            specials: self
                .specials(level)
                .expect("checked when the set was built"),
        }
    }

    /// Bytes of a switching key for `level`, as resident: both halves.
    pub fn switching_key_bytes(&self, level: Level) -> u64 {
        let shape = self.key_shape(level);
        let digits = level.limbs().div_ceil(shape.digit_limbs);
        (2 * digits * (level.limbs() + shape.specials)) as u64 * self.limb_bytes()
    }

    /// The errors that operations add.
    pub fn noise(&self) -> &NoiseModel {
        &self.0.noise
    }

    /// Largest value that fits at `level` and `scale`, with one bit to spare.
    pub fn max_value(&self, level: Level, scale: Scale) -> f64 {
        (self.log_q(level) - scale.log2() - 2.0).exp2()
    }

    /// Limbs of a key-switching digit of a key made for `level`.
    pub(crate) fn digit_limbs(&self, level: Level) -> usize {
        level.limbs().div_ceil(self.0.literal.digits)
    }

    /// Special primes that a key made for `level` uses: the least number that covers its largest digit.
    pub(crate) fn specials(&self, level: Level) -> Option<usize> {
        let need = self.digit_bits(level);
        (1..=self.0.p.len()).find(|&k| self.log_p(k) + 0.5 >= need)
    }

    pub(crate) fn digit_bits(&self, level: Level) -> f64 {
        self.0.q[..level.limbs()]
            .chunks(self.digit_limbs(level))
            .map(log2_product)
            .fold(0.0, f64::max)
    }

    pub(crate) fn log_p(&self, specials: usize) -> f64 {
        log2_product(&self.0.p[..specials])
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

    pub(crate) fn automorphism(&self, g: Galois) -> Result<Arc<Automorphism>, MathError> {
        cached(&self.0.automorphisms, g, || {
            Automorphism::new(self.log_n(), g.element(self.log_n()))
        })
    }

    pub(crate) fn converter(&self, id: ConverterId) -> Result<Arc<BaseConverter>, MathError> {
        cached(&self.0.converters, id, || match id {
            ConverterId::ModUp {
                level,
                digit_limbs,
                digit,
                specials,
            } => {
                let (from, to) = digit_range(level, digit_limbs, digit);
                let mut dst = self.0.q[..from].to_vec();
                dst.extend_from_slice(&self.0.q[to..level]);
                dst.extend_from_slice(&self.0.p[..specials]);
                BaseConverter::new(&self.0.q[from..to], &dst)
            }
            ConverterId::ModDown {
                level,
                dropped,
                specials,
            } => {
                let mut src = self.0.p[..specials].to_vec();
                src.extend_from_slice(&self.0.q[level - dropped..level]);
                BaseConverter::new(&src, &self.0.q[..level - dropped])
            }
        })
    }

    /// The sub-rings of degree `2^log_degree` of every ciphertext prime.
    pub(crate) fn subrings(&self, log_degree: u32) -> Result<Arc<Vec<LimbRing>>, MathError> {
        cached(&self.0.subrings, log_degree, || {
            self.0.q.iter().map(|r| r.subring(log_degree)).collect()
        })
    }

    /// Runs `f` with a reusable residue buffer.
    pub(crate) fn with_residues<T>(&self, f: impl FnOnce(&mut ResidueMatrix) -> T) -> T {
        let lock = || {
            self.0
                .residues
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let mut buffer = lock().pop().unwrap_or_default();
        let out = f(&mut buffer);
        lock().push(buffer);
        out
    }
}

/// Limbs `[from, to)` of digit `digit`.
pub(crate) fn digit_range(level: usize, digit_limbs: usize, digit: usize) -> (usize, usize) {
    let from = digit * digit_limbs;
    (from, (from + digit_limbs).min(level))
}

fn log2_product(rings: &[LimbRing]) -> f64 {
    rings
        .iter()
        .map(|r| (r.modulus().value() as f64).log2())
        .sum()
}

fn cached<K: Copy + Eq + std::hash::Hash, V>(
    map: &RwLock<HashMap<K, Arc<V>>>,
    key: K,
    make: impl FnOnce() -> Result<V, MathError>,
) -> Result<Arc<V>, MathError> {
    let read = map
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(v) = read.get(&key) {
        return Ok(v.clone());
    }
    drop(read);
    let made = Arc::new(make()?);
    let mut write = map
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(write.entry(key).or_insert(made).clone())
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
    fn specials_cover_every_digit_of_every_level() {
        let p = insecure_log_n(6, 9);
        for l in 1..=9 {
            let level = Level::new(l);
            let k = p.specials(level).expect("covered");
            assert!(p.log_p(k) + 0.5 >= p.digit_bits(level));
            assert!(k <= p.digit_limbs(level));
        }
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
        let primes = |p: &Parameters| {
            p.q()
                .iter()
                .map(|r| r.modulus().value())
                .collect::<Vec<_>>()
        };
        assert_eq!(primes(&a), primes(&b));
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
}
