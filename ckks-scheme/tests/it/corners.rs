//! The lowest levels, the smallest and the largest ring, products before their relinearisation, the ends of ranges.

use crate::fixture::{Fixture, kernel, max_error, params, rotated, zip};
use ckks_scheme::{
    Decryptor, Encryptor, EvalError, Evaluator, KeyGenerator, KeyRequest, Level, Parameters,
    PeriodicMatrix, PeriodicPlain, Scale,
};
use num_complex::Complex64;
use rayon::prelude::*;

const SCALE: f64 = (1u64 << 40) as f64;

#[test]
fn lowest_levels_switch_keys() {
    // More digits than levels, one digit, keys made for the level and far above it.
    for (levels, digits) in [(1, 1), (1, 4), (2, 2), (2, 7), (6, 1), (6, 2), (6, 6)] {
        let mut f = Fixture::new(params(7, levels, digits), &[9]);
        let x = f.random_slots();
        for level in 1..=levels.min(2) {
            let a = f.encrypt(&x, level, 2f64.powi(22));
            f.assert_within_bound(&f.eval.rotate(&a, 9).unwrap(), &rotated(&x, 9));
            let conj = zip(&x, &x, |x, _| x.conj());
            f.assert_within_bound(&f.eval.conjugate(&a).unwrap(), &conj);
            let square = f.eval.relinearize(f.eval.square(&a).unwrap()).unwrap();
            f.assert_within_bound(&square, &zip(&x, &x, |x, y| x * y));
        }
        if levels > 1 {
            let a = f.encrypt(&x, 2, SCALE * 2f64.powi(50));
            let z = f.eval.conjugate_rescale(&a).unwrap();
            assert_eq!(z.level(), Level::new(1));
            f.assert_within_bound(&z, &zip(&x, &x, |x, _| x.conj()));
            let e = f.eval.conjugate_rescale(&z).unwrap_err();
            assert_eq!(
                e.to_string(),
                "conjugate and rescale needs level 2 or more, found level 1"
            );
        }
    }
}

#[test]
fn three_polynomials_do_what_two_do_except_products_and_rotations() {
    let mut f = Fixture::new(params(7, 4, 2), &[1]);
    let (x, y) = (f.random_slots(), f.random_slots());
    let scale = 2f64.powi(30);
    let (a, b) = (f.encrypt(&x, 4, scale), f.encrypt(&y, 4, scale));
    let product = || f.eval.mul(&a, &b).unwrap();
    let xy = zip(&x, &y, |x, y| x * y);

    let mut c = product();
    f.eval.add_assign(&mut c, &product()).unwrap();
    f.eval.negate_assign(&mut c);
    f.eval.sub_assign(&mut c, &product()).unwrap();
    f.eval.mul_i_assign(&mut c);
    f.eval
        .add_const_assign(&mut c, Complex64::new(1.0, 0.5))
        .unwrap();
    let expected = zip(&xy, &xy, |z, _| {
        Complex64::new(0.0, -3.0) * z + Complex64::new(1.0, 0.5)
    });
    f.assert_within_bound(&c, &expected);
    let rescaled = f.eval.rescale(&c).unwrap();
    assert_eq!((rescaled.parts(), rescaled.level().limbs()), (3, 3));
    f.assert_within_bound(&rescaled, &expected);
    f.assert_within_bound(&f.eval.relinearize(rescaled).unwrap(), &expected);
    f.eval.drop_level(&mut c, Level::new(3)).unwrap();
    let lifted = f.eval.lift(c, Level::new(4)).unwrap();
    f.assert_within_bound(&lifted, &expected);
    let scaled = f.eval.mul_const(&lifted, 0.5, Scale::new(1024.0)).unwrap();
    f.assert_within_bound(&scaled, &zip(&expected, &expected, |z, _| 0.5 * z));

    let parts = |e: EvalError| assert!(matches!(e, EvalError::Parts { .. }), "{e}");
    parts(f.eval.mul(&product(), &a).unwrap_err());
    parts(f.eval.mul(&a, &product()).unwrap_err());
    parts(f.eval.square(&product()).unwrap_err());
    parts(f.eval.square_pair(&a, &product()).unwrap_err());
    parts(f.eval.rotate(&product(), 1).unwrap_err());
    parts(f.eval.conjugate(&product()).unwrap_err());
    parts(f.eval.conjugate_rescale(&product()).unwrap_err());
    parts(f.eval.rotate_sum(&[(&product(), 1)]).unwrap_err());
    parts(f.eval.relinearize(a.try_clone().unwrap()).unwrap_err());
    let w = PeriodicMatrix::new(1, 1, 4, Scale::new(1.0)).unwrap();
    let mut out = f.eval.zero(Level::new(4), product().scale()).unwrap();
    parts(
        f.eval
            .matmul_accumulate(&mut [&mut out], &[&product()], &w)
            .unwrap_err(),
    );
    let mut two = f.eval.zero(Level::new(4), product().scale()).unwrap();
    parts(f.eval.add_assign(&mut two, &product()).unwrap_err());
    parts(f.eval.sub_assign(&mut product(), &two).unwrap_err());
}

