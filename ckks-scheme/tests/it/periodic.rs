use crate::fixture::{Fixture, max_error, params};
use ckks_scheme::{
    EvalError, PeriodicMatrix, PeriodicPlain, Scale, decode_periodic, round_periodic_real,
};
use num_complex::Complex64;
use rand::RngExt;

fn cells(f: &mut Fixture, g: usize) -> Vec<f64> {
    (0..g).map(|_| f.rng.random_range(-1.0..1.0)).collect()
}

#[test]
fn rounded_masks_stay_real_and_near() {
    let mut f = Fixture::new(params(8, 2, 2), &[]);
    for g in [2, 8, 64] {
        let x = cells(&mut f, g);
        let coeffs = round_periodic_real(&x, 2f64.powi(18)).unwrap();
        let n = 2 * g;
        assert!(coeffs[g] == 0 && (1..g).all(|k| coeffs[k] == -coeffs[n - k]));
        let back = decode_periodic(&coeffs, 2f64.powi(18)).unwrap();
        for (z, x) in back.iter().zip(&x) {
            assert!(z.im.abs() < 1e-12);
            // 2G roundings of at most one half each.
            assert!((z.re - x).abs() <= g as f64 * 2f64.powi(-18));
        }
    }
}

#[test]
fn periodic_plaintext_adds_its_cells_to_every_period() {
    let mut f = Fixture::new(params(8, 3, 2), &[]);
    let x = f.random_slots();
    for g in [4, 32, 128] {
        let c: Vec<_> = cells(&mut f, g)
            .iter()
            .map(|&v| Complex64::new(v, -2.0 * v))
            .collect();
        let scale = 2f64.powi(78);
        let mut ct = f.encrypt(&x, 3, scale);
        f.eval
            .add_periodic_assign(&mut ct, &PeriodicPlain::new(&c, Scale::new(scale)).unwrap())
            .unwrap();
        let expected: Vec<_> = x.iter().enumerate().map(|(j, z)| z + c[j % g]).collect();
        f.assert_within_bound(&ct, &expected);
    }
}

#[test]
fn matrix_product_matches_plain_with_rounded_weights() {
    let mut f = Fixture::new(params(8, 3, 2), &[]);
    let (rows, cols, g) = (3, 5, 16);
    let mut w = PeriodicMatrix::new(rows, cols, g, Scale::new(2f64.powi(20))).unwrap();
    // Some weights constant, some masked, some absent.
    let mut effective = vec![vec![vec![0.0; g]; cols]; rows];
    for (r, row) in effective.iter_mut().enumerate() {
        for (c, e) in row.iter_mut().enumerate() {
            match (r + c) % 3 {
                0 => *e = vec![w.set_scalar(r, c, f.rng.random_range(-1.0..1.0)).unwrap(); g],
                1 => {
                    let mask = cells(&mut f, g);
                    *e = w.set_masked(r, c, &mask).unwrap();
                    assert!(e.iter().zip(&mask).all(|(a, b)| (a - b).abs() < 1e-4));
                }
                _ => {}
            }
        }
    }
    let xs: Vec<_> = (0..cols).map(|_| f.random_slots()).collect();
    let cts: Vec<_> = xs.iter().map(|x| f.encrypt(x, 3, 2f64.powi(50))).collect();
    let level = cts[0].level();
    let mut out: Vec<_> = (0..rows)
        .map(|_| f.eval.zero(level, Scale::new(2f64.powi(70))).unwrap())
        .collect();
    // Twice: it accumulates.
    for _ in 0..2 {
        f.eval
            .matmul_accumulate(
                &mut out.iter_mut().collect::<Vec<_>>(),
                &cts.iter().collect::<Vec<_>>(),
                &w,
            )
            .unwrap();
    }
    for (r, ct) in out.iter().enumerate() {
        let expected: Vec<_> = (0..f.params.slots())
            .map(|j| {
                (0..cols)
                    .map(|c| xs[c][j] * effective[r][c][j % g])
                    .sum::<Complex64>()
                    * 2.0
            })
            .collect();
        assert!(max_error(&f.decrypt(ct), &expected) < ct.tracked().error_bound() * 2f64.sqrt());
    }
    let e = f
        .eval
        .matmul_accumulate(&mut out.iter_mut().collect::<Vec<_>>(), &[&cts[0]], &w)
        .unwrap_err();
    assert!(
        matches!(
            e,
            EvalError::Shape {
                found: 1,
                expected: 5,
                ..
            }
        ),
        "{e}"
    );
}
