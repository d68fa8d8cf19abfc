//! Laws that hold for every number of levels, digits and steps.

use crate::fixture::{Fixture, params, rotated, zip};
use ckks_scheme::{Ciphertext, EncodeError, KeyRequest, Level, PeriodicMatrix, Scale};
use proptest::prelude::*;
use proptest::test_runner::Config;

const SCALE: f64 = (1u64 << 40) as f64;

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

/// Number of levels, digits, level of the ciphertext.
fn chain() -> impl Strategy<Value = (usize, usize, usize)> {
    (1usize..=6, 1usize..=8)
        .prop_flat_map(|(levels, digits)| (Just(levels), Just(digits), 1..=levels))
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn prop_rotations_compose((levels, digits, level) in chain(), a in -70i64..70, b in -70i64..70) {
        let mut f = Fixture::new(params(6, levels, digits), &[a, b, a + b]);
        let x = f.random_slots();
        let ct = f.encrypt(&x, level, SCALE);
        let expected = rotated(&x, a + b);
        f.assert_within_bound(&f.eval.rotate(&f.eval.rotate(&ct, a).unwrap(), b).unwrap(), &expected);
        f.assert_within_bound(&f.eval.rotate(&ct, a + b).unwrap(), &expected);
    }

    #[test]
    fn prop_conjugation_is_an_involution((levels, digits, level) in chain()) {
        let mut f = Fixture::new(params(6, levels, digits), &[]);
        let x = f.random_slots();
        let ct = f.encrypt(&x, level, SCALE);
        let once = f.eval.conjugate(&ct).unwrap();
        f.assert_within_bound(&once, &zip(&x, &x, |x, _| x.conj()));
        f.assert_within_bound(&f.eval.conjugate(&once).unwrap(), &x);
    }

    #[test]
    fn prop_products_match_plain((levels, digits, level) in chain()) {
        let mut f = Fixture::new(params(6, levels, digits), &[]);
        let (x, y) = (f.random_slots(), f.random_slots());
        let scale = if level == 1 { 2f64.powi(22) } else { SCALE };
        let (a, b) = (f.encrypt(&x, level, scale), f.encrypt(&y, level, scale));
        let product = f.eval.relinearize(f.eval.mul(&a, &b).unwrap()).unwrap();
        f.assert_within_bound(&product, &zip(&x, &y, |x, y| x * y));
        // The scheme is commutative to the last bit.
        let swapped = f.eval.relinearize(f.eval.mul(&b, &a).unwrap()).unwrap();
        prop_assert_eq!(f.decrypt(&product), f.decrypt(&swapped));
    }

    #[test]
    fn prop_keys_of_any_level_above_serve(
        digits in 1usize..=4,
        level in 1usize..=3,
        key_levels in prop::collection::vec(3usize..=6, 1..6),
    ) {
        let steps: Vec<i64> = (1..=key_levels.len() as i64).collect();
        let mut request = KeyRequest::new();
        for (&s, &l) in steps.iter().zip(&key_levels) {
            request.rotation(s, Level::new(l));
        }
        let mut f = Fixture::with_keys(params(6, 6, digits), &request);
        let x = f.random_slots();
        let ct = f.encrypt(&x, level, SCALE);
        // Steps in any order, some twice, some none.
        let mut steps: Vec<i64> = steps.iter().rev().chain(&steps).copied().collect();
        steps.insert(1, 0);
        let many = f.eval.rotate_many(&ct, &steps).unwrap();
        for (&s, ct_s) in steps.iter().zip(&many) {
            f.assert_within_bound(ct_s, &rotated(&x, s));
            prop_assert_eq!(f.decrypt(ct_s), f.decrypt(&f.eval.rotate(&ct, s).unwrap()));
        }
        let terms: Vec<(&Ciphertext, i64)> = steps.iter().map(|&s| (&ct, s)).collect();
        let sum = f.eval.rotate_sum(&terms).unwrap();
        let expected = steps
            .iter()
            .fold(vec![0.0.into(); x.len()], |sum, &s| zip(&sum, &rotated(&x, s), |a, b| a + b));
        f.assert_within_bound(&sum, &expected);
    }

    #[test]
    fn prop_matrix_product_is_linear(
        (levels, _, level) in chain(),
        (rows, cols, log_cells) in (1usize..4, 1usize..5, 1u32..6),
        weights in prop::collection::vec(-2.0f64..2.0, 12),
    ) {
        let mut f = Fixture::with_keys(params(6, levels, 2), &KeyRequest::new());
        let cells = 1 << log_cells;
        let mut w = PeriodicMatrix::new(rows, cols, cells, Scale::new(1024.0)).unwrap();
        for (i, &value) in weights.iter().take(rows * cols).enumerate() {
            if i % 2 == 0 {
                w.set_scalar(i / cols, i % cols, value).unwrap();
            } else {
                let mask: Vec<f64> = (0..cells).map(|k| value * (k as f64).cos()).collect();
                w.set_masked(i / cols, i % cols, &mask).unwrap();
            }
        }
        let scale = 2f64.powi(30);
        let slots: Vec<_> = (0..2 * cols).map(|_| f.random_slots()).collect();
        let cts: Vec<_> = slots.iter().map(|x| f.encrypt(x, level, scale)).collect();
        let (x, y) = cts.split_at(cols);
        let sums: Vec<Ciphertext> = x
            .iter()
            .zip(y)
            .map(|(x, y)| {
                let mut sum = x.try_clone().unwrap();
                f.eval.add_assign(&mut sum, y).unwrap();
                sum
            })
            .collect();
        let product = |x: &[Ciphertext], out: &mut [Ciphertext]| {
            let mut out: Vec<_> = out.iter_mut().collect();
            f.eval.matmul_accumulate(&mut out, &x.iter().collect::<Vec<_>>(), &w).unwrap();
        };
        let zeros = || -> Vec<Ciphertext> {
            let zero = |_| f.eval.zero(Level::new(level), Scale::new(scale * 1024.0)).unwrap();
            (0..rows).map(zero).collect()
        };
        let (mut of_sum, mut sum_of) = (zeros(), zeros());
        product(&sums, &mut of_sum);
        product(x, &mut sum_of);
        product(y, &mut sum_of);
        // Nothing is rounded here: equal to the last bit.
        for (a, b) in of_sum.iter().zip(&sum_of) {
            prop_assert_eq!(f.decrypt(a), f.decrypt(b));
        }
    }

    #[test]
    fn prop_encoding_round_trips((levels, _, level) in chain(), log_scale in 0.0f64..119.0) {
        let mut f = Fixture::with_keys(params(6, levels, 2), &KeyRequest::new());
        let x = f.random_slots();
        let scale = Scale::new(log_scale.exp2());
        let fits = log_scale + 2.0 < f.params.log_q(Level::new(level));
        match f.encoder.encode(&x, Level::new(level), scale) {
            Ok(pt) => {
                let error = crate::fixture::max_error(&f.encoder.decode(&pt).unwrap(), &x);
                prop_assert!(error <= pt.tracked().error_bound(), "{error:e}");
            }
            Err(EncodeError::TooLarge { scale_log2, .. }) => {
                prop_assert!(!fits && (scale_log2 - log_scale).abs() < 1e-9);
            }
            Err(e) => prop_assert!(false, "{e}"),
        }
    }
}
