//! What the operations of a ring mean, against definitions, on every kernel that the machine has.

#![allow(clippy::unwrap_used, reason = "a failing test may say so by panicking")]

use ckks_math::{
    KernelChoice, LimbRing, MathError, Modulus, ResidueMatrix, WeightMatrix, primes, reference,
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn kernels() -> [KernelChoice; 2] {
    [KernelChoice::Named("scalar"), KernelChoice::Auto]
}

fn prime(bits: u32, log_n: u32) -> u64 {
    primes::ntt_primes_below(1 << bits, log_n).next().unwrap()
}

fn random(q: u64, len: usize, seed: u64) -> Vec<u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.next_u64() % q).collect()
}

#[test]
fn ntt_matches_definition() {
    for kernel in kernels() {
        for log_n in 0..=9 {
            for bits in [20, 30, 48, 49, 50, 61] {
                let ring = LimbRing::new(prime(bits, log_n), log_n, &kernel).unwrap();
                let a = random(ring.modulus().value(), ring.degree(), 1);
                let mut found = a.clone();
                ring.ntt(&mut found);
                assert_eq!(
                    found,
                    reference::ntt(ring.modulus(), ring.psi(), &a),
                    "{kernel:?}, 2^{log_n}, {bits} bits"
                );
            }
        }
    }
}

#[test]
fn fused_transforms_match_their_parts() {
    for kernel in kernels() {
        for log_n in [3, 6, 9, 10] {
            for bits in [20, 48, 49, 50] {
                let ring = LimbRing::new(prime(bits, log_n), log_n, &kernel).unwrap();
                let q = ring.modulus();
                let [a, minuend] = [8, 9].map(|seed| random(q.value(), ring.degree(), seed));
                let s = q.value() - 5;
                let transformed = reference::ntt(q, ring.psi(), &a);
                let mut found = a.clone();
                ring.ntt_sub_mul_scalar(&mut found, &minuend, s);
                let expected: Vec<u64> = minuend
                    .iter()
                    .zip(&transformed)
                    .map(|(&m, &x)| q.mul(q.sub(m, x), s))
                    .collect();
                assert_eq!(found, expected, "{kernel:?}, 2^{log_n}, {bits} bits");
                ring.intt_into(&mut found, &transformed);
                assert_eq!(found, a, "{kernel:?}, 2^{log_n}, {bits} bits");
            }
        }
    }
}

#[test]
fn kernels_agree_on_long_transforms() {
    for log_n in [14, 15, 16, 17] {
        for bits in [48, 50] {
            let rings =
                kernels().map(|kernel| LimbRing::new(prime(bits, log_n), log_n, &kernel).unwrap());
            let a = random(rings[0].modulus().value(), rings[0].degree(), 6);
            let [slow, fast] = rings.map(|ring| {
                let (mut forward, mut backward) = (a.clone(), a.clone());
                ring.ntt(&mut forward);
                ring.intt(&mut backward);
                (forward, backward)
            });
            assert!(slow == fast, "log_n {log_n}, {bits} bits");
        }
    }
}

#[test]
fn product_of_transforms_is_negacyclic_product() {
    for kernel in kernels() {
        for log_n in [0, 1, 3, 6, 9] {
            let ring = LimbRing::new(prime(50, log_n), log_n, &kernel).unwrap();
            let q = ring.modulus().value();
            let (mut a, mut b) = (random(q, ring.degree(), 2), random(q, ring.degree(), 3));
            let expected = reference::negacyclic_product(q, &a, &b);
            ring.ntt(&mut a);
            ring.ntt(&mut b);
            ring.mul_assign(&mut a, &b);
            ring.intt(&mut a);
            assert_eq!(a, expected);
        }
    }
}

