//! The 128-bit bounds on log QP.

/// Largest log2(QP) with 128-bit classical security for a uniform ternary secret and error deviation 3.19, by ring
/// degree: Bossuat et al., Security Guidelines for Implementing Homomorphic Encryption, 2024,
/// <https://eprint.iacr.org/2024/463>. 0 for degrees that no set is admitted for: below 2^13 there is no room for a
/// computation, above 2^17 the guidelines end.
pub const fn max_log_qp_128(log_n: u32) -> u32 {
    match log_n {
        13 => 214,
        14 => 430,
        15 => 868,
        16 => 1747,
        17 => 3523,
        _ => 0,
    }
}

/// Largest log2 of a modulus with 128-bit security for a sparse ternary secret of Hamming weight `weight`: the
/// ephemeral secret of a bootstrapping. 0 where no bound is known.
///
/// * N = 2^16, weight 32: Bossuat, Troncoso-Pastoriza, Hubaux, <https://eprint.iacr.org/2022/024>, section 5.
/// * N = 2^15, weight 32: table 1 there estimates 140.9 bits of security under 111 bits of modulus. An independent table
///   of hybrid attacks, <https://github.com/jdumezy/sparse-key-estimate>, has 128 bits of security up to 162. Both as
///   quoted by others (docs/notes/bootstrapping.md); no estimator was run for this bound.
///
/// A larger ring, or a denser secret, at the same modulus is no easier to attack.
pub const fn max_log_qp_ephemeral_128(log_n: u32, weight: u32) -> u32 {
    match log_n {
        _ if weight < 32 => 0,
        15 => 111,
        16.. => 117,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By ring degree, from another place than the table above: what the script of the guidelines' authors gives for a
    /// ternary secret and classical attacks, as listed by <https://github.com/HomomorphicEncryption/SparseLWEkit>.
    const GUIDELINES: [(u32, u32); 5] = [
        (8192, 214),
        (16_384, 430),
        (32_768, 868),
        (65_536, 1747),
        (131_072, 3523),
    ];

    #[test]
    fn kat_bounds_are_those_of_the_guidelines() {
        for log_n in 0..64 {
            let row = GUIDELINES.iter().find(|(n, _)| u64::from(*n) == 1 << log_n);
            assert_eq!(
                max_log_qp_128(log_n),
                row.map_or(0, |(_, bits)| *bits),
                "2^{log_n}"
            );
        }
    }

    #[test]
    fn kat_bounds_of_sparse_secrets() {
        for weight in [0, 1, 16, 31] {
            for log_n in 0..20 {
                assert_eq!(max_log_qp_ephemeral_128(log_n, weight), 0, "2^{log_n}");
            }
        }
        for weight in [32, 33, 64, 192, u32::MAX] {
            let bounds: Vec<u32> = (12..=18)
                .map(|log_n| max_log_qp_ephemeral_128(log_n, weight))
                .collect();
            assert_eq!(bounds, [0, 0, 0, 111, 117, 117, 117]);
        }
    }
}
