//! What comes from files and callers and cannot be: an error that says so, no panic.

use crate::fixture::{Fixture, params};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    Decryptor, EncodeError, EvalError, EvaluationKeys, Evaluator, KeyError, KeyGenerator, KeyKind,
    KeyRequest, KeySource, Level, ParamError, Parameters, ParamsLiteral, PeriodicMatrix,
    PeriodicPlain, Scale, decode_periodic, encode_periodic, round_periodic_real,
};
use num_complex::Complex64;
use std::sync::Arc;

const SCALE: f64 = (1u64 << 40) as f64;

fn from_file(text: &str) -> Result<Parameters, String> {
    let literal: ParamsLiteral = ron::from_str(text).map_err(|e| e.to_string())?;
    Parameters::from_literal(&literal, KernelChoice::Auto, None).map_err(|e| e.to_string())
}

#[test]
fn parameter_file_never_gives_an_insecure_set() {
    let ok = "(log_n: 13, q_bits: [50, 50], p_bits: [50], digits: 2)";
    assert_eq!(from_file(ok).unwrap().security_bits(), 128);
    let long = format!(
        "(log_n: 4, q_bits: {:?}, p_bits: [50], digits: 2)",
        vec![50; 100]
    );
    let endless = format!(
        "(log_n: 17, q_bits: [50], p_bits: {:?}, digits: 2)",
        vec![50; 100_000]
    );
    for (text, message) in [
        (
            "(log_n: 12, q_bits: [24], p_bits: [24], digits: 1)",
            "log QP is 46.0 bits at N = 2^12, the 128-bit bound is 0 bits",
        ),
        (
            "(log_n: 13, q_bits: [50, 50, 50, 50], p_bits: [50], digits: 4)",
            "log QP is 245.0 bits at N = 2^13, the 128-bit bound is 214 bits",
        ),
        (&long, "the 128-bit bound is 0 bits"),
        (&endless, "the 128-bit bound is 3523 bits"),
        (
            "(log_n: 13, q_bits: [50, 50], p_bits: [50], digits: 2, security: None)",
            "security",
        ),
        (
            "(log_n: 13, q_bits: [50, 50], p_bits: [], digits: 2)",
            "special primes have 0.0 bits",
        ),
        (
            "(log_n: 13, q_bits: [], p_bits: [50], digits: 2)",
            "number of ciphertext primes or of digits is 0",
        ),
        (
            "(log_n: 13, q_bits: [50], p_bits: [50], digits: 0)",
            "number of ciphertext primes or of digits is 0",
        ),
        (
            "(log_n: 13, q_bits: [4294967295], p_bits: [50], digits: 1)",
            "a prime of 4294967295 bits is not supported",
        ),
        (
            "(log_n: 13, q_bits: [50], p_bits: [0], digits: 1)",
            "a prime of 0 bits is not supported",
        ),
        (
            "(log_n: 4294967295, q_bits: [50], p_bits: [50], digits: 1)",
            "is not supported",
        ),
        (
            "(log_n: 17, q_bits: [24, 24, 24], p_bits: [24, 24, 24, 24, 24], digits: 1)",
            "NTT primes of 24 bits exist for N = 2^17",
        ),
    ] {
        let error = from_file(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
    // A list with too many digits or primes in a digit for the kernels.
    let build = |digits| {
        Parameters::builder()
            .log_n(4)
            .q_bits(vec![50; 70])
            .digits(digits)
            .build_insecure_for_tests()
    };
    for digits in [1, 70] {
        let e = build(digits).unwrap_err();
        assert!(matches!(e, ParamError::Invalid { .. }), "{e}");
    }
    assert!(build(2).is_ok());
}

#[test]
fn default_special_primes_cover_lower_levels_too() {
    // Two digits of the highest level have 80 bits each; at level 4 one has 100.
    let build = |q_bits: &[u32], digits| {
        Parameters::builder()
            .log_n(4)
            .q_bits(q_bits.to_vec())
            .digits(digits)
            .build_insecure_for_tests()
    };
    for digits in 1..=5 {
        build(&[30, 30, 50, 50, 30, 30], digits).unwrap();
        build(&[24, 24, 24, 50, 50, 24, 24, 24], digits).unwrap();
    }
}

#[test]
fn scale_from_a_file_is_positive_and_finite() {
    let scale: Scale = ron::from_str("(1024.0)").unwrap();
    assert_eq!(scale, Scale::new(1024.0));
    assert_eq!(
        ron::to_string(&scale).unwrap(),
        "(1024.0)",
        "as it always was"
    );
    for text in ["(0.0)", "(-1.0)", "(inf)", "(NaN)"] {
        let e = ron::from_str::<Scale>(text).unwrap_err();
        assert!(e.to_string().contains("expected a positive finite"), "{e}");
    }
}

#[test]
fn levels_that_do_not_exist_are_errors() {
    let mut f = Fixture::new(params(5, 3, 2), &[]);
    let x = f.random_slots();
    let scale = Scale::new(SCALE);
    for level in [Level::new(0), Level::new(4)] {
        let e = f.encoder.encode(&x, level, scale).unwrap_err();
        assert_eq!(
            e.to_string(),
            format!("level {level} does not exist, the parameter set has levels 1 to 3")
        );
        let mut ct = f.encrypt(&x, 3, SCALE);
        let mut request = KeyRequest::new();
        request.relin(level);
        let e = KeyGenerator::new(&f.params)
            .evaluation_keys(&f.secret, &request, &mut f.rng)
            .unwrap_err();
        assert!(matches!(e, KeyError::LevelTooHigh { .. }), "{e}");
        for e in [
            f.eval.zero(level, scale).unwrap_err(),
            f.eval.drop_level(&mut ct, level).unwrap_err(),
            f.eval.lift(ct, level).unwrap_err(),
        ] {
            assert!(matches!(e, EvalError::NoSuchLevel { .. }), "{e}");
        }
    }
    let mut low = f.encrypt(&x, 1, 2f64.powi(30));
    let e = f.eval.drop_level(&mut low, Level::new(2)).unwrap_err();
    assert!(matches!(e, EvalError::LevelTooLow { .. }), "{e}");
    let e = f
        .eval
        .lift(low.try_clone().unwrap(), Level::new(3))
        .unwrap_err();
    assert!(matches!(e, EvalError::LevelTooLow { .. }), "{e}");
    let e = f.eval.lift(low, Level::new(1)).unwrap_err();
    assert!(matches!(e, EvalError::LevelTooLow { .. }), "{e}");
}

#[test]
fn slots_that_cannot_be_encoded_are_errors() {
    let f = Fixture::with_keys(params(5, 4, 2), &KeyRequest::new());
    let encode = |x: &[Complex64], log_scale: i32| {
        let scale = Scale::new(2f64.powi(log_scale));
        f.encoder
            .encode(x, f.params.max_level(), scale)
            .map(|_| ())
            .unwrap_err()
    };
    let one = vec![Complex64::new(1.0, 0.0); 16];
    assert!(matches!(
        encode(&[], 10),
        EncodeError::SlotCount {
            found: 0,
            expected: 16
        }
    ));
    assert!(matches!(
        encode(&one[1..], 10),
        EncodeError::SlotCount { .. }
    ));
    assert!(matches!(encode(&one, 120), EncodeError::TooLarge { .. }));
    assert!(matches!(encode(&one, 1000), EncodeError::TooLarge { .. }));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut x = one.clone();
        x[3].im = bad;
        assert!(matches!(
            encode(&x, 10),
            EncodeError::NotFinite { slot: 3, .. }
        ));
    }
    // Sums that overflow, of one sign and of both: infinite and not-a-number coefficients.
    for period in [1, 2, 3, 16] {
        let sign = |j: usize| if j.is_multiple_of(period) { 1.0 } else { -1.0 };
        let x: Vec<_> = (0..16)
            .map(|j| Complex64::new(f64::MAX * sign(j), f64::MAX))
            .collect();
        assert!(matches!(encode(&x, 10), EncodeError::TooLarge { .. }));
        assert!(matches!(encode(&x, -1000), EncodeError::TooLarge { .. }));
    }
}

#[test]
fn periodic_plaintexts_that_cannot_be_are_errors() {
    let c = |x: f64| Complex64::new(x, 0.0);
    for cells in [0, 1, 3, 1 << 17] {
        let e = encode_periodic(&vec![c(1.0); cells], 8.0).unwrap_err();
        assert!(matches!(e, EncodeError::Period { found, .. } if found == cells));
        let scale = Scale::new(8.0);
        for e in [
            round_periodic_real(&vec![1.0; cells], 8.0).map(drop),
            decode_periodic(&vec![1; 2 * cells], 8.0).map(drop),
            PeriodicMatrix::new(1, 1, cells, scale).map(drop),
            PeriodicPlain::new(&vec![c(1.0); cells], scale).map(drop),
        ] {
            assert!(matches!(e, Err(EncodeError::Period { found, .. }) if found == cells));
        }
    }
    assert_eq!(
        encode_periodic(&[], 8.0).unwrap_err().to_string(),
        "period of 0 cells, expected a power of two from 2 to 65536"
    );
    assert!(matches!(
        decode_periodic(&[1; 5], 8.0),
        Err(EncodeError::SlotCount {
            found: 5,
            expected: 4
        })
    ));
    for scale in [f64::NAN, f64::INFINITY, 2f64.powi(63), -(2f64.powi(63))] {
        let e = round_periodic_real(&[1.0; 4], scale).unwrap_err();
        assert!(matches!(e, EncodeError::TooLarge { .. }), "{scale}: {e}");
    }
    let mut w = PeriodicMatrix::new(1, 1, 4, Scale::new(2f64.powi(40))).unwrap();
    let too_large = |e| matches!(e, EncodeError::TooLarge { .. });
    assert!(too_large(w.set_scalar(0, 0, 2f64.powi(23)).unwrap_err()));
    let e = w.set_masked(0, 0, &[-(2f64.powi(23)); 4]).unwrap_err();
    assert!(too_large(e));
    let not_finite = |e| matches!(e, EncodeError::NotFinite { slot: 0, .. });
    assert!(not_finite(w.set_scalar(0, 0, f64::NAN).unwrap_err()));
    let e = w.set_masked(0, 0, &[f64::INFINITY; 4]).unwrap_err();
    assert!(not_finite(e));
    assert!(matches!(
        w.set_masked(0, 0, &[1.0; 8]),
        Err(EncodeError::SlotCount {
            found: 8,
            expected: 4
        })
    ));
}

#[test]
fn constants_that_cannot_be_encoded_are_errors() {
    let mut f = Fixture::with_keys(params(5, 3, 2), &KeyRequest::new());
    let x = f.random_slots();
    let mut ct = f.encrypt(&x, 3, SCALE);
    for bad in [
        Complex64::new(f64::NAN, 0.0),
        Complex64::new(0.0, f64::INFINITY),
        Complex64::new(2f64.powi(81), 0.0),
    ] {
        let e = f.eval.add_const_assign(&mut ct, bad).unwrap_err();
        assert!(matches!(e, EvalError::Encode(_)), "{e}");
    }
    f.assert_within_bound(&ct, &x);
    let e = f
        .eval
        .mul_const(&ct, f64::NAN, Scale::new(8.0))
        .unwrap_err();
    assert!(matches!(e, EvalError::Encode(_)), "{e}");
    let e = f
        .eval
        .mul_const(&ct, 2f64.powi(110), Scale::new(8.0))
        .unwrap_err();
    assert!(matches!(e, EvalError::Range { .. }), "{e}");
}

#[test]
fn keys_of_other_parameters_are_refused() {
    let mut f = Fixture::new(params(5, 3, 2), &[1]);
    let x = f.random_slots();
    let ct = f.encrypt(&x, 3, SCALE);
    let none = Evaluator::new(&f.params, Arc::new(EvaluationKeys::default()));
    let e = none.rotate(&ct, -1).unwrap_err();
    assert_eq!(
        e.to_string(),
        "no rotation by 15 key for level 3; present: none"
    );
    // The same ring, other primes or digits.
    let others = [
        params(5, 3, 3),
        params(5, 4, 2),
        Parameters::builder()
            .log_n(5)
            .q_bits([50, 50, 49])
            .build_insecure_for_tests()
            .unwrap(),
    ];
    for other in others {
        assert_ne!(other.fingerprint(), f.params.fingerprint());
        let keygen = KeyGenerator::new(&other);
        let secret = keygen.secret_key(&mut f.rng).unwrap();
        let mut request = KeyRequest::new();
        request.rotation(1, Level::new(3));
        request.relin(Level::new(3));
        let keys = keygen
            .evaluation_keys(&secret, &request, &mut f.rng)
            .unwrap();
        let eval = Evaluator::new(&f.params, Arc::new(keys));
        let product = eval.square(&ct).unwrap();
        for e in [
            eval.rotate(&ct, 1).unwrap_err(),
            eval.rotate_sum(&[(&ct, 1)]).unwrap_err(),
            eval.relinearize(product).unwrap_err(),
        ] {
            assert!(matches!(e, EvalError::Key(KeyError::Foreign { .. })), "{e}");
        }
    }
    // The same parameters built again are the same.
    let again = params(5, 3, 2);
    assert_eq!(again.fingerprint(), f.params.fingerprint());
    let eval = Evaluator::new(&again, Arc::new(Fixture::keys(&f.secret, 1)));
    f.assert_within_bound(
        &eval.rotate(&ct, 1).unwrap(),
        &crate::fixture::rotated(&x, 1),
    );
}

/// A key source that answers with a key for a level too low.
#[derive(Debug)]
struct Low(EvaluationKeys);

impl KeySource for Low {
    fn switching_key(
        &self,
        kind: KeyKind,
        _: Level,
    ) -> Result<Arc<ckks_scheme::keys::SwitchingKey>, KeyError> {
        self.0.switching_key(kind, Level::new(1))
    }
}

#[test]
fn key_source_that_errs_is_caught() {
    let mut f = Fixture::with_keys(params(5, 3, 2), &KeyRequest::new());
    let mut request = KeyRequest::new();
    request.conjugation(Level::new(2));
    let keys = KeyGenerator::new(&f.params)
        .evaluation_keys(&f.secret, &request, &mut f.rng)
        .unwrap();
    let eval = Evaluator::new(&f.params, Arc::new(Low(keys)));
    let x = f.random_slots();
    assert!(eval.conjugate(&f.encrypt(&x, 2, SCALE)).is_ok());
    let e = eval.conjugate(&f.encrypt(&x, 3, SCALE)).unwrap_err();
    assert!(matches!(e, EvalError::Key(KeyError::Foreign { .. })), "{e}");
}

#[test]
fn flooding_that_hides_nothing_or_everything_is_refused() {
    let mut f = Fixture::with_keys(params(5, 3, 2), &KeyRequest::new());
    let x = f.random_slots();
    let ct = f.encrypt(&x, 3, SCALE);
    let decryptor = Decryptor::new(&f.secret);
    for flood_bits in [f64::NAN, -1.0, 150.0, f64::INFINITY] {
        let e = decryptor
            .decrypt_flooded(&ct, &f.encoder, flood_bits, &mut f.rng)
            .unwrap_err();
        assert!(matches!(e, EvalError::Flooding { .. }), "{e}");
    }
    for deviation in [f64::NAN, -1.0, 2f64.powi(80)] {
        let e = decryptor
            .decrypt_with_noise(&ct, &f.encoder, deviation, &mut f.rng)
            .unwrap_err();
        assert!(matches!(e, EvalError::Flooding { .. }), "{e}");
    }
}

#[test]
fn exhausted_budget_is_an_error_and_leaks_nothing() {
    let mut f = Fixture::new(params(6, 4, 2), &[1, 2]);
    let x = f.random_slots();
    let a = f.encrypt(&x, 4, SCALE);
    let pool = f.params.pool().clone();
    let before = pool.in_use_bytes();
    // Every possible place to run out, for operations of several allocations.
    for extra in 0..80 {
        pool.set_budget(Some(before + extra * f.params.limb_bytes()));
        let rotated = f.eval.rotate_many(&a, &[1, 2]).map(|_| ());
        let product = f
            .eval
            .square(&a)
            .and_then(|c| f.eval.relinearize(c))
            .map(|_| ());
        let mut request = KeyRequest::new();
        request.relin(Level::new(4));
        let keys = KeyGenerator::new(&f.params)
            .evaluation_keys(&f.secret, &request, &mut f.rng)
            .map(|_| ());
        let decrypted = Decryptor::new(&f.secret)
            .decrypt(&a, &f.encoder)
            .map(|_| ());
        assert_eq!(pool.in_use_bytes(), before, "nothing is kept");
        for error in [rotated.err(), product.err(), decrypted.err()]
            .into_iter()
            .flatten()
        {
            assert!(error.out_of_memory(), "{error}");
        }
        if let Err(error) = keys {
            assert!(error.out_of_memory(), "{error}");
        }
    }
    assert!(f.eval.rotate_many(&a, &[1, 2]).is_ok(), "80 limbs suffice");
}

#[test]
fn debug_output_is_short_and_tells_no_words() {
    let mut f = Fixture::new(params(6, 3, 2), &[1]);
    let x = f.random_slots();
    let ct = f.encrypt(&x, 3, SCALE);
    let pt = f
        .encoder
        .encode(&x, Level::new(3), Scale::new(SCALE))
        .unwrap();
    let public = KeyGenerator::new(&f.params)
        .public_key(&f.secret, &mut f.rng)
        .unwrap();
    let printed = [
        format!("{:?}", f.params),
        format!("{:?}", f.eval),
        format!("{:?}", f.encoder),
        format!("{ct:?}"),
        format!("{pt:?}"),
        format!("{public:?}"),
        format!("{:?}", f.secret),
        format!("{:?}", Decryptor::new(&f.secret)),
    ];
    for text in printed {
        assert!(text.len() < 1500, "{text}");
    }
    assert!(format!("{:?}", Decryptor::new(&f.secret)).contains("SecretKey { .. }"));
}
