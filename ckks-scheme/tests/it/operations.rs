use crate::fixture::{Fixture, max_error, params, rotated, zip};
use ckks_scheme::{
    Ciphertext, Encryptor, EvalError, KeyError, KeyGenerator, KeyRequest, Level, Scale,
    SecretEncryptor,
};
use num_complex::Complex64;

const SCALE: f64 = (1u64 << 40) as f64;
const I: Complex64 = Complex64::new(0.0, 1.0);

#[test]
fn encryption_round_trips_at_every_level_and_scale() {
    let mut f = Fixture::new(params(9, 4, 2), &[]);
    let public = KeyGenerator::new(&f.params)
        .public_key(&f.secret, &mut f.rng)
        .unwrap();
    for level in 1..=4 {
        for log_scale in [30, 40, 70] {
            if level == 1 && log_scale > 40 {
                continue;
            }
            let x = f.random_slots();
            let scale = f64::from(log_scale).exp2();
            let ct = f.encrypt(&x, level, scale);
            f.assert_within_bound(&ct, &x);
            let pt = f
                .encoder
                .encode(&x, Level::new(level), Scale::new(scale))
                .unwrap();
            assert!(max_error(&f.encoder.decode(&pt).unwrap(), &x) <= pt.tracked().error_bound());
            let ct = Encryptor::new(&public).encrypt(&pt, &mut f.rng).unwrap();
            f.assert_within_bound(&ct, &x);
        }
    }
}

#[test]
fn additions_match_plain() {
    let mut f = Fixture::new(params(9, 3, 2), &[]);
    let (x, y) = (f.random_slots(), f.random_slots());
    let (a, b) = (f.encrypt(&x, 3, SCALE), f.encrypt(&y, 3, SCALE));
    let pt = f
        .encoder
        .encode(&y, Level::new(3), Scale::new(SCALE))
        .unwrap();

    let mut c = a.try_clone().unwrap();
    f.eval.add_assign(&mut c, &b).unwrap();
    f.assert_within_bound(&c, &zip(&x, &y, |x, y| x + y));
    f.eval.sub_plain_assign(&mut c, &pt).unwrap();
    f.assert_within_bound(&c, &x);
    f.eval.sub_assign(&mut c, &b).unwrap();
    f.eval.negate_assign(&mut c);
    f.assert_within_bound(&c, &zip(&x, &y, |x, y| y - x));
    f.eval.add_plain_assign(&mut c, &pt).unwrap();
    f.eval
        .add_const_assign(&mut c, Complex64::new(0.25, -3.0))
        .unwrap();
    f.assert_within_bound(
        &c,
        &zip(&x, &y, |x, y| y + y - x + Complex64::new(0.25, -3.0)),
    );
    f.eval.mul_i_assign(&mut c);
    f.assert_within_bound(
        &c,
        &zip(&x, &y, |x, y| I * (y + y - x + Complex64::new(0.25, -3.0))),
    );
}

#[test]
fn products_match_plain_for_every_digit_count() {
    for digits in [1, 2, 3, 5] {
        let mut f = Fixture::new(params(9, 5, digits), &[]);
        let (x, y) = (f.random_slots(), f.random_slots());
        for level in [2, 3, 5] {
            let (a, b) = (f.encrypt(&x, level, SCALE), f.encrypt(&y, level, SCALE));
            let ct = f.eval.relinearize(f.eval.mul(&a, &b).unwrap()).unwrap();
            f.assert_within_bound(&ct, &zip(&x, &y, |x, y| x * y));
            let ct = f.eval.rescale(&ct).unwrap();
            assert_eq!(ct.level(), Level::new(level - 1));
            f.assert_within_bound(&ct, &zip(&x, &y, |x, y| x * y));
            let ct = f.eval.relinearize(f.eval.square(&a).unwrap()).unwrap();
            f.assert_within_bound(&ct, &zip(&x, &x, |x, y| x * y));
            let pt = f
                .encoder
                .encode(&y, Level::new(5), Scale::new(SCALE))
                .unwrap();
            f.assert_within_bound(
                &f.eval.mul_plain(&a, &pt).unwrap(),
                &zip(&x, &y, |x, y| x * y),
            );
            let ct = f.eval.mul_const(&a, -1.5, Scale::new(SCALE)).unwrap();
            f.assert_within_bound(&ct, &zip(&x, &y, |x, _| x * -1.5));
        }
    }
}

