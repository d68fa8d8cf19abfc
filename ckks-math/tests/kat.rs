//! Known answers, computed by `vectors/generate.py`.

#![allow(clippy::unwrap_used, reason = "a failing test may say so by panicking")]

use ckks_math::{KernelChoice, LimbRing};

#[test]
fn kat_transforms() {
    let vectors = include_str!("vectors/transforms.txt");
    let mut seen = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<Vec<u64>> = line
            .split('|')
            .map(|field| {
                field
                    .split_whitespace()
                    .map(|word| word.parse().unwrap())
                    .collect()
            })
            .collect();
        let [header, coefficients, values] = &fields[..] else {
            panic!("three fields in each line")
        };
        let (n, q, psi) = (header[0], header[1], header[2]);
        for kernel in [KernelChoice::Named("scalar"), KernelChoice::Auto] {
            let ring = LimbRing::new(q, n.ilog2(), &kernel).unwrap();
            assert_eq!(ring.psi(), psi, "root of q = {q}, n = {n}");
            let mut words = coefficients.clone();
            ring.ntt(&mut words);
            assert_eq!(&words, values, "{}: q = {q}, n = {n}", ring.kernel_name());
            ring.intt(&mut words);
            assert_eq!(
                &words,
                coefficients,
                "{}: q = {q}, n = {n}",
                ring.kernel_name()
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 30);
}
