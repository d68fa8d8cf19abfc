//! Named parameter sets.

use super::Parameters;

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
