//! Operations whose limbs are spread over threads: same results, same work, same memory.

use crate::fixture::{Fixture, params};
use ckks_scheme::{Ciphertext, EvalError, Evaluator};

type Operation = (
    &'static str,
    fn(&Evaluator, &Ciphertext) -> Result<Vec<Ciphertext>, EvalError>,
);

const OPERATIONS: [Operation; 7] = [
    ("rotations", |eval, x| eval.rotate_many(x, &[1, 0, 5])),
    ("sum of rotations", |eval, x| {
        Ok(vec![eval.rotate_sum(&[(x, 1), (x, 5), (x, 0)])?])
    }),
    ("conjugate", |eval, x| Ok(vec![eval.conjugate_rescale(x)?])),
    ("rescale", |eval, x| Ok(vec![eval.rescale(x)?])),
    ("square", |eval, x| {
        Ok(vec![eval.relinearize(eval.square(x)?)?])
    }),
    ("square and rescale", |eval, x| {
        Ok(vec![eval.relinearize_rescale(eval.square(x)?)?])
    }),
    ("square pair", |eval, x| {
        let conjugate = eval.conjugate(x)?;
        Ok(vec![eval.relinearize(eval.square_pair(x, &conjugate)?)?])
    }),
];

#[test]
fn spread_limbs_give_the_same_with_the_same_work_and_memory() {
    // Limbs of more than one part of a conversion, digits of unequal lengths, a level with part of a digit.
    for (levels, digits) in [(5, 2), (6, 3), (2, 1)] {
        let mut f = Fixture::new(params(12, levels, digits), &[1, 5]);
        let slots = f.random_slots();
        let x = f.encrypt(&slots, levels, 2f64.powi(30));
        let pool = f.params.pool().clone();
        let run = |eval: &Evaluator, operation: &Operation| {
            let before = (pool.in_use_bytes(), eval.profile().work());
            pool.reset_high_water();
            let out = operation.1(eval, &x).unwrap();
            let bytes = pool.high_water_bytes() - before.0;
            let work = eval.profile().work().to_array().into_iter();
            let work = work
                .zip(before.1.to_array())
                .map(|(after, before)| after - before);
            let work: Vec<u64> = work.collect();
            let out: Vec<_> = out.iter().map(|ct| (ct.level(), f.decrypt(ct))).collect();
            (out, work, bytes)
        };
        for threads in [1, 3] {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(threads);
            threads.build().unwrap().install(|| {
                for operation in &OPERATIONS {
                    let (expected, work, bytes) = run(&f.eval, operation);
                    let (found, spread_work, spread_bytes) = run(&f.eval.spread_limbs(), operation);
                    let name = operation.0;
                    assert!(found == expected, "{name} at {levels} levels");
                    assert_eq!(spread_work, work, "{name}");
                    assert!(spread_bytes <= bytes, "{name}: {spread_bytes}, {bytes}");
                }
            });
        }
    }
}
