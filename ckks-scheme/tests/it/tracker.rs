//! The predicted bound on the largest error lies between 1 and 8 times the largest error of 1,000 trials.

use crate::fixture::{Fixture, params};
use ckks_scheme::{
    Ciphertext, Decryptor, Encryptor, KeyGenerator, KeyRequest, Level, PeriodicMatrix,
    PeriodicPlain, Scale,
};
use num_complex::Complex64;

const TRIALS: usize = 1000;
const SCALE: f64 = (1u64 << 30) as f64;

/// Runs `trial` (returning a ciphertext and what it should hold) and compares the bound with the largest error.
fn check(
    name: &str,
    f: &mut Fixture,
    mut trial: impl FnMut(&mut Fixture) -> (Ciphertext, Vec<Complex64>),
) {
    let (mut largest, mut least_bound, mut most_bound) = (0f64, f64::INFINITY, 0f64);
    for _ in 0..TRIALS {
        let (ct, expected) = trial(f);
        largest = largest.max(f.largest_error(&ct, &expected));
        least_bound = least_bound.min(ct.tracked().error_bound());
        most_bound = most_bound.max(ct.tracked().error_bound());
    }
    let (least, most) = (least_bound / largest, most_bound / largest);
    println!("{name}: bound / largest error = {least:.2} to {most:.2}");
    assert!(
        least >= 1.0 && most <= 8.0,
        "{name}: bound is {least:.2} to {most:.2} times the largest error"
    );
}

fn same(x: Complex64, _: Complex64) -> Complex64 {
    x
}

fn fixture() -> Fixture {
    Fixture::new(params(6, 4, 2), &[1, 5])
}

fn binary(
    name: &str,
    scale: f64,
    op: impl Fn(&Fixture, Ciphertext, Ciphertext) -> Ciphertext,
    plain: impl Fn(Complex64, Complex64) -> Complex64,
) {
    check(name, &mut fixture(), |f| {
        let (x, y) = (f.random_slots(), f.random_slots());
        let (a, b) = (f.encrypt(&x, 4, scale), f.encrypt(&y, 4, scale));
        let expected = x.iter().zip(&y).map(|(&x, &y)| plain(x, y)).collect();
        (op(f, a, b), expected)
    });
}

#[test]
fn tracker_covers_encryption() {
    binary("encrypt with the secret key", SCALE, |_, a, _| a, |x, _| x);
    let mut f = fixture();
    let key = KeyGenerator::new(&f.params)
        .public_key(&f.secret, &mut f.rng)
        .unwrap();
    check("encrypt with the public key", &mut f, |f| {
        let x = f.random_slots();
        let pt = f
            .encoder
            .encode(&x, Level::new(4), Scale::new(SCALE))
            .unwrap();
        (Encryptor::new(&key).encrypt(&pt, &mut f.rng).unwrap(), x)
    });
}

#[test]
fn tracker_covers_encoding_where_doubles_round() {
    // At small scales the integers round, at large ones the transform in double precision.
    for log_scale in [10, 45, 60, 90, 115] {
        let mut f = fixture();
        let (mut largest, mut bound) = (0f64, 0f64);
        for _ in 0..TRIALS {
            let x = f.random_slots();
            let scale = Scale::new(2f64.powi(log_scale));
            let pt = f.encoder.encode(&x, Level::new(4), scale).unwrap();
            let y = f.encoder.decode(&pt).unwrap();
            largest = largest.max(crate::fixture::max_error(&x, &y));
            bound = bound.max(pt.tracked().error_bound());
        }
        let ratio = bound / largest;
        println!("encode at 2^{log_scale}: bound / largest error = {ratio:.2}");
        assert!((1.0..=8.0).contains(&ratio), "2^{log_scale}: {ratio:.2}");
    }
}

#[test]
fn tracker_covers_additions() {
    let add = |f: &Fixture, mut a: Ciphertext, b: Ciphertext| {
        f.eval.add_assign(&mut a, &b).unwrap();
        a
    };
    let sub = |f: &Fixture, mut a: Ciphertext, b: Ciphertext| {
        f.eval.sub_assign(&mut a, &b).unwrap();
        f.eval.negate_assign(&mut a);
        a
    };
    binary("add", SCALE, add, |x, y| x + y);
    binary("subtract and negate", SCALE, sub, |x, y| y - x);
    let plain = |f: &Fixture, mut a: Ciphertext, _: Ciphertext| {
        let c: Vec<_> = (0..f.params.slots())
            .map(|j| Complex64::new(j as f64 / 64.0, 0.5))
            .collect();
        let pt = f
            .encoder
            .encode(&c, Level::new(4), Scale::new(SCALE))
            .unwrap();
        f.eval.add_plain_assign(&mut a, &pt).unwrap();
        f.eval.sub_plain_assign(&mut a, &pt).unwrap();
        f.eval
            .add_const_assign(&mut a, Complex64::new(1.0, 2.0))
            .unwrap();
        a
    };
    binary(
        "add and subtract plaintext, add constant",
        SCALE,
        plain,
        |x, _| x + Complex64::new(1.0, 2.0),
    );
}

