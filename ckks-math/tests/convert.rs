//! Base conversion against integers of any length.

#![allow(clippy::unwrap_used, reason = "a failing test may say so by panicking")]

use ckks_math::{BaseConverter, KernelChoice, LimbRing, MathError, primes};
use num_bigint::{BigInt, BigUint};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn rings(log_n: u32, bits: &[u32], skip: usize, kernel: &KernelChoice) -> Vec<LimbRing> {
    let mut used = Vec::new();
    bits.iter()
        .map(|&bits| {
            let fresh = primes::ntt_primes_below(1 << bits, log_n)
                .skip(skip)
                .find(|q| !used.contains(q))
                .unwrap();
            used.push(fresh);
            LimbRing::new(fresh, log_n, kernel).unwrap()
        })
        .collect()
}

fn residue(x: &BigInt, q: u64) -> u64 {
    let q = BigInt::from(q);
    let r = ((x % &q) + &q) % q;
    u64::try_from(r).unwrap()
}

/// Converts `values` (any integers) and compares with their centred representatives.
fn check(sources: &[LimbRing], targets: &[LimbRing], values: &[BigInt]) {
    let product: BigInt = sources
        .iter()
        .map(|ring| BigInt::from(ring.modulus().value()))
        .product();
    let source: Vec<Vec<u64>> = sources
        .iter()
        .map(|ring| {
            values
                .iter()
                .map(|x| residue(x, ring.modulus().value()))
                .collect()
        })
        .collect();
    let mut target = vec![vec![u64::MAX; values.len()]; targets.len()];
    let converter = BaseConverter::new(sources, targets).unwrap();
    assert_eq!(
        (converter.sources(), converter.targets()),
        (sources.len(), targets.len())
    );
    converter.convert_into(
        &mut target
            .iter_mut()
            .map(|limb| &mut limb[..])
            .collect::<Vec<_>>(),
        &source.iter().map(|limb| &limb[..]).collect::<Vec<_>>(),
    );
    for (j, x) in values.iter().enumerate() {
        let reduced = ((x % &product) + &product) % &product;
        let centred = if &reduced * 2 > product {
            reduced - &product
        } else {
            reduced
        };
        for (ring, limb) in targets.iter().zip(&target) {
            let q = ring.modulus().value();
            assert_eq!(
                limb[j],
                residue(&centred, q),
                "{}: x = {x}, q = {q}",
                ring.kernel_name()
            );
        }
    }
}

/// Random integers below the product, and those near zero and near the ends.
fn values(sources: &[LimbRing], random: usize, seed: u64) -> Vec<BigInt> {
    let product: BigUint = sources
        .iter()
        .map(|ring| BigUint::from(ring.modulus().value()))
        .product();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut wide = || {
        let words: Vec<u32> = (0..2 * sources.len() + 2).map(|_| rng.next_u32()).collect();
        BigInt::from(BigUint::new(words) % &product)
    };
    let product = BigInt::from(product.clone());
    let mut values: Vec<BigInt> = (-3..=3).map(BigInt::from).collect();
    // As near to one half as the conversion promises: sources / 2^50 of the product.
    let margin: BigInt = &product * (2 * sources.len()) / (BigInt::from(1u64 << 50)) + 1;
    values.extend([
        &product / 2 - &margin,
        &product / 2 + &margin,
        &product / 3,
        &product - 1,
    ]);
    values.extend((0..random).map(|_| wide()));
    values
}

#[test]
fn conversion_matches_integers() {
    for kernel in [KernelChoice::Named("scalar"), KernelChoice::Auto] {
        for bits in [
            &[48u32; 11][..],
            &[49; 3],
            &[30],
            &[50],
            &[50; 16],
            &[30, 35, 40, 45, 50],
            &[60, 61],
            &[50, 60],
        ] {
            let sources = rings(4, bits, 0, &kernel);
            // More values than a tile has, and not a multiple of anything.
            let values = values(&sources, 590, 7);
            for target_bits in [&[48u32; 5][..], &[30, 50, 61]] {
                check(&sources, &rings(4, target_bits, 40, &kernel), &values);
            }
        }
    }
}

#[test]
fn conversion_of_one_source_is_the_centred_change_of_modulus() {
    let sources = rings(4, &[49], 0, &KernelChoice::Auto);
    let target = &rings(4, &[47], 0, &KernelChoice::Auto)[0];
    let q = sources[0].modulus();
    let words: Vec<u64> = (0..1000).map(|j| q.pow(3, j)).collect();
    let (mut found, mut expected) = (vec![1; 1000], vec![2; 1000]);
    BaseConverter::new(&sources, std::slice::from_ref(target))
        .unwrap()
        .convert_into(&mut [&mut found], &[&words]);
    target.change_modulus_centered_into(&mut expected, &words, q);
    assert_eq!(found, expected);
}

#[test]
fn conversion_rejects_impossible_bases() {
    let rings = rings(4, &[40, 41], 0, &KernelChoice::Auto);
    let other = LimbRing::new(97, 3, &KernelChoice::Auto).unwrap();
    let error = |sources: &[LimbRing], targets: &[LimbRing]| {
        BaseConverter::new(sources, targets).unwrap_err()
    };
    assert!(matches!(
        error(&[], &rings),
        MathError::BasisSize { sources: 0, .. }
    ));
    assert!(matches!(
        error(&rings, &[]),
        MathError::BasisSize { targets: 0, .. }
    ));
    assert_eq!(
        error(&rings, &[other]),
        MathError::DegreeMismatch {
            found: 3,
            expected: 4
        }
    );
    let twice = [rings[0].clone(), rings[0].clone()];
    assert_eq!(
        error(&twice, &rings),
        MathError::RepeatedModulus {
            modulus: rings[0].modulus().value()
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn prop_base_convert_matches_bigint(
        bits in proptest::collection::vec(30u32..=50, 1..8),
        target_bits in 30u32..=50,
        seed: u64,
        named: bool,
    ) {
        let kernel = if named { KernelChoice::Named("scalar") } else { KernelChoice::Auto };
        let sources = rings(3, &bits, 0, &kernel);
        let targets = rings(3, &[target_bits, target_bits], 20, &kernel);
        check(&sources, &targets, &values(&sources, 30, seed));
    }
}