#[test]
fn plaintexts_of_higher_levels_add_and_multiply() {
    let mut f = Fixture::new(params(7, 4, 2), &[]);
    let (x, y) = (f.random_slots(), f.random_slots());
    let pt = |f: &Fixture, level| {
        let (level, scale) = (Level::new(level), Scale::new(2f64.powi(20)));
        f.encoder.encode(&y, level, scale).unwrap()
    };
    for level in 1..=4 {
        let mut a = f.encrypt(&x, level, 2f64.powi(20));
        let high = pt(&f, 4);
        f.assert_within_bound(
            &f.eval.mul_plain(&a, &high).unwrap(),
            &zip(&x, &y, |x, y| x * y),
        );
        f.eval.add_plain_assign(&mut a, &high).unwrap();
        f.assert_within_bound(&a, &zip(&x, &y, |x, y| x + y));
        if level > 1 {
            let low = pt(&f, level - 1);
            for e in [
                f.eval.add_plain_assign(&mut a, &low).unwrap_err(),
                f.eval.mul_plain(&a, &low).unwrap_err(),
            ] {
                assert!(matches!(e, EvalError::LevelTooLow { .. }), "{e}");
            }
        }
    }
}

#[test]
fn shortest_and_longest_periods_multiply_and_add() {
    for log_n in [4, 7] {
        let mut f = Fixture::with_keys(params(log_n, 2, 2), &KeyRequest::new());
        let slots = f.params.slots();
        let x = f.random_slots();
        let scale = 2f64.powi(40);
        let ct = f.encrypt(&x, 2, scale);
        for cells in [2, slots] {
            let mask: Vec<f64> = (0..cells).map(|k| 0.5 - k as f64 / 64.0).collect();
            let mut w = PeriodicMatrix::new(1, 1, cells, Scale::new(2f64.powi(20))).unwrap();
            let mask = w.set_masked(0, 0, &mask).unwrap();
            let out_scale = Scale::new(2f64.powi(60));
            let mut out = f.eval.zero(Level::new(2), out_scale).unwrap();
            f.eval
                .matmul_accumulate(&mut [&mut out], &[&ct], &w)
                .unwrap();
            let plane: Vec<_> = mask.iter().map(|&m| Complex64::new(m, 2.0)).collect();
            let plane = PeriodicPlain::new(&plane, out_scale).unwrap();
            f.eval.add_periodic_assign(&mut out, &plane).unwrap();
            let expected: Vec<_> = (0..slots)
                .map(|j| x[j] * mask[j % cells] + Complex64::new(mask[j % cells], 2.0))
                .collect();
            assert!(max_error(&f.decrypt(&out), &expected) < out.tracked().error_bound());
        }
        let w = PeriodicMatrix::new(1, 1, 2 * slots, Scale::new(1.0)).unwrap();
        let mut out = f.eval.zero(Level::new(2), Scale::new(scale)).unwrap();
        let e = f
            .eval
            .matmul_accumulate(&mut [&mut out], &[&ct], &w)
            .unwrap_err();
        assert!(matches!(e, EvalError::Shape { what: "period", .. }), "{e}");
        let long = vec![Complex64::new(1.0, 0.0); 2 * slots];
        let long = PeriodicPlain::new(&long, Scale::new(scale)).unwrap();
        let e = f.eval.add_periodic_assign(&mut out, &long).unwrap_err();
        assert!(matches!(e, EvalError::Shape { what: "period", .. }), "{e}");
    }
}

