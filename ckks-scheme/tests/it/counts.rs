//! What the crate predicts that operations cost is what running them counts, exactly.

use crate::fixture::{Fixture, kernel, params};
use ckks_scheme::counts::Work;
use ckks_scheme::{
    Chebyshev, Ciphertext, Composite, DiagonalMatrix, Evaluator, KeyRequest, KeySource, Level,
    LinearTransform, Parameters, PeriodicMatrix, PeriodicPlain, Scale,
};
use num_complex::Complex64;
use std::fmt::Debug;
use std::sync::Arc;

const SCALE: f64 = (1u64 << 22) as f64;

/// A client, and keys for every operation at the highest and at a lower level.
struct Lab {
    f: Fixture,
    keys: Arc<dyn KeySource>,
    key_levels: Vec<Level>,
}

impl Lab {
    fn new(params: Parameters, steps: &[i64]) -> Self {
        let top = params.max_level().limbs();
        let key_levels: Vec<Level> = [top.div_ceil(2), top].map(Level::new).to_vec();
        let mut request = KeyRequest::new();
        for &level in &key_levels {
            request.relin(level);
            request.conjugation(level);
            for &r in steps {
                request.rotation(r, level);
            }
        }
        request.encapsulation(8, params.max_level());
        Self::with_request(params, &request, key_levels)
    }

    fn with_request(params: Parameters, request: &KeyRequest, key_levels: Vec<Level>) -> Self {
        let f = Fixture::new(params, &[]);
        let keys = ckks_scheme::KeyGenerator::new(&f.params)
            .evaluation_keys(&f.secret, request, &mut f.rng.clone())
            .unwrap();
        Self {
            f,
            keys: Arc::new(keys),
            key_levels,
        }
    }

    fn key(&self, level: Level) -> Level {
        let mut serving = self.key_levels.iter().copied().filter(|k| *k >= level);
        serving.next().unwrap()
    }

    fn ct(&mut self, level: Level) -> Ciphertext {
        let slots: Vec<_> = self.f.random_slots().iter().map(|z| z * 0.5).collect();
        self.f.encrypt(&slots, level.limbs(), SCALE)
    }

    /// What running `op` counts.
    fn run<T, E: Debug>(&self, op: impl FnOnce(&Evaluator) -> Result<T, E>) -> Work {
        let eval = Evaluator::new(&self.f.params, self.keys.clone());
        op(&eval).unwrap();
        eval.profile().work()
    }
}

/// One digit to one digit a prime; a chain of different sizes; special primes smaller than ciphertext primes.
fn sets() -> Vec<Parameters> {
    let mixed = Parameters::builder()
        .log_n(7)
        .q_bits([50, 41, 41, 38, 45, 45, 45])
        .p_bits([47, 46, 44, 44])
        .digits(3)
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap();
    vec![
        params(6, 5, 2),
        params(5, 7, 3),
        params(4, 4, 4),
        params(6, 4, 1),
        mixed,
    ]
}

#[test]
fn key_switching_operations_cost_what_is_predicted() {
    for params in sets() {
        let mut lab = Lab::new(params.clone(), &[1, 3, -1]);
        let counts = params.counts();
        for l in 1..=params.max_level().limbs() {
            let level = Level::new(l);
            let key = lab.key(level);
            let x = lab.ct(level);
            let product = lab.f.eval.square(&x).unwrap();
            let copy = || product.try_clone().unwrap();
            let name = format!("{:?}, level {l}, key {key}", params.literal());
            let check =
                |found: Work, expected: Work, op| assert_eq!(found, expected, "{op}: {name}");
            check(
                lab.run(|e| e.relinearize(copy())),
                counts.relinearize(level, key),
                "relinearise",
            );
            check(
                lab.run(|e| e.rotate(&x, 1)),
                counts.rotate(level, key),
                "rotate",
            );
            check(
                lab.run(|e| e.conjugate(&x)),
                counts.rotate(level, key),
                "conjugate",
            );
            check(
                lab.run(|e| e.rotate_many(&x, &[1, 3, 0, -1])),
                counts.rotate_many(level, key, 3) + counts.copy(level),
                "rotate many",
            );
            check(
                lab.run(|e| e.rotate_sum(&[(&x, 1), (&x, 0), (&x, 3), (&x, -1)])),
                counts.rotate_sum(level, key, 3, 1),
                "sum of rotations",
            );
            check(
                lab.run(|e| e.rotate_sum(&[(&x, 0)])),
                counts.rotate_sum(level, key, 0, 1),
                "sum without rotation",
            );
            if l > 1 {
                check(
                    lab.run(|e| e.relinearize_rescale(copy())),
                    counts.relinearize_rescale(level, key),
                    "relinearise and rescale",
                );
                check(
                    lab.run(|e| e.conjugate_rescale(&x)),
                    counts.conjugate_rescale(level, key),
                    "conjugate and rescale",
                );
            }
        }
        let bottom = lab.ct(Level::new(1));
        let top = params.max_level();
        assert_eq!(
            lab.run(|e| e.mod_raise(&bottom, 8, top)),
            counts.mod_raise(top)
        );
    }
}

