//! From what is wanted to a checked parameter set.

use super::security::max_log_qp_128;
use super::{Inner, LimbPool, ModulusChain, Parameters, ParamsLiteral};
use crate::ciphertext::Level;
use crate::error::ParamError;
use crate::noise::NoiseModel;
use ckks_math::{Embedding, KernelChoice, LimbRing, MathError, Pool, primes};
use std::collections::HashMap;
use std::sync::Arc;

/// Least and greatest prime size, in bits: the kernels work below 2^50.
const PRIME_BITS: (u32, u32) = (24, 50);
/// Least and greatest log2 of the ring degree.
const LOG_N: (u32, u32) = (4, 17);
/// Most digits of a key switch, most primes of a digit, and most that a ModDown divides by: what the kernels' dot products
/// and base conversions take.
const MAX_TERMS: usize = 64;

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
    /// Starts from what a file says, all of it.
    pub(super) fn from_literal(literal: ParamsLiteral) -> Self {
        Self {
            literal,
            p_bits_given: true,
            ..Self::default()
        }
    }

    /// Base-2 logarithm of the ring degree, 4 to 17.
    pub fn log_n(mut self, log_n: u32) -> Self {
        self.literal.log_n = log_n;
        self
    }

    /// Bits of each ciphertext prime, the base prime first; 24 (or `log_n + 2`, if that is more) to 50.
    pub fn q_bits(mut self, bits: impl IntoIterator<Item = u32>) -> Self {
        self.literal.q_bits = bits.into_iter().collect();
        self
    }

    /// Bits of each special prime, in the same range; by default as many 50-bit primes as cover the largest digit.
    pub fn p_bits(mut self, bits: impl IntoIterator<Item = u32>) -> Self {
        self.literal.p_bits = bits.into_iter().collect();
        self.p_bits_given = true;
        self
    }

    /// Digits of a key switch (dnum), 2 by default, 64 at most; more than there are primes is one a prime.
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

    /// The primes of the set, without building its tables.
    ///
    /// # Errors
    /// As [`Self::build`], but for what concerns the kernel.
    pub fn chain(self) -> Result<ModulusChain, ParamError> {
        self.chain_checked(true)
    }

    fn chain_checked(mut self, secure: bool) -> Result<ModulusChain, ParamError> {
        self.check_counts()?;
        if !self.p_bits_given {
            self.literal.p_bits = self.covering_p_bits();
        }
        let ParamsLiteral {
            log_n,
            ref q_bits,
            ref p_bits,
            ..
        } = self.literal;
        let bound = max_log_qp_128(log_n);
        let insecure = |log_qp| ParamError::Insecure {
            log_n,
            log_qp,
            bound,
        };
        // A prime of b bits exceeds 2^(b-1). Refused here, a list without end in a file costs no search for primes.
        let least = q_bits.iter().chain(p_bits).map(|&b| f64::from(b - 1));
        let least_log_qp: f64 = least.sum();
        if secure && least_log_qp > f64::from(bound) {
            return Err(insecure(least_log_qp));
        }
        // Special primes are taken first: among equal sizes they are the larger ones, so that they cover a digit of
        // as many ciphertext primes.
        let bits: Vec<u32> = p_bits.iter().chain(q_bits).copied().collect();
        let primes = take_primes(&bits, log_n)?;
        let (p, q) = primes.split_at(p_bits.len());
        let mut chain = ModulusChain {
            q: q.to_vec(),
            p: p.to_vec(),
            security_bits: 0,
            literal: self.literal,
        };
        let log_qp = chain.log_qp();
        if log_qp <= f64::from(bound) {
            chain.security_bits = 128;
        } else if secure {
            return Err(insecure(log_qp));
        }
        check_specials(&chain)?;
        Ok(chain)
    }

    fn build_checked(self, secure: bool) -> Result<Parameters, ParamError> {
        let (kernel, budget_bytes) = (self.kernel.clone(), self.budget_bytes);
        let chain = self.chain_checked(secure)?;
        let log_n = chain.log_n();
        Ok(Parameters(Arc::new(Inner {
            fingerprint: chain.fingerprint(),
            q: rings_of(&chain.q, log_n, &kernel)?,
            p: rings_of(&chain.p, log_n, &kernel)?,
            pool: LimbPool(Pool::new(log_n, budget_bytes)),
            noise: NoiseModel::new(log_n),
            embedding: Embedding::new(log_n),
            tables: super::tables::Tables::default(),
            kernel,
            chain,
        })))
    }

    fn check_counts(&self) -> Result<(), ParamError> {
        let ParamsLiteral {
            log_n,
            ref q_bits,
            ref p_bits,
            digits,
        } = self.literal;
        check_degree(log_n)?;
        if q_bits.is_empty() || digits == 0 {
            return Err(ParamError::Invalid {
                what: "number of ciphertext primes or of digits",
                found: "0".into(),
                expected: "1 or more",
            });
        }
        let (min, max) = PRIME_BITS;
        let mut all = p_bits.iter().chain(q_bits).copied();
        if let Some(bits) = all.find(|bits| !(min..=max).contains(bits)) {
            return Err(ParamError::PrimeBits { bits, min, max });
        }
        let digit_limbs = q_bits.len().div_ceil(digits);
        let terms = digits.min(q_bits.len()).max(digit_limbs);
        if terms > MAX_TERMS {
            return Err(ParamError::Invalid {
                what: "number of digits or of primes in a digit",
                found: terms.to_string(),
                expected: "64 or less",
            });
        }
        Ok(())
    }

    /// Sizes of the special primes that cover the largest digit of every level. Not only of the highest: where sizes
    /// differ, the shorter digits of a lower level may fall onto larger primes.
    fn covering_p_bits(&self) -> Vec<u32> {
        let q_bits = &self.literal.q_bits;
        let digit_bits = (1..=q_bits.len())
            .flat_map(|level| {
                let digit_limbs = level.div_ceil(self.literal.digits);
                q_bits[..level]
                    .chunks(digit_limbs)
                    .map(|digit| digit.iter().map(|&b| u64::from(b)).sum::<u64>())
            })
            .max()
            .unwrap_or(0);
        let specials = digit_bits.div_ceil(u64::from(PRIME_BITS.1)).max(1);
        vec![PRIME_BITS.1; usize::try_from(specials).unwrap_or(usize::MAX)]
    }
}