#[test]
fn tracker_covers_plaintexts_alone() {
    // On a trivial zero only the encoding is off.
    for cells in [2usize, 8, 32] {
        check("add periodic plaintext", &mut fixture(), |f| {
            let cells: Vec<_> = f.random_slots().into_iter().take(cells).collect();
            let mut ct = f.eval.zero(Level::new(2), Scale::new(SCALE)).unwrap();
            let plain = PeriodicPlain::new(&cells, Scale::new(SCALE)).unwrap();
            f.eval.add_periodic_assign(&mut ct, &plain).unwrap();
            let expected = cells.iter().copied().cycle().take(f.params.slots());
            (ct, expected.collect())
        });
    }
    check("add constant", &mut fixture(), |f| {
        let c = f.random_slots()[0];
        let mut ct = f.eval.zero(Level::new(2), Scale::new(SCALE)).unwrap();
        f.eval.add_const_assign(&mut ct, c).unwrap();
        (ct, vec![c; f.params.slots()])
    });
}

#[test]
fn tracker_covers_products() {
    binary(
        "relinearise",
        // So small that the key switch counts beside the product.
        2f64.powi(12),
        |f, a, b| f.eval.relinearize(f.eval.mul(&a, &b).unwrap()).unwrap(),
        |x, y| x * y,
    );
    binary(
        "multiply by constant that rounds",
        SCALE,
        |f, a, _| f.eval.mul_const(&a, 0.7, Scale::new(64.0)).unwrap(),
        |x, _| x * 0.7,
    );
    check("multiply by plaintext of modulus 1", &mut fixture(), |f| {
        let x = f.random_slots();
        let y: Vec<_> = f.random_slots().iter().map(|z| z / z.norm()).collect();
        let a = f.encrypt(&x, 4, SCALE);
        let pt = f
            .encoder
            .encode(&y, Level::new(4), Scale::new(SCALE))
            .unwrap();
        let expected = x.iter().zip(&y).map(|(x, y)| x * y).collect();
        (f.eval.mul_plain(&a, &pt).unwrap(), expected)
    });
    binary(
        "multiply with itself",
        SCALE,
        |f, a, _| f.eval.mul(&a, &a).unwrap(),
        |x, _| x * x,
    );
    binary(
        "multiply",
        SCALE,
        |f, a, b| f.eval.mul(&a, &b).unwrap(),
        |x, y| x * y,
    );
    binary(
        "multiply, relinearise, rescale",
        SCALE,
        |f, a, b| {
            let c = f.eval.relinearize(f.eval.mul(&a, &b).unwrap()).unwrap();
            f.eval.rescale(&c).unwrap()
        },
        |x, y| x * y,
    );
    binary(
        "square",
        SCALE,
        |f, a, _| f.eval.square(&a).unwrap(),
        |x, _| x * x,
    );
    binary(
        "multiply by constant",
        SCALE,
        |f, a, _| f.eval.mul_const(&a, 0.7, Scale::new(SCALE)).unwrap(),
        |x, _| x * 0.7,
    );
    check("multiply by plaintext", &mut fixture(), |f| {
        let (x, y) = (f.random_slots(), f.random_slots());
        let a = f.encrypt(&x, 4, SCALE);
        let pt = f
            .encoder
            .encode(&y, Level::new(4), Scale::new(SCALE))
            .unwrap();
        let expected = x.iter().zip(&y).map(|(x, y)| x * y).collect();
        (f.eval.mul_plain(&a, &pt).unwrap(), expected)
    });
}

#[test]
fn tracker_covers_level_changes() {
    binary(
        "rescale of three polynomials",
        2f64.powi(40),
        |f, a, b| f.eval.rescale(&f.eval.mul(&a, &b).unwrap()).unwrap(),
        |x, y| x * y,
    );
    binary(
        "drop level",
        SCALE,
        |f, mut a, _| {
            f.eval.drop_level(&mut a, Level::new(2)).unwrap();
            a
        },
        same,
    );
    binary(
        "lift",
        SCALE,
        |f, a, _| f.eval.lift(a, Level::new(4)).unwrap(),
        same,
    );
    binary(
        "rescale",
        SCALE * 2f64.powi(50),
        |f, a, _| f.eval.rescale(&a).unwrap(),
        |x, _| x,
    );
    let drop = |f: &Fixture, mut a: Ciphertext, _: Ciphertext| {
        f.eval.drop_level(&mut a, Level::new(3)).unwrap();
        f.eval.lift(a, Level::new(3)).unwrap()
    };
    binary("drop level and lift", SCALE, drop, |x, _| x);
}

