//! Named parameter sets.

use super::{ParamError, Parameters, ParamsLiteral, max_log_qp_128};

/// Bits of every prime of the sets here.
const BITS: u32 = 50;

/// The longest chain of 50-bit primes that is 128-bit secure at ring degree `2^log_n` with two digits a key switch: 5
/// levels at 2^14, 11 at 2^15, 22 at 2^16, 46 at 2^17.
///
/// # Errors
/// [`ParamError::Insecure`] for a ring that has no such chain (below 2^13 or above 2^17).
pub fn classic128(log_n: u32) -> Result<ParamsLiteral, ParamError> {
    let bound = max_log_qp_128(log_n);
    let bits = |levels: u32| BITS * (levels + levels.div_ceil(2));
    let levels = (1..).take_while(|l| bits(*l) <= bound).last();
    let levels = levels.ok_or(ParamError::Insecure {
        log_n,
        log_qp: f64::from(bits(1)),
        bound,
    })?;
    Ok(ParamsLiteral {
        log_n,
        q_bits: vec![BITS; levels as usize],
        p_bits: vec![BITS; levels.div_ceil(2) as usize],
        digits: 2,
    })
}

/// **Insecure** set for tests: ring degree `2^log_n`, `levels` ciphertext primes of 50 bits, two digits.
///
/// # Panics
/// If the degree is not supported (4 to 17) or `levels` is 0.
pub fn insecure_log_n(log_n: u32, levels: usize) -> Parameters {
    Parameters::builder()
        .log_n(log_n)
        .q_bits(std::iter::repeat_n(50, levels))
        .build_insecure_for_tests()
        .expect("a supported degree and at least one level")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ckks_math::KernelChoice;

    #[test]
    fn classic128_sets_build_and_one_level_more_does_not() {
        for (log_n, levels) in [(13, 2), (14, 5), (15, 11)] {
            let mut literal = classic128(log_n).unwrap();
            assert_eq!(literal.q_bits.len(), levels);
            let set = Parameters::from_literal(&literal, KernelChoice::Auto, None).unwrap();
            assert_eq!(set.security_bits(), 128);
            let more = levels + 1;
            literal.q_bits = vec![BITS; more];
            literal.p_bits = vec![BITS; more.div_ceil(2)];
            let refused = Parameters::from_literal(&literal, KernelChoice::Auto, None);
            assert!(matches!(refused, Err(ParamError::Insecure { .. })));
        }
        assert_eq!(classic128(16).unwrap().q_bits.len(), 22);
        assert_eq!(classic128(17).unwrap().q_bits.len(), 46);
        assert!(matches!(
            classic128(12),
            Err(ParamError::Insecure { bound: 0, .. })
        ));
    }
}