fn check_degree(log_n: u32) -> Result<(), ParamError> {
    let (min, max) = LOG_N;
    if (min..=max).contains(&log_n) {
        return Ok(());
    }
    Err(ParamError::Degree { log_n, min, max })
}

/// Rings of different primes of given sizes, without any check of security: to measure arithmetic.
pub(crate) fn rings(
    bits: &[u32],
    log_n: u32,
    kernel: &KernelChoice,
) -> Result<Vec<LimbRing>, ParamError> {
    check_degree(log_n)?;
    Ok(rings_of(&take_primes(bits, log_n)?, log_n, kernel)?)
}

fn rings_of(primes: &[u64], log_n: u32, kernel: &KernelChoice) -> Result<Vec<LimbRing>, MathError> {
    let rings = primes.iter().map(|q| LimbRing::new(*q, log_n, kernel));
    rings.collect()
}

/// The special primes must cover the digits of every level.
fn check_specials(chain: &ModulusChain) -> Result<(), ParamError> {
    for level in (1..=chain.max_level().limbs()).map(Level::new) {
        let Some(specials) = chain.specials(level) else {
            return Err(ParamError::SpecialsTooSmall {
                p_bits: chain.log_p(chain.p.len()),
                digit_bits: chain.digit_bits(level),
                level,
            });
        };
        // One more for a rescale that is merged with the ModDown.
        if specials + 1 > MAX_TERMS {
            return Err(ParamError::Invalid {
                what: "number of special primes of a key switch",
                found: specials.to_string(),
                expected: "63 or less",
            });
        }
    }
    Ok(())
}

/// The next unused prime of each size, largest first.
fn take_primes(bits: &[u32], log_n: u32) -> Result<Vec<u64>, ParamError> {
    let mut streams = HashMap::new();
    let mut take = |(n, &b): (usize, &u32)| {
        let stream = streams
            .entry(b)
            .or_insert_with(|| primes::ntt_primes_below(1 << b, log_n));
        stream.next().filter(|&p| p >= 1 << (b - 1)).ok_or_else(|| {
            let of_size = |list: &[u32]| list.iter().filter(|&&x| x == b).count();
            ParamError::NotEnoughPrimes {
                bits: b,
                log_n,
                found: of_size(&bits[..n]),
                wanted: of_size(bits),
            }
        })
    };
    bits.iter().enumerate().map(&mut take).collect()
}