#[test]
fn multiplication_by_i_is_multiplication_by_the_middle_power() {
    for kernel in kernels() {
        for log_n in 1..=8 {
            let ring = LimbRing::new(prime(49, log_n), log_n, &kernel).unwrap();
            let (q, n) = (ring.modulus().value(), ring.degree());
            assert_eq!(
                ring.modulus()
                    .mul(ring.imaginary_unit(), ring.imaginary_unit()),
                q - 1
            );
            let mut i = vec![0; n];
            i[n / 2] = 1;
            let a = random(q, n, 4);
            let mut expected = reference::negacyclic_product(q, &a, &i);
            let mut found = a.clone();
            ring.ntt(&mut found);
            ring.mul_i_assign(&mut found);
            ring.intt(&mut found);
            assert_eq!(found, expected);

            expected = a.clone();
            expected[0] = ring.modulus().add(expected[0], 17);
            expected[n / 2] = ring.modulus().add(expected[n / 2], q - 5);
            found = a;
            ring.ntt(&mut found);
            ring.add_i_scalar_assign(&mut found, 17, q - 5);
            ring.intt(&mut found);
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn complex_square_is_the_square_of_both_parts() {
    // With constants in place of polynomials: z = a + i b, y = a - i b, so the result is 4 (a^2 + i b^2).
    let ring = LimbRing::new(prime(48, 4), 4, &KernelChoice::Auto).unwrap();
    let constant = |re: u64, im: u64| {
        let mut x = vec![0; 16];
        ring.add_i_scalar_assign(&mut x, re, im);
        x
    };
    let q = ring.modulus();
    let (z, y) = (constant(3, 5), constant(3, q.neg(5)));
    let mut d = [vec![7; 16], vec![8; 16], vec![9; 16]];
    let [d0, d1, d2] = &mut d;
    ring.square_complex_into(d0, d1, d2, &z, &z, &y, &y);
    assert_eq!(d[0], constant(36, 100));
    assert_eq!(d[1], constant(72, 200));
    assert_eq!(d[2], constant(36, 100));
}

#[test]
fn subring_transforms_to_blocks() {
    for kernel in kernels() {
        let ring = LimbRing::new(prime(48, 9), 9, &kernel).unwrap();
        for log_n in 0..=9 {
            let sub = ring.subring(log_n).unwrap();
            let step = ring.degree() / sub.degree();
            let a = random(ring.modulus().value(), sub.degree(), 5);
            let mut spread = vec![0; ring.degree()];
            a.iter()
                .enumerate()
                .for_each(|(j, &word)| spread[j * step] = word);
            ring.ntt(&mut spread);
            let mut small = a;
            sub.ntt(&mut small);
            for (b, block) in spread.chunks_exact(step).enumerate() {
                assert!(
                    block.iter().all(|&word| word == small[b]),
                    "log_n {log_n}, block {b}"
                );
            }
        }
        assert_eq!(
            ring.subring(10).unwrap_err(),
            MathError::DegreeOutOfRange {
                log_n: 10,
                min: 0,
                max: 9
            }
        );
    }
}

#[test]
fn matrix_product_multiplies_polynomials() {
    let (log_n, log_2g) = (6, 3);
    for kernel in kernels() {
        let ring = LimbRing::new(prime(48, log_n), log_n, &kernel).unwrap();
        let (q, n) = (ring.modulus(), ring.degree());
        let mut weights = WeightMatrix::new(2, 3, log_2g);
        let poly: Vec<i64> = (0..8).map(|k| k * 1000 - 3333).collect();
        weights.set_poly(0, 0, &[1; 8]);
        weights.set_poly(0, 0, &poly);
        weights.set_scalar(0, 1, -77);
        weights.set_poly(1, 2, &poly);
        weights.set_scalar(1, 1, 0);
        assert_eq!(
            (weights.rows(), weights.cols(), weights.nonzeros()),
            (2, 3, 3)
        );
        assert!(weights.bytes() >= 2 * 64);

        let x: Vec<Vec<u64>> = (0..3).map(|i| random(q.value(), n, i)).collect();
        let old: Vec<Vec<u64>> = (0..2).map(|i| random(q.value(), n, 10 + i)).collect();
        let eval = |a: &Vec<u64>| {
            let mut a = a.clone();
            ring.ntt(&mut a);
            a
        };
        let spread = |coefficients: &[i64]| {
            let mut a = vec![0; n];
            coefficients
                .iter()
                .enumerate()
                .for_each(|(k, &c)| a[k * 8] = q.from_i64(c));
            a
        };
        let entry = |a: &[u64], b: &[u64]| reference::negacyclic_product(q.value(), a, b);
        let sum = |a: &[u64], b: &[u64]| -> Vec<u64> {
            a.iter().zip(b).map(|(&a, &b)| q.add(a, b)).collect()
        };
        let expected = [
            sum(
                &entry(&spread(&poly), &x[0]),
                &entry(&spread(&[-77]), &x[1]),
            ),
            entry(&spread(&poly), &x[2]),
        ];

        let mut residues = ResidueMatrix::new();
        residues.generate(&ring, &ring.subring(log_2g).unwrap(), &weights);
        assert_eq!(
            (residues.rows(), residues.cols(), residues.blocks()),
            (2, 3, 8)
        );
        let inputs: Vec<Vec<u64>> = x.iter().map(eval).collect();
        let inputs: Vec<&[u64]> = inputs.iter().map(|x| &x[..]).collect();
        for accumulate in [false, true] {
            let mut outputs: Vec<Vec<u64>> = old.iter().map(eval).collect();
            let mut out: Vec<&mut [u64]> = outputs.iter_mut().map(|out| &mut out[..]).collect();
            ring.block_matmul(&mut out, &inputs, &residues, accumulate);
            for ((output, expected), old) in outputs.iter_mut().zip(&expected).zip(&old) {
                ring.intt(output);
                assert_eq!(
                    output,
                    &if accumulate {
                        sum(expected, old)
                    } else {
                        expected.clone()
                    }
                );
            }
        }
    }
}

#[test]
fn empty_products_are_zero() {
    for kernel in kernels() {
        let ring = LimbRing::new(prime(48, 6), 6, &kernel).unwrap();
        let mut residues = ResidueMatrix::new();
        residues.generate(
            &ring,
            &ring.subring(2).unwrap(),
            &WeightMatrix::new(1, 0, 2),
        );
        let mut out = vec![5; 64];
        ring.block_matmul(&mut [&mut out[..]], &[], &residues, true);
        assert_eq!(out, vec![5; 64]);
        ring.block_matmul(&mut [&mut out[..]], &[], &residues, false);
        assert_eq!(out, vec![0; 64]);
        residues.generate(
            &ring,
            &ring.subring(2).unwrap(),
            &WeightMatrix::new(0, 1, 2),
        );
        ring.block_matmul(&mut [], &[&out], &residues, false);
    }
}

#[test]
fn longest_sums_do_not_overflow() {
    let terms = ckks_math::kernel::MAX_SUM_TERMS;
    for bits in [30, 48, 49, 50] {
        let rings = kernels().map(|kernel| LimbRing::new(prime(bits, 3), 3, &kernel).unwrap());
        let q = rings[0].modulus();
        for (word, weight) in [((1 << 52) - 1, q.value() - 1), ((1 << 52) - 1, 1), (1, 1)] {
            let x = vec![word; 41];
            for ring in &rings {
                let mut out = vec![q.value() - 1; 41];
                ring.linear_combination_into(
                    &mut out,
                    &vec![&x[..]; terms],
                    &vec![weight; terms],
                    true,
                );
                let expected = q.sub(q.mul(q.mul(word, weight), terms as u64), 1);
                assert_eq!(
                    out,
                    vec![expected; 41],
                    "{} with {bits} bits",
                    ring.kernel_name()
                );
            }
        }
    }
}

#[test]
#[should_panic(expected = "residues generated for another ring")]
fn block_matmul_rejects_residues_of_another_modulus() {
    let mut moduli = primes::ntt_primes_below(1 << 40, 6);
    let mut ring = || LimbRing::new(moduli.next().unwrap(), 6, &KernelChoice::Auto).unwrap();
    let (first, second) = (ring(), ring());
    let mut residues = ResidueMatrix::new();
    residues.generate(
        &first,
        &first.subring(2).unwrap(),
        &WeightMatrix::new(1, 1, 2),
    );
    second.block_matmul(&mut [&mut [0; 64]], &[&[0; 64]], &residues, false);
}

#[test]
fn ring_rejects_what_it_cannot_do() {
    let auto = KernelChoice::Auto;
    assert_eq!(
        LimbRing::new(1 << 62, 3, &auto).unwrap_err(),
        MathError::ModulusOutOfRange { modulus: 1 << 62 }
    );
    assert_eq!(
        LimbRing::new(33, 3, &auto).unwrap_err(),
        MathError::ModulusNotPrime { modulus: 33 }
    );
    assert_eq!(
        LimbRing::new(97, 5, &auto).unwrap_err(),
        MathError::NoRootOfUnity {
            modulus: 97,
            log_n: 5
        }
    );
    assert!(matches!(
        LimbRing::new(97, 21, &auto).unwrap_err(),
        MathError::DegreeOutOfRange { log_n: 21, .. }
    ));
    assert_eq!(
        LimbRing::with_root(97, 4, 1, &auto).unwrap_err(),
        MathError::NotPrimitiveRoot {
            root: 1,
            modulus: 97,
            log_n: 4
        }
    );
    assert_eq!(
        LimbRing::new(97, 4, &KernelChoice::Named("abacus"))
            .unwrap_err()
            .to_string(),
        "there is no kernel named \"abacus\""
    );
    let parsed = |name: &str| name.parse::<KernelChoice>().map(|choice| choice.name());
    assert_eq!(parsed("auto"), Ok(auto.name()));
    assert_eq!(parsed("scalar"), Ok("scalar"));
    let error = parsed("abacus").unwrap_err().to_string();
    assert_eq!(error, "there is no kernel named \"abacus\"");
    let kernel = "avx512ifma";
    let (modulus, log_n) = (97, 4);
    let expected = match auto.name() == kernel {
        true => MathError::KernelUnsupported {
            kernel,
            modulus,
            log_n,
        },
        false => MathError::KernelUnavailable { kernel },
    };
    let refused = LimbRing::new(modulus, log_n, &KernelChoice::Named(kernel));
    assert_eq!(refused.unwrap_err(), expected);
    assert_eq!(LimbRing::new(97, 4, &auto).unwrap().kernel_name(), "scalar");
}

#[test]
#[should_panic(expected = "a whole limb is needed")]
fn ntt_panics_on_a_short_slice() {
    LimbRing::new(97, 4, &KernelChoice::Auto)
        .unwrap()
        .ntt(&mut [0; 8]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every word-by-word operation against its formula with wide remainders.
    #[test]
    fn prop_pointwise_operations_match_formulas(seed: u64, bits in 20u32..62, len in 0usize..40, named: bool) {
        let kernel = if named { KernelChoice::Named("scalar") } else { KernelChoice::Auto };
        let ring = LimbRing::new(prime(bits, 3), 3, &kernel).unwrap();
        let q = u128::from(ring.modulus().value());
        let data: Vec<Vec<u64>> = (0..4).map(|i| random(q as u64, len, seed.wrapping_add(i))).collect();
        let s = seed % q as u64;
        let wide = u128::from(s);
        let check = |name: &str, f: &dyn Fn(&mut [u64]), formula: &dyn Fn(u128, u128, u128) -> u128| {
            let mut found = data[0].clone();
            f(&mut found);
            for j in 0..len {
                let [a, b, c] = [0, 1, 2].map(|i| u128::from(data[i][j]));
                assert_eq!(u128::from(found[j]), formula(a, b, c) % q, "{name} on {}", ring.kernel_name());
            }
        };
        let (b, c) = (&data[1], &data[2]);
        check("add_assign", &|a| ring.add_assign(a, b), &|a, b, _| a + b);
        check("sub_assign", &|a| ring.sub_assign(a, b), &|a, b, _| a + q - b);
        check("neg_assign", &|a| ring.neg_assign(a), &|a, _, _| q - a);
        check("mul_assign", &|a| ring.mul_assign(a, b), &|a, b, _| a * b);
        check("mul_into", &|a| ring.mul_into(a, b, c), &|_, b, c| b * c);
        check("mul_add_assign", &|a| ring.mul_add_assign(a, b, c), &|a, b, c| a + b * c);
        check("mul_scalar_assign", &|a| ring.mul_scalar_assign(a, s), &|a, _, _| a * wide);
        check("mul_scalar_into", &|a| ring.mul_scalar_into(a, b, s), &|_, b, _| b * wide);
        check("mul_scalar_add_assign", &|a| ring.mul_scalar_add_assign(a, b, s), &|a, b, _| a + b * wide);
        check("add_scalar_assign", &|a| ring.add_scalar_assign(a, s), &|a, _, _| a + wide);
        check("dot_into", &|a| ring.dot_into(a, &[(b, c), (c, c)]), &|_, b, c| b * c % q + c * c % q);
        check("linear_combination_into", &|a| ring.linear_combination_into(a, &[b, c], &[s, 3 % q as u64], true), &|a, b, c| {
            a + b * wide % q + c * 3
        });
    }

    #[test]
    fn prop_centred_change_of_modulus_keeps_the_integer(value in -(1i64 << 48)..(1 << 48), bits in 49u32..61) {
        let from = Modulus::new(prime(bits, 3) | 1).unwrap();
        let reduced = from.from_i64(value % (from.value() as i64 / 2));
        let integer = from.center(reduced);
        for kernel in kernels() {
            let ring = LimbRing::new(prime(45, 3), 3, &kernel).unwrap();
            let mut out = [u64::MAX; 9];
            ring.change_modulus_centered_into(&mut out, &[reduced; 9], from);
            prop_assert_eq!(out, [ring.modulus().from_i64(integer); 9]);
            ring.reduce_signed_into(&mut out, &[integer; 9]);
            prop_assert_eq!(out, [ring.modulus().from_i64(integer); 9]);
        }
    }
}
