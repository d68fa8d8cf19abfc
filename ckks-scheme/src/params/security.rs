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
/// * N = 2^15, weight 192: Bossuat et al., <https://eprint.iacr.org/2020/1203>, hold a permanent secret of this weight
///   for 128-bit secure under 768 bits (in Lattigo the set N15QP768H192H32). The smaller the modulus at the same error,
///   the harder the problem; of the 768 bits as many are granted here as an ephemeral secret needs.
///
/// A larger ring, or a denser secret, at the same modulus is no easier to attack.
pub const fn max_log_qp_ephemeral_128(log_n: u32, weight: u32) -> u32 {
    if (log_n >= 16 && weight >= 32) || (log_n >= 15 && weight >= 192) {
        117
    } else {
        0
    }
}
