//! Wide discrete Gaussians, for noise that hides an error.

use ckks_math::sample;
use rand::CryptoRng;
use zeroize::Zeroize;

/// Largest deviation of one coefficient, so that the sum with a message of 126 bits stays below 2^127.
pub(super) const MAX_DEVIATION_LOG2: f64 = 110.0;

/// The weights of [`add`] for a deviation of at least `deviation`: the powers of two as long as they fit, and what is
/// missing. None for what is not a number or too large.
///
/// # Proof sketch
/// With `x_0, x_1, ..` from the sampler, `s = sigma sqrt(2 pi) = 8.0` wide, `x_0 + .. + 2^(m-1) x_(m-1)` is
/// `s_m = s sqrt((4^m - 1) / 3) >= 4.6 2^m` wide. Adding `w x_m` with `w <= 2^m` gives a discrete Gaussian again, but for
/// a statistical distance of about `eps`, if `(s_m^-2 + (w s)^-2)^(-1/2) >= w eta_eps(Z)` (Micciancio, Walter: Gaussian
/// sampling over the integers, theorem 3.3, <https://eprint.iacr.org/2017/259>). The left side is at least `3.58 w`
/// (reached at `m = 1`, `w = 2`), and `eta_eps(Z) = sqrt(ln(2 + 2 / eps) / pi)` is that at `eps = 2^-56`.
pub(super) fn weights(deviation: f64) -> Option<Vec<i128>> {
    // NaN compares false.
    if !(0.0..=MAX_DEVIATION_LOG2.exp2()).contains(&deviation) {
        return None;
    }
    let target = (deviation / sample::SIGMA).powi(2);
    let (mut weights, mut variance) = (vec![1i128], 1.0);
    let mut next = 2i128;
    while variance + (next as f64).powi(2) <= target {
        weights.push(next);
        variance += (next as f64).powi(2);
        next *= 2;
    }
    if variance < target {
        weights.push(((target - variance).sqrt().ceil() as i128).min(next));
    }
    Some(weights)
}

/// Adds to every coefficient the sum of the sampler's Gaussians times the weights.
pub(super) fn add<R: CryptoRng>(coeffs: &mut [i128], weights: &[i128], rng: &mut R) {
    let mut x = vec![0i64; coeffs.len()];
    for &w in weights {
        sample::gaussian_into(rng, &mut x);
        for (c, &x) in coeffs.iter_mut().zip(&x) {
            *c += w * i128::from(x);
        }
    }
    x.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn weights_reach_the_deviation_and_little_more() {
        for log2 in 0..=1100 {
            let deviation = (f64::from(log2) / 10.0).exp2();
            let weights = weights(deviation).unwrap();
            let squares: f64 = weights.iter().map(|&w| (w as f64).powi(2)).sum();
            let ratio = sample::SIGMA * squares.sqrt() / deviation;
            let most = if deviation < 100.0 { 3.2 } else { 1.1 };
            assert!(
                (1.0 - 1e-12..=most).contains(&ratio),
                "2^{}: {ratio}",
                log2 as f64 / 10.0
            );
            // Every weight is at most twice the one before: the proof's condition.
            assert!(weights.windows(2).all(|w| w[1] <= 2 * w[0]));
        }
        for bad in [f64::NAN, f64::INFINITY, -1.0, 2f64.powi(111)] {
            assert!(weights(bad).is_none());
        }
    }

    #[test]
    fn wide_gaussian_has_its_moments_and_covers_every_residue() {
        let n = 200_000;
        for deviation in [3.19, 5.0, 1000.0, 3e9] {
            let weights = weights(deviation).unwrap();
            let mut x = vec![0i128; n];
            add(&mut x, &weights, &mut ChaCha20Rng::seed_from_u64(3));
            let squares: f64 = weights.iter().map(|&w| (w as f64).powi(2)).sum();
            let std = sample::SIGMA * squares.sqrt();
            let moment =
                |p: i32| x.iter().map(|&x| (x as f64 / std).powi(p)).sum::<f64>() / n as f64;
            assert!(moment(1).abs() < 5.0 / (n as f64).sqrt());
            assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt());
            assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n as f64).sqrt());
            // No holes: even the lowest bits are uniform once the deviation is large.
            if deviation > 100.0 {
                for residue in 0..16 {
                    let count = x.iter().filter(|x| x.rem_euclid(16) == residue).count() as f64;
                    let expected = n as f64 / 16.0;
                    assert!((count - expected).abs() < 5.0 * expected.sqrt());
                }
            }
        }
    }
}