#[test]
fn empty_lists_are_nothing_or_an_error() {
    let mut f = Fixture::new(params(5, 2, 2), &[]);
    let x = f.random_slots();
    let ct = f.encrypt(&x, 2, SCALE);
    assert!(f.eval.rotate_many(&ct, &[]).unwrap().is_empty());
    let e = f.eval.rotate_sum(&[]).unwrap_err();
    assert!(matches!(e, EvalError::Shape { found: 0, .. }), "{e}");
    let w = PeriodicMatrix::new(0, 0, 4, Scale::new(1.0)).unwrap();
    f.eval.matmul_accumulate(&mut [], &[], &w).unwrap();
    let none = KeyGenerator::new(&f.params)
        .evaluation_keys(&f.secret, &KeyRequest::new(), &mut f.rng)
        .unwrap();
    assert_eq!((none.count(), none.bytes()), (0, 0));
}

#[test]
fn smallest_ring_computes() {
    let mut f = Fixture::new(params(4, 3, 2), &[1, -1, 3]);
    let x = f.random_slots();
    assert_eq!(x.len(), 8);
    let a = f.encrypt(&x, 3, SCALE);
    for (s, ct) in [1, -1, 3]
        .iter()
        .zip(f.eval.rotate_many(&a, &[1, -1, 3]).unwrap())
    {
        f.assert_within_bound(&ct, &rotated(&x, *s));
    }
    let square = f.eval.relinearize(f.eval.square(&a).unwrap()).unwrap();
    let expected = zip(&x, &x, |x, y| x * y);
    f.assert_within_bound(&f.eval.rescale(&square).unwrap(), &expected);
}

#[test]
fn largest_ring_computes() {
    let mut f = Fixture::new(params(17, 2, 2), &[]);
    let x = f.random_slots();
    let pt = f
        .encoder
        .encode(&x, Level::new(2), Scale::new(2f64.powi(96)))
        .unwrap();
    let error = max_error(&f.encoder.decode(&pt).unwrap(), &x);
    assert!(error <= pt.tracked().error_bound(), "{error:e}");
    let a = f.encrypt(&x, 2, SCALE);
    let square = f.eval.relinearize(f.eval.square(&a).unwrap()).unwrap();
    let expected = zip(&x, &x, |x, y| x * y);
    f.assert_within_bound(&f.eval.rescale(&square).unwrap(), &expected);
}

#[test]
fn many_small_primes_decrypt() {
    let params = Parameters::builder()
        .log_n(6)
        .q_bits([24, 24, 25, 26, 24, 30])
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap();
    let mut f = Fixture::new(params, &[]);
    let public = KeyGenerator::new(&f.params)
        .public_key(&f.secret, &mut f.rng)
        .unwrap();
    let x = f.random_slots();
    for (level, log_scale) in [(1, 20), (3, 60), (4, 90), (5, 110), (6, 118)] {
        let pt = f
            .encoder
            .encode(&x, Level::new(level), Scale::new(2f64.powi(log_scale)))
            .unwrap();
        let ct = Encryptor::new(&public).encrypt(&pt, &mut f.rng).unwrap();
        f.assert_within_bound(&ct, &x);
    }
}

