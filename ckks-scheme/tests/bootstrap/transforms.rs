use crate::fixture::{Fixture, params};
use ckks_scheme::linear::{coeffs_to_slots, slots_to_coeffs};
use ckks_scheme::{DiagonalMatrix, EvalError, KeyRequest, Level, LinearTransform, Scale};
use num_complex::Complex64;

fn scale(bits: i32) -> Scale {
    Scale::new(2f64.powi(bits))
}

/// One matrix, encrypted against plain, not rescaled and rescaled.
fn check(matrix: &DiagonalMatrix, giant_cost: f64) -> (usize, u64) {
    let params = params(8, &[50, 40, 40, 40], 2);
    let level = Level::new(3);
    let transform = LinearTransform::new(&params, matrix, level, scale(40), giant_cost).unwrap();
    let mut request = KeyRequest::new();
    transform.request(&mut request);
    let mut f = Fixture::new(params, &request);
    let mut x = f.slots(1.0, false);
    let dim = matrix.dim();
    for j in dim..x.len() {
        x[j] = x[j % dim];
    }
    let mut expected = matrix.apply(&x[..dim]);
    while expected.len() < x.len() {
        expected.extend_from_within(..dim);
    }
    let ct = f.encrypt(&x, level, scale(40));
    let out = f.eval.linear_transform(&ct, &transform).unwrap();
    assert_eq!((out.level(), out.scale()), (level, scale(80)));
    f.error_within_bound(&out, &expected);
    let out = f.eval.linear_transform_rescale(&ct, &transform).unwrap();
    assert_eq!(out.level(), Level::new(2));
    let error = f.error_within_bound(&out, &expected);
    assert!(error < 1e-5 * dim as f64, "{error:e}");
    let largest = expected.iter().map(|z| z.norm()).fold(0.0, f64::max);
    assert!(largest <= out.tracked().max);

    let high = f.encrypt(&x, Level::new(4), scale(40));
    assert!(matches!(
        f.eval.linear_transform(&high, &transform),
        Err(EvalError::LevelMismatch { .. })
    ));
    (request.count(), transform.bytes())
}

#[test]
fn transforms_of_any_matrix_match_plain() {
    // Dense, of full and of shorter period.
    for dim in [4, 32, 128] {
        let dense = DiagonalMatrix::from_entries(dim, |j, k| {
            Complex64::new(((j * 5 + k * 3) % 7) as f64 - 3.0, ((j + k) % 4) as f64) * 0.1
        });
        check(&dense, 1.0);
    }
    // More terms in a sum than one modular reduction takes.
    let wide = DiagonalMatrix::from_entries(128, |j, k| {
        Complex64::new(((j * 5 + k * 3) % 7) as f64 - 3.0, 0.5) * 0.1
    });
    check(&wide, 100.0);
    // Few diagonals anywhere, one of them constant.
    let mut sparse = DiagonalMatrix::new(128);
    for (d, size) in [(0, 0.5), (3, -1.0), (77, 0.25), (-2, 1.0)] {
        sparse.diagonal_mut(d).fill(Complex64::new(size, 0.125));
    }
    sparse.diagonal_mut(64)[5] = Complex64::I;
    check(&sparse, 4.0);
    let mut shift = DiagonalMatrix::new(128);
    shift.diagonal_mut(9).fill(Complex64::ONE);
    let (keys, bytes) = check(&shift, 1.0);
    // A constant diagonal takes a few words a prime.
    assert_eq!(keys, 1);
    assert!(bytes < 8 * 4 * 8);
}

#[test]
fn costlier_giant_steps_mean_fewer_of_them_and_more_keys() {
    let dense = DiagonalMatrix::from_entries(64, |j, k| Complex64::from((j + k) as f64 * 0.01));
    let (few, _) = check(&dense, 0.3);
    let (more, _) = check(&dense, 3.0);
    // Giant steps at one distance share a key.
    assert_eq!((few, more), (4, 13));
}

#[test]
fn factored_transforms_match_plain_and_invert_each_other() {
    let q = [50, 45, 45, 45, 45, 45, 45];
    let params = params(8, &q, 3);
    let matrices: Vec<_> = slots_to_coeffs(128, 3)
        .into_iter()
        .chain(coeffs_to_slots(128, 3))
        .collect();
    let mut request = KeyRequest::new();
    let transforms: Vec<_> = matrices
        .iter()
        .zip((2..=7).rev())
        .map(|(m, level)| {
            let level = Level::new(level);
            let scale = Scale::new(params.prime(level) as f64);
            LinearTransform::new(&params, m, level, scale, 2.0).unwrap()
        })
        .collect();
    for t in &transforms {
        t.request(&mut request);
    }
    let mut f = Fixture::new(params, &request);
    let x = f.slots(1.0, false);
    let mut ct = f.encrypt(&x, Level::new(7), scale(40));
    let mut plain = x.clone();
    for (m, t) in matrices.iter().zip(&transforms) {
        ct = f.eval.linear_transform_rescale(&ct, t).unwrap();
        assert!(ct.scale().matches(scale(40)));
        plain = m.apply(&plain);
        f.error_within_bound(&ct, &plain);
    }
    let error = crate::fixture::max_error(&f.decrypt(&ct), &x);
    assert!(error < 1e-7, "{error:e}");
}