#[test]
fn sum_of_products_matches_plain_and_takes_operands_of_higher_levels() {
    let mut f = Fixture::new(params(9, 4, 2), &[]);
    let (x, y) = (f.random_slots(), f.random_slots());
    let (a, b) = (f.encrypt(&x, 4, SCALE), f.encrypt(&y, 3, SCALE));
    let level = Level::new(3);
    let pairs = [(&a, &b), (&b, &b), (&a, &a)];
    let sum = f.eval.sum_of_products(&pairs, level).unwrap();
    assert_eq!((sum.level(), sum.parts()), (level, 3));
    let expected = zip(&x, &y, |x, y| x * y + y * y + x * x);
    f.assert_within_bound(&f.eval.relinearize(sum).unwrap(), &expected);

    let other = f.encrypt(&x, 4, SCALE * 2.0);
    let refused = |pairs: &[_], level| {
        f.eval
            .sum_of_products(pairs, Level::new(level))
            .unwrap_err()
    };
    let none: [(&Ciphertext, &Ciphertext); 0] = [];
    assert!(matches!(refused(&none, 3), EvalError::Shape { .. }));
    assert!(matches!(refused(&pairs, 4), EvalError::LevelTooLow { .. }));
    assert!(matches!(refused(&pairs, 5), EvalError::NoSuchLevel { .. }));
    let mixed = [(&a, &a), (&a, &other)];
    assert!(matches!(
        refused(&mixed, 3),
        EvalError::ScaleMismatch { .. }
    ));
}

#[test]
fn rotations_and_conjugation_match_plain() {
    let steps = [1, -1, 16, 100, 255];
    let mut f = Fixture::new(params(9, 4, 2), &steps);
    let x = f.random_slots();
    for level in 1..=4 {
        let a = f.encrypt(&x, level, SCALE / 1024.0);
        for (s, ct) in steps.iter().zip(f.eval.rotate_many(&a, &steps).unwrap()) {
            f.assert_within_bound(&ct, &rotated(&x, *s));
            let single = f.eval.rotate(&a, *s).unwrap();
            assert_eq!(
                f.decrypt(&single),
                f.decrypt(&ct),
                "hoisting changes nothing"
            );
        }
        f.assert_within_bound(
            &f.eval.conjugate(&a).unwrap(),
            &zip(&x, &x, |x, _| x.conj()),
        );
        f.assert_within_bound(&f.eval.rotate(&a, 0).unwrap(), &x);
    }
}

#[test]
fn sum_of_rotations_matches_plain() {
    let mut f = Fixture::new(params(9, 3, 2), &[3, -5]);
    let (x, y) = (f.random_slots(), f.random_slots());
    let (a, b) = (f.encrypt(&x, 2, SCALE), f.encrypt(&y, 2, SCALE));
    let ct = f.eval.rotate_sum(&[(&a, 3), (&b, -5), (&b, 0)]).unwrap();
    let expected = zip(
        &zip(&rotated(&x, 3), &rotated(&y, -5), |x, y| x + y),
        &y,
        |x, y| x + y,
    );
    f.assert_within_bound(&ct, &expected);

    // Keys of different levels have different special primes.
    let mut request = KeyRequest::new();
    request.rotation(3, Level::new(2));
    request.rotation(-5, Level::new(3));
    let keys = KeyGenerator::new(&f.params)
        .evaluation_keys(&f.secret, &request, &mut f.rng)
        .unwrap();
    let eval = ckks_scheme::Evaluator::new(&f.params, std::sync::Arc::new(keys));
    let ct = eval.rotate_sum(&[(&a, 3), (&b, -5), (&b, 0)]).unwrap();
    f.assert_within_bound(&ct, &expected);
    let [x3, x5] = [rotated(&x, 3), rotated(&x, -5)];
    let many = eval.rotate_many(&a, &[3, -5]).unwrap();
    f.assert_within_bound(&many[0], &x3);
    f.assert_within_bound(&many[1], &x5);
}

#[test]
fn complex_packed_square_squares_both_parts() {
    let mut f = Fixture::new(params(10, 4, 2), &[]);
    let x = f.random_slots();
    // In sum form: scale S q, to be rescaled by its reader.
    let scale = 2f64.powi(30);
    let q = f.params.prime(Level::new(4)) as f64;
    let a = f.encrypt(&x, 4, scale * q);
    let mut z = f.eval.rescale(&a).unwrap();
    let mut zc = f.eval.conjugate_rescale(&a).unwrap();
    assert_eq!((z.level(), z.scale()), (zc.level(), zc.scale()));
    f.assert_within_bound(&zc, &zip(&x, &x, |x, _| x.conj()));
    let t = 0.375;
    f.eval
        .add_const_assign(&mut z, Complex64::new(t, t))
        .unwrap();
    f.eval
        .add_const_assign(&mut zc, Complex64::new(t, -t))
        .unwrap();
    let s = f
        .eval
        .relinearize(f.eval.square_pair(&z, &zc).unwrap())
        .unwrap();
    let expected = zip(&x, &x, |x, _| {
        Complex64::new((x.re + t).powi(2), (x.im + t).powi(2))
    });
    assert_eq!(s.scale().log2(), 62.0);
    f.assert_within_bound(&s, &expected);
}