#[test]
fn tracker_covers_automorphisms() {
    binary(
        "conjugate",
        SCALE,
        |f, a, _| f.eval.conjugate(&a).unwrap(),
        |x, _| x.conj(),
    );
    let fused = |f: &Fixture, a: Ciphertext, _: Ciphertext| f.eval.conjugate_rescale(&a).unwrap();
    binary(
        "conjugate and rescale",
        SCALE * 2f64.powi(50),
        fused,
        |x, _| x.conj(),
    );
    let rotation = |steps: i64, hoisted: bool| {
        move |f: &mut Fixture| {
            let x = f.random_slots();
            let a = f.encrypt(&x, 4, SCALE);
            let n = x.len();
            let expected: Vec<_> = (0..n).map(|j| x[(j + steps as usize) % n]).collect();
            let ct = if hoisted {
                f.eval.rotate_many(&a, &[1, steps]).unwrap().pop().unwrap()
            } else {
                f.eval.rotate(&a, steps).unwrap()
            };
            (ct, expected)
        }
    };
    check("rotate", &mut fixture(), rotation(1, false));
    check("hoisted rotation", &mut fixture(), rotation(5, true));

    // Keys of one shape and of several; more terms than one, so that what is shared counts once.
    for levels in [[4; 6], [4, 4, 5, 5, 6, 6]] {
        let mut request = KeyRequest::new();
        for (s, level) in levels.into_iter().enumerate() {
            request.rotation(s as i64 + 1, Level::new(level));
        }
        let mut f = Fixture::with_keys(params(6, 6, 2), &request);
        check("sum of rotations", &mut f, |f| {
            let xs: Vec<_> = (0..6).map(|_| f.random_slots()).collect();
            let cts: Vec<_> = xs.iter().map(|x| f.encrypt(x, 4, SCALE)).collect();
            let terms: Vec<_> = cts.iter().zip(1..).collect();
            let n = f.params.slots();
            let expected = (0..n)
                .map(|j| (0..6).map(|k| xs[k][(j + k + 1) % n]).sum())
                .collect();
            (f.eval.rotate_sum(&terms).unwrap(), expected)
        });
    }
}

#[test]
fn tracker_covers_keys_far_above_the_level() {
    // Digits and special primes are for 12 levels, the ciphertext has 1 or 5.
    for (levels, digits, level) in [(12, 2, 1), (12, 2, 5), (12, 3, 2), (12, 6, 5)] {
        let mut f = Fixture::new(params(6, levels, digits), &[1]);
        check("key switch at a low level", &mut f, |f| {
            let x = f.random_slots();
            let a = f.encrypt(&x, level, 1024.0);
            let n = x.len();
            let expected = (0..n).map(|j| x[(j + 1) % n]).collect();
            (f.eval.rotate(&a, 1).unwrap(), expected)
        });
    }
}

/// Not only the bound holds: the deviation itself is right, within what averages over slots leave open.
#[test]
fn tracker_predicts_the_deviation_of_operations_that_add_noise() {
    let mut f = Fixture::new(params(11, 4, 2), &[1]);
    let public = KeyGenerator::new(&f.params)
        .public_key(&f.secret, &mut f.rng)
        .unwrap();
    let zero = vec![Complex64::ZERO; f.params.slots()];
    // So small a scale that an error shows whatever it was before the operation.
    type Op = fn(&Fixture, Ciphertext) -> Ciphertext;
    let operations: [(&str, f64, Op); 7] = [
        ("encryption", 1.0, |_, ct| ct),
        ("rotation", 1.0, |f, ct| f.eval.rotate(&ct, 1).unwrap()),
        ("conjugation", 1.0, |f, ct| f.eval.conjugate(&ct).unwrap()),
        ("sum of rotations", 1.0, |f, ct| {
            f.eval.rotate_sum(&[(&ct, 1)]).unwrap()
        }),
        ("relinearisation", 1.0, |f, ct| {
            f.eval.relinearize(f.eval.square(&ct).unwrap()).unwrap()
        }),
        ("rescale", 2f64.powi(50), |f, ct| {
            f.eval.rescale(&ct).unwrap()
        }),
        ("conjugation and rescale", 2f64.powi(50), |f, ct| {
            f.eval.conjugate_rescale(&ct).unwrap()
        }),
    ];
    let check = |name: &str, f: &Fixture, cts: &[Ciphertext]| {
        let slots: Vec<Complex64> = cts.iter().flat_map(|ct| f.decrypt(ct)).collect();
        let squares: f64 = slots.iter().map(Complex64::norm_sqr).sum();
        let found = (squares / (2.0 * slots.len() as f64)).sqrt();
        let ratio = found / cts[0].tracked().error_std;
        println!("{name}: deviation {ratio:.3} of the predicted one");
        assert!((0.9..1.1).contains(&ratio), "{name}: {ratio}");
    };
    for (name, scale, op) in operations {
        let cts: Vec<_> = (0..8)
            .map(|_| {
                let ct = f.encrypt(&zero, 4, scale);
                op(&f, ct)
            })
            .collect();
        check(name, &f, &cts);
    }
    let pt = f
        .encoder
        .encode(&zero, Level::new(4), Scale::new(SCALE))
        .unwrap();
    let cts: Vec<_> = (0..8)
        .map(|_| Encryptor::new(&public).encrypt(&pt, &mut f.rng).unwrap())
        .collect();
    check("encryption with the public key", &f, &cts);
}

