//! Operations whose limbs are spread over threads: same results, same work, same memory.

use crate::fixture::{Fixture, params, rotated};
use ckks_scheme::{Ciphertext, EvalError, Evaluator};
use num_complex::Complex64;

/// A name, the bits of the scale, what an evaluator does, and what that is in the clear.
type Operation = (
    &'static str,
    i32,
    fn(&Evaluator, &Ciphertext) -> Result<Vec<Ciphertext>, EvalError>,
    fn(&[Complex64]) -> Vec<Vec<Complex64>>,
);

fn each(x: &[Complex64], f: impl Fn(&Complex64) -> Complex64) -> Vec<Vec<Complex64>> {
    vec![x.iter().map(f).collect()]
}

const OPERATIONS: [Operation; 7] = [
    (
        "rotations",
        40,
        |eval, x| eval.rotate_many(x, &[1, 0, 5]),
        |x| [1, 0, 5].map(|steps| rotated(x, steps)).to_vec(),
    ),
    (
        "sum of rotations",
        40,
        |eval, x| Ok(vec![eval.rotate_sum(&[(x, 1), (x, 5), (x, 0)])?]),
        |x| {
            let (one, five) = (rotated(x, 1), rotated(x, 5));
            let sums = x.iter().zip(one).zip(five);
            vec![sums.map(|((a, b), c)| a + b + c).collect()]
        },
    ),
    (
        "conjugate",
        80,
        |eval, x| Ok(vec![eval.conjugate_rescale(x)?]),
        |x| each(x, Complex64::conj),
    ),
    (
        "rescale",
        80,
        |eval, x| Ok(vec![eval.rescale(x)?]),
        |x| each(x, |z| *z),
    ),
    (
        "square",
        40,
        |eval, x| Ok(vec![eval.relinearize(eval.square(x)?)?]),
        |x| each(x, |z| z * z),
    ),
    (
        "square and rescale",
        40,
        |eval, x| Ok(vec![eval.relinearize_rescale(eval.square(x)?)?]),
        |x| each(x, |z| z * z),
    ),
    (
        "square pair",
        40,
        |eval, x| {
            let conjugate = eval.conjugate(x)?;
            Ok(vec![eval.relinearize(eval.square_pair(x, &conjugate)?)?])
        },
        |x| each(x, |z| Complex64::new(z.re * z.re, z.im * z.im)),
    ),
];

#[test]
fn spread_limbs_give_the_same_with_the_same_work_and_memory() {
    // Limbs of more than one part of a conversion, digits of unequal lengths, a level with part of a digit.
    for (levels, digits) in [(5, 2), (6, 3), (2, 1)] {
        let mut f = Fixture::new(params(12, levels, digits), &[1, 5]);
        let slots = f.random_slots();
        let inputs = OPERATIONS.map(|(_, bits, ..)| f.encrypt(&slots, levels, 2f64.powi(bits)));
        let pool = f.params.pool().clone();
        let bytes_of = |ct: &Ciphertext| {
            let mut bytes = Vec::new();
            ct.write_to(&f.params, f.secret.id(), &mut bytes).unwrap();
            bytes
        };
        let run = |eval: &Evaluator, x: &Ciphertext, (_, _, operation, expected): &Operation| {
            let before = (pool.in_use_bytes(), eval.profile().work());
            pool.reset_high_water();
            let out = operation(eval, x).unwrap();
            let bytes = pool.high_water_bytes() - before.0;
            let work = eval.profile().work().to_array().into_iter();
            let work = work
                .zip(before.1.to_array())
                .map(|(after, before)| after - before);
            let work: Vec<u64> = work.collect();
            let expected = expected(&slots);
            assert_eq!(out.len(), expected.len());
            for (ct, expected) in out.iter().zip(&expected) {
                f.assert_within_bound(ct, expected);
            }
            (out.iter().map(bytes_of).collect::<Vec<_>>(), work, bytes)
        };
        for threads in [1, 3] {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(threads);
            threads.build().unwrap().install(|| {
                for (operation, x) in OPERATIONS.iter().zip(&inputs) {
                    let (expected, work, bytes) = run(&f.eval, x, operation);
                    let (found, spread_work, spread_bytes) =
                        run(&f.eval.spread_limbs(), x, operation);
                    let name = operation.0;
                    assert!(found == expected, "{name} at {levels} levels");
                    assert_eq!(spread_work, work, "{name}");
                    assert!(spread_bytes <= bytes, "{name}: {spread_bytes}, {bytes}");
                }
            });
        }
    }
}
