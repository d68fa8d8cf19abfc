//! Primality and the search for primes that carry a negacyclic transform.

use crate::modulus::Modulus;

/// The first twelve primes: as Miller-Rabin bases they decide every word below `3.3 * 10^24`
/// (Sorenson and Webster, Strong pseudoprimes to twelve prime bases, 2015).
const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];

/// Whether `n < 2^62` is prime (deterministic).
///
/// # Panics
/// If `n >= 2^62`.
pub fn is_prime(n: u64) -> bool {
    if n < 2 {
        return false;
    }
    if let Some(&p) = BASES.iter().find(|&&p| n.is_multiple_of(p)) {
        return n == p;
    }
    let m = Modulus::new(n).expect("is_prime is for numbers below 2^62");
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let mut x = m.pow(base, odd);
        if x == 1 || x == n - 1 {
            return true;
        }
        for _ in 1..twos {
            x = m.mul(x, x);
            if x == n - 1 {
                return true;
            }
        }
        false
    })
}

/// The primes `q < bound` with `q = 1 mod 2^(log_n + 1)`, in descending order.
///
/// # Panics
/// If `bound > 2^62` or `log_n > 60`.
pub fn ntt_primes_below(bound: u64, log_n: u32) -> impl Iterator<Item = u64> {
    assert!(
        bound <= 1 << Modulus::MAX_BITS && log_n <= 60,
        "bound {bound} or log_n {log_n} out of range"
    );
    let log_step = log_n + 1;
    let candidates = bound.saturating_sub(2) >> log_step;
    (1..=candidates)
        .rev()
        .map(move |k| (k << log_step) + 1)
        .filter(|&q| is_prime(q))
}

/// The primes `bound <= q < 2^62` with `q = 1 mod 2^(log_n + 1)`, in ascending order.
///
/// # Panics
/// If `bound > 2^62` or `log_n > 60`.
pub fn ntt_primes_above(bound: u64, log_n: u32) -> impl Iterator<Item = u64> {
    assert!(
        bound <= 1 << Modulus::MAX_BITS && log_n <= 60,
        "bound {bound} or log_n {log_n} out of range"
    );
    let log_step = log_n + 1;
    let first = bound.saturating_sub(1).div_ceil(1 << log_step).max(1);
    (first..1 << (Modulus::MAX_BITS - log_step))
        .map(move |k| (k << log_step) + 1)
        .filter(|&q| is_prime(q))
}

/// A primitive root of unity of order `2^(log_n + 1)` modulo the prime `q`: `g^((q-1)/2^(log_n+1))`
/// for the smallest `g >= 2` that gives one. `None` if `q` is not `1 mod 2^(log_n + 1)`.
pub(crate) fn primitive_root(q: Modulus, log_n: u32) -> Option<u64> {
    let order_minus = q.value() - 1;
    if order_minus.trailing_zeros() < log_n + 1 {
        return None;
    }
    let cofactor = order_minus >> (log_n + 1);
    (2..q.value())
        .map(|g| q.pow(g, cofactor))
        .find(|&root| is_primitive_root(q, log_n, root))
}

/// Whether `root^(2^log_n) = -1`, that is, whether it has order exactly `2^(log_n + 1)`.
pub(crate) fn is_primitive_root(q: Modulus, log_n: u32, root: u64) -> bool {
    q.pow(root, 1 << log_n) == q.value() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_prime_agrees_with_sieve() {
        let mut sieve = vec![true; 5000];
        for i in 2..sieve.len() {
            assert_eq!(is_prime(i as u64), sieve[i], "{i}");
            if sieve[i] {
                (i * i..sieve.len())
                    .step_by(i)
                    .for_each(|j| sieve[j] = false);
            }
        }
        // Carmichael numbers, a strong pseudoprime to bases 2 to 37 less one, and large primes.
        for composite in [561, 41041, 825_265, 321_197_185, 3_825_123_056_546_413_051] {
            assert!(!is_prime(composite));
        }
        for prime in [(1 << 61) - 1, 4_611_686_018_427_387_847, 65537] {
            assert!(is_prime(prime), "{prime}");
        }
    }

    #[test]
    fn ntt_primes_are_ordered_and_complete() {
        let below: Vec<u64> = ntt_primes_below(1000, 3).collect();
        let mut above: Vec<u64> = ntt_primes_above(2, 3).take_while(|&q| q < 1000).collect();
        above.reverse();
        assert_eq!(below, above);
        assert_eq!(
            below,
            (2..1000)
                .rev()
                .filter(|&q| q % 16 == 1 && is_prime(q))
                .collect::<Vec<_>>()
        );
        assert_eq!(ntt_primes_below(97, 4).next(), None);
        assert_eq!(ntt_primes_below(98, 4).next(), Some(97));
        assert_eq!(ntt_primes_above(97, 4).next(), Some(97));
    }

    #[test]
    fn primitive_root_has_the_right_order() {
        for log_n in 0..=17 {
            let prime = ntt_primes_below(1 << 49, log_n).next().unwrap();
            let q = Modulus::new(prime).unwrap();
            let root = primitive_root(q, log_n).unwrap();
            assert_eq!(q.pow(root, 2 << log_n), 1);
            assert_ne!(q.pow(root, 1 << log_n), 1);
        }
        assert_eq!(primitive_root(Modulus::new(97).unwrap(), 5), None);
    }
}
