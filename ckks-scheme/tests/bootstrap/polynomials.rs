use crate::fixture::{Fixture, params};
use ckks_scheme::{Chebyshev, Composite, EvalError, KeyRequest, Level, PolyError, Scale};
use num_complex::Complex64;

fn fixture(q_bits: &[u32]) -> Fixture {
    let params = params(8, q_bits, 2);
    let mut request = KeyRequest::new();
    request.relin(params.max_level());
    Fixture::new(params, &request)
}

/// Encrypted against plain evaluation; returns bits of precision of the worst slot, relative to the largest value.
fn check(f: &mut Fixture, p: &Chebyshev, input_bits: f64, scale: f64) -> f64 {
    let (from, to) = p.interval();
    let mut x = f.slots(0.5 * (to - from), true);
    x[0] = Complex64::new(0.5 * (from - to), 0.0);
    x[1] = Complex64::new(0.5 * (to - from), 0.0);
    for z in &mut x {
        *z += 0.5 * (from + to);
    }
    let top = f.params.max_level();
    let ct = f.encrypt(&x, top, Scale::new(input_bits.exp2()));
    let out = f.eval.polynomial(&ct, p, Scale::new(scale)).unwrap();
    assert_eq!(out.level(), Level::new(top.limbs() - p.depth()));
    assert_eq!(out.scale(), Scale::new(scale));
    let expected: Vec<_> = x
        .iter()
        .map(|z| Complex64::from(p.evaluate(z.re)))
        .collect();
    let largest = expected.iter().map(|z| z.norm()).fold(0.0, f64::max);
    assert!(out.tracked().max >= largest);
    -(f.error_within_bound(&out, &expected) / largest).log2()
}

#[test]
fn polynomials_of_every_degree_match_plain() {
    let mut f = fixture(&[50, 45, 45, 45, 45, 45, 45]);
    for degree in 1..=40 {
        let coeffs = (0..=degree).map(|k| 1.0 / (k + 1) as f64).collect();
        let p = Chebyshev::new(coeffs, (-1.0, 1.0)).unwrap();
        let bits = check(&mut f, &p, 45.0, 40f64.exp2());
        assert!(bits > 25.0, "degree {degree}: {bits} bits");
    }
}

#[test]
fn odd_and_even_functions_match_plain_on_any_interval() {
    let mut f = fixture(&[50, 45, 45, 45, 45, 45, 45]);
    type Case = (fn(f64) -> f64, usize, (f64, f64));
    let cases: [Case; 6] = [
        (f64::cos, 30, (-9.0, 9.0)),
        (f64::sin, 31, (-9.0, 9.0)),
        (f64::tanh, 63, (-4.0, 4.0)),
        (f64::exp, 15, (-1.0, 2.0)),
        (f64::sqrt, 20, (1.0, 3.0)),
        (|x| x * x * x - x, 3, (-2.0, 2.0)),
    ];
    for (function, degree, interval) in cases {
        let p = Chebyshev::interpolate(function, degree, interval).unwrap();
        // Output scales unrelated to the primes are met exactly.
        let half: f64 = 0.5 * (interval.1 - interval.0);
        let bits = check(&mut f, &p, 44.8 - half.log2(), 3.7e12);
        assert!(bits > 24.0, "degree {degree}: {bits} bits");
    }
}

#[test]
fn composite_sign_matches_plain_and_gives_a_relu() {
    let q_bits: Vec<u32> = std::iter::once(50).chain([45; 11]).collect();
    let mut f = fixture(&q_bits);
    let sign = Composite::sign(&[7, 7, 13], 1.0 / 32.0, 1e-4).unwrap();
    assert_eq!(sign.depth(), 10);
    let x = f.slots(1.0, true);
    let top = f.params.max_level();
    let ct = f.encrypt(&x, top, Scale::new(45f64.exp2()));
    let out = f
        .eval
        .composite(&ct, &sign, Scale::new(44f64.exp2()))
        .unwrap();
    let level = Level::new(top.limbs() - 10);
    assert_eq!(
        (out.level(), out.scale()),
        (level, Scale::new(44f64.exp2()))
    );
    let plain: Vec<_> = x
        .iter()
        .map(|z| Complex64::from(sign.evaluate(z.re)))
        .collect();
    let error = f.error_within_bound(&out, &plain);
    assert!(error < 2f64.powi(-20), "{error:e}");
    let relu = f
        .eval
        .mul(&out, &f.eval.copy_at_level(&ct, level).unwrap())
        .unwrap();
    for (z, y) in f.decrypt(&relu).iter().zip(&x) {
        let found = 0.5 * (z.re + y.re);
        let allowed = 1.0 / 32.0 + 0.5 * sign.error() + 1e-5;
        assert!((found - y.re.max(0.0)).abs() < allowed);
    }
    let low = f.encrypt(&x, Level::new(5), Scale::new(45f64.exp2()));
    assert!(matches!(
        f.eval.composite(&low, &sign, Scale::new(44f64.exp2())),
        Err(PolyError::Eval(EvalError::LevelTooLow { .. }))
    ));
}

#[test]
fn polynomial_works_at_the_last_levels_and_refuses_what_does_not_fit() {
    let mut f = fixture(&[50, 40, 40]);
    let p = Chebyshev::from_powers(&[0.5, -1.0, 0.25, 2.0], (-1.0, 1.0)).unwrap();
    let bits = check(&mut f, &p, 40.0, 35f64.exp2());
    assert!(bits > 20.0, "{bits} bits");

    let x = f.slots(1.5, true);
    let ct = f.encrypt(&x, f.params.max_level(), Scale::new(2f64.powi(40)));
    assert!(matches!(
        f.eval.polynomial(&ct, &p, Scale::new(2f64.powi(40))),
        Err(PolyError::OutOfInterval { .. })
    ));
    let p = Chebyshev::interpolate(f64::sin, 4, (-2.0, 2.0)).unwrap();
    assert_eq!(p.degree(), 3);
    let p = Chebyshev::interpolate(f64::exp, 4, (-2.0, 2.0)).unwrap();
    assert!(matches!(
        f.eval.polynomial(&ct, &p, Scale::new(2f64.powi(40))),
        Err(PolyError::Eval(EvalError::LevelTooLow { .. }))
    ));
}

#[test]
fn fused_operations_refuse_what_the_plain_ones_refuse() {
    let mut f = fixture(&[50, 40, 40]);
    let x = f.slots(1.0, true);
    let ct = f.encrypt(&x, Level::new(3), Scale::new(2f64.powi(40)));
    for level in [Level::new(0), Level::new(4)] {
        assert!(matches!(
            f.eval.copy_at_level(&ct, level),
            Err(EvalError::NoSuchLevel { .. })
        ));
    }
    let mut low = f.eval.copy_at_level(&ct, Level::new(1)).unwrap();
    assert!(matches!(
        f.eval.copy_at_level(&low, Level::new(2)),
        Err(EvalError::LevelTooLow { .. })
    ));
    low.declare_values(1e4, 1e4);
    assert!(matches!(
        f.eval.copy_at_level(&low, Level::new(1)),
        Err(EvalError::Range { .. })
    ));
    // A scale that the division takes below what a double can hold.
    let mut tiny = f.eval.mul(&ct, &ct).unwrap();
    tiny.reinterpret(2f64.powi(1000));
    tiny.reinterpret(2f64.powi(140));
    assert!(matches!(
        f.eval.relinearize_rescale(tiny),
        Err(EvalError::ScaleRange { .. })
    ));
}