#[test]
fn lift_and_drop_keep_values_exactly() {
    let mut f = Fixture::new(params(9, 4, 2), &[]);
    let x = f.random_slots();
    let a = f.encrypt(&x, 4, SCALE);
    let before = f.decrypt(&a);
    let lifted = f.eval.lift(a.try_clone().unwrap(), Level::new(3)).unwrap();
    assert_eq!(lifted.level(), Level::new(3));
    assert_eq!(
        lifted.scale().value(),
        SCALE * f.params.prime(Level::new(3)) as f64
    );
    let back = f.eval.rescale(&lifted).unwrap();
    assert_eq!(back.scale().value(), SCALE);
    assert!(max_error(&f.decrypt(&back), &before) < 1e-12);
    let mut dropped = a;
    f.eval.drop_level(&mut dropped, Level::new(2)).unwrap();
    assert!(max_error(&f.decrypt(&dropped), &before) < 1e-12);
}

#[test]
fn flooded_decryption_hides_the_error_and_keeps_the_value() {
    let mut f = Fixture::new(params(9, 2, 2), &[]);
    let x = f.random_slots();
    let ct = f.encrypt(&x, 2, SCALE);
    let decryptor = ckks_scheme::Decryptor::new(&f.secret);
    let flooded = decryptor
        .decrypt_flooded(&ct, &f.encoder, 8.0, &mut f.rng)
        .unwrap();
    let error = max_error(&flooded, &x);
    let bound = ct.tracked().error_bound();
    assert!(
        error > 256.0 * bound && error < 256.0 * 8.0 * bound,
        "{error:e} against {bound:e}"
    );
}

#[test]
fn mismatches_are_errors_not_repairs() {
    let mut f = Fixture::new(params(9, 3, 2), &[]);
    let x = f.random_slots();
    let mut a = f.encrypt(&x, 3, SCALE);
    let b = f.encrypt(&x, 3, SCALE * 2.0);
    let c = f.encrypt(&x, 2, SCALE);
    assert!(matches!(
        f.eval.add_assign(&mut a, &b),
        Err(EvalError::ScaleMismatch { .. })
    ));
    assert!(matches!(
        f.eval.add_assign(&mut a, &c),
        Err(EvalError::LevelMismatch { .. })
    ));
    assert!(matches!(
        f.eval.mul(&a, &c),
        Err(EvalError::LevelMismatch { .. })
    ));
    let e = f.eval.rotate(&a, 9).unwrap_err();
    assert_eq!(
        e.to_string(),
        "no rotation by 9 key for level 3; present: none"
    );
    let low = f.encrypt(&x, 1, 2f64.powi(30));
    assert!(matches!(
        f.eval.rescale(&low),
        Err(EvalError::LevelTooLow { .. })
    ));
    let e = f.eval.square(&low).unwrap_err();
    assert!(
        matches!(e, EvalError::Range { .. }),
        "60 bits in a 50-bit modulus: {e}"
    );
}

#[test]
fn a_key_serves_its_level_and_those_below() {
    let mut f = Fixture::new(params(9, 4, 2), &[]);
    let mut request = KeyRequest::new();
    request.rotation(1, Level::new(2));
    let keys = KeyGenerator::new(&f.params)
        .evaluation_keys(&f.secret, &request, &mut f.rng)
        .unwrap();
    let eval = ckks_scheme::Evaluator::new(&f.params, std::sync::Arc::new(keys));
    let x = f.random_slots();
    let at = |f: &mut Fixture, level| f.encrypt(&x, level, 2f64.powi(30));
    for level in [1, 2] {
        let ct = at(&mut f, level);
        f.assert_within_bound(&eval.rotate(&ct, 1).unwrap(), &rotated(&x, 1));
    }
    let ct = at(&mut f, 3);
    let e = eval.rotate(&ct, 1).unwrap_err();
    assert!(matches!(e, EvalError::Key(KeyError::Missing { .. })), "{e}");
    assert_eq!(
        e.to_string(),
        "no rotation by 1 key for level 3; present: 2"
    );
}

#[test]
fn secrets_are_not_printed() {
    let f = Fixture::new(params(6, 2, 2), &[]);
    assert_eq!(format!("{:?}", f.secret), "SecretKey { .. }");
    let _ = SecretEncryptor::new(&f.secret);
}

#[test]
fn pool_gets_everything_back() {
    let mut f = Fixture::new(params(9, 4, 2), &[1]);
    let x = f.random_slots();
    let before = f.params.pool().in_use_bytes();
    {
        let a = f.encrypt(&x, 4, SCALE);
        let b = f
            .eval
            .rotate(&f.eval.relinearize(f.eval.square(&a).unwrap()).unwrap(), 1)
            .unwrap();
        assert!(f.params.pool().in_use_bytes() > before);
        assert_eq!(b.bytes(), 2 * 4 * f.params.limb_bytes());
    }
    assert_eq!(f.params.pool().in_use_bytes(), before);
}