#[test]
fn operations_without_keys_cost_what_is_predicted() {
    for params in sets() {
        let mut lab = Lab::new(params.clone(), &[]);
        let counts = params.counts();
        let encoder = ckks_scheme::Encoder::new(&params);
        let half = Complex64::from(0.5);
        for l in 1..=params.max_level().limbs() {
            let level = Level::new(l);
            let (x, y) = (lab.ct(level), lab.ct(level));
            let mut z = x.try_clone().unwrap();
            let plain = encoder
                .encode(&vec![half; params.slots()], level, Scale::new(SCALE))
                .unwrap();
            let periodic = PeriodicPlain::new(&[half; 4], Scale::new(SCALE)).unwrap();
            let check =
                |found: Work, expected: Work, op| assert_eq!(found, expected, "{op} at {l}");
            check(
                lab.run(|e| e.zero(level, x.scale())),
                counts.zero(level),
                "zero",
            );
            check(lab.run(|e| e.copy(&x)), counts.copy(level), "copy");
            check(
                lab.run(|e| e.add_assign(&mut z, &y)),
                counts.add(level),
                "add",
            );
            check(
                lab.run(|e| e.sub_assign(&mut z, &y)),
                counts.add(level),
                "sub",
            );
            let negate = |e: &Evaluator| {
                e.negate_assign(&mut z);
                Ok::<_, ()>(())
            };
            check(lab.run(negate), counts.negate(level), "negate");
            let mul_i = |e: &Evaluator| {
                e.mul_i_assign(&mut z);
                Ok::<_, ()>(())
            };
            check(lab.run(mul_i), counts.mul_i(level), "times i");
            check(
                lab.run(|e| e.add_plain_assign(&mut z, &plain)),
                counts.add_plain(level),
                "add plaintext",
            );
            check(
                lab.run(|e| e.add_const_assign(&mut z, half)),
                counts.add_const(level),
                "add constant",
            );
            check(
                lab.run(|e| e.add_periodic_assign(&mut z, &periodic)),
                counts.add_periodic(level, 4),
                "add periodic",
            );
            check(
                lab.run(|e| e.mul_const(&x, 0.5, Scale::new(4.0))),
                counts.mul_const(level),
                "times constant",
            );
            check(
                lab.run(|e| e.mul_plain(&x, &plain)),
                counts.mul_plain(level),
                "times plaintext",
            );
            check(lab.run(|e| e.mul(&x, &y)), counts.mul(level), "product");
            check(
                lab.run(|e| e.sum_of_products(&[(&x, &y), (&y, &y), (&x, &x)], level)),
                counts.sum_of_products(level, 3),
                "sum of products",
            );
            check(lab.run(|e| e.square(&x)), counts.square(level), "square");
            check(
                lab.run(|e| e.square_pair(&x, &y)),
                counts.square_pair(level),
                "square pair",
            );
            let mut sum = lab.f.eval.square(&x).unwrap();
            check(
                lab.run(|e| e.add_scaled_assign(&mut sum, &x, 0.5)),
                counts.add_scaled(level, 2),
                "add multiple",
            );
            if l > 1 {
                check(
                    lab.run(|e| e.rescale(&x)),
                    counts.rescale(level, 2),
                    "rescale",
                );
                let three = lab.f.eval.square(&x).unwrap();
                check(
                    lab.run(|e| e.rescale(&three)),
                    counts.rescale(level, 3),
                    "rescale of three",
                );
                let low = lab.ct(Level::new(l - 1));
                check(lab.run(|e| e.lift(low, level)), counts.lift(level), "lift");
            }
        }
    }
}

#[test]
fn matrix_products_cost_what_is_predicted() {
    for params in sets() {
        let mut lab = Lab::new(params.clone(), &[]);
        for (rows, cols, cells) in [(3, 5, 2), (1, 9, 8), (4, 1, 4)] {
            let scale = Scale::new(64.0);
            let mut w = PeriodicMatrix::new(rows, cols, cells, scale).unwrap();
            let mut masked = 0;
            for at in 0..rows * cols {
                match at % 3 {
                    0 => {
                        w.set_scalar(at / cols, at % cols, 0.25).unwrap();
                    }
                    1 => {
                        w.set_masked(at / cols, at % cols, &vec![0.5; cells])
                            .unwrap();
                        masked += 1;
                    }
                    _ => {}
                }
            }
            let counts = params.counts();
            assert_eq!(w.masked(), masked);
            assert_eq!(w.encoding(), counts.encode_weight(cells) * masked as u64);
            for l in 1..=params.max_level().limbs() {
                let level = Level::new(l);
                let x: Vec<_> = (0..cols).map(|_| lab.ct(params.max_level())).collect();
                let x: Vec<_> = x.iter().collect();
                let out_scale = Scale::new(SCALE * scale.value());
                let mut out: Vec<_> = (0..rows)
                    .map(|_| lab.f.eval.zero(level, out_scale).unwrap())
                    .collect();
                let mut out: Vec<_> = out.iter_mut().collect();
                let found = lab.run(|e| e.matmul_accumulate(&mut out, &x, &w));
                let expected = counts.matmul(level, (rows, cols), cells, masked);
                assert_eq!(found, expected, "{rows} x {cols} at {l}");
            }
        }
    }
}