#[test]
fn ranges_end_where_the_modulus_does() {
    let mut f = Fixture::new(params(6, 4, 2), &[]);
    let x = f.random_slots();
    // At 4 levels of 50 bits values at scale 2^120 are held, but not told by a decryption beyond 2^126.
    let mut ct = f.encrypt(&x, 4, 2f64.powi(119));
    f.assert_within_bound(&ct, &x);
    ct.declare_values(2f64.powi(7), 1.0);
    let e = Decryptor::new(&f.secret)
        .decrypt(&ct, &f.encoder)
        .unwrap_err();
    assert!(matches!(e, EvalError::Range { op: "decrypt", .. }), "{e}");
    // Two primes hold 100 bits: not these values, and not values of which nothing is known.
    let e = f.eval.drop_level(&mut ct, Level::new(2)).unwrap_err();
    assert!(matches!(e, EvalError::Range { .. }), "{e}");
    let mut ct = f.encrypt(&x, 4, SCALE);
    ct.declare_values(f64::NAN, f64::NAN);
    let e = f.eval.drop_level(&mut ct, Level::new(2)).unwrap_err();
    assert!(matches!(e, EvalError::Range { .. }), "{e}");
    let e = f.eval.square(&ct).unwrap_err();
    assert!(matches!(e, EvalError::Range { op: "square", .. }), "{e}");
    assert_eq!(ct.level(), Level::new(4), "as it was");
    ct.declare_values(1.5, 1.0);
    f.eval.drop_level(&mut ct, Level::new(1)).unwrap();
    f.assert_within_bound(&ct, &x);
    // Zero is in every range.
    let mut zero = f
        .eval
        .zero(Level::new(4), Scale::new(2f64.powi(199)))
        .unwrap();
    f.eval.drop_level(&mut zero, Level::new(1)).unwrap();
}

#[test]
fn reinterpretation_is_a_free_product() {
    let mut f = Fixture::new(params(6, 3, 2), &[]);
    let x = f.random_slots();
    let mut ct = f.encrypt(&x, 3, SCALE);
    let before = *ct.tracked();
    ct.reinterpret(0.125);
    assert_eq!(ct.scale(), Scale::new(8.0 * SCALE));
    assert_eq!(ct.tracked().rms, before.rms * 0.125);
    f.assert_within_bound(&ct, &zip(&x, &x, |x, _| 0.125 * x));
}

#[test]
fn scales_beyond_double_precision_are_errors() {
    let mut f = Fixture::with_keys(params(4, 30, 15), &KeyRequest::new());
    let x = f.random_slots();
    let mut ct = f.encrypt(&x, 30, SCALE);
    let e = loop {
        match f.eval.rescale(&ct) {
            Ok(next) => ct = next,
            Err(e) => break e,
        }
    };
    assert!(
        matches!(e, EvalError::ScaleRange { op: "rescale", .. }),
        "{e}"
    );
    let large = f
        .eval
        .zero(Level::new(30), Scale::new(2f64.powi(600)))
        .unwrap();
    let e = f.eval.square(&large).unwrap_err();
    assert!(
        matches!(e, EvalError::ScaleRange { op: "square", .. }),
        "{e}"
    );
}

#[test]
fn evaluator_is_shared_by_threads() {
    fn assert_shared<T: Send + Sync>(_: &T) {}
    let mut f = Fixture::new(params(8, 4, 2), &[1, 5]);
    assert_shared(&f.eval);
    let inputs: Vec<_> = (0..16)
        .map(|_| {
            let x = f.random_slots();
            f.encrypt(&x, 4, SCALE)
        })
        .collect();
    let run = |eval: &Evaluator, ct: &_| {
        let square = eval.relinearize(eval.square(ct).unwrap()).unwrap();
        let turned = eval.rotate_many(&square, &[5, 1]).unwrap();
        eval.conjugate_rescale(&turned[1]).unwrap()
    };
    // A fresh set of parameters each: all tables are made for the first time under contention.
    let g = Fixture::new(params(8, 4, 2), &[1, 5]);
    let parallel: Vec<_> = inputs.par_iter().map(|ct| run(&g.eval, ct)).collect();
    for (ct, result) in inputs.iter().zip(&parallel) {
        assert_eq!(f.decrypt(&run(&f.eval, ct)), f.decrypt(result));
    }
}