#[test]
fn tracker_predicts_the_deviation_of_encodings() {
    let mut f = Fixture::new(params(11, 2, 1), &[]);
    let (mut squares, mut predicted) = (0.0, 0.0);
    for _ in 0..8 {
        let x = f.random_slots();
        // Coefficients are rounded to units; the transform's own error is far smaller.
        let scale = Scale::new(2f64.powi(20));
        let pt = f.encoder.encode(&x, Level::new(2), scale).unwrap();
        let found = f.encoder.decode(&pt).unwrap();
        let errors = found.iter().zip(&x).map(|(a, b)| (a - b).norm_sqr());
        squares += errors.sum::<f64>() / (2.0 * x.len() as f64);
        predicted += pt.tracked().error_std.powi(2);
    }
    let ratio = (squares / predicted).sqrt();
    println!("encoding: deviation {ratio:.3} of the predicted one");
    assert!((0.95..1.05).contains(&ratio), "{ratio}");
}

#[test]
fn flooding_has_the_deviation_asked_for() {
    for flood_bits in [3.0, 10.0, 40.0] {
        let mut f = fixture();
        let (mut squares, mut largest, mut count) = (0.0, 0f64, 0);
        let mut deviation = 0.0;
        for _ in 0..TRIALS {
            let x = f.random_slots();
            let ct = f.encrypt(&x, 4, SCALE);
            deviation = ct.tracked().error_bound() * f64::exp2(flood_bits);
            let y = Decryptor::new(&f.secret)
                .decrypt_flooded(&ct, &f.encoder, flood_bits, &mut f.rng)
                .unwrap();
            for (x, y) in x.iter().zip(&y) {
                for e in [y.re - x.re, y.im - x.im] {
                    squares += e * e;
                    largest = largest.max(e.abs());
                    count += 1;
                }
            }
        }
        let ratio = (squares / f64::from(count)).sqrt() / deviation;
        println!("flooding by {flood_bits} bits: deviation {ratio:.3} of the one asked for");
        assert!((0.99..1.1).contains(&ratio), "{ratio}");
        assert!(largest < 6.0 * deviation);
    }
}

#[test]
fn tracker_covers_the_fused_square_and_the_matrix_product() {
    check("square pair", &mut fixture(), |f| {
        let x = f.random_slots();
        let q = f.params.prime(Level::new(4)) as f64;
        let a = f.encrypt(&x, 4, SCALE * q);
        let (z, zc) = (
            f.eval.rescale(&a).unwrap(),
            f.eval.conjugate_rescale(&a).unwrap(),
        );
        let ct = f
            .eval
            .relinearize(f.eval.square_pair(&z, &zc).unwrap())
            .unwrap();
        (
            ct,
            x.iter()
                .map(|z| Complex64::new(z.re * z.re, z.im * z.im))
                .collect(),
        )
    });
    let (cols, g) = (4, 8);
    let mut w = PeriodicMatrix::new(1, cols, g, Scale::new(SCALE)).unwrap();
    let masks: Vec<Vec<f64>> = (0..cols)
        .map(|c| {
            let mask: Vec<f64> = (0..g).map(|k| ((c * g + k) as f64).sin()).collect();
            w.set_masked(0, c, &mask).unwrap()
        })
        .collect();
    check("matrix product", &mut fixture(), |f| {
        let xs: Vec<_> = (0..cols).map(|_| f.random_slots()).collect();
        let cts: Vec<_> = xs.iter().map(|x| f.encrypt(x, 4, SCALE)).collect();
        let mut out = f
            .eval
            .zero(Level::new(4), Scale::new(SCALE * SCALE))
            .unwrap();
        f.eval
            .matmul_accumulate(&mut [&mut out], &cts.iter().collect::<Vec<_>>(), &w)
            .unwrap();
        let expected = (0..f.params.slots())
            .map(|j| (0..cols).map(|c| xs[c][j] * masks[c][j % g]).sum())
            .collect();
        (out, expected)
    });
}