#[test]
fn linear_transforms_cost_what_is_predicted() {
    let params = params(8, 5, 2);
    let slots = params.slots();
    let entry = |d: usize, j: usize| Complex64::new((d + j) as f64 % 3.0 - 1.0, 0.25);
    // Whole diagonals; a short period; one diagonal; more diagonals of a giant than the kernels sum up at once.
    for (dim, diagonals, giant_cost) in [
        (slots, (0..20).collect::<Vec<i64>>(), 1.0),
        (slots, vec![-3, 0, 9, 64], 2.5),
        (8, (0..8).collect(), 1.0),
        (slots, vec![5], 1.0),
        (slots, vec![0], 1.0),
        (slots, (0..70).collect(), 100.0),
    ] {
        let mut matrix = DiagonalMatrix::new(dim);
        for d in &diagonals {
            let target = matrix.diagonal_mut(*d);
            for (j, z) in target.iter_mut().enumerate() {
                *z = entry(*d as usize % 7, j);
            }
        }
        for l in [2, 5] {
            let level = Level::new(l);
            let t = LinearTransform::new(&params, &matrix, level, Scale::new(SCALE), giant_cost);
            let t = t.unwrap();
            let mut request = KeyRequest::new();
            t.request(&mut request);
            let mut lab = Lab::with_request(params.clone(), &request, Vec::new());
            let x = lab.ct(level);
            let counts = params.counts();
            assert_eq!(
                lab.run(|e| e.linear_transform(&x, &t)),
                counts.linear_transform(t.plan(), false),
                "{diagonals:?} at {l}"
            );
            assert_eq!(
                lab.run(|e| e.linear_transform_rescale(&x, &t)),
                counts.linear_transform(t.plan(), true)
            );
        }
    }
}

#[test]
fn polynomials_cost_what_is_predicted() {
    let params = params(5, 9, 3);
    let mut lab = Lab::new(params.clone(), &[]);
    let counts = params.counts();
    let smooth = |degree: usize, interval: (f64, f64)| {
        Chebyshev::interpolate(|x| (1.3 * x + 0.2).exp(), degree, interval).unwrap()
    };
    let odd = |degree| Chebyshev::interpolate(f64::sin, degree, (-1.0, 1.0)).unwrap();
    let sparse = |k: usize| {
        let mut coeffs = vec![0.0; k + 1];
        coeffs[k] = 0.5;
        Chebyshev::new(coeffs, (-1.0, 1.0)).unwrap()
    };
    let mut list: Vec<Chebyshev> = (1..=33).map(|d| smooth(d, (-1.0, 1.0))).collect();
    list.extend([5, 14, 63].map(|d| smooth(d, (-1.0, 3.0))));
    list.extend([3, 7, 15, 31, 63].map(odd));
    list.extend([2, 8, 9, 16, 24, 64].map(sparse));
    for p in &list {
        let level = Level::new(9);
        let (from, to) = p.interval();
        let prime = params.prime(level) as f64;
        let scale = Scale::new(prime / (to / 2.0 - from / 2.0));
        let slots = vec![Complex64::from(0.3); params.slots()];
        let x = lab.f.encrypt(&slots, 9, scale.value());
        let target = params.prime(level.below(p.depth()).unwrap()) as f64;
        assert_eq!(
            lab.run(|e| e.polynomial(&x, p, Scale::new(target))),
            counts.polynomial(p, level, |level| lab.key(level)),
            "degree {} on {:?}",
            p.degree(),
            p.interval()
        );
    }
    let sign = Composite::sign(&[7, 7], 0.2, 0.01).unwrap();
    let level = Level::new(9);
    let x = lab.f.encrypt(
        &vec![Complex64::from(0.3); params.slots()],
        9,
        params.prime(level) as f64,
    );
    let target = params.prime(level.below(sign.depth()).unwrap()) as f64;
    assert_eq!(
        lab.run(|e| e.composite(&x, &sign, Scale::new(target))),
        counts.composite(&sign, level, |level| lab.key(level))
    );
}
